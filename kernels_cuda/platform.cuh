/* What a kernel may use of its machine: the only door to CUDA, HIP and the host. The kernels of this folder are written in
 * these names alone, so that one source is compiled by nvcc for NVIDIA, by clang for AMD (-x hip -nogpuinc -nogpulib) and by
 * any C++17 compiler for the emulator of tests/simt (NORMA_SIMT).
 *
 * Each platform header gives: NORMA_WAVE, NORMA_DEVICE, NORMA_KERNEL, NORMA_SHARED, ids, barriers, shuffles, shared memory,
 * conversions, memory access and asynchronous copies; all but AMD's also the matrix step by the lane layout of PTX's
 * mma.m16n8k16. This file adds what follows from those. "Wave" is a warp or a wavefront; lane layouts are those of 32 lanes, and a wave of 64 counts
 * as two groups of 32. All rounding is to nearest even, and nothing here is contracted into a fused multiply-add. */
#ifndef NORMA_PLATFORM_CUH
#define NORMA_PLATFORM_CUH

/* Storage types of the half dtypes: bits only, so that no vendor header is needed. */
struct f16 {
    unsigned short bits;
};
struct bf16 {
    unsigned short bits;
};

/* Sixteen bytes, moved by one instruction. */
struct alignas(16) vec16 {
    unsigned word[4];
};

#if defined(NORMA_SIMT)
#include "simt.h"
#elif defined(__HIP__)
#include "platform_hip.cuh"
#elif defined(__CUDACC__)
#include "platform_cuda.cuh"
#else
#error "kernels are compiled by nvcc, by clang for HIP, or with NORMA_SIMT for the host"
#endif

#include "../include/norma/norma.h"
#include "params.h"

/* ---- Ids ---- */

NORMA_DEVICE int wave_lane() {
    return thread_id() % NORMA_WAVE;
}

NORMA_DEVICE int wave_id() {
    return thread_id() / NORMA_WAVE;
}

/* ---- Sums over a wave ---- */

/* The sum over `lanes` neighbouring lanes (a power of two), in every one of them. The order is fixed. */
template <int lanes>
NORMA_DEVICE float wave_sum(float value) {
    NORMA_UNROLL
    for (int mask = lanes / 2; mask > 0; mask /= 2) value = add_rn(value, wave_xor(value, mask));
    return value;
}

/* ---- Dtypes ---- */

template <typename T>
struct dtype_traits;
template <>
struct dtype_traits<float> {
    static constexpr int value = NORMA_F32;
};
template <>
struct dtype_traits<f16> {
    static constexpr int value = NORMA_F16;
};
template <>
struct dtype_traits<bf16> {
    static constexpr int value = NORMA_BF16;
};

NORMA_DEVICE float to_float(float value) {
    return value;
}

/* from_float<T>(v): v rounded once to T. */
template <typename T>
NORMA_DEVICE T from_float(float value);
template <>
NORMA_DEVICE_SPECIAL float from_float<float>(float value) {
    return value;
}
template <>
NORMA_DEVICE_SPECIAL f16 from_float<f16>(float value) {
    return f16{f16_bits(value)};
}
template <>
NORMA_DEVICE_SPECIAL bf16 from_float<bf16>(float value) {
    return bf16{bf16_bits(value)};
}

/* `value` as it would come back from memory. */
template <typename T>
NORMA_DEVICE float round_to(float value) {
    return to_float(from_float<T>(value));
}

/* Two neighbours in one word, the first in the low half. */
template <typename T>
NORMA_DEVICE unsigned pack2(float low, float high) {
#if NORMA_PLATFORM_CUDA || NORMA_PLATFORM_HIP
    return pack_pair(T{}, low, high);
#else
    return (unsigned)from_float<T>(low).bits | (unsigned)from_float<T>(high).bits << 16;
#endif
}

/* The low, or the high, halves of two words in one. */
NORMA_DEVICE unsigned low_halves(unsigned low, unsigned high) {
    return (low & 0xffffu) | high << 16;
}
NORMA_DEVICE unsigned high_halves(unsigned low, unsigned high) {
    return low >> 16 | (high & 0xffff0000u);
}

template <typename T>
NORMA_DEVICE float unpack_low(unsigned word) {
    return to_float(T{(unsigned short)word});
}

template <typename T>
NORMA_DEVICE float unpack_high(unsigned word) {
    return to_float(T{(unsigned short)(word >> 16)});
}

#if !NORMA_PLATFORM_CUDA
/* Two products in one word, each rounded once: products of two halves are exact in fp32. */
template <typename T>
NORMA_DEVICE unsigned mul_pairs(unsigned a, unsigned b) {
    return pack2<T>(mul_rn(unpack_low<T>(a), unpack_low<T>(b)), mul_rn(unpack_high<T>(a), unpack_high<T>(b)));
}

/* a b + c in each half, rounded once where fp32 holds the sum: so does what rounding left of a product. */
template <typename T>
NORMA_DEVICE unsigned fma_pairs(unsigned a, unsigned b, unsigned c) {
    return pack2<T>(fma_rn(unpack_low<T>(a), unpack_low<T>(b), unpack_low<T>(c)),
                    fma_rn(unpack_high<T>(a), unpack_high<T>(b), unpack_high<T>(c)));
}
#endif

/* The same with the dtype known at run time only. */
NORMA_DEVICE int dtype_bytes(int dtype) {
    return dtype == NORMA_F32 ? 4 : 2;
}

NORMA_DEVICE float load_as(const void *data, int dtype, norma_index index) {
    if (dtype == NORMA_F32) return ((const float *)data)[index];
    const unsigned short bits = ((const unsigned short *)data)[index];
    return dtype == NORMA_F16 ? to_float(f16{bits}) : to_float(bf16{bits});
}

NORMA_DEVICE void store_as(void *data, int dtype, norma_index index, float value) {
    if (dtype == NORMA_F32)
        ((float *)data)[index] = value;
    else
        ((unsigned short *)data)[index] = dtype == NORMA_F16 ? f16_bits(value) : bf16_bits(value);
}

NORMA_DEVICE float round_as(int dtype, float value) {
    if (dtype == NORMA_F32) return value;
    return dtype == NORMA_F16 ? round_to<f16>(value) : round_to<bf16>(value);
}

/* ---- The norm ---- */

/* rstd from a row's sum of squares: each operation rounded as IEEE 754 says, so that every kernel gives the same bits. */
NORMA_DEVICE float norm_rstd(float sum, norma_index k, float eps) {
    return rsqrt_rn(add_rn(div_rn(sum, (float)k), eps));
}

/* y of the exact contracts, rounded as the contract says; `scale` is gamma + offset, 1 if gamma is absent. */
NORMA_DEVICE float norm_exact(float h, float rstd, float scale, bool has_gamma, int contract, int dtype) {
    const float normalised = mul_rn(h, rstd);
    if (contract == NORMA_ROUND_TWICE && has_gamma) return round_as(dtype, mul_rn(round_as(dtype, normalised), scale));
    return round_as(dtype, has_gamma ? mul_rn(normalised, scale) : normalised);
}

#endif
