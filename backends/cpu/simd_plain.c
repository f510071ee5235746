/* The vector routines for any processor. */
#define SIMD_TABLE  norma_simd_plain
#define SIMD_NAME   "plain"
#define SIMD_TARGET NORMA_TARGET_CPU_PLAIN
#define SIMD_LANES  4
#include "simd_tables.h"

#include "simd_body.inc"
