/* The kernel rmsnorm_linear_skinny: few rows, so the time is that of reading W. A few rows of x are staged, then threads
 * take runs of columns and read their part of W once, front to back. W has to be contiguous in one direction.
 *
 *            runs of columns, over all parts
 *           +------+------+------+---
 *           |      |      |      |       W is read once
 *           |  W   |  W   |  W   |
 *           +------+------+------+---
 *     [ x ]   sums   sums   sums         x: up to SIMD_SKINNY_ROWS staged rows, in the L1 or L2 cache */
#include "stage.h"

/* Columns of a run are a multiple of LEAST_RUN. */
enum { LEAST_RUN = 64, LARGEST_RUN = 4096, K_MAJOR_RUNS_PER_THREAD = 4 };

typedef struct skinny_work {
    norma_stage stage;
    int64_t first_row, rows; /* of the block of rows in hand */
    int staged_rows;         /* a number that the vector routines take */
    int64_t n[NORMA_MAX_PARTS];
    int64_t run; /* columns */
    norma_factors factors[SIMD_SKINNY_ROWS];
    float *gamma, *y, *h, *sums, *bias;
} skinny_work;

static size_t take_scratch(const norma_cpu_launch *launch, char *base, skinny_work *work) {
    const int workers = norma_threads_count(launch->threads);
    norma_scratch scratch = {.base = base};
    work->gamma = norma_scratch_take(&scratch, 1, launch->problem->k);
    work->y = norma_scratch_take(&scratch, SIMD_SKINNY_ROWS, launch->problem->k);
    work->h = norma_scratch_take(&scratch, workers, launch->problem->k);
    work->sums = norma_scratch_take(&scratch, (int64_t)workers * SIMD_SKINNY_ROWS, LARGEST_RUN);
    work->bias = norma_scratch_take(&scratch, workers, LARGEST_RUN);
    return scratch.bytes;
}

static size_t scratch_bytes(const norma_cpu_launch *launch) {
    skinny_work work;
    return take_scratch(launch, NULL, &work);
}

static norma_status check(const norma_cpu_launch *launch) {
    const norma_problem *problem = launch->problem;
    if (problem->op != NORMA_OP_RMSNORM_LINEAR && problem->op != NORMA_OP_LINEAR)
        return norma_fail(NORMA_ERROR_UNSUPPORTED, "rmsnorm_linear_skinny computes a Linear");
    for (int p = 0; p < problem->parts; p++) {
        const norma_layout *weight = &problem->part[p].weight.layout;
        if (weight->row_stride != 1 && weight->col_stride != 1)
            return norma_fail(NORMA_ERROR_UNSUPPORTED,
                              "rmsnorm_linear_skinny needs part[%d].weight contiguous in one direction",
                              problem->part[p].index);
    }
    return NORMA_OK;
}

static void stage_row(void *user, int64_t index, int worker) {
    skinny_work *work = user;
    const int64_t k = work->stage.problem->k;
    float *y = work->y + index * norma_padded(k);
    if (index >= work->rows) {
        memset(y, 0, (size_t)k * sizeof *y);
        return;
    }
    const float *h;
    work->factors[index] = norma_stage_row(&work->stage, work->first_row + index, work->h + worker * norma_padded(k), &h);
    norma_stage_columns(&work->stage, h, work->factors[index], 0, k, y);
}

static void multiply_run(void *user, int64_t index, int worker) {
    const skinny_work *work = user;
    const norma_problem *problem = work->stage.problem;
    const simd_table *simd = work->stage.simd;
    const norma_tile_coord coord = {.col_tile = index};
    const norma_tile_place place =
        norma_tile_locate(coord, work->rows, work->n, problem->parts, SIMD_SKINNY_ROWS, work->run);
    const norma_part *part = &problem->part[place.part];
    const norma_layout *layout = &part->weight.layout;
    const bool k_major = layout->row_stride == 1;

    float *sums = work->sums + (int64_t)worker * SIMD_SKINNY_ROWS * LARGEST_RUN;
    const simd_skinny skinny = {
        .weight = norma_tensor_element(&part->weight, place.col * layout->col_stride),
        .dtype = layout->dtype,
        .stride = k_major ? layout->col_stride : layout->row_stride,
        .k = problem->k,
        .columns = place.cols,
        .x = work->y,
        .x_stride = norma_padded(problem->k),
        .rows = work->staged_rows,
        .sums = sums,
        .sums_stride = LARGEST_RUN,
    };
    if (k_major)
        simd->skinny_k_major(&skinny);
    else
        simd->skinny_n_major(&skinny);

    const float *bias = norma_stage_bias(simd, part, place.col, place.cols, work->bias + worker * LARGEST_RUN);
    for (int64_t i = 0; i < place.rows; i++)
        norma_finish_row(&work->stage, part, work->first_row + i, place.col, place.cols, work->factors[i].after, bias,
                         sums + i * LARGEST_RUN);
}

static bool all_k_major(const norma_problem *problem) {
    for (int p = 0; p < problem->parts; p++)
        if (problem->part[p].weight.layout.row_stride != 1) return false;
    return true;
}

/* A k-major W is a stream however few columns a run has, so there are runs enough to level out threads of different speed.
 * An n-major W is read best in long lines: as many runs as threads. */
static int64_t run_columns(const norma_cpu_launch *launch) {
    const int64_t threads = norma_threads_count(launch->threads);
    const int64_t runs = all_k_major(launch->problem) ? threads * K_MAJOR_RUNS_PER_THREAD : threads;
    const int64_t even = norma_ceil_div(norma_problem_columns(launch->problem), runs * LEAST_RUN) * LEAST_RUN;
    return norma_index_min(even, LARGEST_RUN);
}

static int rows_to_stage(int64_t rows) {
    int staged = 1;
    while (staged < rows) staged *= 2;
    return staged;
}

static norma_status run(const norma_cpu_launch *launch) {
    const norma_problem *problem = launch->problem;
    skinny_work work = {.run = run_columns(launch)};
    (void)take_scratch(launch, launch->scratch, &work);
    work.stage = norma_stage_begin(launch, work.gamma);
    for (int p = 0; p < problem->parts; p++) work.n[p] = problem->part[p].n;
    const int64_t runs = norma_col_tiles(work.n, problem->parts, work.run);
    const int64_t rows = problem->batch * problem->m;
    for (int64_t first = 0; first < rows; first += SIMD_SKINNY_ROWS) {
        work.first_row = first;
        work.rows = norma_tile_extent(first, SIMD_SKINNY_ROWS, rows);
        work.staged_rows = rows_to_stage(work.rows);
        norma_threads_run(launch->threads, work.staged_rows, stage_row, &work);
        norma_threads_run(launch->threads, runs, multiply_run, &work);
    }
    return NORMA_OK;
}

const norma_cpu_kernel norma_cpu_rmsnorm_linear_skinny = {.check = check, .scratch_bytes = scratch_bytes, .run = run};
