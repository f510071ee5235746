/* RMSNorm of rows: out = h * rstd * (gamma + offset), with h = x or x + residual. Rounds as docs/numerics.md says.
 *
 *      thread of a work-group    0  1  2 .. T-1  0  1  2 .. T-1      GPU: a work-group to a row. Each thread reads its runs
 *                             +----------------------------------+    of WIDTH elements, squares them and keeps the first
 *      row r                  |  runs of K                       |    HELD; the others it reads again, from residual_out if
 *                             +----------------------------------+    it wrote them there, so that out may be x.
 *
 *      CPU: a work-item to `item_rows` rows, sixteen values at a time; no local memory, no barrier.
 *
 * Steps, by the names of tile_index.h: 1 place  2 load  3 square  5 scale  6 store. */
#ifdef NORMA_CPU

#include "vector.clh"

/* 2 load: h of sixteen columns, which also goes to residual_out. */
NORMA_ITEM float16 load_h(norma_input x, norma_input residual, const norma_cl_rows *params, norma_index x_start,
                          norma_index residual_start, norma_index k, norma_index count) {
    const norma_cl_norm *norm = &params->norm;
    const norma_index down = norm->x.col_stride, along = params->residual.col_stride;
    const float16 h = norma_load16(x, NORMA_MATRIX_DTYPE(norm->x_dtype), x_start + k * down, down, count);
    if (params->residual_dtype == NORMA_NONE) return h;
    return norma_round16(
        NORMA_MATRIX_DTYPE(norm->h_dtype),
        h + norma_load16(residual, NORMA_MATRIX_DTYPE(params->residual_dtype), residual_start + k * along, along, count));
}

NORMA_OUTLINE void do_row(norma_input x, norma_input gamma, norma_input residual, norma_output residual_out,
                          __global float *rstd_out, norma_output out, const norma_cl_rows *params, norma_index row) {
    const norma_cl_norm *norm = &params->norm;
    const norma_index x_start = norma_row_start(&norm->x, norm->m, row);
    const norma_index r_start = norma_row_start(&params->residual, norm->m, row);
    const norma_index h_start = norma_row_start(&params->residual_out, norm->m, row);
    const norma_index h_stride = params->residual_out.col_stride;
    /* 2 load, 3 square */
    float16 sum[2] = {(float16)(0.0f), (float16)(0.0f)};
    int turn = 0;
    for (norma_index k = 0; k < norm->k; k += LANES) {
        const norma_index count = norm->k - k;
        const float16 h = load_h(x, residual, params, x_start, r_start, k, count);
        if (params->has_residual_out)
            norma_store16(residual_out, NORMA_MATRIX_DTYPE(norm->h_dtype), h_start + k * h_stride, h_stride, count, h);
        sum[turn] = fma(h, h, sum[turn]);
        turn = 1 - turn;
    }
    /* 5 scale */
    const float rstd = norma_rstd(norma_sum16(sum[0] + sum[1]), norm->k, norm->eps);
    if (norm->has_rstd) rstd_out[norma_row_start(&norm->rstd, norm->m, row)] = rstd;
    if (params->out_dtype == NORMA_NONE) return;
    /* 6 store */
    const norma_index to = norma_row_start(&params->out, norm->m, row);
    for (norma_index k = 0; k < norm->k; k += LANES) {
        const norma_index count = norm->k - k;
        const float16 h = params->has_residual_out ? norma_load16(residual_out, NORMA_MATRIX_DTYPE(norm->h_dtype),
                                                                  h_start + k * h_stride, h_stride, count)
                                                   : load_h(x, residual, params, x_start, r_start, k, count);
        const float16 y = norma_normalised16(h, rstd, norma_scale16(gamma, norm, k, count), norm);
        norma_store16(out, NORMA_OTHER_DTYPE(params->out_dtype), to + k * params->out.col_stride, params->out.col_stride,
                      count, y);
    }
}

NORMA_KERNEL(1)
void rmsnorm_rows(norma_input x, norma_input gamma, norma_input residual, norma_output residual_out,
                  __global float *rstd_out, norma_output out, const norma_cl_rows params) {
    /* 1 place */
    const norma_index first = (norma_index)get_group_id(0) * params.item_rows;
    const norma_index rows = norma_index_min(params.norm.rows - first, params.item_rows);
    for (norma_index row = first; row < first + rows; row++)
        do_row(x, gamma, residual, residual_out, rstd_out, out, &params, row);
}

#else

#include "run.clh"

enum { HELD = WIDTH == 1 ? 1 : 4 }; /* runs of a thread in registers */

/* Where a row of each tensor begins. */
typedef struct row_place {
    norma_index x, residual, residual_out, out;
} row_place;

/* 2 load: h of a run. */
static inline run load_h(norma_input x, norma_input residual, const norma_cl_rows *params, const row_place *place,
                         norma_index k, bool vectors) {
    const norma_cl_norm *norm = &params->norm;
    run h = load_run(x, NORMA_MATRIX_DTYPE(norm->x_dtype), place->x + k * norm->x.col_stride, vectors);
    if (params->residual_dtype == NORMA_NONE) return h;
    const run more = load_run(residual, NORMA_MATRIX_DTYPE(params->residual_dtype),
                              place->residual + k * params->residual.col_stride, vectors);
    NORMA_UNROLL
    for (int e = 0; e < WIDTH; e++) h.value[e] = norma_round(NORMA_MATRIX_DTYPE(norm->h_dtype), h.value[e] + more.value[e]);
    return h;
}

/* 3 square: of a run, which also goes to residual_out. */
static inline float square_h(norma_output residual_out, const norma_cl_rows *params, const row_place *place, norma_index k,
                             const run *h, bool vectors) {
    if (params->has_residual_out)
        store_run(residual_out, NORMA_MATRIX_DTYPE(params->norm.h_dtype),
                  place->residual_out + k * params->residual_out.col_stride, vectors, h);
    return multiply_run(h, h);
}

/* Where run i of a thread begins; the last run of the row if there is no such. */
NORMA_ITEM norma_index held_k(int i, norma_index end, bool vectors) {
    return norma_index_min((get_local_id(0) + i * THREADS) * run_values(vectors), end - run_values(vectors));
}
NORMA_ITEM bool is_inside(int i, norma_index end, bool vectors) {
    return (get_local_id(0) + i * THREADS) * run_values(vectors) < end;
}

/* 2 load, 3 square: a thread's share of a row's sum. The first HELD runs of h stay in `held`. */
NORMA_ITEM float load_row(packed_run held[HELD], norma_input x, norma_input residual, norma_output residual_out,
                          const norma_cl_rows *params, const row_place *place, bool vectors) {
    const norma_cl_norm *norm = &params->norm;
    const int dtype = NORMA_MATRIX_DTYPE(norm->h_dtype);
    const norma_index end = norm->k, step = THREADS * run_values(vectors);
    float sum = 0.0f;
    if (params->residual_dtype == NORMA_NONE) {
        NORMA_UNROLL
        for (int i = 0; i < HELD; i++)
            held[i] = load_packed(x, dtype, place->x + held_k(i, end, vectors) * norm->x.col_stride, vectors);
    } else {
        NORMA_UNROLL
        for (int i = 0; i < HELD; i++) {
            const run h = load_h(x, residual, params, place, held_k(i, end, vectors), vectors);
            held[i] = pack_run(&h, dtype, vectors);
        }
    }
    NORMA_UNROLL
    for (int i = 0; i < HELD; i++) {
        const run h = unpack_run(&held[i], dtype, vectors);
        if (is_inside(i, end, vectors)) sum += square_h(residual_out, params, place, held_k(i, end, vectors), &h, vectors);
    }
    NORMA_NO_UNROLL
    for (norma_index k = get_local_id(0) * run_values(vectors) + HELD * step; k < end; k += step) {
        const run h = load_h(x, residual, params, place, k, vectors);
        sum += square_h(residual_out, params, place, k, &h, vectors);
    }
    return sum;
}

/* 6 store: y of a run. */
static inline void store_y(norma_output out, const norma_cl_rows *params, const row_place *place, norma_index k, run h,
                           const run *scale, float rstd, bool vectors) {
    const norma_cl_norm *norm = &params->norm;
    NORMA_UNROLL
    for (int e = 0; e < WIDTH; e++) h.value[e] = h.value[e] * rstd;
    if (norm->contract == NORMA_ROUND_TWICE) {
        NORMA_UNROLL
        for (int e = 0; e < WIDTH; e++) h.value[e] = norma_round(NORMA_MATRIX_DTYPE(norm->h_dtype), h.value[e]);
    }
    NORMA_UNROLL
    for (int e = 0; e < WIDTH; e++) h.value[e] = h.value[e] * scale->value[e];
    store_run(out, NORMA_OTHER_DTYPE(params->out_dtype), place->out + k * params->out.col_stride, vectors, &h);
}

NORMA_ITEM void store_row(const packed_run held[HELD], norma_input x, norma_input gamma, norma_input residual,
                          norma_output residual_out, norma_output out, const norma_cl_rows *params, const row_place *place,
                          float rstd, bool vectors) {
    const norma_cl_norm *norm = &params->norm;
    const int dtype = NORMA_MATRIX_DTYPE(norm->h_dtype);
    const norma_index end = norm->k, step = THREADS * run_values(vectors);
    run scale[HELD];
    NORMA_UNROLL
    for (int i = 0; i < HELD; i++) scale[i] = scale_run(gamma, norm, held_k(i, end, vectors), vectors);
    NORMA_UNROLL
    for (int i = 0; i < HELD; i++)
        if (is_inside(i, end, vectors))
            store_y(out, params, place, held_k(i, end, vectors), unpack_run(&held[i], dtype, vectors), &scale[i], rstd,
                    vectors);
    NORMA_NO_UNROLL
    for (norma_index k = get_local_id(0) * run_values(vectors) + HELD * step; k < end; k += step) {
        const run more = scale_run(gamma, norm, k, vectors);
        const run h = params->has_residual_out
                          ? load_run(residual_out, dtype, place->residual_out + k * params->residual_out.col_stride, vectors)
                          : load_h(x, residual, params, place, k, vectors);
        store_y(out, params, place, k, h, &more, rstd, vectors);
    }
}

NORMA_KERNEL(THREADS)
void rmsnorm_rows(norma_input x, norma_input gamma, norma_input residual, norma_output residual_out,
                  __global float *rstd_out, norma_output out, const norma_cl_rows params) {
    __local float sums[SUM_FLOATS];
    const norma_cl_norm *norm = &params.norm;
    /* 1 place */
    const norma_index row = get_group_id(0);
    const row_place place = {norma_row_start(&norm->x, norm->m, row), norma_row_start(&params.residual, norm->m, row),
                             norma_row_start(&params.residual_out, norm->m, row),
                             norma_row_start(&params.out, norm->m, row)};
    packed_run held[HELD];
    float sum = IN_VECTORS(params.vectors) ? load_row(held, x, residual, residual_out, &params, &place, true)
                                           : load_row(held, x, residual, residual_out, &params, &place, false);
    /* 5 scale */
    group_totals(&sum, 1, sums);
    const float rstd = norma_rstd(sum, norm->k, norm->eps);
    if (norm->has_rstd && get_local_id(0) == 0) rstd_out[norma_row_start(&norm->rstd, norm->m, row)] = rstd;
    if (params.out_dtype == NORMA_NONE) return;
    if (IN_VECTORS(params.vectors))
        store_row(held, x, gamma, residual, residual_out, out, &params, &place, rstd, true);
    else
        store_row(held, x, gamma, residual, residual_out, out, &params, &place, rstd, false);
}

#endif
