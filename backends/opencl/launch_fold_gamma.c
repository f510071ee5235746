/* Launches fold_gamma: one work-item to an element. */
#include <stdlib.h>

#include "opencl.h"

enum { THREADS = 64 };

static norma_status find(opencl_device *device, const norma_problem *problem, opencl_kernel **out_kernel) {
    return norma_opencl_find(device, "fold_gamma", "fold_gamma", norma_opencl_dtypes_of(problem), "", out_kernel);
}

static norma_status prepare(opencl_device *device, norma_launch *launch) {
    opencl_kernel *kernel;
    return find(device, launch->problem, &kernel);
}

static norma_status enqueue(opencl_device *device, const norma_launch *launch) {
    const norma_problem *problem = launch->problem;
    const norma_part *part = &problem->part[0];
    const norma_cl_fold params = {
        .gamma = norma_opencl_view(&problem->gamma),
        .weight = norma_opencl_view(&part->weight),
        .out = norma_opencl_view(&part->out),
        .k = problem->k,
        .n = part->n,
        .gamma_offset = problem->gamma_offset,
        .gamma_dtype = (int)problem->gamma.layout.dtype,
        .weight_dtype = (int)part->weight.layout.dtype,
        .out_dtype = (int)part->out.layout.dtype,
    };
    const opencl_argument arguments[] = {
        norma_opencl_buffer(&problem->gamma, &problem->gamma),
        norma_opencl_buffer(&part->weight, &part->weight),
        norma_opencl_buffer(&part->out, &part->out),
        {sizeof params, &params},
    };
    opencl_kernel *kernel;
    const norma_status status = find(device, problem, &kernel);
    if (status) return status;
    const int64_t threads = norma_index_min(THREADS, (norma_index)kernel->max_threads);
    return norma_opencl_enqueue(device, kernel, norma_ceil_div(params.k * params.n, threads), threads, arguments,
                                sizeof arguments / sizeof *arguments);
}

const opencl_operation norma_opencl_fold_gamma = {
    .kernel = NORMA_KERNEL_FOLD_GAMMA,
    .prepare = prepare,
    .launch = enqueue,
};
