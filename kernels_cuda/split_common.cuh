/* What split_halves.cu and linear_split.cu share: how parts lie, and fp32 numbers by their bits. */
#ifndef NORMA_SPLIT_COMMON_CUH
#define NORMA_SPLIT_COMMON_CUH

#include "platform.cuh"

constexpr int split_chunk = 32;                    /* of K: so many high parts, then as many low ones */
constexpr int split_chunk_bytes = split_chunk * 4; /* of one line */
constexpr float split_low = 1.0f / 2048.0f;        /* what a low part counts */

struct alignas(8) split_vec8 {
    unsigned word[2];
};

NORMA_DEVICE bool split_is_finite(float value) {
    constexpr unsigned infinity = 0x7f800000u;
    return (float_bits(value) & infinity) != infinity;
}

#endif
