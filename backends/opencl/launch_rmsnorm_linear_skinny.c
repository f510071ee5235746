/* Launches rmsnorm_linear_skinny: which shape of it, and how many columns a work-group takes. A residual is not for this
 * kernel: the front adds it in a launch of its own. */
#include <stdio.h>
#include <stdlib.h>

#include "../dtype.h"
#include "opencl.h"

enum {
    CPU_COLUMNS = 64, /* of a work-item, at most */
    CPU_UNIT_ITEMS = 4,
    GPU_COLUMNS = 4,
    GPU_THREADS = 128
};

typedef struct skinny_native {
    opencl_kernel *kernel;
    int columns, threads;
} skinny_native;

/* Columns for each work-item, so that every unit has a few of them. */
static int cpu_columns(const opencl_device *device, const norma_problem *problem) {
    const int64_t items = (int64_t)device->base.limits.units * CPU_UNIT_ITEMS;
    int columns = CPU_COLUMNS;
    while (columns > 16 && norma_problem_columns(problem) < items * columns) columns /= 2;
    return columns;
}

static norma_status find(opencl_device *device, const norma_problem *problem, skinny_native *native) {
    static const char stem[] = "rmsnorm_linear_skinny";
    const opencl_dtypes dtypes = norma_opencl_dtypes_of(problem);
    char options[64];
    native->columns = cpu_columns(device, problem);
    native->threads = 1;
    if (device->base.limits.target == NORMA_TARGET_OPENCL_CPU)
        return norma_opencl_find_cpu(device, stem, dtypes, &native->kernel);
    int rows = 1;
    while (rows < problem->batch * problem->m) rows *= 4;
    native->columns = GPU_COLUMNS;
    snprintf(options, sizeof options, " -DROWS=%d -DCOLUMNS=%d", rows, GPU_COLUMNS);
    return norma_opencl_find_threads(device, stem, dtypes, options, GPU_THREADS, &native->kernel, &native->threads);
}

static norma_status prepare(opencl_device *device, norma_launch *launch) {
    const norma_problem *problem = launch->problem;
    if (norma_tensor_present(&problem->residual))
        return norma_fail(NORMA_ERROR_UNSUPPORTED, "rmsnorm_linear_skinny takes no residual");
    if (problem->batch * problem->m > OPENCL_SKINNY_ROWS)
        return norma_fail(NORMA_ERROR_UNSUPPORTED, "rmsnorm_linear_skinny takes up to %d rows", OPENCL_SKINNY_ROWS);
    skinny_native *native = calloc(1, sizeof *native);
    if (!native) return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory for a launch");
    launch->native = native;
    return find(device, problem, native);
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

static norma_status enqueue(opencl_device *device, const norma_launch *launch) {
    const skinny_native *native = launch->native;
    const norma_problem *problem = launch->problem;
    norma_cl_linear params = norma_opencl_linear_params(problem);
    params.tile_columns = native->columns;
    params.vectors = suits_vectors(problem);
    int64_t groups = 0;
    for (int p = 0; p < params.parts; p++) groups += norma_ceil_div(params.part[p].n, native->columns);
    opencl_argument arguments[OPENCL_LINEAR_ARGUMENTS];
    norma_opencl_linear_arguments(problem, &params, sizeof params, arguments);
    return norma_opencl_enqueue(device, native->kernel, groups, native->threads, arguments, OPENCL_LINEAR_ARGUMENTS);
}

const opencl_operation norma_opencl_rmsnorm_linear_skinny = {
    .kernel = NORMA_KERNEL_RMSNORM_LINEAR_SKINNY,
    .prepare = prepare,
    .launch = enqueue,
};
