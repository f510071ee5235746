/* Launches rmsnorm_linear_skinny: which shape of it, and how many columns a work-group takes. Where NVIDIA's matrix units
 * serve a problem, operands that lie as they want them go to their kernel, others to the one for any GPU. A residual is not
 * for this kernel: the front adds it in a launch of its own. */
#include <stdio.h>
#include <stdlib.h>

#include "../dtype.h"
#include "matrix.h"

enum {
    CPU_COLUMNS = 64, /* of a work-item, at most */
    CPU_UNIT_ITEMS = 4,
    GPU_COLUMNS = 4,
    GPU_ROWS = 4,
    GPU_THREADS = 128,
    WAVE = 32,
    MATRIX_WAVES = 8, /* of a work-group, at most: NVIDIA's driver starts no more */
    MATRIX_STEP_K = 32,
    LEAST_STEPS = 4, /* of a wave */
    MOST_STEPS = 16,
    MOST_DEPTH = 16,
    MATRIX_ROWS = 8, /* of an operand of the matrix units */
    TRIAL_SPLIT_ROWS = 4
};

static const char stem[] = "rmsnorm_linear_skinny";

typedef struct skinny_native {
    opencl_kernel *kernel;
    int columns, threads, rows; /* of a work-group */
    opencl_kernel *matrix;      /* NULL if the problem is not for it */
    int matrix_threads, matrix_rows, matrix_resident;
} skinny_native;

/* Columns for each work-item, so that every unit has a few of them. */
static int cpu_columns(const opencl_device *device, const norma_problem *problem) {
    const int64_t items = (int64_t)device->base.limits.units * CPU_UNIT_ITEMS;
    int columns = CPU_COLUMNS;
    while (columns > 16 && norma_problem_columns(problem) < items * columns) columns /= 2;
    return columns;
}

static norma_status find(opencl_device *device, const norma_problem *problem, skinny_native *native) {
    const opencl_dtypes dtypes = norma_opencl_dtypes_of(problem);
    char options[64];
    native->columns = cpu_columns(device, problem);
    native->threads = 1;
    native->rows = OPENCL_SKINNY_ROWS;
    if (device->base.limits.target == NORMA_TARGET_OPENCL_CPU)
        return norma_opencl_find_cpu(device, stem, dtypes, &native->kernel);
    native->columns = GPU_COLUMNS;
    native->rows = problem->batch * problem->m == 1 ? 1 : GPU_ROWS;
    snprintf(options, sizeof options, " -DROWS=%d -DCOLUMNS=%d%s", native->rows, GPU_COLUMNS,
             native->matrix && !device->single_values ? " -DSINGLE_VALUES" : "");
    return norma_opencl_find_threads(device, stem, dtypes, options, GPU_THREADS, &native->kernel, &native->threads);
}

static bool is_vector(const norma_problem *problem, const norma_tensor *tensor, int64_t across, int64_t along) {
    const int64_t width = 16 / (int64_t)norma_dtype_bytes(problem->x.layout.dtype);
    return tensor->layout.dtype == problem->x.layout.dtype && along == 1 && across % width == 0 &&
           tensor->layout.batch_stride % width == 0 && tensor->buffer.offset_bytes % 16 == 0;
}

/* Whether x, gamma and the weights are of one dtype and lie in aligned runs of 16 bytes along K. */
static bool suits_vectors(const norma_problem *problem) {
    const norma_layout *x = &problem->x.layout, *gamma = &problem->gamma.layout;
    bool suits = problem->k % (16 / (int64_t)norma_dtype_bytes(x->dtype)) == 0 &&
                 is_vector(problem, &problem->x, x->row_stride, x->col_stride);
    if (norma_tensor_present(&problem->gamma)) suits = suits && is_vector(problem, &problem->gamma, 0, gamma->col_stride);
    for (int p = 0; p < problem->parts; p++) {
        const norma_tensor *weight = &problem->part[p].weight;
        suits = suits && is_vector(problem, weight, weight->layout.col_stride, weight->layout.row_stride);
    }
    return suits;
}

/* ---- Matrix units ---- */

static norma_status enqueue_matrix(opencl_device *device, const skinny_native *native, const norma_problem *problem) {
    const norma_cl_linear params = norma_opencl_linear_params(problem);
    opencl_argument arguments[OPENCL_LINEAR_ARGUMENTS];
    norma_opencl_linear_arguments(problem, &params, sizeof params, arguments);
    const int64_t groups = (int64_t)device->base.limits.units * native->matrix_resident;
    return norma_opencl_enqueue(device, native->matrix, norma_index_min(groups, norma_problem_columns(problem)),
                                native->matrix_threads, arguments, OPENCL_LINEAR_ARGUMENTS);
}

static void move_rows(norma_tensor *tensor, int64_t rows) {
    tensor->buffer.offset_bytes += (size_t)(rows * tensor->layout.row_stride) * norma_dtype_bytes(tensor->layout.dtype);
}

/* The trial has more rows than the kernel takes: some at a time, first as many as leave room for low halves. */
static norma_status enqueue_trial(opencl_device *device, const void *user, const norma_problem *problem) {
    const skinny_native *native = user;
    norma_problem piece = *problem;
    int64_t left = problem->m, rows = TRIAL_SPLIT_ROWS;
    norma_status status = NORMA_OK;
    for (; !status && left > 0; left -= piece.m, rows = native->matrix_rows) {
        piece.m = norma_index_min(rows, left);
        status = enqueue_matrix(device, native, &piece);
        move_rows(&piece.x, piece.m);
        move_rows(&piece.part[0].out, piece.m);
    }
    return status;
}

/* Whether gamma is of x's dtype, side by side and without offset, and only to be multiplied with; the kernel for that wants
 * it aligned too. */
static bool gamma_is_packed(const norma_problem *problem) {
    const norma_layout *gamma = &problem->gamma.layout;
    return norma_opencl_matrix_form(problem) == FORM_SCALE && gamma->dtype == problem->x.layout.dtype &&
           gamma->col_stride == 1 && problem->gamma_offset == 0;
}

/* Wherever its tensors begin. */
static bool may_suit_matrix(const opencl_device *device, const norma_problem *problem) {
    norma_problem aligned = *problem;
    aligned.x.buffer.offset_bytes = 0;
    for (int p = 0; p < problem->parts; p++) aligned.part[p].weight.buffer.offset_bytes = 0;
    return norma_opencl_matrix_dtype(device, problem) && norma_opencl_matrix_suits(&aligned, true) && problem->k % 8 == 0 &&
           problem->k <= INT32_MAX / 64 && norma_problem_columns(problem) <= INT32_MAX / 64;
}

static norma_status find_matrix(opencl_device *device, const norma_problem *problem, skinny_native *native) {
    const int fragments = problem->batch * problem->m > MATRIX_ROWS ? 2 : 1;
    const int64_t all = norma_ceil_div(problem->k, MATRIX_STEP_K);
    int steps = LEAST_STEPS;
    while (steps < MOST_STEPS && steps * MATRIX_WAVES < all) steps *= 2;
    const int64_t phases = norma_ceil_div(all, (int64_t)steps * MATRIX_WAVES);
    char options[160];
    native->matrix_rows = MATRIX_ROWS * fragments;
    native->matrix_resident = steps == MOST_STEPS ? 1 : 2;
    native->matrix_threads = (int)norma_ceil_div(all, steps * phases) * WAVE;
    if (native->matrix_threads > device->base.limits.max_threads) return NORMA_ERROR_UNSUPPORTED;
    snprintf(options, sizeof options, "-DNORMA_MATRIX -DFORM=%d -DTHREADS=%d -DSTEPS=%d -DDEPTH=%d -DFRAGMENTS=%d%s",
             norma_opencl_matrix_form(problem), native->matrix_threads, steps,
             (int)norma_index_min(steps, MOST_DEPTH / fragments), fragments,
             gamma_is_packed(problem) ? " -DPACKED_GAMMA" : "");
    opencl_kernel *kernel;
    const norma_status status = norma_opencl_find(device, stem, stem, norma_opencl_dtypes_of(problem), options, &kernel);
    if (!status && (size_t)native->matrix_threads > kernel->max_threads) return NORMA_ERROR_UNSUPPORTED;
    native->matrix = kernel;
    if (!status && (kernel->works || norma_opencl_matrix_works(device, problem, true, enqueue_trial, native))) {
        kernel->works = true;
        return NORMA_OK;
    }
    native->matrix = NULL;
    return norma_opencl_matrix_give_up(device, stem);
}

/* ---- The operation ---- */

static norma_status prepare(opencl_device *device, norma_launch *launch) {
    const norma_problem *problem = launch->problem;
    if (norma_tensor_present(&problem->residual))
        return norma_fail(NORMA_ERROR_UNSUPPORTED, "rmsnorm_linear_skinny takes no residual");
    if (problem->batch * problem->m > OPENCL_SKINNY_ROWS)
        return norma_fail(NORMA_ERROR_UNSUPPORTED, "rmsnorm_linear_skinny takes up to %d rows", OPENCL_SKINNY_ROWS);
    skinny_native *native = calloc(1, sizeof *native);
    if (!native) return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory for a launch");
    launch->native = native;
    if (may_suit_matrix(device, problem)) (void)find_matrix(device, problem, native);
    return find(device, problem, native);
}

static norma_status enqueue(opencl_device *device, const norma_launch *launch) {
    const skinny_native *native = launch->native;
    const norma_problem *problem = launch->problem;
    if (native->matrix && norma_opencl_matrix_suits(problem, true) &&
        !(gamma_is_packed(problem) && problem->gamma.buffer.offset_bytes % 16))
        return enqueue_matrix(device, native, problem);
    norma_cl_linear params = norma_opencl_linear_params(problem);
    params.tile_columns = native->columns;
    params.vectors = suits_vectors(problem);
    int64_t groups = 0;
    for (int p = 0; p < params.parts; p++) groups += norma_ceil_div(params.part[p].n, native->columns);
    groups *= norma_ceil_div(params.norm.rows, native->rows);
    opencl_argument arguments[OPENCL_LINEAR_ARGUMENTS];
    norma_opencl_linear_arguments(problem, &params, sizeof params, arguments);
    return norma_opencl_enqueue(device, native->kernel, groups, native->threads, arguments, OPENCL_LINEAR_ARGUMENTS);
}

const opencl_operation norma_opencl_rmsnorm_linear_skinny = {
    .kernel = NORMA_KERNEL_RMSNORM_LINEAR_SKINNY,
    .prepare = prepare,
    .launch = enqueue,
};
