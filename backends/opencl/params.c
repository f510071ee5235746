/* Kernel arguments from a problem: buffers, element offsets, strides, sizes and dtypes. */
#include "../dtype.h"
#include "opencl.h"

_Static_assert(NORMA_CL_PARTS == NORMA_MAX_PARTS, "kernels take as many parts as the interface");
_Static_assert(sizeof(norma_cl_linear) + (OPENCL_LINEAR_ARGUMENTS - 1) * sizeof(cl_mem) <= 1024,
               "every device takes 1024 bytes of arguments");

norma_cl_view norma_opencl_view(const norma_tensor *tensor) {
    if (!norma_tensor_present(tensor)) return (norma_cl_view){0};
    return (norma_cl_view){
        .start = (norma_index)(tensor->buffer.offset_bytes / norma_dtype_bytes(tensor->layout.dtype)),
        .row_stride = tensor->layout.row_stride,
        .col_stride = tensor->layout.col_stride,
        .batch_stride = tensor->layout.batch_stride,
    };
}

norma_cl_norm norma_opencl_norm_params(const norma_problem *problem) {
    return (norma_cl_norm){
        .x = norma_opencl_view(&problem->x),
        .gamma = norma_opencl_view(&problem->gamma),
        .rstd = norma_opencl_view(&problem->rstd),
        .rows = problem->batch * problem->m,
        .m = problem->m,
        .k = problem->k,
        .eps = problem->eps,
        .gamma_offset = problem->gamma_offset,
        .contract = (int)problem->contract,
        .x_dtype = (int)problem->x.layout.dtype,
        .gamma_dtype = (int)problem->gamma.layout.dtype,
        .h_dtype = (int)norma_problem_h_dtype(problem),
        .has_rstd = norma_tensor_present(&problem->rstd),
        .plain = norma_problem_is_plain(problem),
    };
}

norma_cl_linear norma_opencl_linear_params(const norma_problem *problem) {
    norma_cl_linear params = {
        .norm = norma_opencl_norm_params(problem), .parts = problem->parts, .accumulate = problem->accumulate};
    for (int p = 0; p < problem->parts; p++) {
        const norma_part *part = &problem->part[p];
        params.part[p] = (norma_cl_part){
            .weight = norma_opencl_view(&part->weight),
            .bias = norma_opencl_view(&part->bias),
            .out = norma_opencl_view(&part->out),
            .n = part->n,
            .weight_dtype = (int)part->weight.layout.dtype,
            .bias_dtype = (int)part->bias.layout.dtype,
            .out_dtype = (int)part->out.layout.dtype,
        };
    }
    return params;
}

enum { MIXED = -1 };

/* `so_far` if all of the group that are present are of this dtype, NORMA_NONE standing for any; else MIXED. */
static int join(int so_far, const norma_tensor *tensor) {
    const int dtype = (int)tensor->layout.dtype;
    if (dtype == NORMA_NONE || dtype == so_far) return so_far;
    return so_far == NORMA_NONE ? dtype : MIXED;
}

opencl_dtypes norma_opencl_dtypes_of(const norma_problem *problem) {
    const norma_tensor *const large[] = {&problem->x,    &problem->residual,      &problem->residual_out,
                                         &problem->dout, &problem->dresidual_out, &problem->dx};
    int matrix = NORMA_NONE;
    for (size_t i = 0; i < sizeof large / sizeof *large; i++) matrix = join(matrix, large[i]);
    for (int p = 0; p < problem->parts; p++) matrix = join(matrix, &problem->part[p].weight);
    if (matrix == MIXED) return (opencl_dtypes){NORMA_NONE, NORMA_NONE};
    int all = join(join(matrix, &problem->gamma), &problem->out);
    for (int p = 0; p < problem->parts; p++) all = join(join(all, &problem->part[p].bias), &problem->part[p].out);
    return (opencl_dtypes){(norma_dtype)matrix, all == MIXED ? NORMA_NONE : (norma_dtype)all};
}

int norma_opencl_run_width(const opencl_device *device, opencl_dtypes dtypes) {
    if (device->single_values) return 1;
    return dtypes.matrix == NORMA_F32 ? 4 : 8;
}

bool norma_opencl_in_runs(const norma_tensor *tensor, int width) {
    const norma_layout *layout = &tensor->layout;
    return !norma_tensor_present(tensor) ||
           (layout->col_stride == 1 && (layout->row_stride | layout->batch_stride) % width == 0 &&
            tensor->buffer.offset_bytes % ((size_t)width * norma_dtype_bytes(layout->dtype)) == 0);
}

opencl_argument norma_opencl_buffer(const norma_tensor *tensor, const norma_tensor *instead) {
    const norma_tensor *chosen = norma_tensor_present(tensor) ? tensor : instead;
    return (opencl_argument){sizeof(cl_mem), &chosen->buffer.data};
}

void norma_opencl_linear_arguments(const norma_problem *problem, const void *params, size_t params_bytes,
                                   opencl_argument arguments[OPENCL_LINEAR_ARGUMENTS]) {
    int count = 0;
    arguments[count++] = norma_opencl_buffer(&problem->x, &problem->x);
    arguments[count++] = norma_opencl_buffer(&problem->gamma, &problem->x);
    arguments[count++] = norma_opencl_buffer(&problem->rstd, &problem->x);
    for (int p = 0; p < NORMA_MAX_PARTS; p++) {
        arguments[count++] = norma_opencl_buffer(&problem->part[p].weight, &problem->x);
        arguments[count++] = norma_opencl_buffer(&problem->part[p].bias, &problem->x);
        arguments[count++] = norma_opencl_buffer(&problem->part[p].out, &problem->x);
    }
    arguments[count++] = (opencl_argument){params_bytes, params};
}
