/* Folding gamma into a weight: out[k,n] = round((gamma[k] + offset) * W[k,n]), for any dtypes and strides, in place or not.
 *
 *                 along the axis on which W is packed: 256 places
 *                +-----------------------------------------------+     A block takes one such tile, a thread one place of
 *       16 lines |  thread 0   1   2   ...                  255  |     each line, so that neighbours in a wave are
 *                +-----------------------------------------------+     neighbours in memory whichever way W lies.
 *
 * Steps, by the names of tile_index.h: 1 place  2 load  5 scale  6 store. */
#include "platform.cuh"

namespace {

constexpr int places = 256, lines = 16;

} // namespace

NORMA_KERNEL(fold_gamma, norma_fold_params, places, 1) {
    grid_wait();
    grid_launch_dependents();

    /* 1 place */
    const bool along_k = params.weight.row_stride < params.weight.col_stride;
    const norma_index width = along_k ? params.k : params.n, height = along_k ? params.n : params.k;
    const norma_index tiles = norma_ceil_div(width, places);
    const norma_index first = block_id() / tiles * lines, place = block_id() % tiles * places + thread_id();
    if (place >= width) return;

    for (norma_index line = first; line < norma_index_min(first + lines, height); line++) {
        const norma_index k = along_k ? place : line, n = along_k ? line : place;

        /* 2 load */
        const float gamma = load_as(params.gamma.data, params.gamma_dtype, k * params.gamma.col_stride);
        const float weight =
            load_as(params.weight.data, params.weight_dtype, k * params.weight.row_stride + n * params.weight.col_stride);

        /* 5 scale, 6 store */
        store_as(params.out.data, params.out_dtype, k * params.out.row_stride + n * params.out.col_stride,
                 mul_rn(add_rn(gamma, params.gamma_offset), weight));
    }
}
