/* What the kernels of rmsnorm_linear_skinny.cu share: columns over all parts, a normalised value, and the dealing out
 * of tiles. */
#ifndef NORMA_SKINNY_COMMON_CUH
#define NORMA_SKINNY_COMMON_CUH

#include "chunk.cuh"

namespace {

constexpr int skinny_threads = 512;

/* W at a column, with K (`along_k`) or N contiguous; *out_stride is the step along K. The column is inside. */
template <typename T, bool along_k>
NORMA_DEVICE const T *weight_column(const norma_linear_params &linear, int column, norma_index *out_stride) {
    const norma_view *view = &linear.part[0].weight;
    int within = column;
    NORMA_UNROLL
    for (int p = 1; p < NORMA_KERNEL_PARTS; p++) {
        column -= (int)linear.part[p - 1].n;
        if (p >= linear.parts || column < 0) break;
        view = &linear.part[p].weight;
        within = column;
    }
    *out_stride = along_k ? 1 : view->row_stride;
    return (const T *)view->data + within * (along_k ? view->col_stride : 1);
}

NORMA_DEVICE void store_output(const norma_linear_params &linear, int row, int column, float value) {
    int p = 0;
    NORMA_NO_UNROLL
    while (column >= linear.part[p].n) column -= (int)linear.part[p++].n;
    const norma_part_params &part = linear.part[p];
    if (part.bias.data) value = add_rn(value, load_as(part.bias.data, part.bias_dtype, column * part.bias.col_stride));
    store_as(part.out.data, part.out_dtype, row_offset(part.out, row, linear.norm.m) + column * part.out.col_stride, value);
}

/* The products of an operand's two halves, added up. An infinite high half is all there is: what it leaves is NaN. */
NORMA_DEVICE float add_halves(float high, float low) {
    return (float_bits(high) & 0x7f800000u) == 0x7f800000u ? high : add_rn(high, low);
}

template <typename T>
NORMA_DEVICE float normalised(float h, float rstd, float scale, int contract) {
    const float value = mul_rn(h, rstd);
    return mul_rn(contract == NORMA_ROUND_TWICE ? round_to<T>(value) : value, scale);
}

/* Tiles differ by at most one column: the first `longer` ones have one more. */
struct tile_range {
    int first, count;
};

NORMA_DEVICE tile_range range_of(const norma_skinny_params &params, int tile) {
    const int more = tile < params.longer;
    return {tile * params.each + (more ? tile : params.longer), params.each + more};
}

} // namespace

#endif
