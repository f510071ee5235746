/* RMSNorm + Linear for up to 16 rows of halves with K contiguous in W, and no residual: for more rows or a longer K than
 * skinny_short.cuh takes. The picture and the tiles are those of rmsnorm_linear_skinny.cu, W comes through the rings of
 * skinny_ring.cuh, and the x operand lies in shared memory. Where that would take too much, blocks of a cluster share K:
 * each has a slice of it, and after some tiles each adds up all blocks' sums of some of them; or else it goes on in phases.
 *
 * A lane copies, squares and makes just the chunks of x that are its part of the matrix operand, so that no barrier is
 * needed before the product.
 *
 * Shared memory: [wave][row] sums of squares; [row] those of the block; of each wave [set][column][operand] sums, where
 * gamma lies before there are any, [step][operand] 32 k of the x operand, and its ring; [tile][column][operand] sums of the
 * block that wait for those of other blocks or phases.
 *
 * Steps, by the names of tile_index.h: 1 place  2 load  3 square  4 multiply  5 scale  6 store. */
#ifndef NORMA_SKINNY_HALF_CUH
#define NORMA_SKINNY_HALF_CUH

#include "skinny_ring.cuh"

namespace {

template <int fragments>
struct half_limits {
    static constexpr int waves = 8, rows = 8 * fragments, per_tile = half_tiles::columns * rows;
    static constexpr int sets = 2; /* of sums, which take turns */
    static constexpr int stages = 3;
};

/* Where things lie in shared memory: the squares of waves, those of the block, and then what the waves have. */
template <int fragments>
struct half_places {
    static constexpr int row_squares = half_limits<fragments>::waves * half_limits<fragments>::rows * 4;
    static constexpr int waves = (row_squares + half_limits<fragments>::rows * 4 + 127) / 128 * 128;
};

template <int fragments>
NORMA_DEVICE unsigned char *half_wave(const norma_half_params &params, int wave) {
    return shared_memory() + half_places<fragments>::waves + wave * params.wave_bytes;
}

/* What lies behind the waves: sums of all of them. */
template <int fragments>
NORMA_DEVICE float *half_block_sums(const norma_half_params &params) {
    return (float *)half_wave<fragments>(params, params.waves);
}

/* ---- The squares ---- */

template <int fragments>
NORMA_DEVICE float *half_row_squares() {
    return (float *)(shared_memory() + half_places<fragments>::row_squares);
}

template <int fragments>
NORMA_DEVICE void half_add_squares(const norma_half_params &params) {
    const int row = thread_id();
    if (row >= params.rows) return;
    float total = 0;
    NORMA_UNROLL
    for (int wave = 0; wave < half_limits<fragments>::waves; wave++) {
        if (wave < params.waves)
            total = add_rn(total, ((const float *)shared_memory())[wave * half_limits<fragments>::rows + row]);
    }
    half_row_squares<fragments>()[row] = total;
}

template <int fragments>
NORMA_DEVICE float half_rstd(const norma_half_params &params, int row) {
    float total = half_row_squares<fragments>()[row];
    if (params.cluster > 1) {
        total = 0;
        NORMA_NO_UNROLL
        for (int rank = 0; rank < params.cluster; rank++)
            total = add_rn(total, cluster_read(half_row_squares<fragments>() + row, rank));
    }
    return norm_rstd(total, params.k, params.eps);
}

/* ---- The x operand ---- */

/* What a lane has of it: 16 bytes of operand 8f + g in each step. With a split, operands 2r and 2r + 1 are the high and the
 * low half of row r. */
template <typename T, int fragments, bool packed>
struct half_operand {
    using tiles = half_tiles;
    const norma_half_params &params;
    int split_bit; /* of an operand's number: set in a low half */
    int count, step_bytes, wave;
    unsigned char *slice; /* the lane's chunk of operand 0 in the first step */
    float sum[fragments] = {};

    NORMA_DEVICE half_operand(const norma_half_params &given, int of_wave) : params(given), wave(of_wave) {
        split_bit = given.split - 1;
        count = given.rows << split_bit;
        step_bytes = count * tiles::step_bytes;
        slice = half_wave<fragments>(given, wave) + given.scratch_bytes + half_t() * 16;
    }

    NORMA_DEVICE int operand(int f) const {
        return f * 8 + half_g();
    }
    NORMA_DEVICE bool present(int f) const {
        return operand(f) < count;
    }
    /* Where the lane's chunk lies in the first step; without an operand, one that is there. */
    NORMA_DEVICE unsigned char *place(int f) const {
        return slice + (present(f) ? operand(f) : 0) * tiles::step_bytes;
    }

    /* 2 load: x where its operand will be, and gamma, zeros past the end of K; the next commit counts them. */
    NORMA_DEVICE void copy(int first_k) const {
        const int lane = thread_id() & 31;
        if (params.gamma) {
            const unsigned to = shared_address(half_wave<fragments>(params, wave));
            NORMA_NO_UNROLL
            for (int c = lane; c < params.steps * 4; c += 32) {
                const int at = first_k + c * tiles::lane_k;
                copy16_async(to + (unsigned)c * 16, (const T *)params.gamma + at, at < params.k);
            }
        }
        const int k = first_k + half_t() * tiles::lane_k;
        NORMA_UNROLL
        for (int f = 0; f < fragments; f++) {
            if (!present(f)) break;
            const T *from = (const T *)params.x + (operand(f) >> split_bit) * params.x_stride + k;
            unsigned to = shared_address(place(f));
            NORMA_UNROLL4
            for (int s = 0; s < params.steps; s++) {
                copy16_async(to, from + s * tiles::step_k, k + s * tiles::step_k < params.k);
                to += (unsigned)step_bytes;
            }
        }
    }

    NORMA_DEVICE void store_squares() const {
        float *to = (float *)shared_memory() + wave * half_limits<fragments>::rows;
        NORMA_UNROLL
        for (int f = 0; f < fragments; f++) {
            const float total = wave_sum<4>(sum[f]);
            if (half_t() == 0 && present(f) && !(operand(f) & split_bit)) to[operand(f) >> split_bit] = total;
        }
    }

    /* 3 square, and where no row's rstd is needed x becomes the operand: x * gamma in one rounding, or what is left of it.
     */
    NORMA_DEVICE void square() {
        const unsigned char *scale = half_wave<fragments>(params, wave) + half_t() * 16;
        const unsigned sign = 0x80008000u;
        NORMA_UNROLL
        for (int f = 0; f < fragments; f++) {
            if (!present(f)) break;
            const bool low = operand(f) & split_bit;
            unsigned char *at = place(f);
            NORMA_UNROLL4
            for (int s = 0; s < params.steps; s++) {
                vec16 x = load16(at + s * step_bytes);
                sum[f] = add_rn(sum[f], squares(unpack<T>(x)));
                if (!packed || !params.gamma) continue;
                const vec16 gamma = load16(scale + s * tiles::step_bytes);
                NORMA_UNROLL
                for (int i = 0; i < 4; i++) {
                    const unsigned high = mul_pairs<T>(x.word[i], gamma.word[i]);
                    x.word[i] = fma_pairs<T>(x.word[i], gamma.word[i], low ? high ^ sign : sign);
                }
                store16(at + s * step_bytes, x);
            }
        }
    }

    /* Else it becomes the operand once rstd is known: the normalised row. */
    NORMA_DEVICE void make() const {
        const unsigned char *scale_at = half_wave<fragments>(params, wave) + half_t() * 16;
        NORMA_NO_UNROLL
        for (int f = 0; f < fragments; f++) {
            if (!present(f)) break;
            const bool low = operand(f) & split_bit;
            const float rstd = params.normalise ? half_rstd<fragments>(params, operand(f) >> split_bit) : 1.0f;
            unsigned char *at = place(f);
            NORMA_NO_UNROLL
            for (int s = 0; s < params.steps; s++, at += step_bytes) {
                vec16 gamma = {{0, 0, 0, 0}};
                if (params.gamma) gamma = load16(scale_at + s * tiles::step_bytes);
                store16(at, half_made<T>(params, load16(at), gamma, low, rstd));
            }
        }
    }
};

/* ---- Sums ---- */

/* Adds up the waves' sums of the block's tile `tile`, and those of earlier phases. 5 scale, 6 store: what is complete then;
 * with a cluster, and before the last phase, the sums stay in shared memory, as tile `slot`. */
template <int fragments>
NORMA_DEVICE void half_finish(const norma_half_params &params, int phase, int tile, int slot, float rstd) {
    using limits = half_limits<fragments>;
    const float *partial = (const float *)half_wave<fragments>(params, 0) + tile % limits::sets * limits::per_tile;
    const int row = thread_id() & (limits::rows - 1);
    if (row >= params.rows) return;
    const tile_range range = half_range(params, half_block<true>(params) + tile * params.blocks);
    NORMA_NO_UNROLL
    for (int i = thread_id(); i < range.count * limits::rows; i += params.waves * 32) {
        float total = 0;
        NORMA_UNROLL
        for (int wave = 0; wave < limits::waves; wave++) {
            if (wave < params.waves) total = add_rn(total, partial[wave * (params.wave_bytes / 4) + i]);
        }
        float *sum = half_block_sums<fragments>(params) + slot * limits::per_tile + i;
        if (phase > 0) total = add_rn(total, *sum);
        if (params.cluster > 1 || phase < params.phases - 1)
            *sum = total;
        else
            half_scale_and_store(params, row, range.first + i / limits::rows, total, rstd);
    }
}

/* 5 scale, 6 store: the block's share of the tiles from `first` on whose sums the blocks of its cluster have. */
template <int fragments>
NORMA_DEVICE void half_share(const norma_half_params &params, int first, int slot, int count, float rstd) {
    using limits = half_limits<fragments>;
    const int row = thread_id() & (limits::rows - 1);
    if (row >= params.rows) return;
    NORMA_NO_UNROLL
    for (int tile = cluster_rank(); tile < count; tile += params.cluster) {
        const tile_range range = half_range(params, half_block<true>(params) + (first + tile) * params.blocks);
        NORMA_NO_UNROLL
        for (int i = thread_id(); i < range.count * limits::rows; i += params.waves * 32) {
            float total = 0;
            NORMA_UNROLL4
            for (int rank = 0; rank < params.cluster; rank++)
                total = add_rn(
                    total, cluster_read(half_block_sums<fragments>(params) + (slot + tile) * limits::per_tile + i, rank));
            half_scale_and_store(params, row, range.first + i / limits::rows, total, rstd);
        }
    }
}

/* ---- The kernel ---- */

template <typename T, int fragments, bool packed>
NORMA_DEVICE void skinny_half(const norma_half_params &params) {
    using limits = half_limits<fragments>;

    /* 1 place */
    grid_launch_dependents();
    touch_params(params);
    const int wave = half_slice(params), rank = params.cluster > 1 ? cluster_rank() : 0;
    int k = (rank * params.waves + wave) * params.steps * half_tiles::step_k;
    weight_ring<T, limits::stages, true> weights(
        params, k, half_wave<fragments>(params, wave + 1) - weight_ring<T, limits::stages, true>::bytes);
    half_operand<T, fragments, packed> x(params, wave);
    half_prefetch<T>(params);
    if (!params.early) {
        weights.prefetch();
        grid_wait();
        x.copy(k);
    }
    NORMA_NO_UNROLL
    for (int i = 0; i < limits::stages - 1; i++) weights.load(params.steps);
    if (params.early) {
        grid_wait();
        x.copy(k);
    }
    weights.load(params.steps);

    const int row = thread_id() & (limits::rows - 1);
    float rstd = 0;
    int batch = 0; /* the first tile whose sums wait for the other blocks' */
    NORMA_NO_UNROLL
    for (int phase = 0; phase < params.phases; phase++, k += params.phase_k) {
        if (phase > 0) {
            block_sync(); /* gamma takes the place of sums that others read */
            x.copy(k);
            copy_async_commit();
        }
        if (phase == 0 && !params.early)
            copy_async_wait<limits::stages - 1>();
        else
            copy_async_wait<0>();
        wave_sync();
        x.square();
        if (phase == params.phases - 1) {
            x.store_squares();
            block_sync();
            half_add_squares<fragments>(params);
        }
        if constexpr (!packed) {
            if (params.cluster > 1)
                cluster_sync();
            else
                block_sync();
            x.make();
        }
        wave_sync();

        NORMA_NO_UNROLL
        for (int tile = 0; tile < params.block_tiles; tile++) {
            /* 4 multiply */
            float sums[fragments][4] = {};
            const unsigned char *feed[fragments];
            NORMA_UNROLL
            for (int f = 0; f < fragments; f++) feed[f] = x.place(f);
            NORMA_NO_UNROLL
            for (int step = 0; step < params.steps; step += ring::steps) {
                weights.wait();
                NORMA_UNROLL
                for (int s = 0; s < ring::steps; s++) {
                    vec16 w[2];
                    weights.read(s, w);
                    const unsigned a[2][4] = {{w[0].word[0], w[1].word[0], w[0].word[1], w[1].word[1]},
                                              {w[0].word[2], w[1].word[2], w[0].word[3], w[1].word[3]}};
                    NORMA_UNROLL
                    for (int f = 0; f < fragments; f++) {
                        const vec16 b = load16(feed[f]);
                        mma_m16n8k16<T>(sums[f], a[0], &b.word[0]);
                        mma_m16n8k16<T>(sums[f], a[1], &b.word[2]);
                        feed[f] += x.step_bytes;
                    }
                }
                wave_sync();
                weights.load(params.steps);
            }
            half_keep<fragments>(params, sums,
                                 (float *)half_wave<fragments>(params, wave) + tile % limits::sets * limits::per_tile);
            block_sync();
            const bool last = phase == params.phases - 1, shares = params.cluster > 1 && last;
            const int slot = tile - (params.phases > 1 ? 0 : batch);
            if (last && !shares && tile == 0 && row < params.rows) rstd = half_rstd<fragments>(params, row);
            if (shares && tile == batch && batch > 0) cluster_wait(); /* the others have read what was there */
            half_finish<fragments>(params, phase, tile, slot, rstd);
            if (!shares || (tile + 1 - batch < params.batch && tile + 1 < params.block_tiles)) continue;
            cluster_sync();
            if (batch == 0 && row < params.rows) rstd = half_rstd<fragments>(params, row);
            half_share<fragments>(params, batch, params.phases > 1 ? batch : 0, tile + 1 - batch, rstd);
            batch = tile + 1;
            if (batch < params.block_tiles) cluster_arrive();
        }
    }
    if (params.rstd && block_id() == 0 && thread_id() < params.rows) params.rstd[row * params.rstd_stride] = rstd;
    if (params.cluster > 1) cluster_sync(); /* the others may be reading this block's sums */
}

} // namespace

#endif
