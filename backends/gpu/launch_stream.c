/* Launches the floors of kernels_cuda/stream.cu: as many blocks as there are pieces. Both take contiguous arrays at 16-byte
 * aligned addresses. */
#include "gpu.h"

#include "../dtype.h"

enum { COPY_THREADS = 256, READ_THREADS = 256, READ_CHUNKS = 4, CHUNK_BYTES = 16 };

static norma_status prepare(gpu_device *device, norma_launch *launch) {
    const bool copy = launch->problem->op == NORMA_OP_STREAM_COPY;
    return norma_gpu_find(device, copy ? "stream_copy" : "stream_read", 0, &launch->native);
}

/* The function belongs to the module. */
static void discard(gpu_device *device, norma_launch *launch) {
    (void)device;
    launch->native = NULL;
}

static norma_status enqueue(gpu_device *device, const norma_launch *launch) {
    const norma_problem *problem = launch->problem;
    const bool copy = problem->op == NORMA_OP_STREAM_COPY;
    const norma_stream_params params = {
        .from = norma_gpu_view(&problem->x).data,
        .to = norma_gpu_view(&problem->out).data,
        .bytes = problem->batch * problem->m * problem->k * (int64_t)norma_dtype_bytes(problem->x.layout.dtype),
    };
    if ((uintptr_t)params.from % CHUNK_BYTES || (copy && (uintptr_t)params.to % CHUNK_BYTES))
        return norma_fail(NORMA_ERROR_UNSUPPORTED, "stream: an address is not a multiple of %d", CHUNK_BYTES);
    const int64_t chunks = norma_ceil_div(params.bytes, CHUNK_BYTES);
    const int threads = copy ? COPY_THREADS : READ_THREADS, block_chunks = copy ? COPY_THREADS : READ_THREADS * READ_CHUNKS;
    const int64_t blocks = norma_ceil_div(chunks, block_chunks);
    if (blocks > norma_gpu_most_blocks(device, threads))
        return norma_fail(NORMA_ERROR_UNSUPPORTED, "stream: %lld bytes in one call", (long long)params.bytes);
    const gpu_kernel kernel = {
        .function = launch->native,
        .grid = {(unsigned)blocks, 1, 1},
        .block = {(unsigned)threads, 1, 1},
    };
    return norma_gpu_enqueue(device, &kernel, &params, sizeof params);
}

const gpu_operation norma_gpu_stream = {
    .kernel = NORMA_KERNEL_STREAM,
    .prepare = prepare,
    .launch = enqueue,
    .discard = discard,
};
