/* RMSNorm of rows: out = h * rstd * (gamma + offset), with h = x or x + residual. Rounds as docs/numerics.md says.
 *
 *      thread of a work-group   0 1 2 .. T-1 0 1 2 .. T-1 0 1 ..     GPU: a work-group to a row. Each thread reads the same
 *                             +----------------------------------+    elements twice, squaring them the first time, so that
 *      row r                  | x[r,0] ...              x[r,K-1] |    out may be x. What it wrote to residual_out it reads
 *                             +----------------------------------+    back as h.
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

#include "platform.clh"

NORMA_ITEM float load_h(norma_input x, norma_input residual, const norma_cl_rows *params, norma_index x_start,
                        norma_index residual_start, norma_index k) {
    const norma_cl_norm *norm = &params->norm;
    const float h = norma_load(x, NORMA_MATRIX_DTYPE(norm->x_dtype), x_start + k * norm->x.col_stride);
    if (params->residual_dtype == NORMA_NONE) return h;
    return norma_round(NORMA_MATRIX_DTYPE(norm->h_dtype),
                       h + norma_load(residual, NORMA_MATRIX_DTYPE(params->residual_dtype),
                                      residual_start + k * params->residual.col_stride));
}

NORMA_KERNEL(THREADS)
void rmsnorm_rows(norma_input x, norma_input gamma, norma_input residual, norma_output residual_out,
                  __global float *rstd_out, norma_output out, const norma_cl_rows params) {
    __local float sums[THREADS];
    const norma_cl_norm *norm = &params.norm;
    const int thread = get_local_id(0);
    /* 1 place */
    const norma_index row = get_group_id(0);
    const norma_index x_start = norma_row_start(&norm->x, norm->m, row);
    const norma_index r_start = norma_row_start(&params.residual, norm->m, row);
    const norma_index h_start = norma_row_start(&params.residual_out, norm->m, row);
    /* 2 load, 3 square */
    float sum = 0.0f;
    for (norma_index k = thread; k < norm->k; k += THREADS) {
        const float h = load_h(x, residual, &params, x_start, r_start, k);
        if (params.has_residual_out)
            norma_store(residual_out, NORMA_MATRIX_DTYPE(norm->h_dtype), h_start + k * params.residual_out.col_stride, h);
        sum = fma(h, h, sum);
    }
    sums[thread] = sum;
    for (int half_threads = THREADS / 2; half_threads > 0; half_threads /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (thread < half_threads) sums[thread] += sums[thread + half_threads];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    /* 5 scale */
    const float rstd = norma_rstd(sums[0], norm->k, norm->eps);
    if (norm->has_rstd && thread == 0) rstd_out[norma_row_start(&norm->rstd, norm->m, row)] = rstd;
    if (params.out_dtype == NORMA_NONE) return;
    /* 6 store */
    const norma_index to = norma_row_start(&params.out, norm->m, row);
    for (norma_index k = thread; k < norm->k; k += THREADS) {
        const float h = params.has_residual_out ? norma_load(residual_out, NORMA_MATRIX_DTYPE(norm->h_dtype),
                                                             h_start + k * params.residual_out.col_stride)
                                                : load_h(x, residual, &params, x_start, r_start, k);
        norma_store(out, NORMA_OTHER_DTYPE(params.out_dtype), to + k * params.out.col_stride,
                    norma_normalised(h, rstd, norma_scale(gamma, norm, k), norm));
    }
}

#endif
