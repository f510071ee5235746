/* RMSNorm + Linear for up to 8 operands of halves, K contiguous in W, and K so short that a lane's part of the x operand
 * stays in registers: `steps` steps of 32. W comes through the rings of skinny_ring.cuh, which fill while x is on its way
 * and becomes the operand. The squares come off the diagonal of x x'; a tile costs one barrier, since two sets of sums take
 * turns.
 *
 * Shared memory: [wave][row] sums of squares; of each wave [2][column][operand] sums, where gamma lies before there are any;
 * the rings.
 *
 * Steps, by the names of tile_index.h: 1 place  2 load  3 square  4 multiply  5 scale  6 store. */
#ifndef NORMA_SKINNY_SHORT_CUH
#define NORMA_SKINNY_SHORT_CUH

#include "skinny_ring.cuh"

namespace {

struct short_tiles {
    static constexpr int waves = 8, stages = 3, rows = 8, per_tile = half_tiles::columns * rows,
                         sum_bytes = 2 * per_tile * 4;
};

NORMA_DEVICE unsigned char *short_wave(int wave) {
    return shared_memory() + half_tiles::square_bytes + wave * short_tiles::sum_bytes;
}

/* What a lane has of the x operand: operand g. With a split, operands 2r and 2r + 1 are the high and the low half of row r.
 */
template <typename T, int steps, bool packed>
struct short_operand {
    using tiles = half_tiles;
    const norma_half_params &params;
    int k, row;
    bool first, low; /* whether the operand is there and not a low half; a low half */
    vec16 x[steps];

    NORMA_DEVICE short_operand(const norma_half_params &given, int first_k) : params(given), k(first_k) {
        const int operand = half_g(), split_bit = given.split - 1;
        low = operand & split_bit;
        row = operand >> split_bit;
        first = row < given.rows && !low;
        if (row >= given.rows) row = given.rows - 1;
    }

    /* 2 load: the wave's slice of gamma, zeros past the end of K; the next commit counts it. */
    NORMA_DEVICE void copy_gamma(int wave) const {
        if (!params.gamma) return;
        const int lane = thread_id() & 31;
        NORMA_UNROLL
        for (int c = 0; c < steps * 4; c += 32) {
            const int at = (wave * steps * 4 + c + lane) * tiles::lane_k;
            if (c + lane < steps * 4)
                copy16_async(shared_address(short_wave(wave)) + (unsigned)(c + lane) * 16, (const T *)params.gamma + at,
                             at < params.k);
        }
    }

    /* 2 load */
    NORMA_DEVICE void load() {
        const T *from = (const T *)params.x + row * params.x_stride + k;
        NORMA_UNROLL
        for (int s = 0; s < steps; s++) {
            x[s] = vec16{{0, 0, 0, 0}};
            if (s * tiles::step_k < params.k - k) x[s] = load16(from + s * tiles::step_k);
        }
    }

    /* 3 square: x x' */
    NORMA_DEVICE void square(int wave) const {
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
        if (first && half_g() >> 1 == half_t()) ((float *)shared_memory())[wave * short_tiles::rows + row] = mine;
    }

    /* Every step of x becomes the operand: x * gamma in one rounding, or what is left of it; or the normalised row. */
    NORMA_DEVICE void make(int wave, float rstd) {
        const unsigned char *from = short_wave(wave) + half_t() * 16;
        NORMA_UNROLL
        for (int s = 0; s < steps; s++) {
            vec16 gamma = {{0, 0, 0, 0}};
            if (packed || params.gamma) gamma = load16(from + s * tiles::step_bytes);
            make_step(x[s], gamma, rstd);
        }
    }

    NORMA_DEVICE void make_step(vec16 &h, const vec16 &gamma, float rstd) const {
        if constexpr (packed) {
            NORMA_UNROLL
            for (int i = 0; i < 4; i++) {
                const unsigned high = mul_pairs<T>(h.word[i], gamma.word[i]);
                h.word[i] = fma_pairs<T>(h.word[i], gamma.word[i], low ? high ^ 0x80008000u : 0x80008000u);
            }
        } else {
            h = half_made<T>(params, h, gamma, low, rstd);
        }
    }
};

NORMA_DEVICE float short_rstd(const norma_half_params &params, int row) {
    float total = 0;
    NORMA_UNROLL
    for (int wave = 0; wave < short_tiles::waves; wave++) {
        if (wave < params.waves) total = add_rn(total, ((const float *)shared_memory())[wave * short_tiles::rows + row]);
    }
    return norm_rstd(total, params.k, params.eps);
}

/* 5 scale, 6 store: adds up the waves' sums of the block's tile `tile`. */
NORMA_DEVICE void short_finish(const norma_half_params &params, int tile, int row, float rstd) {
    if (row >= params.rows) return;
    const tile_range range = half_range(params, (int)block_id() + tile * params.blocks);
    NORMA_NO_UNROLL
    for (int i = thread_id(); i < range.count * short_tiles::rows; i += params.waves * 32) {
        const float *partial = (const float *)short_wave(0) + tile % 2 * short_tiles::per_tile + i;
        float total = 0;
        NORMA_UNROLL
        for (int wave = 0; wave < short_tiles::waves; wave++) {
            if (wave < params.waves) total = add_rn(total, partial[wave * (short_tiles::sum_bytes / 4)]);
        }
        half_scale_and_store(params, row, range.first + i / short_tiles::rows, total, rstd);
    }
}

template <typename T, int steps, bool packed>
NORMA_DEVICE void skinny_short(const norma_half_params &params) {
    /* 1 place */
    grid_launch_dependents();
    touch_params(params);
    const int wave = half_slice(params), slice = wave * steps * half_tiles::step_k;
    unsigned char *memory = short_wave(params.waves) + wave * weight_ring<T, short_tiles::stages, false>::bytes;
    short_operand<T, steps, packed> operand(params, slice + half_t() * half_tiles::lane_k);
    weight_ring<T, short_tiles::stages, false> weights(params, slice, memory);
    half_prefetch<T>(params);
    if (!params.early) {
        weights.prefetch();
        grid_wait();
        operand.load();
    }
    operand.copy_gamma(wave);
    NORMA_UNROLL
    for (int i = 0; i < short_tiles::stages; i++) weights.load(steps);
    if (params.early) {
        grid_wait();
        operand.load();
    }
    operand.square(wave);
    weights.wait();
    float scale = 1.0f;
    if constexpr (packed) {
        if (params.gamma) operand.make(wave, scale);
    } else {
        block_sync();
        if (params.normalise) scale = short_rstd(params, operand.row);
        operand.make(wave, scale);
    }

    const int row = thread_id() & (short_tiles::rows - 1);
    float rstd = 0;
    NORMA_NO_UNROLL
    for (int tile = 0; tile < params.block_tiles; tile++) {
        /* 4 multiply */
        float sums[2][4] = {};
        NORMA_UNROLL
        for (int stage = 0; stage < steps; stage += ring::steps) {
            weights.wait();
            NORMA_UNROLL
            for (int s = 0; s < ring::steps; s++) {
                vec16 w[2];
                weights.read(s, w);
                NORMA_UNROLL
                for (int half = 0; half < 2; half++) {
                    const unsigned a[4] = {w[0].word[2 * half], w[1].word[2 * half], w[0].word[2 * half + 1],
                                           w[1].word[2 * half + 1]};
                    mma_m16n8k16<T>(sums[half], a, &operand.x[stage + s].word[2 * half]);
                }
            }
            wave_sync();
            weights.load(steps);
        }
        NORMA_UNROLL
        for (int i = 0; i < 4; i++) sums[0][i] = add_rn(sums[0][i], sums[1][i]);
        half_keep<1>(params, sums, (float *)short_wave(wave) + tile % 2 * short_tiles::per_tile);
        block_sync();
        if (tile == 0 && thread_id() < short_tiles::per_tile) {
            if (row < params.rows) rstd = short_rstd(params, row);
            if (params.rstd && block_id() == 0 && thread_id() < params.rows) params.rstd[row * params.rstd_stride] = rstd;
        }
        short_finish(params, tile, row, rstd);
    }
}

} // namespace

#endif
