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

/* The sum over a slot's threads, in each of them; `whole` if they are whole waves of 32. All threads of the block call it,
 * by turns. */
template <bool whole>
NORMA_DEVICE float slot_sum(float value, const norma_rows_backward_params &params, int slot, int turn) {
    NORMA_UNROLL
    for (int mask = 16; mask > 0; mask /= 2)
        if (whole || params.threads > mask) value = add_rn(value, wave_xor(value, mask));
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

/* t becomes t * (gamma + offset). With `lean` gamma is of dtype T. */
template <typename T, bool lean>
NORMA_DEVICE void scale_chunk(const norma_norm_params &norm, int element, chunk<T> &t) {
    constexpr int width = chunk<T>::width;
    if (!norm.gamma.data) return;
    chunk<T> c;
    if (lean || norm.gamma_dtype == dtype_traits<T>::value) {
        c = unpack<T>(load16_reused((const T *)norm.gamma.data + element));
    } else {
        NORMA_UNROLL
        for (int j = 0; j < width; j += 4) {
            const vec16 v = load16_reused((const float *)norm.gamma.data + element + j);
            NORMA_UNROLL
            for (int e = 0; e < 4; e++) c.value[j + e] = float_from_bits(v.word[e]);
        }
    }
    if (norm.gamma_offset != 0.0f) c = plus_offset(c, norm.gamma_offset);
    NORMA_UNROLL
    for (int j = 0; j < width; j++) t.value[j] = mul_rn(t.value[j], c.value[j]);
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

/* Where a row begins; with `lean` there is one batch. */
template <typename T, bool lean>
NORMA_DEVICE T *row_in(const norma_view &view, norma_index row, const norma_norm_params &norm) {
    return (T *)view.data + (lean ? row * view.row_stride : row_offset(view, row, norm.m));
}

/* x, dout, back and dx of dtype T, gamma of dtype T or fp32, each row contiguous and 16-byte aligned, K a multiple of a
 * chunk. A slot has two rows on their way, in shared memory, where each thread keeps the chunks that it will use itself, so
 * that no barrier is needed. */
template <typename T, int chunks, bool lean>
struct row_walk {
    static constexpr int width = chunk<T>::width;
    const norma_rows_backward_params &params;
    const int slot, lane, count;
    const unsigned ring;
    float sums[chunks * width];

    NORMA_DEVICE explicit row_walk(const norma_rows_backward_params &p)
        : params(p), slot(thread_id() / p.threads), lane(thread_id() - slot * p.threads), count((int)p.norm.k / width),
          ring(shared_address(shared_memory()) + (unsigned)thread_id() * 16u) {
        NORMA_UNROLL
        for (int i = 0; i < chunks * width; i++) sums[i] = 0.0f;
    }
    /* The i-th chunk's first element. */
    NORMA_DEVICE int at(int i) const {
        return (lane + i * params.threads) * width;
    }
    NORMA_DEVICE bool has(int i) const {
        return lane + i * params.threads < count;
    }
    NORMA_DEVICE unsigned place(int stage, int i) const {
        return (unsigned)((stage * 2 * chunks + i) * block_threads()) * 16u;
    }
    NORMA_DEVICE vec16 held(int stage, int i) const {
        return *(const vec16 *)(shared_memory() + thread_id() * 16 + place(stage, i));
    }
    /* Sends for a row and returns its rstd. */
    NORMA_DEVICE float fetch(norma_index row, int stage) {
        float rstd = 0.0f;
        if (row < params.norm.rows) {
            const T *const x = row_in<const T, lean>(params.norm.x, row, params.norm);
            const T *const dout = row_in<const T, lean>(params.dout, row, params.norm);
            NORMA_UNROLL
            for (int i = 0; i < chunks; i++) {
                if (!has(i)) continue;
                copy16_async(ring + place(stage, i), x + at(i), true);
                if (lean || params.dout.data) copy16_async(ring + place(stage, chunks + i), dout + at(i), true);
            }
            rstd = *row_in<const float, lean>(params.norm.rstd, row, params.norm);
        }
        copy_async_commit();
        return rstd;
    }
    /* 3: n and p of the row in `stage`, the columns' sums, and the thread's part of the row's sum of p * n. */
    NORMA_DEVICE float add(int stage, float rstd, chunk<T> n[chunks], chunk<T> p[chunks]) {
        float sum = 0.0f;
        NORMA_UNROLL
        for (int i = 0; i < chunks; i++) {
            if (!has(i)) continue;
            n[i] = unpack<T>(held(stage, i));
            p[i] = unpack<T>(lean || params.dout.data ? held(stage, chunks + i) : vec16{{0, 0, 0, 0}});
            NORMA_UNROLL
            for (int j = 0; j < width; j++) {
                n[i].value[j] = mul_rn(n[i].value[j], rstd);
                sums[i * width + j] = fma_rn(p[i].value[j], n[i].value[j], sums[i * width + j]);
            }
            scale_chunk<T, lean>(params.norm, at(i), p[i]);
            NORMA_UNROLL
            for (int j = 0; j < width; j++) sum = fma_rn(p[i].value[j], n[i].value[j], sum);
        }
        return sum;
    }
    /* 5 and 6 */
    NORMA_DEVICE void store(norma_index row, float rstd, float mean, const chunk<T> n[chunks], const chunk<T> p[chunks]) {
        T *const dx = row_in<T, lean>(params.dx, row, params.norm);
        const T *const back = row_in<const T, lean>(params.back, row, params.norm);
        NORMA_UNROLL
        for (int i = 0; i < chunks; i++) {
            if (!has(i)) continue;
            chunk<T> slope;
            NORMA_UNROLL
            for (int j = 0; j < width; j++) slope.value[j] = mul_rn(rstd, fma_rn(-n[i].value[j], mean, p[i].value[j]));
            if (params.back.data) {
                const chunk<T> added = unpack<T>(load16_once(back + at(i)));
                NORMA_UNROLL
                for (int j = 0; j < width; j++) slope.value[j] = add_rn(slope.value[j], added.value[j]);
            }
            store16_once(dx + at(i), pack(slope));
        }
    }
};

template <typename T, int chunks, bool lean>
NORMA_DEVICE void backward_rows(const norma_rows_backward_params &params) {
    grid_wait();
    grid_launch_dependents();

    /* 1 place, 2 load */
    row_walk<T, chunks, lean> walk(params);
    const norma_index step = grid_blocks() * params.slots;
    norma_index base = block_id() * params.slots;
    float rstd = walk.fetch(base + walk.slot, 0), next = walk.fetch(base + step + walk.slot, 1);
    NORMA_NO_UNROLL
    for (int turn = 0; base < params.norm.rows; base += step, turn++) {
        const norma_index row = base + walk.slot;
        const bool inside = row < params.norm.rows;
        chunk<T> n[chunks], p[chunks];
        copy_async_wait<1>();
        const float sum = inside ? walk.add(turn & 1, rstd, n, p) : 0.0f;

        /* 2 load: the stage is free, for its values have been used */
        const float later = walk.fetch(row + 2 * step, turn & 1);
        const float mean = mul_rn(slot_sum<(chunks > 1)>(sum, params, walk.slot, turn), params.per_element);
        if (inside && params.dx.data) walk.store(row, rstd, mean, n, p);
        rstd = next;
        next = later;
    }
    copy_async_wait<0>();
    if (params.lines) store_line<chunk<T>::width, chunks>(params, walk.sums, walk.slot, walk.lane, walk.count);
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
        const float mean = mul_rn(slot_sum<true>(sum, params, 0, turn), params.per_element);
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

/* rmsnorm_rows_backward_<dtype>_<chunks of a thread>, with _lean for one batch, a dout, and gamma of dtype T if any: 65536
 * registers are 64, 80 or 128 for each thread. */
#define BACKWARD(dtype, type, chunks, suffix, lean, threads)                                                 \
    NORMA_KERNEL(rmsnorm_rows_backward_##dtype##_##chunks##suffix, norma_rows_backward_params, threads, 1) { \
        backward_rows<type, chunks, lean>(params);                                                           \
    }
#define BACKWARD_DTYPE(dtype, type)             \
    BACKWARD(dtype, type, 1, , false, 1024)     \
    BACKWARD(dtype, type, 2, , false, 512)      \
    BACKWARD(dtype, type, 1, _lean, true, 1024) \
    BACKWARD(dtype, type, 2, _lean, true, 768)  \
    BACKWARD(dtype, type, 4, _lean, true, 512)

BACKWARD_DTYPE(f32, float)
BACKWARD_DTYPE(f16, f16)
BACKWARD_DTYPE(bf16, bf16)

NORMA_KERNEL(rmsnorm_rows_backward_any, norma_rows_backward_params, 256, 2) {
    backward_any(params);
}
