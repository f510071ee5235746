/* The kernel rmsnorm_rows_backward: dx of each row and the sum over rows that is dgamma, any strides and dtypes. A row of x
 * and of dout is read once into fp32 buffers of the cache; the sum over the row comes first, then dx. Threads take pieces of
 * rows (sums.h), so that dgamma's order of summation does not depend on them. */
#include "stage.h"
#include "sums.h"

typedef struct backward_work {
    norma_stage stage;
    norma_sums sums;
    float *gamma;
    float *x, *t, *back; /* one staged row for each worker */
} backward_work;

static size_t take_scratch(const norma_cpu_launch *launch, char *base, backward_work *work) {
    const norma_problem *problem = launch->problem;
    const int workers = norma_threads_count(launch->threads);
    norma_scratch scratch = {.base = base};
    work->gamma = norma_scratch_take(&scratch, 1, problem->k);
    work->x = norma_scratch_take(&scratch, workers, problem->k);
    work->t = norma_scratch_take(&scratch, workers, problem->k);
    work->back = norma_scratch_take(&scratch, workers, problem->k);
    work->sums = norma_sums_begin(&scratch, problem->batch * problem->m, problem->k);
    return scratch.bytes;
}

static norma_status check(const norma_cpu_launch *launch) {
    if (launch->problem->op == NORMA_OP_RMSNORM_BACKWARD) return NORMA_OK;
    return norma_fail(NORMA_ERROR_UNSUPPORTED, "rmsnorm_rows_backward computes the gradients of RMSNorm alone");
}

static size_t scratch_bytes(const norma_cpu_launch *launch) {
    backward_work work;
    return take_scratch(launch, NULL, &work);
}

/* Row `row` of a tensor as floats in `room`; NULL if the tensor is absent. */
static float *staged(const backward_work *work, const norma_tensor *tensor, int64_t row, float *room) {
    const norma_problem *problem = work->stage.problem;
    if (!norma_tensor_present(tensor)) return NULL;
    work->stage.simd->load(norma_tensor_at(tensor, problem->m, row, 0), tensor->layout.dtype, tensor->layout.col_stride,
                           problem->k, room);
    return room;
}

static void backward_of_row(const backward_work *work, int64_t row, int worker, float *line) {
    const norma_problem *problem = work->stage.problem;
    const simd_table *simd = work->stage.simd;
    const int64_t k = problem->k;
    const int64_t room = worker * norma_padded(k);
    const float rstd = *(const float *)norma_tensor_at(&problem->rstd, problem->m, row, 0);
    const float *x = staged(work, &problem->x, row, work->x + room);
    float *t = staged(work, &problem->dout, row, work->t + room);
    if (!t) t = memset(work->t + room, 0, (size_t)norma_padded(k) * sizeof *t);
    if (norma_tensor_present(&problem->dgamma)) simd->sum_row(t, x, rstd, k, line);
    if (!norma_tensor_present(&problem->dx)) return;
    const float mean = (float)(simd->backward_dot(t, work->stage.gamma, x, rstd, k) / (double)k);
    const float *back = staged(work, &problem->dresidual_out, row, work->back + room);
    simd->backward_row(t, work->stage.gamma, x, back, rstd, mean, k);
    simd->store(norma_tensor_at(&problem->dx, problem->m, row, 0), problem->dx.layout.dtype, problem->dx.layout.col_stride,
                k, t);
}

static void backward_of_piece(void *user, int64_t index, int worker) {
    const backward_work *work = user;
    const norma_sums *sums = &work->sums;
    const int64_t end = norma_index_min((index + 1) * sums->piece_rows, sums->rows);
    float *line = norma_sums_line(sums, index);
    for (int64_t row = index * sums->piece_rows; row < end; row++) backward_of_row(work, row, worker, line);
}

static norma_status run(const norma_cpu_launch *launch) {
    const norma_problem *problem = launch->problem;
    backward_work work;
    (void)take_scratch(launch, launch->scratch, &work);
    work.stage = norma_stage_begin(launch, work.gamma);
    norma_threads_run(launch->threads, work.sums.pieces, backward_of_piece, &work);
    if (norma_tensor_present(&problem->dgamma)) norma_sums_finish(launch, &work.sums, &problem->dgamma, problem->accumulate);
    return NORMA_OK;
}

const norma_cpu_kernel norma_cpu_rmsnorm_rows_backward = {.check = check, .scratch_bytes = scratch_bytes, .run = run};
