/* Launches the floors of kernels_cl/stream.cl. Both take contiguous arrays at 16-byte aligned offsets. */
#include "../dtype.h"
#include "opencl.h"

enum { CHUNK_BYTES = 16, GPU_THREADS = 256, GPU_UNIT_GROUPS = 16, CPU_ITEMS = 8 };

static norma_status find(opencl_device *device, const norma_problem *problem, opencl_kernel **out_kernel) {
    const bool copy = problem->op == NORMA_OP_STREAM_COPY, cpu = device->base.limits.target == NORMA_TARGET_OPENCL_CPU;
    const char *options = copy ? (cpu ? "-DNORMA_COPY -DNORMA_CPU" : "-DNORMA_COPY") : (cpu ? "-DNORMA_CPU" : "");
    return norma_opencl_find(device, "stream", copy ? "stream_copy" : "stream_read", (opencl_dtypes){0}, options,
                             out_kernel);
}

static norma_status prepare(opencl_device *device, norma_launch *launch) {
    opencl_kernel *kernel;
    return find(device, launch->problem, &kernel);
}

static norma_status enqueue(opencl_device *device, const norma_launch *launch) {
    const norma_problem *problem = launch->problem;
    const bool copy = problem->op == NORMA_OP_STREAM_COPY, cpu = device->base.limits.target == NORMA_TARGET_OPENCL_CPU;
    const size_t from = problem->x.buffer.offset_bytes, to = problem->out.buffer.offset_bytes;
    if (from % CHUNK_BYTES || (copy && to % CHUNK_BYTES))
        return norma_fail(NORMA_ERROR_UNSUPPORTED, "stream: an offset is not a multiple of %d", CHUNK_BYTES);
    const norma_cl_stream params = {
        .from = (norma_index)from / CHUNK_BYTES,
        .to = (norma_index)to / (copy ? CHUNK_BYTES : 4),
        .bytes = problem->batch * problem->m * problem->k * (int64_t)norma_dtype_bytes(problem->x.layout.dtype),
    };
    const opencl_argument arguments[] = {
        norma_opencl_buffer(&problem->x, &problem->x),
        norma_opencl_buffer(&problem->out, &problem->out),
        {sizeof params, &params},
    };
    opencl_kernel *kernel;
    const norma_status status = find(device, problem, &kernel);
    if (status) return status;
    const int64_t threads = cpu ? 1 : norma_index_min(GPU_THREADS, (norma_index)kernel->max_threads);
    const int64_t groups = (int64_t)device->base.limits.units * (cpu ? CPU_ITEMS : GPU_UNIT_GROUPS);
    return norma_opencl_enqueue(device, kernel, groups, threads, arguments, sizeof arguments / sizeof *arguments);
}

const opencl_operation norma_opencl_stream = {
    .kernel = NORMA_KERNEL_STREAM,
    .prepare = prepare,
    .launch = enqueue,
};
