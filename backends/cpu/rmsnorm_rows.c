/* The kernel rmsnorm_rows: RMSNorm of each row, with residual and rstd, any strides and dtypes. A row is read once into an
 * fp32 buffer of the cache, its squares are summed, and it is written once. Threads take runs of rows. */
#include "stage.h"

/* Values of x in a run, so that short rows do not pay for a turn at the counter each. */
enum { RUN_VALUES = 16384 };

typedef struct rows_work {
    norma_stage stage;
    int64_t rows, run;
    float *gamma;
    float *buffers; /* one staged row for each worker */
} rows_work;

static size_t take_scratch(const norma_cpu_launch *launch, char *base, rows_work *work) {
    norma_scratch scratch = {.base = base};
    work->gamma = norma_scratch_take(&scratch, 1, launch->problem->k);
    work->buffers = norma_scratch_take(&scratch, norma_threads_count(launch->threads), launch->problem->k);
    return scratch.bytes;
}

static norma_status check(const norma_cpu_launch *launch) {
    if (launch->problem->op == NORMA_OP_RMSNORM) return NORMA_OK;
    return norma_fail(NORMA_ERROR_UNSUPPORTED, "rmsnorm_rows computes RMSNorm alone");
}

static size_t scratch_bytes(const norma_cpu_launch *launch) {
    rows_work work;
    return take_scratch(launch, NULL, &work);
}

static void norm_run(void *user, int64_t index, int worker) {
    const rows_work *work = user;
    const norma_problem *problem = work->stage.problem;
    const int64_t first = index * work->run;
    const int64_t end = norma_index_min(first + work->run, work->rows);
    work->stage.simd->rmsnorm_rows(problem, &work->stage.norm, work->stage.gamma, first, end,
                                   work->buffers + worker * norma_padded(problem->k));
}

static norma_status run(const norma_cpu_launch *launch) {
    const norma_problem *problem = launch->problem;
    rows_work work = {.rows = problem->batch * problem->m};
    (void)take_scratch(launch, launch->scratch, &work);
    work.stage = norma_stage_begin(launch, work.gamma);
    work.run = problem->k < RUN_VALUES ? RUN_VALUES / problem->k : 1;
    norma_threads_run(launch->threads, norma_ceil_div(work.rows, work.run), norm_run, &work);
    return NORMA_OK;
}

const norma_cpu_kernel norma_cpu_rmsnorm_rows = {.check = check, .scratch_bytes = scratch_bytes, .run = run};
