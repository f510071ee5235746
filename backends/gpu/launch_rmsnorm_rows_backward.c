/* Launches rmsnorm_rows_backward, and column_sums over the lines that its blocks leave in the workspace if dgamma is wanted.
 * How a row is shared out follows from K and the dtype; how many blocks there are, from the rows and the device. Rows too
 * long for all kernels but the lean one and the one for anything, which sum in different orders, are a launch for each batch
 * with NORMA_BATCH_INVARIANT: then a row has the lean one in any batch. */
#include "gpu.h"

#include <stdio.h>
#include <stdlib.h>

#include "../dtype.h"
#include "../front/step.h"

enum {
    CHUNK_BYTES = 16,
    LEAST_THREADS = 8,
    ROW_THREADS = 512,         /* the most of a row */
    SHORT_THREADS = 256,       /* of a block whose rows have a group of 32 threads each, or less */
    BLOCK_THREADS_1 = 1024,    /* of others: 64, 80 or 128 registers a thread, */
    BLOCK_THREADS_2 = 768,     /* by the chunks of a thread */
    BLOCK_THREADS_4 = 512,     /* and of the full kernel with two */
    MOST_SLOTS = 8,            /* that wait at barriers of their own */
    RESERVED_BYTES = 2 * 1024, /* of shared memory, for sums */
    ANY_THREADS = 256,
    ANY_BLOCKS = 4,                /* to a multiprocessor */
    MOST_LINE_BYTES = 16 * 1 << 20 /* of all lines; fewer blocks if need be */
};

typedef struct geometry {
    int chunks, threads, slots; /* of a thread, a row and a block */
    int resident;               /* blocks of a multiprocessor */
} geometry;

/* One of the kernels and how it shares rows out. */
typedef struct backward_kernel {
    geometry geometry;
    void *function; /* NULL if strides or dtypes forbid it */
} backward_kernel;

typedef struct backward_native {
    backward_kernel lean; /* one batch, a dout, gamma of x's dtype if any */
    backward_kernel full; /* chunks begin at multiples of 16 bytes */
    backward_kernel any;
    gpu_sums lines;
} backward_native;

static int64_t chunk_width(const norma_problem *problem) {
    return CHUNK_BYTES / (int64_t)norma_dtype_bytes(problem->x.layout.dtype);
}

/* Two rows of x and of dout for each slot, on their way. */
static unsigned ring_bytes(const geometry *g) {
    return (unsigned)(2 * 2 * g->chunks * g->slots * g->threads * CHUNK_BYTES);
}

/* As few chunks a thread as there are threads for: a multiprocessor does best with some 64 KiB on their way. False if a row
 * is too long for registers, or two for shared memory. */
static bool share_out(const gpu_device *device, int64_t chunks, bool lean, geometry *out) {
    geometry g = {.chunks = chunks <= ROW_THREADS ? 1 : chunks <= 2 * ROW_THREADS ? 2 : 4};
    const int64_t wanted = norma_ceil_div(chunks, g.chunks);
    if (wanted > ROW_THREADS || (g.chunks == 4 && !lean)) return false;
    g.threads = LEAST_THREADS;
    while (g.threads < 32 && g.threads < wanted) g.threads *= 2;
    if (wanted > 32) g.threads = (int)norma_ceil_div(wanted, 32) * 32;
    const int most = g.chunks == 1 ? BLOCK_THREADS_1 : g.chunks == 2 && lean ? BLOCK_THREADS_2 : BLOCK_THREADS_4;
    g.slots = g.threads <= 32 ? SHORT_THREADS / g.threads : (int)norma_index_min(most / g.threads, MOST_SLOTS);
    const int64_t shared = device->base.limits.shared_bytes - RESERVED_BYTES;
    while (g.slots > 1 && ring_bytes(&g) > shared) g.slots--;
    if (ring_bytes(&g) > shared) return false;
    g.resident = (int)norma_index_min(most / (g.slots * g.threads), shared / ring_bytes(&g));
    *out = g;
    return true;
}

/* Absent addresses count as aligned. */
static bool row_is_packed(const norma_tensor *tensor, norma_dtype dtype) {
    const norma_layout *layout = &tensor->layout;
    const int64_t bytes = (int64_t)norma_dtype_bytes(dtype);
    if (!norma_tensor_present(tensor)) return true;
    return layout->dtype == dtype && layout->col_stride == 1 && layout->row_stride * bytes % CHUNK_BYTES == 0 &&
           layout->batch_stride * bytes % CHUNK_BYTES == 0 &&
           ((uintptr_t)tensor->buffer.data + tensor->buffer.offset_bytes) % CHUNK_BYTES == 0;
}

static bool is_packed(const norma_problem *problem) {
    const norma_dtype dtype = problem->x.layout.dtype;
    const bool fp32_gamma = problem->gamma.layout.dtype == NORMA_F32;
    return row_is_packed(&problem->gamma, fp32_gamma ? NORMA_F32 : dtype) && problem->k % chunk_width(problem) == 0 &&
           row_is_packed(&problem->x, dtype) && row_is_packed(&problem->dout, dtype) &&
           row_is_packed(&problem->dresidual_out, dtype) && row_is_packed(&problem->dx, dtype);
}

/* Blocks for `rows` rows, of which a block takes `slots` at a time. */
static int64_t block_count(const gpu_device *device, const norma_problem *problem, int64_t slots, int resident) {
    int64_t most = (int64_t)device->base.limits.units * resident;
    if (norma_tensor_present(&problem->dgamma)) {
        const int64_t lines = MOST_LINE_BYTES / (int64_t)sizeof(float) / problem->k;
        most = norma_index_min(most, lines > 1 ? lines : 1);
    }
    return norma_index_min(most, norma_ceil_div(problem->batch * problem->m, slots));
}

static int64_t blocks_of(const gpu_device *device, const norma_problem *problem, const geometry *g) {
    return block_count(device, problem, g->slots, g->resident);
}

/* One of its batches at least. */
static bool suits_lean(const norma_problem *problem) {
    const norma_dtype gamma = problem->gamma.layout.dtype;
    return norma_tensor_present(&problem->dout) && (gamma == NORMA_NONE || gamma == problem->x.layout.dtype);
}

static norma_status find_packed(gpu_device *device, const norma_problem *problem, bool lean, backward_kernel *out) {
    char name[64];
    if (!is_packed(problem) || (lean && !suits_lean(problem)) ||
        !share_out(device, problem->k / chunk_width(problem), lean, &out->geometry))
        return NORMA_OK;
    snprintf(name, sizeof name, "rmsnorm_rows_backward_%s_%d%s", norma_dtype_name(problem->x.layout.dtype),
             out->geometry.chunks, lean ? "_lean" : "");
    return norma_gpu_find(device, name, ring_bytes(&out->geometry), &out->function);
}

static norma_status prepare(gpu_device *device, norma_launch *launch) {
    const norma_problem *problem = launch->problem;
    if (problem->op != NORMA_OP_RMSNORM_BACKWARD)
        return norma_fail(NORMA_ERROR_UNSUPPORTED, "rmsnorm_rows_backward computes the gradients of RMSNorm alone");
    backward_native *native = calloc(1, sizeof *native);
    if (!native) return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory for a launch");
    launch->native = native;
    native->any.geometry = (geometry){.threads = ANY_THREADS, .slots = 1, .resident = ANY_BLOCKS};
    norma_status status = find_packed(device, problem, true, &native->lean);
    if (!status) status = find_packed(device, problem, false, &native->full);
    if (!status) status = norma_gpu_find(device, "rmsnorm_rows_backward_any", 0, &native->any.function);
    if (!status) status = norma_gpu_sums_find(device, NORMA_F32, &native->lines);
    if (status || !norma_tensor_present(&problem->dgamma)) return status;
    const backward_kernel *const kernels[] = {&native->lean, &native->full, &native->any};
    int64_t lines = 0;
    for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++) {
        const int64_t blocks = kernels[i]->function ? blocks_of(device, problem, &kernels[i]->geometry) : 0;
        if (blocks > lines) lines = blocks;
    }
    launch->workspace_bytes = (size_t)(lines * problem->k) * sizeof(float);
    return NORMA_OK;
}

static norma_status add_up_lines(gpu_device *device, const norma_launch *launch, int64_t lines) {
    const norma_problem *problem = launch->problem;
    const backward_native *native = launch->native;
    const norma_sums_params params = {
        .from = {.data = (char *)launch->workspace.data + launch->workspace.offset_bytes,
                 .row_stride = problem->k,
                 .col_stride = 1},
        .to = norma_gpu_view(&problem->dgamma),
        .rows = lines,
        .m = lines,
        .columns = problem->k,
        .piece_rows = lines,
        .from_dtype = NORMA_F32,
        .to_dtype = (int)problem->dgamma.layout.dtype,
        .pieces = 1,
        .accumulate = problem->accumulate,
    };
    return norma_gpu_sums_enqueue(device, &native->lines, params);
}

static const backward_kernel *choose(const backward_native *native, const norma_problem *problem) {
    if (!is_packed(problem)) return &native->any;
    if (native->lean.function && problem->batch == 1) return &native->lean;
    return native->full.function ? &native->full : &native->any;
}

static norma_status enqueue_whole(gpu_device *device, const norma_launch *launch) {
    const norma_problem *problem = launch->problem;
    const backward_native *native = launch->native;
    const backward_kernel *const chosen = choose(native, problem);
    const geometry *g = &chosen->geometry;
    const int64_t blocks = blocks_of(device, problem, g);
    const bool lines = norma_tensor_present(&problem->dgamma);
    const norma_rows_backward_params params = {
        .norm = norma_gpu_norm_params(problem),
        .dout = norma_gpu_view(&problem->dout),
        .back = norma_gpu_view(&problem->dresidual_out),
        .dx = norma_gpu_view(&problem->dx),
        .lines = lines ? (float *)(void *)((char *)launch->workspace.data + launch->workspace.offset_bytes) : NULL,
        .per_element = 1.0f / (float)problem->k,
        .threads = g->threads,
        .slots = g->slots,
        .dout_dtype = (int)problem->dout.layout.dtype,
        .back_dtype = (int)problem->dresidual_out.layout.dtype,
        .dx_dtype = (int)problem->dx.layout.dtype,
    };
    const gpu_kernel kernel = {
        .function = chosen->function,
        .grid = {(unsigned)blocks, 1, 1},
        .block = {(unsigned)(g->slots * g->threads), 1, 1},
        .shared_bytes = chosen == &native->any ? 0 : ring_bytes(g),
        .overlap = true,
    };
    const norma_status status = norma_gpu_enqueue(device, &kernel, &params, sizeof params);
    return status || !lines ? status : add_up_lines(device, launch, blocks);
}

/* dx of each batch by itself; then dgamma, a sum over all of them. */
static norma_status enqueue_apart(gpu_device *device, const norma_launch *launch) {
    const norma_problem *problem = launch->problem;
    norma_launch part = *launch;
    norma_problem some;
    part.problem = &some;
    norma_status status = NORMA_OK;
    for (int64_t batch = 0; batch < problem->batch && norma_tensor_present(&problem->dx) && !status; batch++) {
        norma_problem_slice(problem, batch, 1, 0, problem->m, &some);
        some.dgamma = (norma_tensor){.layout = {.dtype = NORMA_NONE}};
        status = enqueue_whole(device, &part);
    }
    if (status || !norma_tensor_present(&problem->dgamma)) return status;
    some = *problem;
    some.dx = (norma_tensor){.layout = {.dtype = NORMA_NONE}};
    return enqueue_whole(device, &part);
}

static norma_status enqueue(gpu_device *device, const norma_launch *launch) {
    const norma_problem *problem = launch->problem;
    const backward_native *native = launch->native;
    const bool apart =
        problem->batch > 1 && (problem->flags & NORMA_BATCH_INVARIANT) && native->lean.function && !native->full.function;
    return apart ? enqueue_apart(device, launch) : enqueue_whole(device, launch);
}

const gpu_operation norma_gpu_rmsnorm_rows_backward = {
    .kernel = NORMA_KERNEL_RMSNORM_ROWS_BACKWARD,
    .prepare = prepare,
    .launch = enqueue,
};
