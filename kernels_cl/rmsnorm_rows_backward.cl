/* The gradients of RMSNorm: with n = x * rstd and p = dout * (gamma + offset),
 *
 *     dx = rstd * (p - n * mean(p * n)) + back          dgamma = sum over rows of dout * n
 *
 *      work-group 0   [ row 0 ] [ row 1 ] ... [ row P-1 ]  -->  line 0    A work-group has a piece of P rows. What dout * n
 *      work-group 1   [ row P ] ...                        -->  line 1    adds up to over them is its line in the
 *                                                                         workspace, and column_sums adds up the lines.
 *
 *      GPU: threads share the columns of four rows at a time, so that a line is read and written once for four rows. Each
 *      thread reads the same elements twice, for the sum of p * n and for dx, so that dx may be dout or back.
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

#include "platform.clh"

enum { TURN_ROWS = 4 };

/* A row as a thread sees it. */
typedef struct backward_place {
    norma_index x, dout; /* where it begins */
    float rstd;
} backward_place;

/* 2 load. An absent dout counts as zero. */
static inline float backward_load_n(norma_input x, const norma_cl_norm *norm, const backward_place *place, norma_index k) {
    return norma_load(x, NORMA_MATRIX_DTYPE(norm->x_dtype), place->x + k * norm->x.col_stride) * place->rstd;
}
static inline float backward_load_t(norma_input dout, const norma_cl_rows_backward *params, const backward_place *place,
                                    norma_index k) {
    if (params->dout_dtype == NORMA_NONE) return 0.0f;
    return norma_load(dout, NORMA_MATRIX_DTYPE(params->dout_dtype), place->dout + k * params->dout.col_stride);
}

NORMA_KERNEL(THREADS)
void rmsnorm_rows_backward(norma_input x, norma_input gamma, __global const float *rstd, norma_input dout, norma_input back,
                           norma_output dx, __global float *lines, const norma_cl_rows_backward params) {
    __local float sums[TURN_ROWS][THREADS];
    const norma_cl_norm *norm = &params.norm;
    const int thread = get_local_id(0);
    const norma_index piece = get_group_id(0), first = piece * params.piece_rows;
    const norma_index end = norma_index_min(first + params.piece_rows, norm->rows);
    const bool has_line = params.lines >= 0;
    __global float *const line = lines + (has_line ? params.lines + piece * norm->k : 0);
    for (norma_index base = first; base < end; base += TURN_ROWS) {
        /* 1 place: rows past the end have rstd = 0 and stand where the first does */
        backward_place place[TURN_ROWS];
        float sum[TURN_ROWS];
        NORMA_UNROLL
        for (int i = 0; i < TURN_ROWS; i++) {
            const bool inside = base + i < end;
            const norma_index row = inside ? base + i : base;
            place[i].x = norma_row_start(&norm->x, norm->m, row);
            place[i].dout = norma_row_start(&params.dout, norm->m, row);
            place[i].rstd = inside ? rstd[norma_row_start(&norm->rstd, norm->m, row)] : 0.0f;
            sum[i] = 0.0f;
        }
        const int rows = (int)norma_index_min(end - base, TURN_ROWS);
        /* 2 load, 3 square: the sum of p * n, and the columns' sums of dout * n */
        for (norma_index k = thread; k < norm->k; k += THREADS) {
            const float scale = norma_scale(gamma, norm, k);
            float column = has_line && base > first ? line[k] : 0.0f;
            NORMA_UNROLL
            for (int i = 0; i < TURN_ROWS; i++) {
                if (i >= rows) continue;
                const float n = backward_load_n(x, norm, &place[i], k), t = backward_load_t(dout, &params, &place[i], k);
                sum[i] = fma(t * scale, n, sum[i]);
                column = fma(t, n, column);
            }
            if (has_line) line[k] = column;
        }
        NORMA_UNROLL
        for (int i = 0; i < TURN_ROWS; i++) sums[i][thread] = sum[i];
        for (int half_threads = THREADS / 2; half_threads > 0; half_threads /= 2) {
            barrier(CLK_LOCAL_MEM_FENCE);
            for (int i = 0; i < TURN_ROWS && thread < half_threads; i++) sums[i][thread] += sums[i][thread + half_threads];
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        /* 5 scale, 6 store */
        NORMA_UNROLL
        for (int i = 0; i < TURN_ROWS; i++) {
            if (i >= rows || params.dx_dtype == NORMA_NONE) continue;
            const float mean = sums[i][0] * params.per_element;
            const norma_index to = norma_row_start(&params.dx, norm->m, base + i);
            const norma_index from = norma_row_start(&params.back, norm->m, base + i);
            for (norma_index k = thread; k < norm->k; k += THREADS) {
                const float n = backward_load_n(x, norm, &place[i], k), t = backward_load_t(dout, &params, &place[i], k);
                float slope = fma(-n, mean, t * norma_scale(gamma, norm, k)) * place[i].rstd;
                if (params.back_dtype != NORMA_NONE)
                    slope += norma_load(back, NORMA_MATRIX_DTYPE(params.back_dtype), from + k * params.back.col_stride);
                norma_store(dx, NORMA_MATRIX_DTYPE(params.dx_dtype), to + k * params.dx.col_stride, slope);
            }
        }
        barrier(CLK_LOCAL_MEM_FENCE); /* the sums have been read */
    }
}

#endif
