/* The kernel rmsnorm_linear_skinny on AMD, one for each dtype; skinny_units.cuh has the picture and the steps. What it does not
 * take, rows that are not contiguous or K that is no multiple of 16 bytes, goes to rmsnorm_linear_tiled. */
#include "skinny_units.cuh"

#define NORMA_SKINNY_UNITS_KERNEL(name, T)                                                                       \
    NORMA_KERNEL(rmsnorm_linear_skinny_units_##name, norma_skinny_params, unit_tiles::waves * NORMA_WAVE, 1) { \
        skinny_units<T>(params);                                                                               \
    }

NORMA_SKINNY_UNITS_KERNEL(f32, float)
NORMA_SKINNY_UNITS_KERNEL(f16, f16)
NORMA_SKINNY_UNITS_KERNEL(bf16, bf16)
