/* Launches rmsnorm_rows: on a GPU one work-group to a row, its size by K alone, so that a row's bits do not depend on M; on
 * a CPU a few work-items for each unit, which share the rows. */
#include <stdlib.h>

#include "opencl.h"

enum { MOST_THREADS = 256, LEAST_THREADS = 32, THREAD_RUNS = 4, UNIT_ITEMS = 8 };

typedef struct rows_native {
    opencl_kernel *kernel;
    int threads;
} rows_native;

static norma_status find(opencl_device *device, const norma_problem *problem, rows_native *native) {
    static const char stem[] = "rmsnorm_rows";
    const opencl_dtypes dtypes = norma_opencl_dtypes_of(problem);
    native->threads = 1;
    if (device->base.limits.target == NORMA_TARGET_OPENCL_CPU)
        return norma_opencl_find_cpu(device, stem, dtypes, &native->kernel);
    const int64_t values = (int64_t)THREAD_RUNS * norma_opencl_run_width(device, dtypes);
    int threads = LEAST_THREADS;
    while (threads < MOST_THREADS && threads * values < problem->k) threads *= 2;
    return norma_opencl_find_threads(device, stem, dtypes, "", threads, &native->kernel, &native->threads);
}

static norma_status prepare(opencl_device *device, norma_launch *launch) {
    rows_native *native = calloc(1, sizeof *native);
    if (!native) return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory for a launch");
    launch->native = native;
    launch->max_rows = INT32_MAX; /* a work-item counts its share in 32 bits */
    return find(device, launch->problem, native);
}

static bool suits_vectors(const opencl_device *device, const norma_problem *problem) {
    const int width = norma_opencl_run_width(device, norma_opencl_dtypes_of(problem));
    return problem->k % width == 0 && norma_opencl_in_runs(&problem->x, width) &&
           norma_opencl_in_runs(&problem->gamma, width) && norma_opencl_in_runs(&problem->residual, width) &&
           norma_opencl_in_runs(&problem->residual_out, width) && norma_opencl_in_runs(&problem->out, width);
}

static norma_status enqueue(opencl_device *device, const norma_launch *launch) {
    const rows_native *native = launch->native;
    const norma_problem *problem = launch->problem;
    norma_cl_rows params = {
        .norm = norma_opencl_norm_params(problem),
        .residual = norma_opencl_view(&problem->residual),
        .residual_out = norma_opencl_view(&problem->residual_out),
        .out = norma_opencl_view(&problem->out),
        .residual_dtype = (int)problem->residual.layout.dtype,
        .has_residual_out = norma_tensor_present(&problem->residual_out),
        .out_dtype = (int)problem->out.layout.dtype,
        .item_rows = 1,
        .vectors = suits_vectors(device, problem),
    };
    int64_t groups = params.norm.rows;
    if (native->threads == 1 && device->base.limits.target == NORMA_TARGET_OPENCL_CPU) {
        params.item_rows = (int)norma_ceil_div(params.norm.rows, (norma_index)device->base.limits.units * UNIT_ITEMS);
        groups = norma_ceil_div(params.norm.rows, params.item_rows);
    }
    const opencl_argument arguments[] = {
        norma_opencl_buffer(&problem->x, &problem->x),
        norma_opencl_buffer(&problem->gamma, &problem->x),
        norma_opencl_buffer(&problem->residual, &problem->x),
        norma_opencl_buffer(&problem->residual_out, &problem->x),
        norma_opencl_buffer(&problem->rstd, &problem->x),
        norma_opencl_buffer(&problem->out, &problem->x),
        {sizeof params, &params},
    };
    return norma_opencl_enqueue(device, native->kernel, groups, native->threads, arguments,
                                sizeof arguments / sizeof *arguments);
}

const opencl_operation norma_opencl_rmsnorm_rows = {
    .kernel = NORMA_KERNEL_RMSNORM_ROWS,
    .prepare = prepare,
    .launch = enqueue,
};
