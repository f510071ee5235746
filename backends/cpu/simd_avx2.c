/* The vector routines for AVX2, FMA and F16C. */
#define SIMD_TABLE  norma_simd_avx2
#define SIMD_NAME   "avx2"
#define SIMD_TARGET NORMA_TARGET_CPU_AVX2
#define SIMD_LANES  8
#include "simd_tables.h"

#include "simd_body.inc"
