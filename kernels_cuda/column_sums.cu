/* The sum over the rows of a matrix: one tile of columns and one piece of the rows to a block. If there are several pieces,
 * each writes a line of fp32 sums, and a second launch adds up the lines.
 *
 *                 lanes x width columns
 *              +--------------------------+
 *      group 0 | row 0   row G   row 2G   |      a thread adds up its columns of every G-th row; then the groups' sums are
 *      group 1 | row 1   row G+1          |      added in their order
 *        :     |                          |
 *              +--------------------------+
 *
 * Steps, by the names of tile_index.h: 1 place  2 load  4 multiply (here: add)  6 store. The order of the sum follows from
 * the launch's geometry. */
#include "chunk.cuh"

namespace {

constexpr int threads = 256;
constexpr int together = 8; /* rows of a thread on their way at a time */

template <typename T, bool vectors>
NORMA_DEVICE void sum_columns(const norma_sums_params &params) {
    constexpr int width = vectors ? chunk<T>::width : 1;
    grid_wait();
    grid_launch_dependents();

    /* 1 place */
    const int lane = thread_id() % params.lanes, group = thread_id() / params.lanes, groups = threads / params.lanes;
    const int tile = params.lanes * width;
    const norma_index first_column = block_id() * tile, column = first_column + lane * width;
    const norma_index begin = block_id_y() * params.piece_rows;
    const norma_index end = norma_index_min(begin + params.piece_rows, params.rows);

    /* 2 load, 4 add */
    float sum[width];
    NORMA_UNROLL
    for (int i = 0; i < width; i++) sum[i] = 0.0f;
    const norma_index last = column < params.columns ? end : begin;
    for (norma_index row = begin + group; row < last; row += groups * together) {
        vec16 packed[together];
        float one[together];
        NORMA_UNROLL
        for (int u = 0; u < together; u++) {
            packed[u] = vec16{{0, 0, 0, 0}};
            one[u] = 0.0f;
            if (row + u * groups >= last) continue;
            const norma_index start = row_offset(params.from, row + u * groups, params.m);
            if constexpr (vectors)
                packed[u] = load16_once((const T *)params.from.data + start + column);
            else
                one[u] = load_as(params.from.data, params.from_dtype, start + column * params.from.col_stride);
        }
        NORMA_UNROLL
        for (int u = 0; u < together; u++) {
            if constexpr (vectors) {
                const chunk<T> c = unpack<T>(packed[u]);
                NORMA_UNROLL
                for (int i = 0; i < width; i++) sum[i] = add_rn(sum[i], c.value[i]);
            } else {
                sum[0] = add_rn(sum[0], one[u]);
            }
        }
    }
    alignas(16) NORMA_SHARED float sums[threads * width];
    NORMA_UNROLL
    for (int i = 0; i < width; i++) sums[group * tile + lane * width + i] = sum[i];
    block_sync();

    /* 6 store */
    const norma_index mine = first_column + thread_id();
    if (thread_id() >= tile || mine >= params.columns) return;
    float total = 0.0f;
    for (int g = 0; g < groups; g++) total = add_rn(total, sums[g * tile + thread_id()]);
    if (params.pieces > 1) {
        ((float *)params.to.data)[block_id_y() * params.columns + mine] = total;
        return;
    }
    const norma_index at = mine * params.to.col_stride;
    if (params.accumulate) total = add_rn(total, load_as(params.to.data, params.to_dtype, at));
    store_as(params.to.data, params.to_dtype, at, total);
}

} // namespace

NORMA_KERNEL(column_sums_f32, norma_sums_params, threads, 4) {
    sum_columns<float, true>(params);
}
NORMA_KERNEL(column_sums_f16, norma_sums_params, threads, 4) {
    sum_columns<f16, true>(params);
}
NORMA_KERNEL(column_sums_bf16, norma_sums_params, threads, 4) {
    sum_columns<bf16, true>(params);
}
NORMA_KERNEL(column_sums_any, norma_sums_params, threads, 4) {
    sum_columns<float, false>(params);
}
