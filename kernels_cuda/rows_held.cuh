/* Rows that fit registers, `chunks` chunks a thread. All loads of a thread are on their way before the first is used, and
 * gamma's with them where registers allow. */
#ifndef NORMA_ROWS_HELD_CUH
#define NORMA_ROWS_HELD_CUH

#include "rows_common.cuh"

namespace {

/* Of more rows, blocks do not let the next launch begin: an H200 starts blocks that do at 0.8 a nanosecond at most. */
constexpr int few_rows = 1024;

/* ---- The usual norm: one batch, no residual; rows, out and gamma of dtype T, gamma packed and aligned. Few rows have several
 * blocks each, all of which sum the whole row, and each of which writes a part. What is fixed when the kernel is chosen is
 * no branch here: instructions, not bytes, are what short rows wait for. `tight` where registers are scarce. ---- */

template <typename T, int chunks, scaling kind, bool ragged, bool tight>
NORMA_DEVICE void lean_rows(const norma_rows_shape &shape) {
    constexpr int width = chunk<T>::width;
    constexpr bool early = chunks <= 4 || !tight; /* gamma is read with x, */
    constexpr int together = early ? chunks : kind == ANY ? 1 : 2; /* or a few chunks at a time */
    grid_wait();
    if (shape.rows <= few_rows) grid_launch_dependents();

    /* 1 place */
    const share s = place(shape);
    const norma_index row = s.inside ? s.row : 0;
    const T *const x = (const T *)shape.x + row * shape.x_stride;
    const T *const gamma = (const T *)shape.gamma;
    edges e = {0, shape.k / width, -1};
    if constexpr (ragged) e = edges_of(x, shape.k, s);
    const int step = shape.threads, count = s.inside ? e.chunks : 0;
    const auto has = [&](int i) { return s.first + i * step < count; };
    const auto at = [&](int i) { return (s.first + i * step) * width; };
    const auto gamma_at = [&](int i) {
        return kind == ANY && !gamma ? ones<T>() : packed_gamma<T, ragged>(gamma, at(i), e.head);
    };

    /* 2 load */
    vec16 packed[chunks], scale[together];
    NORMA_UNROLL
    for (int i = 0; i < chunks; i++) {
        packed[i] = vec16{{0, 0, 0, 0}};
        if (has(i)) packed[i] = load16_once(x + e.head + at(i));
    }
    const bool writes = (s.first / group & ((1 << shape.block_shift) - 1)) == s.rank;
    float edge = 0;
    if constexpr (ragged) {
        if (e.element >= 0) edge = to_float(x[e.element]);
    }
    if constexpr (early) {
        NORMA_UNROLL
        for (int i = 0; i < chunks; i++)
            if (has(i) && writes) scale[i] = gamma_at(i);
    }

    /* 3 square */
    float sum = ragged ? mul_rn(edge, edge) : 0.0f;
    NORMA_UNROLL
    for (int i = 0; i < chunks; i++) sum = add_rn(sum, squares(unpack<T>(packed[i])));
    sum = row_sum(sum, shape.threads);
    if (!writes) return;

    /* 5 scale, 6 store */
    T *const out = (T *)shape.out + row * shape.out_stride;
    const float rstd = row_rstd(shape, sum), offset = gamma ? shape.gamma_offset : 0.0f;
    if (shape.rstd && s.inside && s.first == 0) shape.rstd[row] = rstd;
    if constexpr (ragged) {
        if (e.element >= 0) {
            const float edge_scale = gamma ? add_rn(to_float(gamma[e.element]), offset) : 1.0f;
            out[e.element] = from_float<T>(scaled_edge<T>(edge, edge_scale, rstd, shape.contract));
        }
    }
    NORMA_UNROLL
    for (int from = 0; from < chunks; from += together) {
        if constexpr (!early) {
            NORMA_UNROLL
            for (int i = from; i < from + together; i++)
                if (has(i)) scale[i - from] = gamma_at(i);
        }
        NORMA_UNROLL
        for (int i = from; i < from + together; i++) {
            if (!has(i)) continue;
            vec16 h = packed[i];
            if constexpr (tight)
                h = still_packed(h, shape);
            else
                renew(h);
            const vec16 y = scaled<T, kind>(h, scale[i - from], rstd, offset, shape.contract);
            if constexpr (ragged)
                store16(out + e.head + at(i), y); /* whose neighbours complete its sectors */
            else
                store16_once(out + at(i), y);
        }
    }
}

/* ---- The same for all that is rarer: batches, residuals, any gamma, no out. Tensors but gamma are of dtype T, contiguous
 * along the row, and begin at the same place within 16 bytes. ---- */

template <typename T, int chunks, bool ragged>
NORMA_DEVICE void full_rows(const norma_rows_params &params) {
    constexpr int width = chunk<T>::width, together = 4;
    const norma_rows_shape &shape = params.shape;
    const norma_norm_params &norm = params.norm;
    grid_wait();
    grid_launch_dependents();

    /* 1 place */
    const share s = place(shape);
    const norma_index row = s.inside ? s.row : 0;
    const T *x = row_of<T>(norm.x, row, norm.m);
    edges e = {0, shape.k / width, -1};
    if constexpr (ragged) e = edges_of(x, shape.k, s);
    const int begin = s.first, step = shape.threads, end = s.inside ? e.chunks : 0, first = e.head + begin * width;

    /* 2 load */
    vec16 packed[chunks];
    NORMA_UNROLL
    for (int i = 0; i < chunks; i++) {
        packed[i] = vec16{{0, 0, 0, 0}};
        if (begin + i * step < end) packed[i] = load16_once(x + first + i * step * width);
    }
    const T *residual = row_of<T>(norm.residual, row, norm.m);
    T *residual_out = row_of<T>(norm.residual_out, row, norm.m);
    const float edge = ragged ? edge_of(x, residual, residual_out, e.element) : 0.0f;
    if (residual) {
        NORMA_UNROLL
        for (int from = 0; from < chunks; from += together) {
            vec16 added[together];
            NORMA_UNROLL
            for (int i = 0; i < together; i++) {
                added[i] = vec16{{0, 0, 0, 0}};
                if (begin + (from + i) * step < end) added[i] = load16_once(residual + first + (from + i) * step * width);
            }
            NORMA_UNROLL
            for (int i = 0; i < together; i++) {
                packed[from + i] = pack(rounded_sum(unpack<T>(packed[from + i]), unpack<T>(added[i])));
                if (residual_out && begin + (from + i) * step < end)
                    store16_once(residual_out + first + (from + i) * step * width, packed[from + i]);
            }
        }
    }

    /* 3 square */
    float sum = mul_rn(edge, edge);
    NORMA_UNROLL
    for (int i = 0; i < chunks; i++) sum = add_rn(sum, squares(unpack<T>(packed[i])));
    NORMA_UNROLL
    for (int i = 0; i < chunks; i++) renew(packed[i]);
    sum = row_sum(sum, shape.threads);

    /* 5 scale, 6 store */
    const float rstd = row_rstd(shape, sum);
    if (norm.rstd.data && s.inside && s.first == 0) *row_of<float>(norm.rstd, row, norm.m) = rstd;
    T *out = row_of<T>(params.out, row, norm.m);
    if (!out) return;
    if (ragged && e.element >= 0)
        out[e.element] = from_float<T>(scaled_edge<T>(edge, edge_scale_of<T>(norm, e.element), rstd, norm.contract));
    NORMA_UNROLL
    for (int i = 0; i < chunks; i++) {
        if (begin + i * step >= end) break;
        const int at = first + i * step * width;
        store16_once(out + at, scaled_by(packed[i], any_scale<T, ragged>(norm, at, e.head), rstd, norm.contract));
    }
}

} // namespace

#endif
