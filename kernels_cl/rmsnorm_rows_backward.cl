/* The gradients of RMSNorm: with n = x * rstd and p = dout * (gamma + offset),
 *
 *     dx = rstd * (p - n * mean(p * n)) + back          dgamma = sum over rows of dout * n
 *
 *      work-group 0   [ row 0 ] [ row 1 ] ... [ row P-1 ]  -->  line 0    A work-group has a piece of P rows. What dout * n
 *      work-group 1   [ row P ] ...                        -->  line 1    adds up to over them is its line in the
 *                                                                         workspace, and column_sums adds up the lines.
 *
 *      GPU: threads share the runs of two rows at a time. Each has the first HELD runs of its line in registers; of longer
 *      lines the rest is read and written once for two rows. It reads the same elements twice, for the sum of p * n and
 *      for dx, so that dx may be dout or back.
 *      CPU: a work-item to a piece, sixteen columns at a time; no local memory, no barrier.
 *
 * Steps, by the names of tile_index.h: 1 place  2 load  3 square (here: the sum of p * n)  5 scale  6 store. The order of
 * every sum follows from P and the number of threads. */
#ifdef NORMA_CPU

#include "vector.clh"

/* n and dout of sixteen columns of a row. */
typedef struct backward_pair {
    float16 n, t;
} backward_pair;

/* 2 load. An absent dout counts as zero. */
NORMA_ITEM backward_pair backward_load(norma_input x, norma_input dout, const norma_cl_rows_backward *params,
                                       norma_index x_start, norma_index t_start, norma_index k, float rstd) {
    const norma_cl_norm *norm = &params->norm;
    const norma_index down = norm->x.col_stride, along = params->dout.col_stride, count = norm->k - k;
    backward_pair pair;
    pair.n = norma_load16(x, NORMA_MATRIX_DTYPE(norm->x_dtype), x_start + k * down, down, count) * rstd;
    pair.t = params->dout_dtype == NORMA_NONE
                 ? (float16)(0.0f)
                 : norma_load16(dout, NORMA_MATRIX_DTYPE(params->dout_dtype), t_start + k * along, along, count);
    return pair;
}

NORMA_OUTLINE void backward_row(norma_input x, norma_input gamma, float rstd, norma_input dout, norma_input back,
                                norma_output dx, norma_output line, const norma_cl_rows_backward *params, norma_index row,
                                bool is_first) {
    const norma_cl_norm *norm = &params->norm;
    const norma_index x_start = norma_row_start(&norm->x, norm->m, row);
    const norma_index t_start = norma_row_start(&params->dout, norm->m, row);
    /* 3 square: the sum of p * n, and the columns' sums of dout * n */
    float16 sum[2] = {(float16)(0.0f), (float16)(0.0f)};
    int turn = 0;
    for (norma_index k = 0; k < norm->k; k += LANES) {
        const norma_index count = norm->k - k;
        const backward_pair pair = backward_load(x, dout, params, x_start, t_start, k, rstd);
        sum[turn] = fma(pair.t * norma_scale16(gamma, norm, k, count), pair.n, sum[turn]);
        turn = 1 - turn;
        if (params->lines < 0) continue;
        const float16 above = is_first ? (float16)(0.0f) : norma_load16(line, NORMA_F32, k, 1, count);
        norma_store16(line, NORMA_F32, k, 1, count, fma(pair.t, pair.n, above));
    }
    if (params->dx_dtype == NORMA_NONE) return;
    /* 5 scale, 6 store */
    const float mean = norma_sum16(sum[0] + sum[1]) * params->per_element;
    const norma_index to = norma_row_start(&params->dx, norm->m, row), stride = params->dx.col_stride;
    const norma_index from = norma_row_start(&params->back, norm->m, row), across = params->back.col_stride;
    for (norma_index k = 0; k < norm->k; k += LANES) {
        const norma_index count = norm->k - k;
        const backward_pair pair = backward_load(x, dout, params, x_start, t_start, k, rstd);
        float16 slope = fma(-pair.n, (float16)(mean), pair.t * norma_scale16(gamma, norm, k, count)) * rstd;
        if (params->back_dtype != NORMA_NONE)
            slope += norma_load16(back, NORMA_MATRIX_DTYPE(params->back_dtype), from + k * across, across, count);
        norma_store16(dx, NORMA_MATRIX_DTYPE(params->dx_dtype), to + k * stride, stride, count, slope);
    }
}

NORMA_KERNEL(1)
void rmsnorm_rows_backward(norma_input x, norma_input gamma, __global const float *rstd, norma_input dout, norma_input back,
                           norma_output dx, __global float *lines, const norma_cl_rows_backward params) {
    const norma_cl_norm *norm = &params.norm;
    /* 1 place */
    const norma_index piece = get_group_id(0), first = piece * params.piece_rows;
    const norma_index end = norma_index_min(first + params.piece_rows, norm->rows);
    const norma_output line = (norma_output)(lines + (params.lines < 0 ? 0 : params.lines + piece * norm->k));
    for (norma_index row = first; row < end; row++)
        backward_row(x, gamma, rstd[norma_row_start(&norm->rstd, norm->m, row)], dout, back, dx, line, &params, row,
                     row == first);
}

#else

#include "run.clh"

enum { TURN_ROWS = 2, HELD = 2 };

/* A row as a thread sees it. */
typedef struct backward_place {
    norma_index x, dout, back, dx; /* where it begins */
    float rstd;
} backward_place;

/* 2 load. An absent dout counts as zero. */
static inline run load_n(norma_input x, const norma_cl_rows_backward *params, const backward_place *place, norma_index k,
                         bool vectors) {
    const norma_cl_norm *norm = &params->norm;
    run n = load_run(x, NORMA_MATRIX_DTYPE(norm->x_dtype), place->x + k * norm->x.col_stride, vectors);
    NORMA_UNROLL
    for (int e = 0; e < WIDTH; e++) n.value[e] = n.value[e] * place->rstd;
    return n;
}
static inline run load_t(norma_input dout, const norma_cl_rows_backward *params, const backward_place *place, norma_index k,
                         bool vectors) {
    if (params->dout_dtype == NORMA_NONE) return run_of(0.0f);
    return load_run(dout, NORMA_MATRIX_DTYPE(params->dout_dtype), place->dout + k * params->dout.col_stride, vectors);
}

/* 2 load, 3 square: a run of the rows adds to their sums of p * n, and to the columns' sums of dout * n. */
static inline void add_run(float sum[TURN_ROWS], run *column, norma_input x, norma_input gamma, norma_input dout,
                           const norma_cl_rows_backward *params, const backward_place place[TURN_ROWS], norma_index k,
                           bool vectors) {
    const run scale = scale_run(gamma, &params->norm, k, vectors);
    NORMA_UNROLL
    for (int i = 0; i < TURN_ROWS; i++) {
        const run n = load_n(x, params, &place[i], k, vectors);
        run t = load_t(dout, params, &place[i], k, vectors);
        NORMA_UNROLL
        for (int e = 0; e < WIDTH; e++) {
            column->value[e] = fma(t.value[e], n.value[e], column->value[e]);
            t.value[e] = t.value[e] * scale.value[e];
        }
        sum[i] += multiply_run(&t, &n);
    }
}

/* The same of a thread's runs. The first of its line are held, the others are in memory. */
NORMA_ITEM void add_rows(float sum[TURN_ROWS], run held[HELD], norma_input x, norma_input gamma, norma_input dout,
                         norma_output line, const norma_cl_rows_backward *params, const backward_place place[TURN_ROWS],
                         bool is_first, bool vectors) {
    const norma_index end = params->norm.k, first = get_local_id(0) * run_values(vectors);
    const norma_index step = THREADS * run_values(vectors);
    NORMA_UNROLL
    for (int c = 0; c < HELD; c++)
        if (first + c * step < end) add_run(sum, &held[c], x, gamma, dout, params, place, first + c * step, vectors);
    NORMA_NO_UNROLL
    for (norma_index k = first + HELD * step; k < end; k += step) {
        run column = run_of(0.0f);
        if (params->lines >= 0 && !is_first) column = load_run(line, NORMA_F32, k, vectors);
        add_run(sum, &column, x, gamma, dout, params, place, k, vectors);
        if (params->lines >= 0) store_run(line, NORMA_F32, k, vectors, &column);
    }
}

/* 5 scale, 6 store: dx of a thread's runs of a row. */
NORMA_ITEM void store_row(norma_output dx, norma_input x, norma_input gamma, norma_input dout, norma_input back,
                          const norma_cl_rows_backward *params, const backward_place *place, float mean, bool vectors) {
    const norma_index end = params->norm.k, first = get_local_id(0) * run_values(vectors);
    NORMA_NO_UNROLL
    for (norma_index k = first; k < end; k += THREADS * run_values(vectors)) {
        const run scale = scale_run(gamma, &params->norm, k, vectors);
        const run n = load_n(x, params, place, k, vectors), t = load_t(dout, params, place, k, vectors);
        run slope;
        NORMA_UNROLL
        for (int e = 0; e < WIDTH; e++) slope.value[e] = fma(-n.value[e], mean, t.value[e] * scale.value[e]) * place->rstd;
        if (params->back_dtype != NORMA_NONE) {
            const run more =
                load_run(back, NORMA_MATRIX_DTYPE(params->back_dtype), place->back + k * params->back.col_stride, vectors);
            NORMA_UNROLL
            for (int e = 0; e < WIDTH; e++) slope.value[e] += more.value[e];
        }
        store_run(dx, NORMA_MATRIX_DTYPE(params->dx_dtype), place->dx + k * params->dx.col_stride, vectors, &slope);
    }
}

NORMA_ITEM void store_line(norma_output line, const run held[HELD], norma_index end, bool vectors) {
    NORMA_UNROLL
    for (int c = 0; c < HELD; c++) {
        const norma_index k = (get_local_id(0) + c * THREADS) * run_values(vectors);
        if (k < end) store_run(line, NORMA_F32, k, vectors, &held[c]);
    }
}

NORMA_KERNEL(THREADS)
void rmsnorm_rows_backward(norma_input x, norma_input gamma, __global const float *rstd, norma_input dout, norma_input back,
                           norma_output dx, __global float *lines, const norma_cl_rows_backward params) {
    __local float sums[TURN_ROWS * SUM_FLOATS];
    const norma_cl_norm *norm = &params.norm;
    const norma_index piece = get_group_id(0), begin = piece * params.piece_rows;
    const norma_index end = norma_index_min(begin + params.piece_rows, norm->rows);
    const norma_output line = (norma_output)(lines + (params.lines < 0 ? 0 : params.lines + piece * norm->k));
    run held[HELD];
    NORMA_UNROLL
    for (int c = 0; c < HELD; c++) held[c] = run_of(0.0f);
    NORMA_NO_UNROLL
    for (norma_index base = begin; base < end; base += TURN_ROWS) {
        /* 1 place: rows past the end have rstd = 0 and stand where the first does */
        backward_place place[TURN_ROWS];
        float sum[TURN_ROWS];
        NORMA_UNROLL
        for (int i = 0; i < TURN_ROWS; i++) {
            const bool inside = base + i < end;
            const norma_index row = inside ? base + i : base;
            place[i].x = norma_row_start(&norm->x, norm->m, row);
            place[i].dout = norma_row_start(&params.dout, norm->m, row);
            place[i].back = norma_row_start(&params.back, norm->m, row);
            place[i].dx = norma_row_start(&params.dx, norm->m, row);
            place[i].rstd = inside ? rstd[norma_row_start(&norm->rstd, norm->m, row)] : 0.0f;
            sum[i] = 0.0f;
        }
        if (IN_VECTORS(params.vectors))
            add_rows(sum, held, x, gamma, dout, line, &params, place, base == begin, true);
        else
            add_rows(sum, held, x, gamma, dout, line, &params, place, base == begin, false);
        group_totals(sum, TURN_ROWS, sums);
        NORMA_UNROLL
        for (int i = 0; i < TURN_ROWS; i++) {
            if (base + i >= end || params.dx_dtype == NORMA_NONE) continue;
            if (IN_VECTORS(params.vectors))
                store_row(dx, x, gamma, dout, back, &params, &place[i], sum[i] * params.per_element, true);
            else
                store_row(dx, x, gamma, dout, back, &params, &place[i], sum[i] * params.per_element, false);
        }
    }
    if (params.lines < 0) return;
    if (IN_VECTORS(params.vectors))
        store_line(line, held, norm->k, true);
    else
        store_line(line, held, norm->k, false);
}

#endif
