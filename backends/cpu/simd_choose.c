/* Which vector routines the processor can run. */
#include <stddef.h>

#include "simd_tables.h"

const simd_table *norma_simd_for(norma_target target) {
    switch (target) {
    case NORMA_TARGET_CPU_PLAIN: return &norma_simd_plain;
#if NORMA_CPU_X86
    case NORMA_TARGET_CPU_AVX2:
        /* Every processor with AVX2 has F16C, for which not all compilers have a word. */
        if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return &norma_simd_avx2;
        return NULL;
    case NORMA_TARGET_CPU_AVX512:
        if (norma_simd_for(NORMA_TARGET_CPU_AVX2) && __builtin_cpu_supports("avx512f") &&
            __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
            return &norma_simd_avx512;
        return NULL;
#endif
    default: return NULL;
    }
}

const simd_table *norma_simd_best(void) {
    static const norma_target order[] = {NORMA_TARGET_CPU_AVX512, NORMA_TARGET_CPU_AVX2};
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
        const simd_table *table = norma_simd_for(order[i]);
        if (table) return table;
    }
    return &norma_simd_plain;
}
