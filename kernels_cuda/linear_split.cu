/* A product of fp32 on sm_90a's fp16 matrix units, of operands that split_halves has split: with x = xh + 2^-11 xl and W
 * likewise,
 *
 *     x W = xh Wh + 2^-11 (xh Wl + xl Wh),   the fourth product, 2^-22 of the first at most, left out
 *
 *              ring of stages: 64 of K                            registers of a warpgroup, for its 64 x 128 of the tile
 *   warp 8    +----+----+----+----+    wgmma   +--------------+  every 128 of K   +-----+
 *   ------->  | xh | xl | Wh | Wl | ---------> | xh Wh        | ----------------> | sum | -+
 *             +----+----+----+----+            +--------------+   ordinary fp32   +-----+  +--> 2^e, bias --> out
 *             |         ...       | ---------> | xh Wl, xl Wh | ---------------------------+
 *             +-------------------+            +--------------+
 *
 * Matrix units cut sums toward zero (docs/numerics.md), which long sums would show: so the large product is taken out of
 * them every 128 of K. The two warpgroups do so by turns, and one multiplies while the other adds. The small products are
 * 2^-11 of the result, and so are their errors.
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
constexpr int matrix_bytes = 128 * chunk * 2, stage_bytes = 2 * matrix_bytes;

/* Shared memory: stages, sums of both warpgroups, barriers. */
constexpr int sums_at = stages * stage_bytes, barrier_at = sums_at + bm * bn * 4;

/* How many steps of 16 the large product stays in the matrix units, and how many chunks in the first sum. */
constexpr int run = 1, first_sum = 8;

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
            for (int i = 0; i < 2 * params.chunks; i++) {
                const unsigned barrier = filled(ring.stage), to = shared + ring.stage * stage_bytes;
                barrier_wait(emptied(ring.stage), ring.parity ^ 1);
                barrier_arrive_expecting(barrier, stage_bytes);
                tensor_load(to, &params.x, i * chunk, row, barrier);
                tensor_load(to + matrix_bytes, &params.weight, i * chunk, col, barrier);
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
        unsigned held_high = 0, held_low = 0; /* the barriers of the chunk before */
        NORMA_NO_UNROLL
        for (int i = 0; i < params.chunks; i++) {
            const unsigned high = shared + ring.stage * stage_bytes, high_emptied = emptied(ring.stage);
            barrier_wait(filled(ring.stage), ring.parity);
            ring.next();
            const unsigned low = shared + ring.stage * stage_bytes, low_emptied = emptied(ring.stage);
            barrier_wait(filled(ring.stage), ring.parity);
            ring.next();
            NORMA_UNROLL
            for (int k16 = 0; k16 < chunk / 16; k16 += run) {
                multiply_run(large, small, high + warpgroup * (matrix_bytes / 2), high + matrix_bytes,
                             low + warpgroup * (matrix_bytes / 2), low + matrix_bytes, k16);
                if (k16 == 0 && i > 0) release(held_high, held_low);
                wgmma_pin(large);
                NORMA_UNROLL
                for (int j = 0; j < bn / 2; j++) sum[j] = add_rn(sum[j], large[j]);
            }
            held_high = high_emptied;
            held_low = low_emptied;
            if (i % first_sum == first_sum - 1 && i + 1 < params.chunks) add_to_second(sum, i == first_sum - 1);
        }
        wgmma_wait<0>();
        wgmma_pin(small);
        release(held_high, held_low);
        if (params.chunks > first_sum) add_second(sum);
    }

    NORMA_DEVICE static void release(unsigned high, unsigned low) {
        if (!leads()) return;
        barrier_arrive(high);
        barrier_arrive(low);
    }

    /* Has the three products of a run of steps done, but for the last of the small ones. */
    NORMA_DEVICE static void multiply_run(accumulators &large, accumulators &small, unsigned x_high, unsigned w_high,
                                          unsigned x_low, unsigned w_low, int k16) {
        const unsigned long long xh = wgmma_k_major(x_high), wh = wgmma_k_major(w_high);
        const unsigned long long xl = wgmma_k_major(x_low), wl = wgmma_k_major(w_low);
        wgmma_begin();
        wgmma<f16, bn, 0>::start(large, xh + k16 * 2, wh + k16 * 2);
        NORMA_UNROLL
        for (int i = k16 + 1; i < k16 + run; i++) wgmma<f16, bn, 0>::multiply(large, xh + i * 2, wh + i * 2);
        wgmma_commit();
        NORMA_UNROLL
        for (int i = k16; i < k16 + run; i++) {
            wgmma<f16, bn, 0>::multiply(small, xh + i * 2, wl + i * 2);
            wgmma<f16, bn, 0>::multiply(small, xl + i * 2, wh + i * 2);
        }
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
    NORMA_DEVICE void add_to_second(accumulators &sum, bool begins) const {
        if (!begins) add_second(sum);
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
