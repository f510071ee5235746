/* One vector register of fp32 and what the kernels do with it, by GCC's vector extensions; intrinsics only where those have
 * no word for an instruction (fused multiply-add, fp16 conversion). The file that includes this fixes the instruction set by
 * its compiler flags. */
#ifndef NORMA_CPU_SIMD_VECTOR_H
#define NORMA_CPU_SIMD_VECTOR_H

#include <stdint.h>
#include <string.h>

#include "../dtype.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX2__)
#define LANES 8
#else
#define LANES 4
#endif

#define SIMD_INLINE static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(LANES * 4)));
typedef double vec_double __attribute__((vector_size(LANES * 8)));
typedef uint32_t vec_bits __attribute__((vector_size(LANES * 4)));
typedef int32_t vec_mask __attribute__((vector_size(LANES * 4)));
typedef uint16_t vec_half __attribute__((vector_size(LANES * 2)));

SIMD_INLINE vec vec_all(float value) {
    return value - (vec){0};
}

SIMD_INLINE vec vec_load(const float *from) {
    vec value;
    memcpy(&value, from, sizeof value);
    return value;
}

SIMD_INLINE void vec_store(float *to, vec value) {
    memcpy(to, &value, sizeof value);
}

/* a * b + c, in one rounding where the processor has that. */
SIMD_INLINE vec vec_fma(vec a, vec b, vec c) {
#if defined(__AVX512F__)
    return (vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__)
    return (vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__ARM_NEON) && defined(__aarch64__)
    return (vec)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
    return a * b + c;
#endif
}

SIMD_INLINE vec_bits vec_select(vec_mask mask, vec_bits yes, vec_bits no) {
    return ((vec_bits)mask & yes) | (~(vec_bits)mask & no);
}

SIMD_INLINE float vec_sum(vec value) {
    float lanes[LANES];
    memcpy(lanes, &value, sizeof lanes);
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++) lanes[i] += lanes[i + width];
    return lanes[0];
}

SIMD_INLINE vec_half half_load(const uint16_t *from) {
    vec_half value;
    memcpy(&value, from, sizeof value);
    return value;
}

SIMD_INLINE void half_store(uint16_t *to, vec_half value) {
    memcpy(to, &value, sizeof value);
}

/* To and from 16 bits. The intrinsics are one instruction where compilers split the generic conversion into halves. */
SIMD_INLINE vec_bits half_widen(vec_half half) {
#if defined(__AVX512F__)
    return (vec_bits)_mm512_cvtepu16_epi32((__m256i)half);
#elif defined(__AVX2__)
    return (vec_bits)_mm256_cvtepu16_epi32((__m128i)half);
#elif defined(__x86_64__)
    return (vec_bits)_mm_unpacklo_epi16(_mm_cvtsi64_si128((int64_t)half), _mm_setzero_si128());
#else
    return __builtin_convertvector(half, vec_bits);
#endif
}

SIMD_INLINE vec_half half_narrow(vec_bits bits) {
#if defined(__AVX512F__)
    return (vec_half)_mm512_cvtepi32_epi16((__m512i)bits);
#else
    return __builtin_convertvector(bits, vec_half);
#endif
}

SIMD_INLINE vec vec_from_bf16(vec_half half) {
    return (vec)(half_widen(half) << 16);
}

SIMD_INLINE vec_half vec_to_bf16(vec value) {
    const vec_bits bits = (vec_bits)value;
    const vec_bits upper = bits >> 16;
    const vec_bits rounded = (bits + 0x7fffU + (upper & 1U)) >> 16;
#if defined(__AVX512F__)
    const __mmask16 nan = _mm512_cmp_ps_mask((__m512)value, (__m512)value, _CMP_UNORD_Q);
    return half_narrow((vec_bits)_mm512_mask_or_epi32((__m512i)rounded, nan, (__m512i)upper, _mm512_set1_epi32(0x40)));
#else
    return half_narrow(vec_select((vec_mask)(value != value), upper | 0x40U, rounded));
#endif
}

SIMD_INLINE vec vec_from_f16(vec_half half) {
#if defined(__AVX512F__)
    return (vec)_mm512_cvtph_ps((__m256i)half);
#elif defined(__AVX2__)
    return (vec)_mm256_cvtph_ps((__m128i)half);
#else
    const vec_bits bits = half_widen(half);
    const vec_bits magnitude = bits & 0x7fffU;
    /* The bits as an fp32 are 2^-112 too small; the product is exact and also places subnormals. Infinity and NaN get their
     * exponent back. */
    const vec_bits scaled = (vec_bits)((vec)(magnitude << 13) * vec_all(0x1p112F));
    const vec_bits special = (vec_bits)((vec_mask)magnitude > 0x7bff) & 0x7f800000U;
    return (vec)(scaled | special | (bits & 0x8000U) << 16);
#endif
}

SIMD_INLINE vec_half vec_to_f16(vec value) {
#if defined(__AVX512F__)
    return (vec_half)_mm512_cvtps_ph((__m512)value, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#elif defined(__AVX2__)
    return (vec_half)_mm256_cvtps_ph((__m256)value, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
    const vec_bits bits = (vec_bits)value;
    const vec_bits magnitude = bits & 0x7fffffffU;
    /* Below 2^-14 the result is subnormal: adding 0.5 makes the hardware round at 2^-24. */
    const vec_bits subnormal = (vec_bits)((vec)magnitude + vec_all(0.5F)) - 0x3f000000U;
    const vec_bits normal = (magnitude + 0xfffU + ((magnitude >> 13) & 1U) - 0x38000000U) >> 13;
    vec_bits half = vec_select((vec_mask)magnitude < 0x38800000, subnormal, normal);
    half = vec_select((vec_mask)magnitude > 0x477fefff, (vec_bits){0} + 0x7c00U, half);
    half = vec_select((vec_mask)magnitude > 0x7f800000, (vec_bits){0} + 0x7e00U, half);
    return half_narrow(half | ((bits >> 16) & 0x8000U));
#endif
}

/* LANES values of any dtype. `dtype` is a constant where this is called, or the branch is predicted. */
SIMD_INLINE vec vec_load_as(const void *from, norma_dtype dtype, int64_t index) {
    if (dtype == NORMA_F32) return vec_load((const float *)from + index);
    const vec_half half = half_load((const uint16_t *)from + index);
    return dtype == NORMA_F16 ? vec_from_f16(half) : vec_from_bf16(half);
}

SIMD_INLINE void vec_store_as(void *to, norma_dtype dtype, int64_t index, vec value) {
    if (dtype == NORMA_F32)
        vec_store((float *)to + index, value);
    else
        half_store((uint16_t *)to + index, dtype == NORMA_F16 ? vec_to_f16(value) : vec_to_bf16(value));
}

/* Like vec_store_as(), past the caches where the processor can, to an address that is a multiple of what is stored. Others
 * see the values after vec_stream_end(). */
SIMD_INLINE void vec_stream_as(void *to, norma_dtype dtype, int64_t index, vec value) {
#if defined(__AVX512F__)
    const vec_half half = dtype == NORMA_F16 ? vec_to_f16(value) : vec_to_bf16(value);
    if (dtype == NORMA_F32)
        _mm512_stream_ps((float *)to + index, (__m512)value);
    else
        _mm256_stream_si256((__m256i *)(void *)((uint16_t *)to + index), (__m256i)half);
#elif defined(__AVX2__)
    const vec_half half = dtype == NORMA_F16 ? vec_to_f16(value) : vec_to_bf16(value);
    if (dtype == NORMA_F32)
        _mm256_stream_ps((float *)to + index, (__m256)value);
    else
        _mm_stream_si128((__m128i *)(void *)((uint16_t *)to + index), (__m128i)half);
#else
    vec_store_as(to, dtype, index, value);
#endif
}

SIMD_INLINE void vec_stream_end(void) {
#if defined(__AVX2__)
    _mm_sfence();
#endif
}

/* The values as they would come back from memory. */
SIMD_INLINE vec vec_round(norma_dtype dtype, vec value) {
    if (dtype == NORMA_F16) return vec_from_f16(vec_to_f16(value));
    if (dtype == NORMA_BF16) return vec_from_bf16(vec_to_bf16(value));
    return value;
}

/* Interleaves the lower (upper) halves of a and b: a0 b0 a1 b1 ... log2(LANES) rounds of it transpose a square. */
#if LANES == 16
#define INTERLEAVE_LOWER 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define INTERLEAVE_UPPER 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif LANES == 8
#define INTERLEAVE_LOWER 0, 8, 1, 9, 2, 10, 3, 11
#define INTERLEAVE_UPPER 4, 12, 5, 13, 6, 14, 7, 15
#else
#define INTERLEAVE_LOWER 0, 4, 1, 5
#define INTERLEAVE_UPPER 2, 6, 3, 7
#endif

#if defined(__clang__) || __GNUC__ >= 12
#define VEC_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define VEC_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (vec_mask){__VA_ARGS__})
#endif

SIMD_INLINE void vec_transpose(vec square[LANES]) {
    for (int width = 1; width < LANES; width *= 2) {
        vec next[LANES];
        for (int i = 0; i < LANES / 2; i++) {
            next[2 * i] = VEC_SHUFFLE(square[i], square[i + LANES / 2], INTERLEAVE_LOWER);
            next[2 * i + 1] = VEC_SHUFFLE(square[i], square[i + LANES / 2], INTERLEAVE_UPPER);
        }
        for (int i = 0; i < LANES; i++) square[i] = next[i];
    }
}

#endif
