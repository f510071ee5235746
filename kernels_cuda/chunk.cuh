/* Sixteen bytes of a row as floats, and what the kernels do to them: unpack, pack, square, add a residual, read gamma.
 * Rounds as docs/numerics.md says. */
#ifndef NORMA_CHUNK_CUH
#define NORMA_CHUNK_CUH

#include "platform.cuh"

NORMA_DEVICE norma_index row_offset(const norma_view &view, norma_index row, norma_index m) {
    if (row < m) return row * view.row_stride;
    const norma_index batch = row / m;
    return batch * view.batch_stride + (row - batch * m) * view.row_stride;
}

/* NULL if the tensor is absent, for then strides are 0, too. */
template <typename T>
NORMA_DEVICE T *row_of(const norma_view &view, norma_index row, norma_index m) {
    return (T *)view.data + row_offset(view, row, m);
}

template <typename T>
struct chunk {
    static constexpr int width = 16 / (int)sizeof(T);
    float value[width];
};

template <typename T>
NORMA_DEVICE chunk<T> unpack(vec16 v) {
    chunk<T> c;
    NORMA_UNROLL
    for (int i = 0; i < 4; i++) {
        if constexpr (sizeof(T) == 4) {
            c.value[i] = float_from_bits(v.word[i]);
        } else {
            c.value[2 * i] = unpack_low<T>(v.word[i]);
            c.value[2 * i + 1] = unpack_high<T>(v.word[i]);
        }
    }
    return c;
}

template <typename T>
NORMA_DEVICE vec16 pack(const chunk<T> &c) {
    vec16 v;
    NORMA_UNROLL
    for (int i = 0; i < 4; i++) {
        if constexpr (sizeof(T) == 4)
            v.word[i] = float_bits(c.value[i]);
        else
            v.word[i] = pack2<T>(c.value[2 * i], c.value[2 * i + 1]);
    }
    return v;
}

template <typename T>
NORMA_DEVICE chunk<T> rounded_sum(const chunk<T> &a, const chunk<T> &b) {
    chunk<T> sum;
    NORMA_UNROLL
    for (int i = 0; i < chunk<T>::width; i++) sum.value[i] = round_to<T>(add_rn(a.value[i], b.value[i]));
    return sum;
}

template <typename T>
NORMA_DEVICE float squares(const chunk<T> &h) {
    float sum = 0;
    NORMA_UNROLL
    for (int i = 0; i < chunk<T>::width; i++) sum = fma_rn(h.value[i], h.value[i], sum);
    return sum;
}

/* Whether chunks of gamma can be read whole: packed, aligned, and of dtype T or fp32. */
template <typename T>
NORMA_DEVICE bool gamma_in_chunks(const norma_norm_params &norm) {
    return norm.gamma.col_stride == 1 && (unsigned long long)norm.gamma.data % 16 == 0 &&
           (norm.gamma_dtype == dtype_traits<T>::value || norm.gamma_dtype == NORMA_F32);
}

/* Whether they are of dtype T, so that one load16() reads a chunk. */
template <typename T>
NORMA_DEVICE bool gamma_is_packed(const norma_norm_params &norm) {
    return norm.gamma.data && norm.gamma_dtype == dtype_traits<T>::value && gamma_in_chunks<T>(norm);
}

template <typename T>
NORMA_DEVICE chunk<T> plus_offset(chunk<T> gamma, float offset) {
    NORMA_UNROLL
    for (int i = 0; i < chunk<T>::width; i++) gamma.value[i] = add_rn(gamma.value[i], offset);
    return gamma;
}

/* gamma + offset for the chunk at element `first`, `whole` if gamma_in_chunks() and the chunk begins at a multiple of its
 * width; 1 without gamma, and 0 outside the row. */
template <typename T>
NORMA_DEVICE chunk<T> load_scale(const norma_norm_params &norm, int first, bool whole) {
    constexpr int width = chunk<T>::width;
    chunk<T> c;
    if (!norm.gamma.data) {
        NORMA_UNROLL
        for (int i = 0; i < width; i++) c.value[i] = 1.0f;
        return c;
    }
    if (whole && norm.gamma_dtype == dtype_traits<T>::value) {
        c = unpack<T>(load16((const T *)norm.gamma.data + first));
    } else if (whole) {
        NORMA_UNROLL
        for (int i = 0; i < width; i += 4) {
            const vec16 v = load16((const float *)norm.gamma.data + first + i);
            NORMA_UNROLL
            for (int j = 0; j < 4; j++) c.value[i + j] = float_from_bits(v.word[j]);
        }
    } else {
        NORMA_UNROLL
        for (int i = 0; i < width; i++) {
            const bool inside = first + i >= 0 && first + i < norm.k;
            c.value[i] = inside ? load_as(norm.gamma.data, norm.gamma_dtype, (first + i) * norm.gamma.col_stride) : 0.0f;
        }
    }
    return plus_offset(c, norm.gamma_offset);
}

#endif
