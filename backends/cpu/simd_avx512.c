/* The vector routines for AVX-512 (F, BW, DQ, VL). */
#define SIMD_TABLE  norma_simd_avx512
#define SIMD_NAME   "avx512"
#define SIMD_TARGET NORMA_TARGET_CPU_AVX512
#define SIMD_LANES  16
#include "simd_tables.h"

#include "simd_body.inc"
