/* The kernel column_sums: the sum over the rows of a matrix, any strides and dtypes. Threads take pieces of rows (sums.h);
 * a piece goes through in slabs of columns, so that what it has summed stays in the L1 cache. */
#include "sums.h"

typedef struct columns_work {
    const norma_cpu_launch *launch;
    norma_sums sums;
} columns_work;

static norma_sums take_scratch(const norma_cpu_launch *launch, norma_scratch *scratch) {
    const norma_problem *problem = launch->problem;
    return norma_sums_begin(scratch, problem->batch * problem->m, problem->k);
}

static norma_status check(const norma_cpu_launch *launch) {
    if (launch->problem->op == NORMA_OP_COLUMN_SUMS) return NORMA_OK;
    return norma_fail(NORMA_ERROR_UNSUPPORTED, "column_sums sums over rows");
}

static size_t scratch_bytes(const norma_cpu_launch *launch) {
    norma_scratch scratch = {.base = NULL};
    (void)take_scratch(launch, &scratch);
    return scratch.bytes;
}

static void sum_piece(void *user, int64_t index, int worker) {
    (void)worker;
    const columns_work *work = user;
    const norma_problem *problem = work->launch->problem;
    const norma_layout *layout = &problem->x.layout;
    const simd_table *simd = work->launch->simd;
    const int64_t first = index * work->sums.piece_rows;
    const int64_t end = norma_index_min(first + work->sums.piece_rows, work->sums.rows);
    float *line = norma_sums_line(&work->sums, index);
    for (int64_t col = 0; col < problem->k; col += SIMD_SLAB) {
        const int64_t count = norma_tile_extent(col, SIMD_SLAB, problem->k);
        for (int64_t row = first; row < end; row++) {
            _Alignas(SIMD_ALIGN_BYTES) float values[SIMD_SLAB];
            simd->load(norma_tensor_at(&problem->x, problem->m, row, col), layout->dtype, layout->col_stride, count, values);
            simd->sum_row(values, NULL, 1, count, line + col);
        }
    }
}

static norma_status run(const norma_cpu_launch *launch) {
    norma_scratch scratch = {.base = launch->scratch};
    columns_work work = {.launch = launch, .sums = take_scratch(launch, &scratch)};
    norma_threads_run(launch->threads, work.sums.pieces, sum_piece, &work);
    norma_sums_finish(launch, &work.sums, &launch->problem->out, launch->problem->accumulate);
    return NORMA_OK;
}

const norma_cpu_kernel norma_cpu_column_sums = {.check = check, .scratch_bytes = scratch_bytes, .run = run};
