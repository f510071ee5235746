/* RMSNorm + Linear for a few rows, for whatever the other kernels of rmsnorm_linear_skinny.cu do not take: any dtypes,
 * strides and addresses, element by element. A block has all rows' rstd; a wave has a column of W, its lanes take every 32nd
 * k.
 *
 * Steps, by the names of tile_index.h: 1 place  2 load  3 square  4 multiply  5 scale  6 store. */
#ifndef NORMA_SKINNY_ANY_CUH
#define NORMA_SKINNY_ANY_CUH

#include "skinny_common.cuh"

namespace {

constexpr int skinny_waves = skinny_threads / 32;

/* The block's sums of squares, and the rows' rstd from them, in shared memory. */
template <int rows_max>
struct row_squares {
    float partial[rows_max][skinny_waves], rstd[rows_max];

    /* Every wave calls it. */
    NORMA_DEVICE void add(int row, float value, bool first) {
        value = wave_sum<32>(value);
        float *to = &partial[row][thread_id() / 32];
        if (thread_id() % 32 == 0) *to = first ? value : add_rn(*to, value);
    }

    /* Every thread of the block calls it. */
    NORMA_DEVICE void finish(const norma_norm_params &norm) {
        block_sync();
        if (thread_id() < norm.rows) {
            float total = 0;
            for (int wave = 0; wave < skinny_waves; wave++) total = add_rn(total, partial[thread_id()][wave]);
            rstd[thread_id()] = norm_rstd(total, norm.k, norm.eps);
        }
        block_sync();
    }
};

/* The part that holds `column`, which becomes the column within the part. */
NORMA_DEVICE const norma_part_params &part_of(const norma_linear_params &linear, int &column) {
    int p = 0;
    while (column >= linear.part[p].n) column -= (int)linear.part[p++].n;
    return linear.part[p];
}

NORMA_DEVICE float any_h(const norma_norm_params &norm, int row, int k) {
    return load_as(norm.x.data, norm.x_dtype, row_offset(norm.x, row, norm.m) + k * norm.x.col_stride);
}

NORMA_DEVICE void skinny_any(const norma_skinny_params &params) {
    constexpr int rows_max = 16;
    const norma_linear_params &linear = params.linear;
    const norma_norm_params &norm = linear.norm;
    NORMA_SHARED row_squares<rows_max> squared;
    grid_wait();
    grid_launch_dependents();
    const int rows = (int)norm.rows, length = (int)norm.k, lane = thread_id() % 32;

    /* 3 square */
    for (int row = 0; row < rows; row++) {
        float sum = 0;
        for (int k = thread_id(); k < length; k += skinny_threads) {
            const float h = any_h(norm, row, k);
            sum = fma_rn(h, h, sum);
        }
        squared.add(row, sum, true);
    }
    squared.finish(norm);

    const bool exact = norm.contract != NORMA_ROUND_DEFERRED;
    const int all = params.each * (int)grid_blocks() + params.longer;
    for (int n = (int)block_id() * skinny_waves + thread_id() / 32; n < all; n += (int)grid_blocks() * skinny_waves) {
        /* 1 place */
        int column = n;
        const norma_part_params &part = part_of(linear, column);
        for (int row = 0; row < rows; row++) {
            /* 2 load, 4 multiply */
            float total = 0;
            for (int k = lane; k < length; k += 32) {
                const float h = any_h(norm, row, k);
                float scale = 1;
                if (norm.gamma.data)
                    scale = add_rn(load_as(norm.gamma.data, norm.gamma_dtype, k * norm.gamma.col_stride), norm.gamma_offset);
                const float y =
                    exact ? norm_exact(h, squared.rstd[row], scale, true, norm.contract, norm.h_dtype) : mul_rn(h, scale);
                const norma_index at = k * part.weight.row_stride + column * part.weight.col_stride;
                total = fma_rn(y, load_as(part.weight.data, part.weight_dtype, at), total);
            }
            /* 5 scale, 6 store */
            total = wave_sum<32>(total);
            if (lane == 0) store_output(linear, row, n, exact ? total : mul_rn(total, squared.rstd[row]));
        }
    }
    if (norm.rstd.data && block_id() == 0 && thread_id() < rows)
        ((float *)norm.rstd.data)[row_offset(norm.rstd, thread_id(), norm.m)] = squared.rstd[thread_id()];
}

} // namespace

#endif
