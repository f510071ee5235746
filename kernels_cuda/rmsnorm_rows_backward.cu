/* The gradients of RMSNorm: with n = x * rstd and p = dout * (gamma + offset),
 *
 *     dx = rstd * (p - n * mean(p * n)) + back          dgamma = sum over rows of dout * n
 *
 * in one pass over memory. Blocks walk over the rows; each of a block's slots holds one row of x and one of dout in
 * registers, sums p * n over the row, and writes dx. What dout * n adds up to stays in registers all the while and becomes
 * the block's line, which column_sums adds to the other blocks' lines.
 *
 *      block 0    slot 0  [ row 0 ]  [ row S ]  ...      slots of a block:  a row each, `threads` threads
 *                 slot 1  [ row 1 ]  [ row S+1 ]
 *                  :                                     S = slots of all blocks
 *      block 1    slot 0  [ row s ]  ...                 chunk i of a thread begins i * threads chunks after its first
 *
 * Steps, by the names of tile_index.h: 1 place  2 load  3 square (here: the sum of p * n)  5 scale  6 store. The order of
 * every sum follows from the launch's geometry. */
#include "chunk.cuh"

namespace {

constexpr int most_waves = 32; /* of 32 threads, in a block */

/* The sum over a slot's threads, in each of them. All threads of the block call it, by turns. */
NORMA_DEVICE float slot_sum(float value, const norma_rows_backward_params &params, int slot, int turn) {
    NORMA_UNROLL
    for (int mask = 16; mask > 0; mask /= 2)
        if (params.threads > mask) value = add_rn(value, wave_xor(value, mask));
    if (params.threads <= 32) return value;
    NORMA_SHARED float partial[2][most_waves];
    float *const mine = partial[turn & 1] + slot * (params.threads / 32);
    const int lane = thread_id() - slot * params.threads;
    if (lane % 32 == 0) mine[lane / 32] = value;
    if (params.slots > 1)
        group_sync(1 + slot, params.threads);
    else
        block_sync();
    return wave_sum<16>(lane % 16 < params.threads / 32 ? mine[lane % 16] : 0.0f);
}

/* gamma + offset of one chunk. */
template <typename T>
NORMA_DEVICE chunk<T> scale_of(const norma_norm_params &norm, int element) {
    chunk<T> c;
    NORMA_UNROLL
    for (int j = 0; j < chunk<T>::width; j++) c.value[j] = 1.0f;
    if (!norm.gamma.data) return c;
    if (norm.gamma_dtype == dtype_traits<T>::value) {
        c = unpack<T>(load16_reused((const T *)norm.gamma.data + element));
    } else {
        NORMA_UNROLL
        for (int j = 0; j < chunk<T>::width; j += 4) {
            const vec16 v = load16_reused((const float *)norm.gamma.data + element + j);
            NORMA_UNROLL
            for (int e = 0; e < 4; e++) c.value[j + e] = float_from_bits(v.word[e]);
        }
    }
    return plus_offset(c, norm.gamma_offset);
}

/* The block's line from the sums of its slots, which are added in their order. */
template <int width, int chunks>
NORMA_DEVICE void store_line(const norma_rows_backward_params &params, const float *sums, int slot, int lane, int count) {
    const int columns = (int)params.norm.k;
    float *const line = params.lines + block_id() * columns;
    float *const shared = (float *)shared_memory();
    if (params.slots > 1) {
        block_sync(); /* the ring is no longer needed */
        NORMA_NO_UNROLL
        for (int s = 0; s < params.slots; s++) {
            NORMA_UNROLL
            for (int i = 0; i < chunks; i++) {
                const int at = lane + i * params.threads;
                if (slot != s || at >= count) continue;
                NORMA_UNROLL
                for (int j = 0; j < width; j++) {
                    float *const to = shared + at * width + j;
                    *to = s ? add_rn(*to, sums[i * width + j]) : sums[i * width + j];
                }
            }
            block_sync();
        }
        for (int k = thread_id(); k < columns; k += block_threads()) line[k] = shared[k];
        return;
    }
    NORMA_UNROLL
    for (int i = 0; i < chunks; i++) {
        const int at = lane + i * params.threads;
        if (at >= count) continue;
        NORMA_UNROLL
        for (int j = 0; j < width; j += 4) {
            vec16 v;
            NORMA_UNROLL
            for (int e = 0; e < 4; e++) v.word[e] = float_bits(sums[i * width + j + e]);
            store16(line + at * width + j, v);
        }
    }
}

/* Rows on their way, two for each slot: a thread copies the chunks that it will use itself, so no barrier is needed. */
template <typename T, int chunks>
struct row_ring {
    static constexpr int width = chunk<T>::width;
    const norma_rows_backward_params &params;
    const int lane, slot, count;
    float rstd[2];

    NORMA_DEVICE unsigned place(int stage, int i) const {
        return shared_address(shared_memory()) + (unsigned)((stage * 2 * chunks + i) * block_threads() + thread_id()) * 16u;
    }
    NORMA_DEVICE vec16 held(int stage, int i) const {
        return *(const vec16 *)(shared_memory() + ((stage * 2 * chunks + i) * block_threads() + thread_id()) * 16);
    }
    NORMA_DEVICE void fetch(norma_index base, int stage) {
        const norma_norm_params &norm = params.norm;
        const norma_index row = base + slot;
        rstd[stage] = 0.0f;
        if (row < norm.rows) {
            const T *const x = row_of<T>(norm.x, row, norm.m);
            const T *const dout = row_of<T>(params.dout, row, norm.m);
            NORMA_UNROLL
            for (int i = 0; i < chunks; i++) {
                const int at = lane + i * params.threads;
                if (at >= count) continue;
                copy16_async(place(stage, i), x + at * width, true);
                if (dout) copy16_async(place(stage, chunks + i), dout + at * width, true);
            }
            rstd[stage] = *row_of<float>(norm.rstd, row, norm.m);
        }
        copy_async_commit();
    }
};

/* x, dout, back and dx of dtype T, gamma of dtype T or fp32, each row contiguous and 16-byte aligned, K a multiple of a
 * chunk.
 */
template <typename T, int chunks>
NORMA_DEVICE void backward_rows(const norma_rows_backward_params &params) {
    constexpr int width = chunk<T>::width;
    const norma_norm_params &norm = params.norm;
    grid_wait();
    grid_launch_dependents();

    /* 1 place */
    const int slot = thread_id() / params.threads, lane = thread_id() - slot * params.threads;
    const int count = (int)norm.k / width;
    const norma_index step = grid_blocks() * params.slots;
    float sums[chunks * width];
    NORMA_UNROLL
    for (int i = 0; i < chunks * width; i++) sums[i] = 0.0f;

    /* 2 load */
    norma_index base = block_id() * params.slots;
    row_ring<T, chunks> ring = {params, lane, slot, count, {0.0f, 0.0f}};
    ring.fetch(base, 0);
    ring.fetch(base + step, 1);
    NORMA_NO_UNROLL
    for (int turn = 0; base < norm.rows; base += step, turn++) {
        const int stage = turn & 1;
        const bool inside = base + slot < norm.rows;
        const float rstd = stage ? ring.rstd[1] : ring.rstd[0];
        vec16 packed[chunks], slopes[chunks];
        copy_async_wait<1>();
        NORMA_UNROLL
        for (int i = 0; i < chunks; i++) {
            packed[i] = slopes[i] = vec16{{0, 0, 0, 0}};
            if (!inside || lane + i * params.threads >= count) continue;
            packed[i] = ring.held(stage, i);
            if (params.dout.data) slopes[i] = ring.held(stage, chunks + i);
        }

        /* 3 the sum of p * n, and the columns' sums of dout * n */
        float sum = 0.0f;
        NORMA_UNROLL
        for (int i = 0; i < chunks; i++) {
            const int at = lane + i * params.threads;
            if (at >= count) continue;
            const chunk<T> h = unpack<T>(packed[i]), t = unpack<T>(slopes[i]), scale = scale_of<T>(norm, at * width);
            NORMA_UNROLL
            for (int j = 0; j < width; j++) {
                const float n = mul_rn(h.value[j], rstd);
                sum = fma_rn(mul_rn(t.value[j], scale.value[j]), n, sum);
                sums[i * width + j] = fma_rn(t.value[j], n, sums[i * width + j]);
            }
        }

        /* 2 load: the stage is free, for its values have been used */
        if (stage)
            ring.fetch(base + 2 * step, 1);
        else
            ring.fetch(base + 2 * step, 0);
        const float mean = mul_rn(slot_sum(sum, params, slot, turn), params.per_element);
        const norma_index row = inside ? base + slot : 0;
        T *const dx = row_of<T>(params.dx, row, norm.m);
        if (!dx || !inside) continue;

        /* 5 scale, 6 store */
        const T *const back = row_of<T>(params.back, row, norm.m);
        NORMA_UNROLL
        for (int i = 0; i < chunks; i++) {
            const int at = lane + i * params.threads;
            if (at >= count) continue;
            renew(packed[i]);
            renew(slopes[i]);
            const chunk<T> h = unpack<T>(packed[i]), t = unpack<T>(slopes[i]), scale = scale_of<T>(norm, at * width);
            chunk<T> slope;
            NORMA_UNROLL
            for (int j = 0; j < width; j++) {
                const float p = mul_rn(t.value[j], scale.value[j]);
                slope.value[j] = mul_rn(rstd, fma_rn(-mul_rn(h.value[j], rstd), mean, p));
            }
            if (back) {
                const chunk<T> added = unpack<T>(load16_once(back + at * width));
                NORMA_UNROLL
                for (int j = 0; j < width; j++) slope.value[j] = add_rn(slope.value[j], added.value[j]);
            }
            store16_once(dx + at * width, pack(slope));
        }
    }
    copy_async_wait<0>();
    if (params.lines) store_line<width, chunks>(params, sums, slot, lane, count);
}

/* Any dtypes, strides and K: a row is read twice, and a block's line lies in memory, where each thread has its own columns.
 */
NORMA_DEVICE void backward_any(const norma_rows_backward_params &params) {
    const norma_norm_params &norm = params.norm;
    grid_wait();
    grid_launch_dependents();
    float *const line = params.lines ? params.lines + block_id() * norm.k : (float *)nullptr;
    int turn = 0;
    for (norma_index row = block_id(); row < norm.rows; row += grid_blocks(), turn++) {
        /* 1 place */
        const norma_index x = row_offset(norm.x, row, norm.m), dout = row_offset(params.dout, row, norm.m);
        const norma_index back = row_offset(params.back, row, norm.m), dx = row_offset(params.dx, row, norm.m);
        const float rstd = *row_of<float>(norm.rstd, row, norm.m);

        /* 2 load, 3 the sum of p * n */
        float sum = 0.0f;
        for (norma_index k = thread_id(); k < norm.k; k += params.threads) {
            const float n = mul_rn(load_as(norm.x.data, norm.x_dtype, x + k * norm.x.col_stride), rstd);
            const float t =
                params.dout.data ? load_as(params.dout.data, params.dout_dtype, dout + k * params.dout.col_stride) : 0.0f;
            const float scale =
                norm.gamma.data
                    ? add_rn(load_as(norm.gamma.data, norm.gamma_dtype, k * norm.gamma.col_stride), norm.gamma_offset)
                    : 1.0f;
            sum = fma_rn(mul_rn(t, scale), n, sum);
            if (line) line[k] = turn ? fma_rn(t, n, line[k]) : mul_rn(t, n);
        }
        const float mean = mul_rn(slot_sum(sum, params, 0, turn), params.per_element);
        if (!params.dx.data) continue;

        /* 2 load again, 5 scale, 6 store */
        for (norma_index k = thread_id(); k < norm.k; k += params.threads) {
            const float n = mul_rn(load_as(norm.x.data, norm.x_dtype, x + k * norm.x.col_stride), rstd);
            const float t =
                params.dout.data ? load_as(params.dout.data, params.dout_dtype, dout + k * params.dout.col_stride) : 0.0f;
            const float scale =
                norm.gamma.data
                    ? add_rn(load_as(norm.gamma.data, norm.gamma_dtype, k * norm.gamma.col_stride), norm.gamma_offset)
                    : 1.0f;
            float slope = mul_rn(rstd, fma_rn(-n, mean, mul_rn(t, scale)));
            if (params.back.data)
                slope = add_rn(slope, load_as(params.back.data, params.back_dtype, back + k * params.back.col_stride));
            store_as(params.dx.data, params.dx_dtype, dx + k * params.dx.col_stride, slope);
        }
    }
}

} // namespace

/* rmsnorm_rows_backward_<dtype>_<chunks of a thread>: 65536 registers are 64 or 128 for each thread. */
#define BACKWARD_DTYPE(dtype, type)                                                        \
    NORMA_KERNEL(rmsnorm_rows_backward_##dtype##_1, norma_rows_backward_params, 1024, 1) { \
        backward_rows<type, 1>(params);                                                    \
    }                                                                                      \
    NORMA_KERNEL(rmsnorm_rows_backward_##dtype##_2, norma_rows_backward_params, 1024, 1) { \
        backward_rows<type, 2>(params);                                                    \
    }                                                                                      \
    NORMA_KERNEL(rmsnorm_rows_backward_##dtype##_4, norma_rows_backward_params, 512, 1) {  \
        backward_rows<type, 4>(params);                                                    \
    }

BACKWARD_DTYPE(f32, float)
BACKWARD_DTYPE(f16, f16)
BACKWARD_DTYPE(bf16, bf16)

NORMA_KERNEL(rmsnorm_rows_backward_any, norma_rows_backward_params, 256, 2) {
    backward_any(params);
}
