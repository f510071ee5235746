/* RMSNorm + Linear for a few rows of halves with K contiguous in W, and no residual: the case of decoding, lean and fast.
 * The picture and the tiles are those of rmsnorm_linear_skinny.cu.
 *
 * x and gamma go to shared memory while W's first steps are under way, and a wave makes its slice of the x operand before
 * they arrive. The squares come off the diagonal of x x'. Two sets of sums take turns, so that a tile costs one barrier.
 *
 * Shared memory: [wave][row] sums of squares; of each wave [2][column][operand] sums, where gamma lies before there are any,
 * and [step][operand] 32 k of the x operand.
 *
 * Steps, by the names of tile_index.h: 1 place  2 load  3 square  4 multiply  5 scale  6 store. */
#ifndef NORMA_SKINNY_HALF_CUH
#define NORMA_SKINNY_HALF_CUH

#include "skinny_common.cuh"

namespace {

struct half_tiles {
    static constexpr int columns = 16, rows = 16; /* the most */
    static constexpr int step_k = 32, step_bytes = 64, lane_k = 8;
    static constexpr int ahead = 8; /* steps of W under way in a lane */
    static constexpr int square_bytes = 1024, waves = 16;
};

/* Lane (g, t) of 8 x 4. */
NORMA_DEVICE int half_g() {
    return (thread_id() & 31) >> 2;
}
NORMA_DEVICE int half_t() {
    return thread_id() & 3;
}

NORMA_DEVICE unsigned char *half_wave(const norma_half_params &params, int wave) {
    return shared_memory() + half_tiles::square_bytes + wave * params.wave_bytes;
}

NORMA_DEVICE int half_first_k(const norma_half_params &params, int phase) {
    return (phase * params.waves + (thread_id() >> 5)) * params.steps * half_tiles::step_k;
}

NORMA_DEVICE tile_range half_range(const norma_half_params &params, int tile) {
    const bool more = tile < params.longer;
    return {tile * params.each + (more ? tile : params.longer), params.each + (more ? 1 : 0)};
}

NORMA_DEVICE const norma_half_part &half_part(const norma_half_params &params, int column) {
    int p = 0;
    NORMA_NO_UNROLL
    while (p + 1 < params.parts && column >= params.part[p + 1].first) p++;
    return params.part[p];
}

/* ---- W ---- */

/* Walks over phases, the block's tiles and their steps, ahead of the products: a lane has columns g and g + 8, or the tile's
 * last column in place of what is not there. */
template <typename T>
struct half_weights {
    using tiles = half_tiles;
    const norma_half_params &params;
    int phase, tile, step, left; /* of K from there on */
    const T *from[2];

    NORMA_DEVICE explicit half_weights(const norma_half_params &given) : params(given), phase(0), tile((int)block_id()) {
        open_tile();
    }

    NORMA_DEVICE void open_tile() {
        const int k = half_first_k(params, phase) + half_t() * tiles::lane_k;
        const tile_range range = half_range(params, tile);
        step = 0;
        left = phase < params.phases ? params.k - k : 0;
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

    /* 2 load: `s` steps from here on; past the end of K, what was there stays */
    NORMA_DEVICE void load(int s, vec16 to[2]) const {
        if (s * tiles::step_k >= left) return;
        to[0] = load16_constant(from[0] + s * tiles::step_k);
        to[1] = load16_constant(from[1] + s * tiles::step_k);
    }

    NORMA_DEVICE void advance() {
        step += tiles::ahead;
        left -= tiles::ahead * tiles::step_k;
        from[0] += tiles::ahead * tiles::step_k;
        from[1] += tiles::ahead * tiles::step_k;
        if (step < params.steps) return;
        tile += params.blocks;
        if (tile >= params.tiles) {
            tile = (int)block_id();
            phase++;
        }
        open_tile();
    }
};

/* ---- The x operand ---- */

/* 2 load: the wave's slice of x, each row where its (first) operand will be, and of gamma, zeros past the end of K. */
template <typename T>
NORMA_DEVICE void half_copy_rows(const norma_half_params &params, int phase) {
    using tiles = half_tiles;
    const int row_bytes = params.split * tiles::step_bytes, group_bytes = 8 * params.rows * row_bytes;
    const unsigned lane = (unsigned)thread_id() & 31, scratch = shared_address(half_wave(params, thread_id() >> 5));
    unsigned gamma_to = scratch + lane * 16;
    unsigned x_to =
        scratch + (unsigned)params.scratch_bytes + lane / 4 * (unsigned)(params.rows * row_bytes) + lane % 4 * 16;
    int k = half_first_k(params, phase) + (int)lane * tiles::lane_k;
    NORMA_NO_UNROLL
    for (int s = 0; s < params.steps; s += 8) {
        const bool present = k < params.k;
        const int at = present ? k : 0;
        const T *from = (const T *)params.x + at;
        unsigned to = x_to;
        NORMA_UNROLL4
        for (int r = 0; r < params.rows; r++) {
            copy16_async(to, from, present);
            from += params.x_stride;
            to += (unsigned)row_bytes;
        }
        if (params.gamma) copy16_async(gamma_to, (const T *)params.gamma + at, present);
        k += 8 * tiles::step_k;
        gamma_to += 8 * tiles::step_bytes;
        x_to += (unsigned)group_bytes;
    }
    copy_async_commit();
}

NORMA_DEVICE float half_rstd(const norma_half_params &params, int row) {
    float total = 0;
    NORMA_UNROLL
    for (int wave = 0; wave < half_tiles::waves; wave++) {
        if (wave < params.waves) total = add_rn(total, ((const float *)shared_memory())[wave * half_tiles::rows + row]);
    }
    return norm_rstd(total, params.k, params.eps);
}

/* What a lane has of the x operand: 16 bytes of operand g (and g + 8) in each step. With a split, operands 2r and 2r + 1 are
 * the high and the low half of row r. */
template <typename T, int fragments, bool packed>
struct half_operand {
    using tiles = half_tiles;
    const norma_half_params &params;
    int split_bit; /* of an operand's number: set in a low half */
    int count, step_bytes;
    unsigned char *slice;
    float squares[fragments][4] = {};

    NORMA_DEVICE explicit half_operand(const norma_half_params &given) : params(given) {
        split_bit = given.split - 1;
        count = given.rows << split_bit;
        step_bytes = count * tiles::step_bytes;
        slice = half_wave(given, thread_id() >> 5) + given.scratch_bytes + half_t() * 16;
    }

    NORMA_DEVICE int operand(int f) const {
        return f * 8 + half_g();
    }

    /* Where the lane's operand lies in the first step; without one, any place. */
    NORMA_DEVICE unsigned char *feed(int f) const {
        return slice + (operand(f) < count ? operand(f) : 0) * tiles::step_bytes;
    }

    /* Where the row lies that it is made from. */
    NORMA_DEVICE const unsigned char *raw(int f) const {
        return slice + (operand(f) < count ? operand(f) & ~split_bit : 0) * tiles::step_bytes;
    }

    /* 3 square: x x' */
    NORMA_DEVICE void square(const vec16 x[fragments]) {
        const unsigned a[2][4] = {{x[0].word[0], x[fragments - 1].word[0], x[0].word[1], x[fragments - 1].word[1]},
                                  {x[0].word[2], x[fragments - 1].word[2], x[0].word[3], x[fragments - 1].word[3]}};
        NORMA_UNROLL
        for (int f = 0; f < fragments; f++) {
            mma_m16n8k16<T>(squares[f], a[0], &x[f].word[0]);
            mma_m16n8k16<T>(squares[f], a[1], &x[f].word[2]);
        }
    }

    NORMA_DEVICE void store_squares() const {
        float *to = (float *)shared_memory() + (thread_id() >> 5) * tiles::rows;
        NORMA_UNROLL
        for (int f = 0; f < fragments; f++) {
            const float even = squares[f][2 * f], odd = squares[f][2 * f + 1];
            const bool mine = half_g() >> 1 == half_t() && operand(f) < count && !(half_g() & split_bit);
            if (mine) to[operand(f) >> split_bit] = half_g() & 1 ? odd : even;
        }
    }

    /* The operand from x: x * gamma in one rounding, or what is left of it; or the normalised row. */
    NORMA_DEVICE vec16 made(vec16 x, vec16 gamma, bool low, float rstd) const {
        vec16 y = x;
        if constexpr (packed) {
            NORMA_UNROLL
            for (int i = 0; i < 4; i++) {
                y.word[i] = mul_pairs<T>(x.word[i], gamma.word[i]);
                if (low) y.word[i] = fma_pairs<T>(x.word[i], gamma.word[i], y.word[i] ^ 0x80008000u);
            }
        } else {
            const chunk<T> h = unpack<T>(x), scale = plus_offset(unpack<T>(gamma), params.gamma_offset);
            chunk<T> value;
            NORMA_UNROLL
            for (int i = 0; i < tiles::lane_k; i++)
                value.value[i] = normalised<T>(h.value[i], rstd, params.gamma ? scale.value[i] : 1.0f, params.contract);
            y = pack(value);
            if (params.split == 2) {
                const chunk<T> high = unpack<T>(y);
                NORMA_UNROLL
                for (int i = 0; i < tiles::lane_k; i++) value.value[i] = add_rn(value.value[i], -high.value[i]);
                const vec16 rest = pack(value);
                if (low) y = rest;
            }
        }
        return y;
    }

    NORMA_DEVICE void square_all() {
        const unsigned char *from[fragments];
        NORMA_UNROLL
        for (int f = 0; f < fragments; f++) from[f] = raw(f);
        NORMA_UNROLL4
        for (int s = 0; s < params.steps; s++) {
            vec16 x[fragments];
            NORMA_UNROLL
            for (int f = 0; f < fragments; f++) {
                x[f] = load16(from[f]);
                from[f] += step_bytes;
            }
            square(x);
        }
    }

    /* x, which has come, becomes the operand. */
    NORMA_DEVICE void make() {
        if (!packed || !params.gamma) square_all();
        if (!packed || params.gamma) make_all();
        wave_sync();
    }

    NORMA_DEVICE void make_all() {
        float rstd[fragments];
        const unsigned char *from[fragments], *gamma = half_wave(params, thread_id() >> 5) + half_t() * 16;
        unsigned char *to[fragments];
        const bool low = half_g() & split_bit;
        if (!packed && params.normalise) {
            store_squares();
            block_sync();
        }
        NORMA_UNROLL
        for (int f = 0; f < fragments; f++) {
            const int row = operand(f) < count ? operand(f) >> split_bit : 0;
            rstd[f] = !packed && params.normalise ? half_rstd(params, row) : 1.0f;
            from[f] = raw(f);
            to[f] = feed(f);
        }
        NORMA_UNROLL4
        for (int s = 0; s < params.steps; s++) {
            vec16 x[fragments], scale = {};
            if (packed || params.gamma) scale = load16(gamma);
            gamma += tiles::step_bytes;
            NORMA_UNROLL
            for (int f = 0; f < fragments; f++) {
                x[f] = load16(from[f]);
                from[f] += step_bytes;
            }
            if constexpr (packed) square(x);
            wave_sync();
            NORMA_UNROLL
            for (int f = 0; f < fragments; f++) {
                const vec16 y = made(x[f], scale, low, rstd[f]);
                if (operand(f) < count) store16(to[f], y);
                to[f] += step_bytes;
            }
        }
    }
};

/* ---- Sums ---- */

/* A wave's sums of a tile, as [column][operand or row]. */
template <int fragments>
NORMA_DEVICE void half_keep(const norma_half_params &params, float c[fragments][4], float *partial) {
    NORMA_UNROLL
    for (int f = 0; f < fragments; f++) {
        NORMA_UNROLL
        for (int half = 0; half < 2; half++) {
            float *to = partial + (half_g() + 8 * half) * 8 * fragments + f * 8;
            const float even = c[f][2 * half], odd = c[f][2 * half + 1];
            if (params.split == 2) {
                to[half_t()] = add_rn(even, odd);
            } else {
                to[2 * half_t()] = even;
                to[2 * half_t() + 1] = odd;
            }
            c[f][2 * half] = c[f][2 * half + 1] = 0;
        }
    }
}

NORMA_DEVICE void half_store(const norma_half_part &part, int row, int column, float value) {
    if (part.bias) value = add_rn(value, load_as(part.bias, part.bias_dtype, column));
    store_as(part.out, part.out_dtype, row * part.out_stride + column, value);
}

/* 5 scale, 6 store: adds up the waves' sums of the block's tile `tile`. With phases, those of earlier ones lie behind. */
template <int fragments>
NORMA_DEVICE void half_finish(const norma_half_params &params, int phase, int tile, float rstd) {
    using tiles = half_tiles;
    constexpr int rows = 8 * fragments, per_tile = tiles::columns * rows;
    const float *partial = (const float *)half_wave(params, 0) + tile % 2 * per_tile;
    const int row = thread_id() & (rows - 1);
    if (row >= params.rows) return;
    const tile_range range = half_range(params, (int)block_id() + tile * params.blocks);
    NORMA_NO_UNROLL
    for (int i = thread_id(); i < range.count * rows; i += params.waves * 32) {
        const int column = range.first + (i / rows);
        float total = 0;
        NORMA_UNROLL
        for (int wave = 0; wave < tiles::waves; wave++) {
            if (wave < params.waves) total = add_rn(total, partial[wave * (params.wave_bytes / 4) + i]);
        }
        if (params.phases > 1) {
            float *sum = (float *)half_wave(params, params.waves) + tile * per_tile + i;
            if (phase > 0) total = add_rn(total, *sum);
            *sum = total;
            if (phase < params.phases - 1) continue;
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

/* ---- The kernel ---- */

template <typename T, int fragments, bool packed>
NORMA_DEVICE void skinny_half(const norma_half_params &params) {
    using tiles = half_tiles;
    constexpr int rows = 8 * fragments, per_tile = tiles::columns * rows;

    /* 1 place */
    vec16 w[tiles::ahead][2];
    if (!params.early) {
        grid_wait();
        half_copy_rows<T>(params, 0);
    }
    half_weights<T> weights(params);
    NORMA_UNROLL
    for (int s = 0; s < tiles::ahead / 2; s++) weights.load(s, w[s]);
    if (params.early) {
        grid_wait();
        half_copy_rows<T>(params, 0);
    }
    NORMA_UNROLL
    for (int s = tiles::ahead / 2; s < tiles::ahead; s++) weights.load(s, w[s]);
    grid_launch_dependents();

    half_operand<T, fragments, packed> x(params);
    float sums[fragments][4] = {};
    NORMA_NO_UNROLL
    for (int phase = 0; phase < params.phases; phase++) {
        if (phase > 0) {
            block_sync(); /* gamma takes the place of sums that others read */
            half_copy_rows<T>(params, phase);
        }
        copy_async_wait<0>();
        wave_sync();
        x.make();
        float rstd = 0;
        if (phase == params.phases - 1) {
            x.store_squares();
            block_sync();
            const int row = thread_id() & (rows - 1);
            if (row < params.rows && thread_id() < per_tile) rstd = half_rstd(params, row);
            if (params.rstd && block_id() == 0 && thread_id() < params.rows) params.rstd[row * params.rstd_stride] = rstd;
        }
        NORMA_NO_UNROLL
        for (int tile = 0; tile < params.block_tiles; tile++) {
            /* 4 multiply */
            const unsigned char *feed[fragments];
            NORMA_UNROLL
            for (int f = 0; f < fragments; f++) feed[f] = x.feed(f);
            int left = params.k - half_first_k(params, phase);
            NORMA_NO_UNROLL
            for (int step = 0; step < params.steps; step += tiles::ahead) {
                if (left < tiles::ahead * tiles::step_k) {
                    NORMA_UNROLL
                    for (int s = 0; s < tiles::ahead; s++) {
                        if (s * tiles::step_k + half_t() * tiles::lane_k >= left) w[s][0] = w[s][1] = vec16{{0, 0, 0, 0}};
                    }
                }
                left -= tiles::ahead * tiles::step_k;
                weights.advance();
                NORMA_UNROLL
                for (int s = 0; s < tiles::ahead; s++) {
                    const unsigned a[2][4] = {{w[s][0].word[0], w[s][1].word[0], w[s][0].word[1], w[s][1].word[1]},
                                              {w[s][0].word[2], w[s][1].word[2], w[s][0].word[3], w[s][1].word[3]}};
                    NORMA_UNROLL
                    for (int f = 0; f < fragments; f++) {
                        const vec16 b = load16(feed[f]);
                        mma_m16n8k16<T>(sums[f], a[0], &b.word[0]);
                        mma_m16n8k16<T>(sums[f], a[1], &b.word[2]);
                        feed[f] += x.step_bytes;
                    }
                    weights.load(s, w[s]);
                }
            }
            half_keep<fragments>(params, sums, (float *)half_wave(params, thread_id() >> 5) + tile % 2 * per_tile);
            block_sync();
            half_finish<fragments>(params, phase, tile, rstd);
        }
    }
}

} // namespace

#endif
