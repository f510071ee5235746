/* Launches fold_gamma: one block for each tile of kernels_cuda/fold_gamma.cu. */
#include "gpu.h"

enum { PLACES = 256, LINES = 16 };

static norma_status prepare(gpu_device *device, norma_launch *launch) {
    return norma_gpu_find(device, "fold_gamma", 0, &launch->native);
}

/* The function belongs to the module. */
static void discard(gpu_device *device, norma_launch *launch) {
    (void)device;
    launch->native = NULL;
}

static norma_status enqueue(gpu_device *device, const norma_launch *launch) {
    const norma_problem *problem = launch->problem;
    const norma_part *part = &problem->part[0];
    const norma_fold_params params = {
        .gamma = norma_gpu_view(&problem->gamma),
        .weight = norma_gpu_view(&part->weight),
        .out = norma_gpu_view(&part->out),
        .k = problem->k,
        .n = part->n,
        .gamma_offset = problem->gamma_offset,
        .gamma_dtype = (int)problem->gamma.layout.dtype,
        .weight_dtype = (int)part->weight.layout.dtype,
        .out_dtype = (int)part->out.layout.dtype,
    };
    const bool along_k = params.weight.row_stride < params.weight.col_stride;
    const int64_t width = along_k ? params.k : params.n;
    const int64_t height = along_k ? params.n : params.k;
    const int64_t blocks = norma_ceil_div(width, PLACES) * norma_ceil_div(height, LINES);
    if (blocks > norma_gpu_most_blocks(device, PLACES))
        return norma_fail(NORMA_ERROR_UNSUPPORTED, "fold_gamma: a weight of %lld blocks", (long long)blocks);
    const gpu_kernel kernel = {
        .function = launch->native,
        .grid = {(unsigned)blocks, 1, 1},
        .block = {PLACES, 1, 1},
    };
    return norma_gpu_enqueue(device, &kernel, &params, sizeof params);
}

const gpu_operation norma_gpu_fold_gamma = {
    .kernel = NORMA_KERNEL_FOLD_GAMMA,
    .prepare = prepare,
    .launch = enqueue,
    .discard = discard,
};
