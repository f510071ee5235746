/* The kernel fold_gamma: W_out = diag(gamma + offset) W, rounded once, in place or not. Threads take lines of W in the
 * direction that is contiguous in memory. */
#include "stage.h"

/* Values of a line that are converted together, and lines of a run. */
enum { PIECE = 256, RUN_VALUES = 16384 };

typedef struct fold_work {
    norma_stage stage;
    bool along_k; /* lines are columns of W, else rows */
    int64_t lines, length, run;
} fold_work;

static size_t scratch_bytes(const norma_cpu_launch *launch) {
    norma_scratch scratch = {0};
    (void)norma_scratch_take(&scratch, 1, launch->problem->k);
    return scratch.bytes;
}

static norma_status check(const norma_cpu_launch *launch) {
    if (launch->problem->op == NORMA_OP_FOLD_GAMMA) return NORMA_OK;
    return norma_fail(NORMA_ERROR_UNSUPPORTED, "fold_gamma folds gamma into a weight");
}

static void fold_piece(const fold_work *work, int64_t line, int64_t begin, int64_t count) {
    const norma_part *part = &work->stage.problem->part[0];
    const norma_layout *from = &part->weight.layout;
    const norma_layout *to = &part->out.layout;
    const int64_t k = work->along_k ? begin : line;
    const int64_t col = work->along_k ? line : begin;
    const float *gamma = work->stage.gamma + k;
    _Alignas(SIMD_ALIGN_BYTES) float values[PIECE];
    work->stage.simd->load(norma_tensor_element(&part->weight, k * from->row_stride + col * from->col_stride), from->dtype,
                           work->along_k ? from->row_stride : from->col_stride, count, values);
    work->stage.simd->normalise(&work->stage.norm, work->along_k ? gamma : NULL, values, work->along_k ? 1 : *gamma, count,
                                values);
    work->stage.simd->store(norma_tensor_element(&part->out, k * to->row_stride + col * to->col_stride), to->dtype,
                            work->along_k ? to->row_stride : to->col_stride, count, values);
}

static void fold_run(void *user, int64_t index, int worker) {
    (void)worker;
    const fold_work *work = user;
    const int64_t end = norma_index_min((index + 1) * work->run, work->lines);
    for (int64_t line = index * work->run; line < end; line++)
        for (int64_t begin = 0; begin < work->length; begin += PIECE)
            fold_piece(work, line, begin, norma_tile_extent(begin, PIECE, work->length));
}

static norma_status run(const norma_cpu_launch *launch) {
    const norma_problem *problem = launch->problem;
    const norma_layout *weight = &problem->part[0].weight.layout;
    fold_work work = {.along_k = weight->row_stride < weight->col_stride};
    norma_scratch scratch = {.base = launch->scratch};
    work.stage = norma_stage_begin(launch, norma_scratch_take(&scratch, 1, problem->k));
    work.lines = work.along_k ? problem->part[0].n : problem->k;
    work.length = work.along_k ? problem->k : problem->part[0].n;
    work.run = work.length < RUN_VALUES ? RUN_VALUES / work.length : 1;
    norma_threads_run(launch->threads, norma_ceil_div(work.lines, work.run), fold_run, &work);
    return NORMA_OK;
}

const norma_cpu_kernel norma_cpu_fold_gamma = {.check = check, .scratch_bytes = scratch_bytes, .run = run};
