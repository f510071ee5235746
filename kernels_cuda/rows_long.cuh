/* Rows that are too long for the registers of one block: a cluster shares each. They pass through shared memory where a stage
 * has room for a block's piece, or are read twice, the second time from the cache. */
#ifndef NORMA_ROWS_LONG_CUH
#define NORMA_ROWS_LONG_CUH

#include "rows_common.cuh"

namespace {

/* ---- A piece of each row in each block of a cluster, while the next ones are on their way.
 *
 *      stage          0        1        2        A block takes its piece of every grid_clusters-th row. In the lean
 *                 +--------+--------+--------+   kernels pieces come as a whole, and a stage is free as soon as all of it
 *                 | row r  | r + g  | r + 2g |   is in registers. In the others a thread copies, adds, squares and scales
 *                 +--------+--------+--------+   the same chunks, so that nothing but sums passes from thread to thread.
 * ---- */

constexpr int stages = 3;

/* The usual norm, as in rows_held.cuh. */
template <typename T, int chunks, scaling kind>
NORMA_DEVICE void lean_stream(const norma_rows_shape &shape) {
    constexpr int width = chunk<T>::width;
    const int step = shape.threads;
    grid_wait();
    grid_launch_dependents();

    /* 1 place */
    const share s = place(shape);
    const int before = s.rank * (int)shape.piece, left = shape.k / width - before;
    const int count = left < (int)shape.piece ? left : (int)shape.piece;
    const norma_index clusters = grid_blocks() >> shape.block_shift;
    unsigned char *const memory = shared_memory();
    const int stage_bytes = (int)shape.piece * 16;
    const T *const gamma = (const T *)shape.gamma;
    const auto has = [&](int i) { return s.first + i * step < count; };
    const auto at = [&](int i) { return (before + s.first + i * step) * width; };
    NORMA_SHARED cluster_box full[stages];
    NORMA_SHARED cluster_sums cluster;
    const auto copy_row = [&](norma_index row, int stage) {
        if (thread_id() > 0 || row >= shape.rows || count <= 0) return;
        cluster_expect(&full[stage], count * 4);
        const T *const x = (const T *)shape.x + row * shape.x_stride + before * width;
        cluster_copy(&full[stage], memory + stage * stage_bytes, x, count * 16);
    };
    if (thread_id() < stages) cluster_open(&full[thread_id()]);
    cluster.open();

    /* 2 load */
    for (int i = 0; i < stages; i++) copy_row(s.row + i * clusters, i);
    vec16 scale[chunks];
    NORMA_UNROLL
    for (int i = 0; i < chunks; i++)
        if (has(i)) scale[i] = load16_reused(gamma + at(i));

    int stage = 0, parity = 0, turn = 0;
    for (norma_index row = s.row; row < shape.rows; row += clusters) {
        if (count > 0) cluster_collect(&full[stage], parity);
        const unsigned char *const held = memory + stage * stage_bytes + s.first * 16;
        vec16 packed[chunks];
        NORMA_UNROLL
        for (int i = 0; i < chunks; i++) {
            packed[i] = vec16{{0, 0, 0, 0}};
            if (has(i)) packed[i] = load16(held + i * step * 16);
        }

        /* 3 square */
        float sum = 0;
        NORMA_UNROLL
        for (int i = 0; i < chunks; i++) sum = add_rn(sum, squares(unpack<T>(packed[i])));
        sum = row_sum(sum, shape.threads, turn); /* after its barrier the stage is free */
        copy_row(row + stages * clusters, stage);
        sum = cluster.total(sum, turn);

        /* 5 scale, 6 store */
        T *const out = (T *)shape.out + row * shape.out_stride;
        const float rstd = row_rstd(shape, sum);
        if (shape.rstd && s.first == 0 && s.rank == 0) shape.rstd[row] = rstd;
        NORMA_UNROLL
        for (int i = 0; i < chunks; i++) {
            if (!has(i)) continue;
            const vec16 factor = still_packed(scale[i], shape);
            store16_once(out + at(i), scaled<T, kind>(still_packed(packed[i], shape), factor, rstd, 0.0f, shape.contract));
        }
        parity ^= stage + 1 < stages ? 0 : 1;
        stage = stage + 1 < stages ? stage + 1 : 0;
        turn++;
    }
}

/* All that is rarer: rows stay in their stage. */
template <typename T, int chunks>
NORMA_DEVICE void full_stream(const norma_rows_params &params) {
    constexpr int width = chunk<T>::width;
    const norma_rows_shape &shape = params.shape;
    const norma_norm_params &norm = params.norm;
    const int blocks = 1 << shape.block_shift, step = shape.threads;
    grid_wait();
    grid_launch_dependents();

    /* 1 place */
    const share s = place(shape);
    const int before = s.rank * (int)shape.piece, left = shape.k / width - before;
    const int count = left < (int)shape.piece ? left : (int)shape.piece;
    const norma_index clusters = grid_blocks() >> shape.block_shift;
    unsigned char *const memory = shared_memory() + s.first * 16;
    const int stage_bytes = (int)shape.piece * 16;
    const auto has = [&](int i) { return s.first + i * step < count; };
    const auto at = [&](int i) { return (before + s.first + i * step) * width; };
    const auto copy_row = [&](norma_index row, int stage) {
        if (row < shape.rows) {
            const T *const x = row_of<T>(norm.x, row, norm.m);
            const unsigned to = shared_address(memory + stage * stage_bytes);
            NORMA_UNROLL
            for (int i = 0; i < chunks; i++)
                if (has(i)) copy16_async(to + i * step * 16, x + at(i), true);
        }
        copy_async_commit();
    };

    /* 2 load */
    for (int i = 0; i < stages; i++) copy_row(s.row + i * clusters, i);
    NORMA_SHARED cluster_sums cluster;
    if (blocks > 1) cluster.open();

    int stage = 0, turn = 0;
    for (norma_index row = s.row; row < shape.rows; row += clusters) {
        copy_async_wait<stages - 1>();
        unsigned char *const held = memory + stage * stage_bytes;
        const T *const residual = row_of<T>(norm.residual, row, norm.m);
        T *const residual_out = row_of<T>(norm.residual_out, row, norm.m);

        /* 3 square */
        float sum = 0;
        NORMA_NO_UNROLL
        for (int i = 0; has(i); i++) {
            vec16 h = load16(held + i * step * 16);
            if (residual) {
                h = pack(rounded_sum(unpack<T>(h), unpack<T>(load16_once(residual + at(i)))));
                store16(held + i * step * 16, h);
            }
            if (residual_out) store16_once(residual_out + at(i), h);
            sum = add_rn(sum, squares(unpack<T>(h)));
        }
        sum = row_sum(sum, shape.threads, turn);
        if (blocks > 1) sum = cluster.total(sum, turn);

        /* 5 scale, 6 store */
        T *const out = row_of<T>(params.out, row, norm.m);
        const float rstd = row_rstd(shape, sum);
        if (norm.rstd.data && s.first == 0 && s.rank == 0) *row_of<float>(norm.rstd, row, norm.m) = rstd;
        NORMA_NO_UNROLL
        for (int i = 0; has(i) && out; i++) {
            const chunk<T> scale = any_scale<T, false>(norm, at(i), 0);
            store16_once(out + at(i), scaled_by(load16(held + i * step * 16), scale, rstd, norm.contract));
        }
        copy_row(row + stages * clusters, stage);
        stage = stage + 1 < stages ? stage + 1 : 0;
        turn++;
    }
    copy_async_wait<0>();
}

/* ---- The rest, always as if ragged: each block reads its piece twice. The first block has the ends. ---- */

template <typename T>
NORMA_DEVICE vec16 summed(const T *x, const T *residual, int at) {
    const vec16 v = load16_once(x + at);
    return residual ? pack(rounded_sum(unpack<T>(v), unpack<T>(load16_once(residual + at)))) : v;
}

template <typename T>
NORMA_DEVICE void rows_in_sweeps(const norma_rows_params &params) {
    constexpr int width = chunk<T>::width, unroll = 4, step = row_threads * width;
    const norma_rows_shape &shape = params.shape;
    const norma_norm_params &norm = params.norm;
    const int blocks = 1 << shape.block_shift;
    grid_wait();
    grid_launch_dependents();

    /* 1 place */
    const share s = place(shape);
    NORMA_SHARED cluster_sums cluster;
    if (blocks > 1) cluster.open();
    const T *x = row_of<T>(norm.x, s.row, norm.m);
    const T *residual = row_of<T>(norm.residual, s.row, norm.m);
    T *residual_out = row_of<T>(norm.residual_out, s.row, norm.m);
    T *out = row_of<T>(params.out, s.row, norm.m);
    edges e = edges_of(x, shape.k, s);
    if (s.rank > 0) e.element = -1;
    const int before = s.rank * (int)shape.piece, last = before + (int)shape.piece;
    const int first = e.head + (before + s.first) * width, end = e.head + (last < e.chunks ? last : e.chunks) * width;

    /* 2 load, 3 square */
    const float edge = edge_of(x, residual, residual_out, e.element);
    float sum = mul_rn(edge, edge);
    for (int at = first; at < end; at += unroll * step) {
        vec16 packed[unroll];
        NORMA_UNROLL
        for (int i = 0; i < unroll; i++) {
            packed[i] = vec16{{0, 0, 0, 0}};
            if (at + i * step < end) packed[i] = summed(x, residual, at + i * step);
        }
        NORMA_UNROLL
        for (int i = 0; i < unroll; i++) {
            if (residual_out && at + i * step < end) store16_once(residual_out + at + i * step, packed[i]);
            sum = add_rn(sum, squares(unpack<T>(packed[i])));
        }
    }
    sum = row_sum(sum, row_threads);
    if (blocks > 1) sum = cluster.total(sum, 0);

    /* 5 scale, 6 store */
    const float rstd = row_rstd(shape, sum);
    if (norm.rstd.data && s.first == 0 && s.rank == 0) *row_of<float>(norm.rstd, s.row, norm.m) = rstd;
    if (!out) return;
    if (e.element >= 0)
        out[e.element] = from_float<T>(scaled_edge<T>(edge, edge_scale_of<T>(norm, e.element), rstd, norm.contract));
    if (residual_out) { /* x may have been overwritten by h */
        x = residual_out;
        residual = nullptr;
    }
    for (int at = first; at < end; at += unroll * step) {
        vec16 packed[unroll];
        NORMA_UNROLL
        for (int i = 0; i < unroll; i++)
            if (at + i * step < end) packed[i] = summed(x, residual, at + i * step);
        NORMA_UNROLL
        for (int i = 0; i < unroll; i++) {
            if (at + i * step >= end) break;
            const chunk<T> scale = any_scale<T, true>(norm, at + i * step, e.head);
            store16_once(out + at + i * step, scaled_by(packed[i], scale, rstd, norm.contract));
        }
    }
}

} // namespace

#endif
