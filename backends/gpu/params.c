/* Kernel arguments from a problem: addresses with their offsets added, strides, sizes and dtypes. */
#include "gpu.h"

_Static_assert(NORMA_KERNEL_PARTS == NORMA_MAX_PARTS, "kernels take as many parts as the interface");

norma_view norma_gpu_view(const norma_tensor *tensor) {
    if (!norma_tensor_present(tensor)) return (norma_view){0};
    return (norma_view){
        .data = (void *)((uintptr_t)tensor->buffer.data + tensor->buffer.offset_bytes), /* prepare() has no address */
        .row_stride = tensor->layout.row_stride,
        .col_stride = tensor->layout.col_stride,
        .batch_stride = tensor->layout.batch_stride,
    };
}

norma_norm_params norma_gpu_norm_params(const norma_problem *problem) {
    return (norma_norm_params){
        .x = norma_gpu_view(&problem->x),
        .gamma = norma_gpu_view(&problem->gamma),
        .residual = norma_gpu_view(&problem->residual),
        .residual_out = norma_gpu_view(&problem->residual_out),
        .rstd = norma_gpu_view(&problem->rstd),
        .rows = problem->batch * problem->m,
        .m = problem->m,
        .k = problem->k,
        .eps = problem->eps,
        .gamma_offset = problem->gamma_offset,
        .contract = (int)problem->contract,
        .x_dtype = (int)problem->x.layout.dtype,
        .gamma_dtype = (int)problem->gamma.layout.dtype,
        .h_dtype = (int)norma_problem_h_dtype(problem),
    };
}

norma_linear_params norma_gpu_linear_params(const norma_problem *problem) {
    norma_linear_params params = {
        .norm = norma_gpu_norm_params(problem),
        .parts = problem->parts,
    };
    for (int p = 0; p < problem->parts; p++) {
        const norma_part *part = &problem->part[p];
        params.part[p] = (norma_part_params){
            .weight = norma_gpu_view(&part->weight),
            .bias = norma_gpu_view(&part->bias),
            .out = norma_gpu_view(&part->out),
            .n = part->n,
            .weight_dtype = (int)part->weight.layout.dtype,
            .bias_dtype = (int)part->bias.layout.dtype,
            .out_dtype = (int)part->out.layout.dtype,
        };
    }
    return params;
}
