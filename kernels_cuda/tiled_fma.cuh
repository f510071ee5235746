/* The engine of rmsnorm_linear_tiled for everything else: fp32 products and sums by fused multiply-adds, from any mix of
 * dtypes. x and W pass through registers on their way to shared memory, where the x values are squared, scaled or normalised
 * (step 3). While a block multiplies one K step, the next is on its way, in small groups because registers
 * are scarce; in each quarter of step s:
 *
 *     load          a group of four values of step s + 1, into registers
 *     multiply      a quarter of step s
 *     square        the group, if it is of x, and lay it down in the other copy
 *
 * and a barrier after the four.
 *
 * Shared memory holds x[k][row] and w[k][column], k outermost, so that a thread reads the four rows or columns of a register
 * tile at once. A thread that loads four k of one row lays them down in four lines; lanes take eight rows by four such
 * groups of k, and to keep those 32 words in 32 banks, index i of line k stands at i ^ (k / 4 % 4 * 8):
 *
 *     k  0.. 3:  0 1 .. 7 | 8 .. 15 | 16 .. 23 | 24 .. 31        k  8..11:  16 .. 23 | 24 .. 31 | 0 1 .. 7 | 8 .. 15
 *     k  4.. 7:  8 .. 15 | 0 1 .. 7 | 24 .. 31 | 16 .. 23        k 12..15:  24 .. 31 | 16 .. 23 | 8 .. 15 | 0 1 .. 7
 *
 * Every tile row keeps BK = 16, four threads to a row's step and k in order, so an output's bits depend neither on the tile
 * row nor on M. */
#ifndef NORMA_TILED_FMA_CUH
#define NORMA_TILED_FMA_CUH

#include "tiled_common.cuh"

template <int layout, typename Tile>
struct fma_engine {
    static constexpr int bm = Tile::bm, bn = Tile::bn, bk = Tile::bk, threads = Tile::threads;
    static constexpr int tm = Tile::tm / 4, tn = Tile::tn / 4; /* in groups of four */
    static constexpr int x_groups = bm * bk / 4 / threads, w_groups = bn * bk / 4 / threads;
    static_assert(bk == 16 && threads == 256 && Tile::stages == 2, "the layout of lanes and of shared memory");
    static_assert(tm * 64 == bm && tn * 64 == bn, "16 x 16 threads, each with groups 64 apart");
    static_assert(x_groups + w_groups <= 4, "a group to a quarter");
    static_assert(x_groups * 4 * threads == bm * bk && w_groups * 4 * threads == bn * bk, "whole groups for every thread");

    const norma_linear_params &params;
    const norma_part_params &part;
    const norma_tile_place &place; /* in shared memory, behind rstd */
    const int rows, cols;          /* of the tile that are inside */
    const tiled_form form;
    float *const shared;
    float *const rstd;          /* of the tile's rows, behind the two copies */
    norma_index x_at[x_groups]; /* element offsets of this thread's next groups of x */
    norma_index w_at;           /* and of W; for n-contiguous W, of its columns */
    const int x_line, w_line;   /* where its groups are laid down */
    float sum[x_groups][2];
    float group[4]; /* of the next step, on its way */
    float c[4 * tm][4 * tn];

    NORMA_DEVICE fma_engine(const norma_linear_params &p, const norma_tile_place &at)
        : params(p), part(p.part[at.part]), place(at), rows((int)at.rows), cols((int)at.cols), form(tiled_form_of(p, true)),
          shared((float *)shared_memory()), rstd(shared + 2 * (bm + bn) * bk),
          x_line(group_k() * bm + swizzle(group_row(0), group_k())),
          w_line(group_k() * bn + swizzle(group_row(0), group_k())) {
        NORMA_UNROLL
        for (int i = 0; i < x_groups; i++) {
            const int row = group_row(i) < rows ? group_row(i) : 0;
            x_at[i] = tiled_row_start(params.norm.x, params.norm, place.row + row) + group_k() * params.norm.x.col_stride;
            NORMA_UNROLL
            for (int e = 0; e < 2; e++) sum[i][e] = 0.0f;
        }
        w_at = layout == WEIGHT_KN
                   ? place.col + group_col()
                   : (place.col + group_row(0)) * part.weight.col_stride + group_k() * part.weight.row_stride;
        NORMA_UNROLL
        for (int i = 0; i < 4 * tm; i++) {
            NORMA_UNROLL
            for (int j = 0; j < 4 * tn; j++) c[i][j] = 0.0f;
        }
    }

    /* A thread's groups of four k of the x tile, and of a W tile whose k are contiguous or strided. */
    static NORMA_DEVICE int group_row(int i) {
        return thread_id() / 4 + i * (threads / 4);
    }
    static NORMA_DEVICE int group_k() {
        return thread_id() % 4 * 4;
    }
    /* A thread's groups of four columns of a W tile whose columns are contiguous. */
    static NORMA_DEVICE int group_col() {
        return thread_id() % (bn / 4) * 4;
    }
    static NORMA_DEVICE int group_line(int i) {
        return thread_id() / (bn / 4) + i * (threads / (bn / 4));
    }
    static NORMA_DEVICE int swizzle(int index, int k) {
        return index ^ k / 4 * 8;
    }

    /* Four aligned values. */
    static NORMA_DEVICE void load_four(float value[4], const float *from) {
        const vec16 v = load16(from);
        NORMA_UNROLL
        for (int e = 0; e < 4; e++) value[e] = float_from_bits(v.word[e]);
    }
    static NORMA_DEVICE void load_four_inside(float value[4], const float *from, bool is_inside) {
        NORMA_UNROLL
        for (int e = 0; e < 4; e++) value[e] = 0.0f;
        if (is_inside) load_four(value, from);
    }
    /* Four values of any dtype and stride, those from `left` on being 0. */
    static NORMA_DEVICE void load_strided(float value[4], const void *data, int dtype, norma_index start, norma_index stride,
                                          int left) {
        NORMA_UNROLL
        for (int e = 0; e < 4; e++) value[e] = e < left ? load_as(data, dtype, start + e * stride) : 0.0f;
    }

    /* How many of a step's k are inside; none of a step past the last, which then is all zeros. */
    NORMA_DEVICE int inside(int step) {
        const norma_index left = params.norm.k - (norma_index)step * bk;
        return left < bk ? (int)left : bk;
    }

    /* Step 2, load; steps are loaded in order. */
    NORMA_DEVICE void load_x(int step, int i) {
        const int count = group_row(i) < rows ? inside(step) - group_k() : 0;
        if constexpr (layout == WEIGHT_ANY)
            load_strided(group, params.norm.x.data, params.norm.x_dtype, x_at[i], params.norm.x.col_stride, count);
        else
            load_four_inside(group, (const float *)params.norm.x.data + x_at[i], count > 0);
        x_at[i] += bk * (layout == WEIGHT_ANY ? params.norm.x.col_stride : 1);
    }

    NORMA_DEVICE void load_w(int step, int i) {
        const norma_view &weight = part.weight;
        if constexpr (layout == WEIGHT_KN) {
            load_four_inside(group, (const float *)weight.data + w_at + group_line(i) * weight.row_stride,
                             group_line(i) < inside(step) && group_col() < cols);
        } else {
            const norma_index at = w_at + i * (threads / 4) * weight.col_stride;
            const int count = group_row(i) < cols ? inside(step) - group_k() : 0;
            if constexpr (layout == WEIGHT_NK)
                load_four_inside(group, (const float *)weight.data + at, count > 0);
            else
                load_strided(group, weight.data, part.weight_dtype, at, weight.row_stride, count);
        }
        if (i == w_groups - 1) w_at += bk * (layout == WEIGHT_NK ? 1 : weight.row_stride);
    }

    /* Step 3, square, and lay down in copy `copy`. */
    NORMA_DEVICE void square(int step, int i, int copy) {
        float *const to = shared + copy * (bm + bn) * bk + x_line + i * (threads / 4);
        if (form == FORM_SQUARE || form == FORM_SCALE) {
            NORMA_UNROLL
            for (int e = 0; e < 4; e++) sum[i][e % 2] = fma_rn(group[e], group[e], sum[i][e % 2]);
        }
        if (form >= FORM_SCALE) normalise(step, form == FORM_EXACT ? rstd[group_row(i)] : 1.0f);
        NORMA_UNROLL
        for (int e = 0; e < 4; e++) to[e * bm] = group[e];
    }

    /* With the deferred contract nothing rounds here, and `factor` is 1. */
    NORMA_DEVICE void normalise(int step, float factor) {
        const bool gamma = params.norm.gamma.data != nullptr;
        float scale[4] = {1.0f, 1.0f, 1.0f, 1.0f};
        if (gamma) tiled_load_gamma<4>(scale, params.norm, (norma_index)step * bk + group_k());
        NORMA_UNROLL
        for (int e = 0; e < 4; e++) {
            if (form == FORM_SCALE)
                group[e] = mul_rn(group[e], scale[e]);
            else
                group[e] = norm_exact(group[e], factor, scale[e], gamma, params.norm.contract, params.norm.h_dtype);
        }
    }

    NORMA_DEVICE void lay_down_w(int i, int copy) {
        float *const to = shared + copy * (bm + bn) * bk + bm * bk;
        if constexpr (layout == WEIGHT_KN) {
            vec16 v;
            NORMA_UNROLL
            for (int e = 0; e < 4; e++) v.word[e] = float_bits(group[e]);
            store16(to + group_line(i) * bn + swizzle(group_col(), group_line(i)), v);
        } else {
            NORMA_UNROLL
            for (int e = 0; e < 4; e++) to[w_line + e * bn + i * (threads / 4)] = group[e];
        }
    }

    /* Group `number` of a step, those of x first. */
    NORMA_DEVICE void load(int step, int number) {
        if (number < x_groups)
            load_x(step, number);
        else if (number < x_groups + w_groups)
            load_w(step, number - x_groups);
    }
    NORMA_DEVICE void lay_down(int step, int number, int copy) {
        if (number < x_groups)
            square(step, number, copy);
        else if (number < x_groups + w_groups)
            lay_down_w(number - x_groups, copy);
    }

    /* Where a thread's register tile begins: waves of 4 x 8 threads, four of them down and two across. */
    static NORMA_DEVICE int tile_row() {
        return (thread_id() / 64 * 4 + thread_id() % 32 / 8) * 4;
    }
    static NORMA_DEVICE int tile_col() {
        return (thread_id() / 32 % 2 * 8 + thread_id() % 8) * 4;
    }

    /* Step 4, multiply: a quarter of a step. */
    NORMA_DEVICE void multiply(int copy, int quarter) {
        const int first = quarter * 4;
        const float *const from_x = shared + copy * (bm + bn) * bk + first * bm + swizzle(tile_row(), first);
        const float *const from_w = shared + copy * (bm + bn) * bk + bm * bk + first * bn + swizzle(tile_col(), first);
        NORMA_UNROLL
        for (int k = 0; k < 4; k++) {
            float a[4 * tm], b[4 * tn];
            NORMA_UNROLL
            for (int i = 0; i < tm; i++) load_four(a + 4 * i, from_x + k * bm + i * 64);
            NORMA_UNROLL
            for (int j = 0; j < tn; j++) load_four(b + 4 * j, from_w + k * bn + j * 64);
            NORMA_UNROLL
            for (int i = 0; i < 4 * tm; i++) {
                NORMA_UNROLL
                for (int j = 0; j < 4 * tn; j++) c[i][j] = fma_rn(a[i], b[j], c[i][j]);
            }
        }
    }

    NORMA_DEVICE void run() {
        const int steps = (int)norma_ceil_div(params.norm.k, bk);
        if (form == FORM_EXACT) {
            tiled_sweep_rows<Tile>(rstd, params, place);
            block_sync();
        }
        NORMA_UNROLL
        for (int number = 0; number < x_groups + w_groups; number++) {
            load(0, number);
            lay_down(0, number, 0);
        }
        block_sync();
        NORMA_NO_UNROLL
        for (int step = 0; step < steps; step++) {
            const int copy = step % 2;
            NORMA_UNROLL
            for (int quarter = 0; quarter < 4; quarter++) {
                load(step + 1, quarter);
                multiply(copy, quarter);
                lay_down(step + 1, quarter, 1 - copy);
            }
            block_sync();
        }
        finish_rows();
        store();
    }

    /* Step 5, scale: rstd of every row, from the four threads that summed it. */
    NORMA_DEVICE void finish_rows() {
        if (form == FORM_SQUARE || form == FORM_SCALE) {
            NORMA_UNROLL
            for (int i = 0; i < x_groups; i++) {
                const float total = wave_sum<4>(add_rn(sum[i][0], sum[i][1]));
                if (thread_id() % 4 == 0) rstd[group_row(i)] = norm_rstd(total, params.norm.k, params.norm.eps);
            }
            block_sync();
        }
        if (form != FORM_PLAIN) tiled_store_rstd<Tile>(rstd, params, place);
    }

    /* Step 6, store. */
    NORMA_DEVICE void store() {
        const bool vector = part.out_dtype == NORMA_F32 && tiled_vector_rows(part.out, 4);
        NORMA_UNROLL
        for (int j = 0; j < tn; j++) {
            const int col = tile_col() + j * 64;
            float bias[4];
            tiled_load_bias<4>(bias, part, place, col);
            NORMA_UNROLL
            for (int i = 0; i < 4 * tm; i++) {
                const int row = tile_row() + i / 4 * 64 + i % 4;
                if (row >= rows) continue;
                const float factor = form == FORM_SQUARE || form == FORM_SCALE ? rstd[row] : 1.0f;
                const norma_index start = tiled_row_start(part.out, params.norm, place.row + row);
                float value[4];
                NORMA_UNROLL
                for (int e = 0; e < 4; e++) value[e] = fma_rn(c[i][4 * j + e], factor, bias[e]);
                if (params.accumulate) add_outputs(value, start, col);
                store_four(value, start, col, vector);
            }
        }
    }

    /* Adds what the outputs hold. It comes by way of shared memory, which no one needs any more, for the sake of a loop that
     * is not unrolled: registers would not suffice. */
    NORMA_DEVICE void add_outputs(float value[4], norma_index start, int col) {
        float *const scratch = shared + thread_id();
        NORMA_UNROLL
        for (int e = 0; e < 4; e++) scratch[e * threads] = value[e];
        NORMA_NO_UNROLL
        for (int e = 0; e < 4 && col + e < cols; e++) {
            const norma_index at = start + (place.col + col + e) * part.out.col_stride;
            scratch[e * threads] = add_rn(scratch[e * threads], load_as(part.out.data, part.out_dtype, at));
        }
        NORMA_UNROLL
        for (int e = 0; e < 4; e++) value[e] = scratch[e * threads];
    }

    NORMA_DEVICE void store_four(const float value[4], norma_index start, int col, bool vector) {
        if (vector && col + 4 <= cols) {
            vec16 v;
            NORMA_UNROLL
            for (int e = 0; e < 4; e++) v.word[e] = float_bits(value[e]);
            store16((float *)part.out.data + start + place.col + col, v);
            return;
        }
        NORMA_UNROLL
        for (int e = 0; e < 4; e++)
            if (col + e < cols)
                store_as(part.out.data, part.out_dtype, start + (place.col + col + e) * part.out.col_stride, value[e]);
    }
};

template <int layout, typename Tile>
NORMA_DEVICE void tiled_fma(const norma_linear_params &params) {
    using engine = fma_engine<layout, Tile>;
    grid_wait();
    grid_launch_dependents();
    norma_tile_place *const place =
        (norma_tile_place *)((float *)shared_memory() + 2 * (Tile::bm + Tile::bn) * Tile::bk + Tile::bm);
    tiled_place<Tile>(place, params);
    engine(params, *place).run();
}

#endif
