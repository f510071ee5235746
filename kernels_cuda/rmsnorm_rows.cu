/* RMSNorm of rows: out = h * rstd * (gamma + offset), with h = x or x + residual, one pass over memory. Rounds as
 * docs/numerics.md says. A row is read once into registers, its squares are summed, and it is written. Long rows wait in
 * shared memory instead, and only what fits neither is read twice.
 *
 *      thread                   0   1   2      last  0   1               A thread holds chunks of 16 bytes that are as far
 *                             +---+---+---+-- --+---+---+---+-- --+      apart as a row has threads. Short rows share a
 *      row r, chunks of 16 B  | 0 | 1 | 2 |     |   |   |   |     |      block; each block of a cluster has a piece of a
 *                             +---+---+---+-- --+---+---+---+-- --+      long row.
 *
 *                          +----+-----+-----+-- --+-----+------+         chunks begin at multiples of 16 of the address;
 *      ragged: such a row  |edge|  0  |  1  |     |     | edge |         what is left at both ends, 15 elements at most,
 *                          +----+-----+-----+-- --+-----+------+         is one for each of the first threads.
 *
 * Steps, by the names of tile_index.h: 1 place  2 load  3 square  5 scale  6 store. */
#include "rows_held.cuh"
#include "rows_long.cuh"

namespace {

/* ---- Anything: all dtypes and strides, element by element, in two sweeps, summed as the chunks of an aligned row are. ----
 */

NORMA_DEVICE float h_at(const norma_norm_params &norm, norma_index x, norma_index residual, norma_index col) {
    const float value = load_as(norm.x.data, norm.x_dtype, x + col * norm.x.col_stride);
    if (!norm.residual.data) return value;
    const norma_index at = residual + col * norm.residual.col_stride;
    return round_as(norm.h_dtype, add_rn(value, load_as(norm.residual.data, norm.h_dtype, at)));
}

} // namespace

NORMA_KERNEL(rmsnorm_rows_any, norma_rows_params, 512, 1) {
    const norma_rows_shape &shape = params.shape;
    const norma_norm_params &norm = params.norm;
    const int blocks = 1 << shape.block_shift;
    grid_wait();
    grid_launch_dependents();
    NORMA_SHARED cluster_sums cluster;
    if (blocks > 1) cluster.open();

    /* 1 place */
    const share s = place(shape);
    const norma_index row = s.inside ? s.row : 0;
    const norma_index x = row_offset(norm.x, row, norm.m), residual = row_offset(norm.residual, row, norm.m);
    const norma_index residual_out = row_offset(norm.residual_out, row, norm.m);
    const norma_index width = 16 / dtype_bytes(norm.x_dtype), begin = s.rank * shape.piece * width;
    const norma_index piece_end = begin + shape.piece * width, row_end = !s.inside            ? 0
                                                                         : piece_end < norm.k ? piece_end
                                                                                              : norm.k;
    const norma_index stride = shape.threads * width, first = begin + s.first * width, end = row_end;

    /* 2 load, 3 square */
    float sum = 0;
    for (norma_index at = first; at < end; at += stride) {
        float squares = 0;
        for (norma_index col = at; col < at + width && col < end; col++) {
            const float h = h_at(norm, x, residual, col);
            if (norm.residual_out.data)
                store_as(norm.residual_out.data, norm.h_dtype, residual_out + col * norm.residual_out.col_stride, h);
            squares = fma_rn(h, h, squares);
        }
        sum = add_rn(sum, squares);
    }
    sum = row_sum(sum, shape.threads);
    if (blocks > 1) sum = cluster.total(sum, 0);

    /* 5 scale, 6 store */
    const float rstd = row_rstd(shape, sum);
    if (!s.inside) return;
    if (norm.rstd.data && s.first == 0 && s.rank == 0) *row_of<float>(norm.rstd, row, norm.m) = rstd;
    if (!params.out.data) return;
    const norma_index out = row_offset(params.out, row, norm.m);
    for (norma_index at = first; at < end; at += stride)
        for (norma_index col = at; col < at + width && col < end; col++) {
            const float h = norm.residual_out.data ? load_as(norm.residual_out.data, norm.h_dtype,
                                                             residual_out + col * norm.residual_out.col_stride)
                                                   : h_at(norm, x, residual, col);
            float y = mul_rn(h, rstd);
            if (norm.contract == NORMA_ROUND_TWICE) y = round_as(norm.h_dtype, y);
            if (norm.gamma.data) {
                const float gamma = load_as(norm.gamma.data, norm.gamma_dtype, col * norm.gamma.col_stride);
                y = mul_rn(y, add_rn(gamma, norm.gamma_offset));
            }
            store_as(params.out.data, params.out_dtype, out + col * params.out.col_stride, y);
        }
}

/* `resident` blocks of `most` threads must fit a multiprocessor, which keeps rows packed in registers while they wait. Lean
 * kernels are given no more than they read: what a launch carries counts where blocks are many and short. */
#define NORMA_LEAN_ROWS(name, suffix, T, chunks, kind, ragged, tight, most, resident) \
    NORMA_KERNEL(rmsnorm_rows_##name##_##suffix, norma_rows_shape, most, resident) {  \
        lean_rows<T, chunks, kind, ragged, tight>(params);                            \
    }
#define NORMA_LEAN_STREAM(name, T, chunks, kind, most, resident)                              \
    NORMA_KERNEL(rmsnorm_rows_##name##_stream_c##chunks, norma_rows_shape, most, resident) { \
        lean_stream<T, chunks, kind>(params);                                                \
    }
#define NORMA_LEAN_SET(name, T, kind)                                   \
    NORMA_LEAN_ROWS(name, c1, T, 1, kind, false, false, row_threads, 4) \
    NORMA_LEAN_ROWS(name, c2, T, 2, kind, false, false, row_threads, 3) \
    NORMA_LEAN_ROWS(name, c4, T, 4, kind, false, false, 256, 3)         \
    NORMA_LEAN_ROWS(name, w4, T, 4, kind, false, true, row_threads, 2)  \
    NORMA_LEAN_ROWS(name, c8, T, 8, kind, false, true, row_threads, 2)  \
    NORMA_LEAN_ROWS(name, f8, T, 8, kind, false, false, row_threads, 1)
#define NORMA_RAGGED_SET(name, T, kind)                                \
    NORMA_LEAN_ROWS(name, c1, T, 1, kind, true, false, row_threads, 3) \
    NORMA_LEAN_ROWS(name, c2, T, 2, kind, true, false, row_threads, 2) \
    NORMA_LEAN_ROWS(name, w4, T, 4, kind, true, true, row_threads, 2)  \
    NORMA_LEAN_ROWS(name, c8, T, 8, kind, true, true, 384, 2)
#if NORMA_PLATFORM_HIP
#define NORMA_STREAM_SET(name, T, kind) /* for clusters */
#define NORMA_FULL_STREAM(name, T, chunks, most, resident)
#else
#define NORMA_STREAM_SET(name, T, kind)         \
    NORMA_LEAN_STREAM(name, T, 4, kind, 256, 3) \
    NORMA_LEAN_STREAM(name, T, 8, kind, row_threads, 1)
#define NORMA_FULL_STREAM(name, T, chunks, most, resident)                             \
    NORMA_KERNEL(rmsnorm_rows_##name##_c##chunks, norma_rows_params, most, resident) { \
        full_stream<T, chunks>(params);                                                \
    }
#endif
#define NORMA_FULL_ROWS(name, T, chunks, ragged, resident)                                    \
    NORMA_KERNEL(rmsnorm_rows_##name##_c##chunks, norma_rows_params, row_threads, resident) { \
        full_rows<T, chunks, ragged>(params);                                                 \
    }
#define NORMA_ROWS_KERNELS(name, T)                                                \
    NORMA_LEAN_SET(name##_plain, T, PLAIN)                                         \
    NORMA_RAGGED_SET(name##_plain_ragged, T, PLAIN)                                \
    NORMA_STREAM_SET(name##_plain, T, PLAIN)                                       \
    NORMA_LEAN_SET(name##_any, T, ANY)                                             \
    NORMA_FULL_ROWS(name##_full, T, 4, false, 2)                                   \
    NORMA_FULL_ROWS(name##_full, T, 8, false, 1)                                   \
    NORMA_FULL_ROWS(name##_full_ragged, T, 4, true, 2)                             \
    NORMA_FULL_ROWS(name##_full_ragged, T, 8, true, 1)                             \
    NORMA_FULL_STREAM(name##_full_stream, T, 4, 256, 3)                            \
    NORMA_FULL_STREAM(name##_full_stream, T, 8, row_threads, 1)                    \
    NORMA_KERNEL(rmsnorm_rows_##name##_sweep, norma_rows_params, row_threads, 1) { \
        rows_in_sweeps<T>(params);                                                 \
    }
#define NORMA_TWICE_KERNELS(name, T)                \
    NORMA_LEAN_SET(name##_twice, T, TWICE)          \
    NORMA_RAGGED_SET(name##_twice_ragged, T, TWICE) \
    NORMA_STREAM_SET(name##_twice, T, TWICE)

NORMA_ROWS_KERNELS(f32, float)
NORMA_ROWS_KERNELS(f16, f16)
NORMA_ROWS_KERNELS(bf16, bf16)
NORMA_TWICE_KERNELS(f16, f16)
NORMA_TWICE_KERNELS(bf16, bf16)
