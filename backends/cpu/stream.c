/* The kernel stream: the speed of memory, which no other kernel can beat. Copies x, or reads it into one value. */
#include <stdatomic.h>
#include <string.h>

#include "stage.h"

enum { PIECE_BYTES = 1 << 18 };

typedef struct stream_work {
    const simd_table *simd;
    const char *from;
    char *to; /* NULL when reading */
    size_t bytes;
    _Atomic uint64_t folded;
} stream_work;

static norma_status check(const norma_cpu_launch *launch) {
    const norma_op op = launch->problem->op;
    if (op == NORMA_OP_STREAM_COPY || op == NORMA_OP_STREAM_READ) return NORMA_OK;
    return norma_fail(NORMA_ERROR_UNSUPPORTED, "stream copies or reads memory");
}

static void stream_piece(void *user, int64_t index, int worker) {
    (void)worker;
    stream_work *work = user;
    const size_t begin = (size_t)index * PIECE_BYTES;
    const size_t bytes = work->bytes - begin < PIECE_BYTES ? work->bytes - begin : PIECE_BYTES;
    if (work->to)
        memcpy(work->to + begin, work->from + begin, bytes);
    else
        atomic_fetch_xor_explicit(&work->folded, work->simd->read(work->from + begin, bytes), memory_order_relaxed);
}

static norma_status run(const norma_cpu_launch *launch) {
    const norma_problem *problem = launch->problem;
    stream_work work = {.simd = launch->simd, .from = norma_tensor_element(&problem->x, 0)};
    work.bytes = (size_t)(problem->batch * problem->m * problem->k) * norma_dtype_bytes(problem->x.layout.dtype);
    if (problem->op == NORMA_OP_STREAM_COPY) work.to = norma_tensor_element(&problem->out, 0);
    norma_threads_run(launch->threads, (int64_t)((work.bytes + PIECE_BYTES - 1) / PIECE_BYTES), stream_piece, &work);
    if (problem->op == NORMA_OP_STREAM_READ)
        norma_store(norma_tensor_element(&problem->out, 0), problem->out.layout.dtype, 0, (float)(work.folded & 0xff));
    return NORMA_OK;
}

const norma_cpu_kernel norma_cpu_stream = {.check = check, .run = run};
