/* The tables of this build, by name. */
#ifndef NORMA_CPU_SIMD_TABLES_H
#define NORMA_CPU_SIMD_TABLES_H

#include "simd.h"

extern const simd_table norma_simd_plain;
#if NORMA_CPU_X86
extern const simd_table norma_simd_avx2;
extern const simd_table norma_simd_avx512;
#endif

#endif
