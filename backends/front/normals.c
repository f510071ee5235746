/* Normal values by Box and Muller's method, from Knuth's linear congruential generator (MMIX) and a fixed seed. */
#include "normals.h"

#include <math.h>

#include "../dtype.h"

void norma_normals_fill(void *to, norma_dtype dtype, size_t count) {
    uint64_t state = 1;
    for (size_t i = 0; i < count; i++) {
        double uniform[2];
        for (int j = 0; j < 2; j++) {
            state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            uniform[j] = ((double)(state >> 11) + 0.5) * 0x1p-53;
        }
        norma_store(to, dtype, (int64_t)i, (float)(sqrt(-2 * log(uniform[0])) * cos(6.283185307179586 * uniform[1])));
    }
}
