/* Launches rmsnorm_rows_backward, and column_sums over the lines that its work-groups leave in the workspace if dgamma is
 * wanted. How many work-groups there are follows from the rows and the device; how many threads each has, from K alone, so
 * that a row's bits do not depend on M. */
#include <stdlib.h>

#include "opencl.h"

static const char stem[] = "rmsnorm_rows_backward";

enum {
    THREADS = 256,
    SHORT_THREADS = 64,
    SHORT_ROW = 512, /* at most */
    UNIT_GROUPS = 8,
    MOST_LINE_BYTES = 16 << 20 /* of all lines; fewer work-groups if need be */
};

typedef struct backward_native {
    opencl_kernel *kernel;
    int threads;
    opencl_sums lines;
} backward_native;

/* At most; fewer rows have no more. */
static int64_t pieces_of(const opencl_device *device, const norma_problem *problem) {
    int64_t most = (int64_t)device->base.limits.units * UNIT_GROUPS;
    if (norma_tensor_present(&problem->dgamma)) {
        const int64_t lines = MOST_LINE_BYTES / (int64_t)sizeof(float) / problem->k;
        most = norma_index_min(most, lines > 1 ? lines : 1);
    }
    return norma_index_min(most, problem->batch * problem->m);
}

static norma_status find(opencl_device *device, const norma_problem *problem, backward_native *native) {
    const opencl_dtypes dtypes = norma_opencl_dtypes_of(problem);
    native->threads = 1;
    if (device->base.limits.target == NORMA_TARGET_OPENCL_CPU)
        return norma_opencl_find_cpu(device, stem, dtypes, &native->kernel);
    return norma_opencl_find_threads(device, stem, dtypes, "", problem->k <= SHORT_ROW ? SHORT_THREADS : THREADS,
                                     &native->kernel, &native->threads);
}

static norma_status prepare(opencl_device *device, norma_launch *launch) {
    const norma_problem *problem = launch->problem;
    if (problem->op != NORMA_OP_RMSNORM_BACKWARD)
        return norma_fail(NORMA_ERROR_UNSUPPORTED, "rmsnorm_rows_backward computes the gradients of RMSNorm alone");
    backward_native *native = calloc(1, sizeof *native);
    if (!native) return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory for a launch");
    launch->native = native;
    const norma_status status = find(device, problem, native);
    if (status || !norma_tensor_present(&problem->dgamma)) return status;
    launch->workspace_bytes = (size_t)(pieces_of(device, problem) * problem->k) * sizeof(float);
    return norma_opencl_sums_find(device, NORMA_F32, problem->dgamma.layout.dtype, &native->lines);
}

static bool suits_vectors(const opencl_device *device, const norma_problem *problem, const norma_launch *launch) {
    const int width = norma_opencl_run_width(device, norma_opencl_dtypes_of(problem));
    return problem->k % width == 0 && launch->workspace.offset_bytes % 16 == 0 && norma_opencl_in_runs(&problem->x, width) &&
           norma_opencl_in_runs(&problem->gamma, width) && norma_opencl_in_runs(&problem->dout, width) &&
           norma_opencl_in_runs(&problem->dresidual_out, width) && norma_opencl_in_runs(&problem->dx, width);
}

static norma_status add_up_lines(opencl_device *device, const norma_launch *launch, int64_t first, int64_t lines) {
    const norma_problem *problem = launch->problem;
    const backward_native *native = launch->native;
    const norma_cl_sums params = {
        .from = {.start = first, .row_stride = problem->k, .col_stride = 1},
        .to = norma_opencl_view(&problem->dgamma),
        .rows = lines,
        .m = lines,
        .columns = problem->k,
        .piece_rows = lines,
        .accumulate = problem->accumulate,
        .vectors = problem->k % native->lines.width == 0 && launch->workspace.offset_bytes % 16 == 0,
    };
    return norma_opencl_sums_enqueue(device, &native->lines, launch->workspace.data, problem->dgamma.buffer.data, &params);
}

static norma_status enqueue(opencl_device *device, const norma_launch *launch) {
    const norma_problem *problem = launch->problem;
    const backward_native *native = launch->native;
    const bool lines = norma_tensor_present(&problem->dgamma);
    const norma_index first = (norma_index)(launch->workspace.offset_bytes / sizeof(float));
    const int64_t rows = problem->batch * problem->m;
    const norma_cl_rows_backward params = {
        .norm = norma_opencl_norm_params(problem),
        .dout = norma_opencl_view(&problem->dout),
        .back = norma_opencl_view(&problem->dresidual_out),
        .dx = norma_opencl_view(&problem->dx),
        .lines = lines ? first : -1,
        .piece_rows = norma_ceil_div(rows, pieces_of(device, problem)),
        .per_element = 1.0F / (float)problem->k,
        .dout_dtype = (int)problem->dout.layout.dtype,
        .back_dtype = (int)problem->dresidual_out.layout.dtype,
        .dx_dtype = (int)problem->dx.layout.dtype,
        .vectors = suits_vectors(device, problem, launch),
    };
    const opencl_argument arguments[] = {
        norma_opencl_buffer(&problem->x, &problem->x),
        norma_opencl_buffer(&problem->gamma, &problem->x),
        norma_opencl_buffer(&problem->rstd, &problem->x),
        norma_opencl_buffer(&problem->dout, &problem->x),
        norma_opencl_buffer(&problem->dresidual_out, &problem->x),
        norma_opencl_buffer(&problem->dx, &problem->x),
        {sizeof(cl_mem), lines ? &launch->workspace.data : &problem->x.buffer.data},
        {sizeof params, &params},
    };
    const int64_t pieces = norma_ceil_div(rows, params.piece_rows);
    const norma_status status = norma_opencl_enqueue(device, native->kernel, pieces, native->threads, arguments,
                                                     sizeof arguments / sizeof *arguments);
    return status || !lines ? status : add_up_lines(device, launch, first, pieces);
}

const opencl_operation norma_opencl_rmsnorm_rows_backward = {
    .kernel = NORMA_KERNEL_RMSNORM_ROWS_BACKWARD,
    .prepare = prepare,
    .launch = enqueue,
};
