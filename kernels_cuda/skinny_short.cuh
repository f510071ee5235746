/* The kernel of skinny_half.cuh for up to 8 operands and K so short that a lane's part of x stays in registers: `steps`
 * steps of 32. Nothing but sums goes through shared memory. Half of W's first steps are asked for, then the rest once the x
 * operand has taken the place of x and gamma.
 *
 * Shared memory: [wave][row] sums of squares, [tile of two rounds][wave][column][operand] sums.
 *
 * Steps, by the names of tile_index.h: 1 place  2 load  3 square  4 multiply  5 scale  6 store. */
#ifndef NORMA_SKINNY_SHORT_CUH
#define NORMA_SKINNY_SHORT_CUH

#include "skinny_half.cuh"

namespace {

struct short_tiles {
    static constexpr int rows = 8, per_tile = half_tiles::columns * rows;
};

NORMA_DEVICE float *short_sums(int slot, int wave) {
    return (float *)(shared_memory() + half_tiles::square_bytes) + (slot * half_tiles::waves + wave) * short_tiles::per_tile;
}

/* W, a tile at a time: a lane has columns g and g + 8, or the tile's last column in place of what is not there. */
template <typename T, int steps>
struct short_weights {
    const norma_half_params &params;
    int k, left; /* of K from k on, none past the block's last tile */
    const T *from[2];

    NORMA_DEVICE short_weights(const norma_half_params &given, int first_k) : params(given), k(first_k), left(0) {
    }

    NORMA_DEVICE void open_tile(int tile) {
        left = 0;
        if (tile >= params.tiles) return;
        const tile_range range = half_range(params, tile);
        left = params.k - k;
        NORMA_UNROLL
        for (int i = 0; i < 2; i++) {
            const int piece = half_g() + i * 8, column = range.first + (piece < range.count ? piece : range.count - 1);
            if (params.parts == 1) {
                from[i] = (const T *)params.part[0].weight + column * params.part[0].weight_stride + k;
            } else {
                const norma_half_part &part = half_part(params, column);
                from[i] = (const T *)part.weight + (column - part.first) * part.weight_stride + k;
            }
        }
    }

    /* 2 load; past the end of K, what was there stays */
    NORMA_DEVICE void load(int s, vec16 to[2]) const {
        if (s * half_tiles::step_k >= left) return;
        to[0] = load16_constant(from[0] + s * half_tiles::step_k);
        to[1] = load16_constant(from[1] + s * half_tiles::step_k);
    }
};

/* What a lane has of the x operand: operand g. */
template <typename T, int steps, bool packed>
struct short_operand {
    using tiles = half_tiles;
    const norma_half_params &params;
    int k, row;
    bool first, low; /* whether the operand is there and not a low half; a low half */
    vec16 x[steps], gamma[steps];

    NORMA_DEVICE short_operand(const norma_half_params &given, int first_k) : params(given), k(first_k) {
        const int operand = half_g(), split_bit = given.split - 1;
        low = operand & split_bit;
        row = operand >> split_bit;
        first = row < given.rows && !low;
        if (row >= given.rows) row = given.rows - 1;
    }

    /* 2 load */
    NORMA_DEVICE void load() {
        const T *from = (const T *)params.x + row * params.x_stride + k, *scale = (const T *)params.gamma + k;
        NORMA_UNROLL
        for (int s = 0; s < steps; s++) {
            if (s * tiles::step_k < params.k - k) x[s] = load16(from + s * tiles::step_k);
        }
        if (!params.gamma) return;
        NORMA_UNROLL
        for (int s = 0; s < steps; s++) {
            if (s * tiles::step_k < params.k - k) gamma[s] = load16(scale + s * tiles::step_k);
        }
    }

    /* 3 square: x x' */
    NORMA_DEVICE void square() const {
        float sum[2][4] = {};
        NORMA_UNROLL
        for (int s = 0; s < steps; s++) {
            NORMA_UNROLL
            for (int half = 0; half < 2; half++) {
                const unsigned a[4] = {x[s].word[2 * half], 0, x[s].word[2 * half + 1], 0};
                mma_m16n8k16<T>(sum[half], a, &x[s].word[2 * half]);
            }
        }
        const bool odd = half_g() & 1;
        const float mine = odd ? add_rn(sum[0][1], sum[1][1]) : add_rn(sum[0][0], sum[1][0]);
        if (first && half_g() >> 1 == half_t()) ((float *)shared_memory())[(thread_id() >> 5) * tiles::rows + row] = mine;
    }

    /* Step s of x becomes the operand: x * gamma in one rounding, or what is left of it; or the normalised row. */
    NORMA_DEVICE void make(int s, float rstd) {
        if constexpr (packed) {
            NORMA_UNROLL
            for (int i = 0; i < 4; i++) {
                const unsigned high = mul_pairs<T>(x[s].word[i], gamma[s].word[i]);
                if (low)
                    x[s].word[i] = fma_pairs<T>(x[s].word[i], gamma[s].word[i], high ^ 0x80008000u);
                else
                    x[s].word[i] = high;
            }
        } else if (params.contract == NORMA_ROUND_TWICE && params.gamma && params.gamma_offset == 0) {
            NORMA_UNROLL
            for (int i = 0; i < 4; i++) {
                const unsigned h = x[s].word[i];
                const unsigned y = pack2<T>(mul_rn(unpack_low<T>(h), rstd), mul_rn(unpack_high<T>(h), rstd));
                x[s].word[i] = mul_pairs<T>(y, gamma[s].word[i]);
            }
        } else {
            chunk<T> value = unpack<T>(x[s]);
            const chunk<T> scale = plus_offset(unpack<T>(gamma[s]), params.gamma_offset);
            NORMA_UNROLL
            for (int i = 0; i < tiles::lane_k; i++) {
                value.value[i] = normalised<T>(value.value[i], rstd, params.gamma ? scale.value[i] : 1.0f, params.contract);
            }
            x[s] = pack(value);
            if (params.split == 1) return;
            const chunk<T> high = unpack<T>(x[s]);
            NORMA_UNROLL
            for (int i = 0; i < tiles::lane_k; i++) value.value[i] = add_rn(value.value[i], -high.value[i]);
            const vec16 rest = pack(value);
            if (low) x[s] = rest;
        }
    }
};

/* 5 scale, 6 store: adds up the waves' sums of `count` of the block's tiles, from tile `first` on. */
template <int queue>
NORMA_DEVICE void short_finish(const norma_half_params &params, int first, int count, int slot, float rstd) {
    const int row = thread_id() & (short_tiles::rows - 1);
    if (row >= params.rows) return;
    NORMA_NO_UNROLL
    for (int i = thread_id(); i < count * short_tiles::per_tile; i += params.waves * 32) {
        const int tile = queue > 1 ? i / short_tiles::per_tile : 0, within = i % short_tiles::per_tile;
        const tile_range range = half_range(params, (int)block_id() + (first + tile) * params.blocks);
        if (within / short_tiles::rows >= range.count) continue;
        const int column = range.first + within / short_tiles::rows;
        const float *partial = short_sums(slot + tile, 0) + within;
        float total = 0;
        NORMA_UNROLL
        for (int wave = 0; wave < half_tiles::waves; wave++) {
            if (wave < params.waves) total = add_rn(total, partial[wave * short_tiles::per_tile]);
        }
        if (!params.normalise) total = mul_rn(total, rstd);
        if (params.parts == 1) {
            half_store(params.part[0], row, column, total);
        } else {
            const norma_half_part &part = half_part(params, column);
            half_store(part, row, column - part.first, total);
        }
    }
}

template <typename T, int steps, bool packed>
NORMA_DEVICE void skinny_short(const norma_half_params &params) {
    constexpr int queue = half_tiles::ahead / steps; /* tiles of W under way */
    constexpr int at_first = half_tiles::ahead / 2;  /* steps of them before x */

    /* 1 place */
    const int wave = thread_id() >> 5;
    const int k = wave * steps * half_tiles::step_k + half_t() * half_tiles::lane_k;
    short_operand<T, steps, packed> operand(params, k);
    short_weights<T, steps> weights(params, k);
    vec16 w[queue][steps][2];
    if ((wave + 1) * steps * half_tiles::step_k > params.k) {
        NORMA_UNROLL
        for (int s = 0; s < steps; s++) {
            operand.x[s] = operand.gamma[s] = vec16{{0, 0, 0, 0}};
            NORMA_UNROLL
            for (int q = 0; q < queue; q++) w[q][s][0] = w[q][s][1] = vec16{{0, 0, 0, 0}};
        }
    }
    if (!params.early) {
        grid_wait();
        operand.load();
    }
    NORMA_UNROLL
    for (int s = 0; s < at_first; s++) {
        if (s % steps == 0) weights.open_tile((int)block_id() + s / steps * params.blocks);
        weights.load(s % steps, w[s / steps][s % steps]);
    }
    grid_launch_dependents();
    if (params.early) {
        grid_wait();
        operand.load();
    }
    operand.square();
    float scale = 1.0f;
    if constexpr (packed) {
        if (params.gamma) {
            NORMA_UNROLL
            for (int s = 0; s < steps; s++) operand.make(s, scale);
        }
    } else {
        block_sync();
        if (params.normalise) scale = half_rstd(params, operand.row);
    }
    NORMA_UNROLL
    for (int s = at_first; s < half_tiles::ahead; s++) {
        if constexpr (!packed) {
            /* This takes longer, and each part of it frees the registers that a step of W takes. */
            constexpr int share = steps / (half_tiles::ahead - at_first);
            NORMA_UNROLL
            for (int i = 0; i < share; i++) operand.make((s - at_first) * share + i, scale);
        }
        if (s % steps == 0) weights.open_tile((int)block_id() + s / steps * params.blocks);
        weights.load(s % steps, w[s / steps][s % steps]);
    }
    if constexpr (packed) block_sync();
    float rstd = 0;
    if (thread_id() < (queue < params.block_tiles ? queue : params.block_tiles) * short_tiles::per_tile) {
        const int row = thread_id() & (short_tiles::rows - 1);
        if (row < params.rows) rstd = half_rstd(params, row);
        if (params.rstd && block_id() == 0 && thread_id() < params.rows) params.rstd[row * params.rstd_stride] = rstd;
    }

    int slot = 0;
    NORMA_NO_UNROLL
    for (int tile = 0; tile < params.block_tiles; tile += queue) {
        /* 4 multiply */
        NORMA_UNROLL
        for (int q = 0; q < queue; q++) {
            if (q > 0 && tile + q >= params.block_tiles) break;
            float sums[2][4] = {};
            weights.open_tile((int)block_id() + (tile + q + queue) * params.blocks);
            NORMA_UNROLL
            for (int s = 0; s < steps; s++) {
                const vec16 &w0 = w[q][s][0], &w1 = w[q][s][1];
                NORMA_UNROLL
                for (int half = 0; half < 2; half++) {
                    const unsigned a[4] = {w0.word[2 * half], w1.word[2 * half], w0.word[2 * half + 1],
                                           w1.word[2 * half + 1]};
                    mma_m16n8k16<T>(sums[half], a, &operand.x[s].word[2 * half]);
                }
                weights.load(s, w[q][s]);
            }
            NORMA_UNROLL
            for (int i = 0; i < 4; i++) sums[0][i] = add_rn(sums[0][i], sums[1][i]);
            half_keep<1>(params, sums, short_sums(slot + q, wave));
        }
        block_sync();
        const int count = params.block_tiles - tile < queue ? params.block_tiles - tile : queue;
        short_finish<queue>(params, tile, count, slot, rstd);
        slot ^= queue;
    }
}

} // namespace

#endif
