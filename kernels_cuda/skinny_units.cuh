/* RMSNorm + Linear for up to 16 rows on AMD: x and W of one dtype, K contiguous in both, no residual. W streams once past
 * the matrix units of unit_hip.cuh as their A operand, straight from memory to registers; x is the B operand.
 *
 *                              K
 *              wave 0   1              15        A tile is up to 16 columns of W. Tiles are dealt out to blocks in turn, so
 *            +--------+--------+----+--------+   that all blocks read one region of W at a time. A wave owns a slice of K,
 *     tile 0 |8 steps |8 steps |    |8 steps |   eight steps of one chunk of 16 bytes a lane, for every tile of its block,
 *            +--------+--------+----+--------+   and keeps its part of the x operand in registers. With K too long for
 *     tile 1 |        |        |    |        |   that, all this happens in phases. A lane has eight chunks
 *            +--------+--------+----+--------+   of W under way. At the end of a tile the waves' sums
 *       ...                                      are added up in their order.
 *
 * Shared memory: [wave][row] sums of squares, [row] rstd, [2][wave][column][row] sums of a tile, of which two sets take
 * turns so that a tile costs one barrier, and with phases [tile][column][row] sums so far. Lanes write neighbouring words of
 * the sums, and read them back so, too.
 *
 * Steps, by the names of tile_index.h: 1 place  2 load  3 square  4 multiply  5 scale  6 store. */
#ifndef NORMA_SKINNY_UNITS_CUH
#define NORMA_SKINNY_UNITS_CUH

#include "skinny_common.cuh"
#include "unit_hip.cuh"

namespace {

struct unit_tiles {
    static constexpr int columns = 16, rows = 16, sums = columns * rows, waves = 16, steps = 8;
};

/* K of a step: a chunk of each lane, for 16 lines. */
template <typename T>
constexpr int unit_step_k = NORMA_WAVE / 16 * chunk<T>::width;

/* ---- Shared memory ---- */

NORMA_DEVICE float *unit_squares(int wave) {
    return (float *)shared_memory() + wave * unit_tiles::rows;
}
NORMA_DEVICE float *unit_rstd() {
    return unit_squares(unit_tiles::waves);
}
NORMA_DEVICE float *unit_partial(int turn, int wave) {
    return unit_rstd() + unit_tiles::rows + (turn % 2 * unit_tiles::waves + wave) * unit_tiles::sums;
}
NORMA_DEVICE float *unit_total(int tile) {
    return unit_partial(0, 2 * unit_tiles::waves) + tile * unit_tiles::sums;
}

/* ---- What a lane has of a wave's slice: chunk lane / 16 of line lane % 16 ---- */

template <typename T>
NORMA_DEVICE int unit_first_k(const norma_skinny_params &params, int phase) {
    return (phase * params.waves + wave_first(wave_id())) * unit_tiles::steps * unit_step_k<T> +
           unit_lane() / 16 * chunk<T>::width;
}

/* W, ahead of the products: the lane's column of a tile, the tile's last in place of what is not there. Every load is made,
 * so that it is known how many are under way: past the end of K the last chunk again, and once all is read a line of x. */
template <typename T>
struct unit_weights {
    using tiles = unit_tiles;
    const norma_skinny_params &params;
    int phase, tile, k, last; /* k of the lane's first chunk, and of the last one in K */
    const T *column;

    NORMA_DEVICE explicit unit_weights(const norma_skinny_params &given)
        : params(given), phase(0), tile((int)block_id()), last((int)given.linear.norm.k - chunk<T>::width) {
        open_tile();
    }

    NORMA_DEVICE void open_tile() {
        const norma_skinny_params &anew = arguments_anew<norma_skinny_params>();
        const tile_range range = range_of(anew, tile);
        const int piece = unit_lane() % 16, at = range.first + (piece < range.count ? piece : range.count - 1);
        norma_index stride;
        k = unit_first_k<T>(params, phase);
        column = weight_column<T, true>(anew.linear, at, &stride);
    }

    /* 2 load: step s */
    NORMA_DEVICE vec16 load(int s) const {
        const int at = k + s * unit_step_k<T>;
        return load16_stream(column + (at < last ? at : last));
    }

    NORMA_DEVICE void next_tile() {
        tile += (int)grid_blocks();
        if (tile >= params.tiles) {
            tile = (int)block_id();
            phase++;
        }
        if (phase < params.phases) {
            open_tile();
        } else {
            column = (const T *)params.linear.norm.x.data;
            k = last = 0;
        }
    }
};

/* x: the lane's row, the last row in place of what is not there. */
template <typename T>
struct unit_rows {
    static constexpr int steps = unit_tiles::steps, rows = unit_tiles::rows;
    const norma_skinny_params &params;
    int row;
    const T *start; /* of it */
    vec16 x[steps];

    NORMA_DEVICE explicit unit_rows(const norma_skinny_params &given) : params(given) {
        const int last = (int)given.linear.norm.rows - 1;
        row = unit_lane() % 16 < last ? unit_lane() % 16 : last;
        start = row_of<T>(given.linear.norm.x, row, given.linear.norm.m);
    }

    /* 2 load: the slice of a phase, zeros past the end of K */
    NORMA_DEVICE void load(int phase) {
        const norma_norm_params &norm = params.linear.norm;
        const int k = unit_first_k<T>(params, phase);
        const T *const from = start + k;
        NORMA_UNROLL
        for (int s = 0; s < steps; s++) {
            x[s] = vec16{{0, 0, 0, 0}};
            if (k + s * unit_step_k<T> < norm.k) x[s] = load16_any(from + s * unit_step_k<T>);
        }
    }

    NORMA_DEVICE float square() const {
        float sum = 0;
        NORMA_UNROLL
        for (int s = 0; s < steps; s++) sum = add_rn(sum, squares(unpack<T>(x[s])));
        return sum;
    }

    /* 3 square: every row's sum over the lanes of the wave that have a part of it, kept for the block. Slices of all phases
     * are read for it; the one of phase 0 stays. */
    NORMA_DEVICE void square_all() {
        float sum = 0;
        for (int phase = params.phases - 1; phase >= 0; phase--) {
            load(phase);
            sum = add_rn(sum, square());
        }
        NORMA_UNROLL
        for (int lanes = 16; lanes < NORMA_WAVE; lanes *= 2) sum = add_rn(sum, wave_xor(sum, lanes));
        if (unit_lane() < rows) unit_squares(wave_id())[unit_lane()] = sum;
        block_sync();
        if (thread_id() < rows) unit_rstd()[thread_id()] = total_rstd();
        block_sync();
    }

    NORMA_DEVICE float total_rstd() const {
        float total = 0;
        for (int wave = 0; wave < params.waves; wave++) total = add_rn(total, unit_squares(wave)[thread_id()]);
        return norm_rstd(total, params.linear.norm.k, params.linear.norm.eps);
    }

    /* The operand from x: x * gamma in one rounding, or the normalised row. */
    NORMA_DEVICE void make(int phase) {
        const norma_skinny_params &anew = arguments_anew<norma_skinny_params>();
        const norma_norm_params &norm = anew.linear.norm;
        if (!norm.gamma.data && !anew.normalise) return;
        const bool whole = norm.gamma.col_stride == 1 && norm.gamma_dtype == dtype_traits<T>::value;
        const float factor = anew.normalise ? unit_rstd()[row] : 1.0f;
        const int k = unit_first_k<T>(params, phase);
        NORMA_UNROLL
        for (int s = 0; s < steps; s++) {
            if (k + s * unit_step_k<T> >= norm.k) continue;
            const chunk<T> scale = scale_of(norm, k + s * unit_step_k<T>, whole);
            chunk<T> y = unpack<T>(x[s]);
            NORMA_UNROLL
            for (int i = 0; i < chunk<T>::width; i++)
                y.value[i] = normalised<T>(y.value[i], factor, scale.value[i], norm.contract);
            x[s] = pack(y);
            schedule_barrier();
        }
    }

    static NORMA_DEVICE chunk<T> scale_of(const norma_norm_params &norm, int k, bool whole) {
        if (whole && norm.gamma.data)
            return plus_offset(unpack<T>(load16_any((const T *)norm.gamma.data + k)), norm.gamma_offset);
        chunk<T> scale;
        NORMA_UNROLL
        for (int i = 0; i < chunk<T>::width; i++) {
            scale.value[i] = 1.0f;
            if (norm.gamma.data)
                scale.value[i] = load_as(norm.gamma.data, norm.gamma_dtype, (k + i) * norm.gamma.col_stride);
            scale.value[i] = renewed(scale.value[i]); /* one after the other: addresses would take registers */
        }
        return norm.gamma.data ? plus_offset(scale, norm.gamma_offset) : scale;
    }
};

/* 5 scale, 6 store: adds up the waves' sums of the block's tile `tile`. */
NORMA_DEVICE void unit_finish(int phase, int tile, int turn) {
    using tiles = unit_tiles;
    const norma_skinny_params &params = arguments_anew<norma_skinny_params>();
    const tile_range range = range_of(params, (int)block_id() + tile * (int)grid_blocks());
    const int row = thread_id() % tiles::rows;
    if (row >= params.linear.norm.rows) return;
    const float rstd = params.normalise ? 1.0f : unit_rstd()[row];
    NORMA_NO_UNROLL
    for (int i = thread_id(); i < range.count * tiles::rows; i += block_threads()) {
        float total = 0;
        NORMA_UNROLL4
        for (int wave = 0; wave < params.waves; wave++) total = add_rn(total, unit_partial(turn, wave)[i]);
        if (params.phases > 1) {
            float *const sum = unit_total(tile) + i;
            if (phase > 0) total = add_rn(total, *sum);
            *sum = total;
            if (phase < params.phases - 1) continue;
        }
        store_output(params.linear, row, range.first + i / tiles::rows, mul_rn(total, rstd));
    }
}

/* ---- The kernel ---- */

template <typename T>
NORMA_DEVICE void skinny_units(const norma_skinny_params &params) {
    using tiles = unit_tiles;
    const norma_norm_params &norm = params.linear.norm;

    /* 1 place */
    vec16 w[tiles::steps];
    unit_weights<T> weights(params);
    NORMA_UNROLL
    for (int s = 0; s < tiles::steps; s++) w[s] = weights.load(s);
    unit_rows<T> x(params);
    x.square_all();
    if (norm.rstd.data && block_id() == 0 && thread_id() < norm.rows)
        ((float *)norm.rstd.data)[row_offset(norm.rstd, thread_id(), norm.m)] = unit_rstd()[thread_id()];

    unit_lane_sum<T> sums;
    sums.clear();
    int turn = 0;
    NORMA_NO_UNROLL
    for (int phase = 0; phase < params.phases; phase++) {
        if (phase > 0) x.load(phase);
        x.make(phase);
        const int left = (int)norm.k - unit_first_k<T>(params, phase);
        NORMA_NO_UNROLL
        for (int tile = 0; tile < params.block_tiles; tile++) {
            /* 4 multiply */
            weights.next_tile();
            NORMA_UNROLL
            for (int s = 0; s < tiles::steps; s++) {
                sums.multiply(s * unit_step_k<T> < left ? w[s] : vec16{{0, 0, 0, 0}}, x.x[s], (int)norm.rows);
                w[s] = weights.load(s);
                schedule_barrier();
            }
            sums.keep(unit_partial(turn, wave_id()));
            block_sync();
            unit_finish(phase, tile, turn);
            turn++;
        }
    }
}

} // namespace

#endif
