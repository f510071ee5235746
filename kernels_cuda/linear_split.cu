/* A product of fp32 on sm_90a's fp16 matrix units, of operands that split_halves has split: with x = xh + 2^-11 xl and W
 * likewise,
 *
 *     x W = xh Wh + 2^-11 (xh Wl + xl Wh),   the fourth product, 2^-22 of the first at most, left out
 *
 *             ring of stages: 32 of K                 registers of a warpgroup, for its half of the tile
 *   warp 8   +-----+-----+-----+    wgmma   +--------------+  every 16 of K   +-------+  every 384   +--------+
 *   -------> |xh xl|xh xl| ... | ---------> | xh Wh        | ---------------> | first | -----------> | second | shared
 *            |Wh Wl|Wh Wl|     |            +--------------+  ordinary fp32   | sum   |              | sum    | memory
 *            +-----+-----+-----+ ---------> | xh Wl, xl Wh | ---+             +-------+              +--------+
 *                                           +--------------+    +--> + <---------------------------------+
 *                                                                    |
 *                                                                    +--> 2^e, bias --> out
 *
 * Matrix units cut sums toward zero (docs/numerics.md), which long sums would show: so the large product is taken out of
 * them after each step. It is added while the small products are being computed, which are 2^-11 of the result, and so are
 * their errors. Sums in two levels keep the chains of additions short.
 *
 *   1 place      tiles of 128 x 128 by norma_tile_at(), one block to a multiprocessor
 *   2 load       by the copy engine; outside the tensors it gives zeros
 *   4 multiply   three products
 *   5 scale      the lines' powers of two; what was there, or the bias
 *   6 store      from registers
 *
 * Source: sums taken out of the matrix units go back to Ootomo and Yokota, "Recovering single precision accuracy from Tensor
 * Cores", 2022. */
#include "hopper_walk.cuh"
#include "platform_sm90.cuh"
#include "platform_wgmma.cuh"
#include "split_common.cuh"

#if defined(__CUDA_ARCH_FEAT_SM90_ALL) || defined(NORMA_SIMT)

namespace {

constexpr int bm = 128, bn = 128, chunk = split_chunk, stages = 5;
constexpr int matrix_bytes = 128 * split_chunk_bytes, stage_bytes = 2 * matrix_bytes;

/* Shared memory: stages, second sums, barriers. */
constexpr int sums_at = stages * stage_bytes, barrier_at = sums_at + bm * bn * 4;

/* How many chunks go to the first sum. */
constexpr int first_sum = 12;

/* In 16-byte units of an operand's address: a step of 16 of K, and the way from high to low parts. */
constexpr int step_units = 2, low_units = chunk / 8;

struct split_block {
    using accumulators = float[bn / 2];
    const norma_split_linear_params &params;
    unsigned shared; /* aligned to 1024 bytes */

    NORMA_DEVICE explicit split_block(const norma_split_linear_params &p)
        : params(p), shared((shared_address(shared_memory()) + 1023) & ~1023u) {
    }
    NORMA_DEVICE unsigned filled(int stage) const {
        return shared + barrier_at + 8 * stage;
    }
    NORMA_DEVICE unsigned emptied(int stage) const {
        return filled(stages + stage);
    }

    NORMA_DEVICE void open() {
        if (thread_id() == 0) {
            for (int stage = 0; stage < stages; stage++) {
                barrier_init(filled(stage), 1);
                barrier_init(emptied(stage), 2);
            }
            barrier_init_done();
            tensor_prefetch(&params.x);
            tensor_prefetch(&params.weight);
        }
        block_sync();
    }

    /* ---- Step 1, place ---- */

    NORMA_DEVICE int tiles() const {
        return params.row_tiles * params.col_tiles;
    }
    NORMA_DEVICE norma_tile_coord place(int tile) const {
        return norma_tile_at(tile, params.row_tiles, params.col_tiles, params.group);
    }

    /* ---- Step 2, load: one thread ---- */

    NORMA_DEVICE void load() {
        hopper_ring<stages> ring;
        NORMA_NO_UNROLL
        for (int tile = (int)block_id(); tile < tiles(); tile += (int)grid_blocks()) {
            const norma_tile_coord at = place(tile);
            const int row = (int)at.row_tile * bm, col = (int)at.col_tile * bn;
            NORMA_NO_UNROLL
            for (int i = 0; i < params.chunks; i++) {
                const unsigned barrier = filled(ring.stage), to = shared + ring.stage * stage_bytes;
                barrier_wait(emptied(ring.stage), ring.parity ^ 1);
                barrier_arrive_expecting(barrier, stage_bytes);
                tensor_load(to, &params.x, i * 2 * chunk, row, barrier);
                tensor_load(to + matrix_bytes, &params.weight, i * 2 * chunk, col, barrier);
                ring.next();
            }
        }
    }

    /* ---- Steps 4 to 6: a warpgroup ---- */

    NORMA_DEVICE static bool leads() {
        return thread_id() % 128 == 0;
    }

    NORMA_DEVICE void multiply_tiles(int warpgroup) {
        hopper_ring<stages> ring;
        NORMA_NO_UNROLL
        for (int tile = (int)block_id(); tile < tiles(); tile += (int)grid_blocks()) {
            accumulators sum, small;
            multiply(sum, small, ring, warpgroup);
            const norma_tile_coord at = place(tile);
            store(sum, small, (int)at.row_tile * bm + warpgroup * 64, (int)at.col_tile * bn);
        }
    }

    NORMA_DEVICE void multiply(accumulators &sum, accumulators &small, hopper_ring<stages> &ring, int warpgroup) const {
        accumulators large;
        wgmma_clear(small);
        clear(sum);
        bool begun = false; /* the second sum */
        NORMA_NO_UNROLL
        for (int i = 0; i < params.chunks; i++) {
            const unsigned stage = shared + ring.stage * stage_bytes;
            const unsigned long long x = wgmma_k_major(stage + warpgroup * (matrix_bytes / 2));
            const unsigned long long w = wgmma_k_major(stage + matrix_bytes);
            barrier_wait(filled(ring.stage), ring.parity);
            NORMA_UNROLL
            for (int step = 0; step < chunk / 16; step++) {
                multiply_step(large, small, x + step * step_units, w + step * step_units);
                if (step == 0 && i > 0 && leads()) barrier_arrive(emptied(ring.previous()));
                wgmma_pin(large);
                NORMA_UNROLL
                for (int j = 0; j < bn / 2; j++) sum[j] = add_rn(sum[j], large[j]);
            }
            ring.next();
            /* By turns: the other warpgroup multiplies meanwhile. */
            if ((i + warpgroup * (first_sum / 2)) % first_sum == first_sum - 1 && i + 1 < params.chunks) {
                add_to_second(sum, begun);
                begun = true;
            }
        }
        wgmma_wait<0>();
        wgmma_pin(small);
        if (leads()) barrier_arrive(emptied(ring.previous()));
        if (begun) add_second(sum);
    }

    /* The large product is there, the small ones are on their way. */
    NORMA_DEVICE static void multiply_step(accumulators &large, accumulators &small, unsigned long long x,
                                           unsigned long long w) {
        wgmma_begin();
        wgmma<f16, bn, 0>::start(large, x, w);
        wgmma_commit();
        wgmma<f16, bn, 0>::multiply(small, x, w + low_units);
        wgmma<f16, bn, 0>::multiply(small, x + low_units, w);
        wgmma_commit();
        wgmma_wait<1>();
    }

    NORMA_DEVICE static void clear(accumulators &sum) {
        NORMA_UNROLL
        for (int j = 0; j < bn / 2; j++) sum[j] = 0.0f;
    }

    /* A thread's second sums, four at a time. */
    NORMA_DEVICE unsigned char *second(int four) const {
        return shared_memory() + (shared - shared_address(shared_memory())) + sums_at + (four * 256 + thread_id()) * 16;
    }

    NORMA_DEVICE void add_second(accumulators &sum) const {
        NORMA_UNROLL
        for (int four = 0; four < bn / 8; four++) {
            const vec16 v = load16(second(four));
            NORMA_UNROLL
            for (int e = 0; e < 4; e++) sum[4 * four + e] = add_rn(float_from_bits(v.word[e]), sum[4 * four + e]);
        }
    }

    /* The first sum goes to the second, and begins anew. */
    NORMA_DEVICE void add_to_second(accumulators &sum, bool begun) const {
        if (begun) add_second(sum);
        NORMA_UNROLL
        for (int four = 0; four < bn / 8; four++) {
            const float *const v = &sum[4 * four];
            store16(second(four), vec16{{float_bits(v[0]), float_bits(v[1]), float_bits(v[2]), float_bits(v[3])}});
        }
        clear(sum);
    }

    /* The scaled sum. The small products of what is not finite are not numbers, where the large one is what ordinary fp32
     * gives. The smaller factor comes first, lest there be an overflow that the other would undo. */
    NORMA_DEVICE static float scaled(float sum, float small, float x, float w) {
        const float value = split_is_finite(sum) ? fma_rn(small, split_low, sum) : sum;
        return mul_rn(mul_rn(value, x < w ? x : w), x < w ? w : x);
    }

    NORMA_DEVICE float bias(int col) const {
        return params.bias && col < params.n ? load_as(params.bias, params.bias_dtype, col * params.bias_stride) : 0.0f;
    }

    NORMA_DEVICE void store(const accumulators &sum, const accumulators &small, int first_row, int first_col) const {
        const int row = first_row + wave_id() % 4 * 16 + wave_lane() / 4;
        const float upper = row < params.rows ? params.x_scales[row] : 0.0f;
        const float lower = row + 8 < params.rows ? params.x_scales[row + 8] : 0.0f;
        float *const out = params.out + row * params.out_row_stride;
        NORMA_UNROLL
        for (int j = 0; j < bn / 8; j++) {
            const int col = first_col + 8 * j + wave_lane() % 4 * 2;
            if (col >= params.n) break;
            const float left = params.weight_scales[col], right = col + 1 < params.n ? params.weight_scales[col + 1] : 0.0f;
            const float bias_left = bias(col), bias_right = bias(col + 1);
            const float *const s = &sum[4 * j], *const t = &small[4 * j];
            if (row < params.rows)
                store_two(out, col, scaled(s[0], t[0], upper, left), scaled(s[1], t[1], upper, right), bias_left,
                          bias_right);
            if (row + 8 < params.rows)
                store_two(out + 8 * params.out_row_stride, col, scaled(s[2], t[2], lower, left),
                          scaled(s[3], t[3], lower, right), bias_left, bias_right);
        }
    }

    /* Neighbours in a row, of which the second may be outside. */
    NORMA_DEVICE void store_two(float *out, int col, float left, float right, float bias_left, float bias_right) const {
        float *const to = out + col * params.out_col_stride;
        const bool both = col + 1 < params.n;
        if (params.accumulate) {
            bias_left = to[0];
            if (both) bias_right = to[params.out_col_stride];
        }
        left = add_rn(bias_left, left);
        right = add_rn(bias_right, right);
        if (both && params.pairs) {
            *(split_vec8 *)to = {{float_bits(left), float_bits(right)}};
            return;
        }
        to[0] = left;
        if (both) to[params.out_col_stride] = right;
    }
};

} // namespace

NORMA_KERNEL(linear_split, norma_split_linear_params, 384, 1) {
    split_block block(params);
    block.open();
    grid_wait();
    grid_launch_dependents();
    const int warpgroup = wave_get(wave_id() / 4, 0); /* in so many words the same in a whole wave */
    if (warpgroup == 2) {
        registers_shrink<24>();
        if (thread_id() == 256) block.load();
    } else {
        registers_grow<240>();
        block.multiply_tiles(warpgroup);
    }
}

#endif
