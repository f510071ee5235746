/* The dtypes: size, name, unit roundoff, and scalar conversion to and from fp32 with round-to-nearest-even.
 * bf16 is the upper half of an fp32; fp16 is IEEE binary16 with subnormals. NaN stays NaN, overflow becomes infinity. */
#ifndef NORMA_DTYPE_H
#define NORMA_DTYPE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "norma/norma.h"

static inline bool norma_dtype_valid(norma_dtype dtype) {
    return dtype == NORMA_F32 || dtype == NORMA_F16 || dtype == NORMA_BF16;
}

static inline size_t norma_dtype_bytes(norma_dtype dtype) {
    return dtype == NORMA_F32 ? 4 : dtype == NORMA_NONE ? 0 : 2;
}

static inline const char *norma_dtype_name(norma_dtype dtype) {
    switch (dtype) {
    case NORMA_NONE: return "none";
    case NORMA_F32: return "f32";
    case NORMA_F16: return "f16";
    case NORMA_BF16: return "bf16";
    }
    return "unknown";
}

/* Half the distance from 1 to the next value: the largest relative error of one rounding. */
static inline double norma_dtype_unit(norma_dtype dtype) {
    return dtype == NORMA_F16 ? 0x1p-11 : dtype == NORMA_BF16 ? 0x1p-8 : 0x1p-24;
}

static inline uint32_t norma_f32_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float norma_f32_from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline float norma_bf16_to_f32(uint16_t half) {
    return norma_f32_from_bits((uint32_t)half << 16);
}

static inline uint16_t norma_bf16_from_f32(float value) {
    const uint32_t bits = norma_f32_bits(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((bits >> 16) | 0x40u); /* a quiet NaN */
    return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

static inline float norma_f16_to_f32(uint16_t half) {
    const uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    const uint32_t magnitude = half & 0x7fffu;
    if (magnitude >= 0x7c00u) return norma_f32_from_bits(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
    /* The bits as an fp32 are 2^-112 too small; the product is exact and also places subnormals. */
    const float scaled = norma_f32_from_bits(magnitude << 13) * 0x1p112f;
    return norma_f32_from_bits(sign | norma_f32_bits(scaled));
}

static inline uint16_t norma_f16_from_f32(float value) {
    const uint32_t bits = norma_f32_bits(value);
    const uint32_t sign = (bits >> 16) & 0x8000u;
    const uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return (uint16_t)(sign | 0x7e00u);
    if (magnitude >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); /* from 65520 on: infinity */
    if (magnitude < 0x38800000u) {
        /* Below 2^-14 the result is subnormal: adding 0.5 makes the hardware round at 2^-24. */
        const float shifted = norma_f32_from_bits(magnitude) + 0.5f;
        return (uint16_t)(sign | (norma_f32_bits(shifted) - 0x3f000000u));
    }
    const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
    return (uint16_t)(sign | ((rounded - 0x38000000u) >> 13));
}

/* Element `index` of an array. */
static inline float norma_load(const void *data, norma_dtype dtype, int64_t index) {
    if (dtype == NORMA_F32) return ((const float *)data)[index];
    const uint16_t half = ((const uint16_t *)data)[index];
    return dtype == NORMA_F16 ? norma_f16_to_f32(half) : norma_bf16_to_f32(half);
}

static inline void norma_store(void *data, norma_dtype dtype, int64_t index, float value) {
    if (dtype == NORMA_F32)
        ((float *)data)[index] = value;
    else
        ((uint16_t *)data)[index] = dtype == NORMA_F16 ? norma_f16_from_f32(value) : norma_bf16_from_f32(value);
}

/* `value` as it would come back from memory. */
static inline float norma_round(norma_dtype dtype, float value) {
    if (dtype == NORMA_F16) return norma_f16_to_f32(norma_f16_from_f32(value));
    if (dtype == NORMA_BF16) return norma_bf16_to_f32(norma_bf16_from_f32(value));
    return value;
}

#endif
