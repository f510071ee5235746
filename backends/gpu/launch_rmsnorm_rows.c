/* Launches rmsnorm_rows: which of the kernels of kernels_cuda/rmsnorm_rows.cu, and how a row is shared out.
 *
 * What depends on strides and dtypes is decided in prepare(); what depends on addresses, at the launch. The sum of a row is
 * ordered by its norma_rows_shape alone, which follows from K, dtype and device, and from M only without
 * NORMA_BATCH_INVARIANT; a ragged kernel, whose order follows the row's address too, is not used with it. */
#include "gpu.h"

#include <stdio.h>
#include <stdlib.h>

#include "../dtype.h"

enum {
    CHUNK_BYTES = 16,
    ROW_THREADS = 512,   /* the most of a row in a block */
    ROW_CHUNKS = 8,      /* the most of a thread */
    FEW_ROWS = 32,       /* take as many threads as there are chunks, */
    BLOCK_THREADS = 128, /* short rows share a block of this size */
    LEAST_THREADS = 8,
    RAGGED_THREADS = 16, /* at least: one for each element at a ragged row's ends */
    RAGGED_MOST = 256,   /* threads of the ragged kernel of four chunks a thread */
    FULL_CHUNKS = 4,     /* of a thread, at least, in kernels that are not lean */
    FEW_THREADS = 256,   /* and several blocks from so many threads on */
    CLUSTER_ARCH = 90,
    CLUSTER_BLOCKS = 8,        /* what every machine with clusters offers */
    HELD_CHUNKS = 4096,        /* of a row in registers, where longer ones can be streamed */
    STAGES = 3,                /* of a stream */
    RESERVED_BYTES = 2 * 1024, /* of shared memory, for what is not the rows */
    NOT_SHARED = 30            /* thread_shift where a block has one row */
};

typedef enum row_route { IN_REGISTERS, IN_STREAM, IN_SWEEPS } row_route;

/* How a row is shared out. */
typedef struct row_shape {
    row_route route;
    int each, threads, block_shift;
    int64_t piece;
} row_shape;

typedef struct rows_native {
    row_shape shape, ragged; /* a ragged row has no chunk more than K has whole ones */
    void *lean;              /* chunks begin at multiples of 16 bytes, one batch; NULL if strides or dtypes forbid it */
    void *full;              /* chunks begin at multiples of 16 bytes */
    void *lean_ragged, *full_ragged; /* all tensors begin at the same place within 16 bytes */
    void *any;
} rows_native;

static int64_t chunk_width(const norma_problem *problem) {
    return CHUNK_BYTES / (int64_t)norma_dtype_bytes(problem->x.layout.dtype);
}

static int row_threads(int64_t wanted, int least) {
    if (wanted > 32) return (int)(norma_ceil_div(wanted, 32) * 32);
    int power = least;
    while (power < wanted) power *= 2;
    return power;
}

static row_shape in_registers(int64_t chunks, int each, int least) {
    while (chunks > (int64_t)each * ROW_THREADS) each *= 2;
    return (row_shape){.each = each, .threads = row_threads(norma_ceil_div(chunks, each), least), .piece = chunks};
}

/* A piece of each row in each block, three of them in its shared memory, and two blocks a multiprocessor if that fits. */
static row_shape in_stream(const gpu_device *device, int64_t chunks) {
    const int64_t most = (device->base.limits.shared_bytes - RESERVED_BYTES) / (STAGES * CHUNK_BYTES);
    row_shape shape = {.route = IN_STREAM, .threads = ROW_THREADS / 2, .piece = chunks};
    while (1 << shape.block_shift < CLUSTER_BLOCKS && shape.piece > (int64_t)ROW_CHUNKS * shape.threads)
        shape.piece = norma_ceil_div(chunks, 1 << ++shape.block_shift);
    if (shape.piece > (int64_t)ROW_CHUNKS * shape.threads) shape.threads = ROW_THREADS;
    shape.each = (int)norma_ceil_div(shape.piece, shape.threads);
    if (shape.each > ROW_CHUNKS || shape.piece > most) shape.route = IN_SWEEPS;
    return shape;
}

static row_shape swept(int64_t chunks) {
    return (row_shape){.route = IN_SWEEPS,
                       .each = (int)norma_index_min(norma_ceil_div(chunks, ROW_THREADS), INT32_MAX),
                       .threads = ROW_THREADS,
                       .piece = chunks};
}

/* Few chunks a thread where rows are short or few, and never so many threads that their overhead shows. */
static row_shape shape_of(const gpu_device *device, const norma_problem *problem, int64_t chunks) {
    const bool few = !(problem->flags & NORMA_BATCH_INVARIANT) && problem->batch * problem->m <= FEW_ROWS;
    const int least = problem->k % chunk_width(problem) ? RAGGED_THREADS : LEAST_THREADS;
    if (device->arch >= CLUSTER_ARCH && chunks > HELD_CHUNKS) {
        const row_shape shape = in_stream(device, chunks);
        if (shape.route == IN_STREAM) return shape;
    }
    if (chunks > ROW_CHUNKS * ROW_THREADS) return swept(chunks);
    if (few || chunks <= 8) return in_registers(chunks, 1, least);
    return in_registers(chunks, chunks <= 64 || (chunks > 384 && chunks <= 512) ? 2 : 4, least);
}

/* Ragged rows are not streamed, and their kernel of four chunks a thread is one of fewer threads. */
static row_shape ragged_shape(const gpu_device *device, const norma_problem *problem) {
    const int64_t whole = problem->k / chunk_width(problem), chunks = whole ? whole : 1;
    row_shape shape = shape_of(device, problem, chunks);
    if (shape.route == IN_STREAM) return swept(chunks);
    if (shape.route == IN_REGISTERS && shape.each == 4 && shape.threads > RAGGED_MOST)
        return in_registers(chunks, ROW_CHUNKS, RAGGED_THREADS);
    return shape;
}

static norma_status find(gpu_device *device, const norma_problem *problem, const char *kind, int chunks,
                         unsigned shared_bytes, void **out_function) {
    char name[64];
    const char *dtype = norma_dtype_name(problem->x.layout.dtype);
    if (chunks)
        (void)snprintf(name, sizeof name, "rmsnorm_rows_%s%s_c%d", dtype, kind, chunks);
    else
        (void)snprintf(name, sizeof name, "rmsnorm_rows_%s%s", dtype, kind);
    return gpu_find(device, name, shared_bytes, out_function);
}

/* Whether all tensors are of x's dtype with packed columns, and their rows step alike modulo 16 bytes. */
static bool steps_alike(const norma_problem *problem) {
    const norma_tensor *tensors[] = {&problem->x, &problem->residual, &problem->residual_out, &problem->out};
    const norma_layout *x = &problem->x.layout;
    const int64_t width = chunk_width(problem);
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        const norma_layout *layout = &tensors[i]->layout;
        if (!norma_tensor_present(tensors[i])) continue;
        if (layout->dtype != x->dtype || layout->col_stride != 1) return false;
        if ((layout->row_stride - x->row_stride) % width || (layout->batch_stride - x->batch_stride) % width) return false;
    }
    return true;
}

/* Whether lean kernels will do, if there is one batch. */
static bool is_lean(const norma_problem *problem) {
    const norma_layout *gamma = &problem->gamma.layout;
    if (norma_tensor_present(&problem->residual) || !norma_tensor_present(&problem->out)) return false;
    if (norma_tensor_present(&problem->gamma) && (gamma->dtype != problem->x.layout.dtype || gamma->col_stride != 1))
        return false;
    if (norma_tensor_present(&problem->rstd) && problem->rstd.layout.row_stride != 1) return false;
    return true;
}

static unsigned shared_bytes(const row_shape *shape) {
    return shape->route == IN_STREAM ? (unsigned)shape->piece * CHUNK_BYTES * STAGES : 0;
}

static int full_chunks(const row_shape *shape) {
    return shape->each < FULL_CHUNKS ? FULL_CHUNKS : shape->each;
}

static norma_status find_aligned(gpu_device *device, const norma_problem *problem, bool lean, rows_native *native) {
    const row_shape *shape = &native->shape;
    const unsigned shared = shared_bytes(shape);
    if (shape->route == IN_SWEEPS) return find(device, problem, "_sweep", 0, 0, &native->full);
    const bool stream = shape->route == IN_STREAM;
    norma_status status = NORMA_OK;
    if (lean) status = find(device, problem, stream ? "_stream" : "", stream ? 0 : shape->each, shared, &native->lean);
    if (status) return status;
    return find(device, problem, stream ? "_full_stream" : "_full", stream ? 0 : full_chunks(shape), shared, &native->full);
}

static norma_status find_ragged(gpu_device *device, const norma_problem *problem, bool lean, rows_native *native) {
    const row_shape *shape = &native->ragged;
    if (shape->route == IN_SWEEPS) return find(device, problem, "_sweep", 0, 0, &native->full_ragged);
    norma_status status = NORMA_OK;
    if (lean) status = find(device, problem, "_ragged", shape->each, 0, &native->lean_ragged);
    return status ? status : find(device, problem, "_full_ragged", full_chunks(shape), 0, &native->full_ragged);
}

static norma_status find_all(gpu_device *device, const norma_problem *problem, rows_native *native) {
    norma_status status = gpu_find(device, "rmsnorm_rows_any", 0, &native->any);
    native->shape = shape_of(device, problem, norma_ceil_div(problem->k, chunk_width(problem)));
    native->ragged = ragged_shape(device, problem);
    if (status || problem->k > INT32_MAX / 4 || !steps_alike(problem)) return status;

    const norma_layout *x = &problem->x.layout;
    const int64_t width = chunk_width(problem);
    const bool lean = is_lean(problem), ragged = !(problem->flags & NORMA_BATCH_INVARIANT);
    const bool aligned = problem->k % width == 0 && x->row_stride % width == 0 && x->batch_stride % width == 0;
    if (aligned) status = find_aligned(device, problem, lean, native);
    return status || !ragged ? status : find_ragged(device, problem, lean, native);
}

static norma_status prepare(gpu_device *device, norma_launch *launch) {
    rows_native *native = calloc(1, sizeof *native);
    if (!native) return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory for a launch");
    const norma_status status = find_all(device, launch->problem, native);
    if (status)
        free(native);
    else
        launch->native = native;
    return status;
}

static unsigned place_of(const void *address) {
    return (unsigned)((uintptr_t)address % CHUNK_BYTES);
}

/* Which kernel, and whether it is one of the ragged ones. */
static void *choose(const rows_native *native, const norma_rows_params *params, bool *out_ragged) {
    const void *others[] = {params->norm.residual.data, params->norm.residual_out.data, params->out.data};
    const unsigned place = place_of(params->norm.x.data);
    *out_ragged = false;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (others[i] && place_of(others[i]) != place) return native->any;
    const bool lean = params->norm.m == params->norm.rows && place_of(params->norm.gamma.data) == 0;
    if (place == 0 && native->lean && lean) return native->lean;
    if (place == 0 && native->full) return native->full;
    if (!native->full_ragged) return native->any;
    *out_ragged = true;
    return native->lean_ragged && lean ? native->lean_ragged : native->full_ragged;
}

static int log2_of(int power) {
    int log = 0;
    while (1 << log < power) log++;
    return log;
}

static norma_status enqueue(gpu_device *device, const norma_launch *launch) {
    const norma_problem *problem = launch->problem;
    const rows_native *native = launch->native;
    norma_rows_params params = {
        .norm = gpu_norm_params(problem),
        .out = gpu_view(&problem->out),
        .out_dtype = (int)problem->out.layout.dtype,
    };
    bool ragged;
    void *const function = choose(native, &params, &ragged);
    row_shape row = ragged ? native->ragged : native->shape;
    const int64_t rows = params.norm.rows;
    const int block_rows = row.threads < 32 ? BLOCK_THREADS / row.threads : row.threads == 32 ? 2 : 1;
    const bool lean = function == native->lean || function == native->lean_ragged;
    if (lean && row.route == IN_REGISTERS && row.threads >= FEW_THREADS && params.norm.x.data != params.out.data)
        while (row.threads >> row.block_shift > 64 && rows << row.block_shift <= FEW_ROWS) row.block_shift++;

    int64_t blocks = norma_ceil_div(rows, block_rows) << row.block_shift;
    if (blocks > INT32_MAX)
        return norma_fail(NORMA_ERROR_UNSUPPORTED, "rmsnorm_rows: %lld rows in one call", (long long)rows);
    const bool stream = row.route == IN_STREAM && function != native->any;
    const unsigned shared = stream ? shared_bytes(&row) : 0;
    if (stream) {
        /* Clusters that wait for others to end would double the time; some multiprocessors are in no whole cluster. */
        const int units = device->base.limits.units, resident = row.threads < ROW_THREADS ? 2 : 1;
        const int64_t most = (int64_t)(units - units / 11) * resident;
        if (blocks > most) blocks = most >> row.block_shift << row.block_shift;
    }

    params.shape = (norma_rows_shape){
        .x = params.norm.x.data,
        .x_stride = params.norm.x.row_stride,
        .rows = (int)rows,
        .k = problem->k <= INT32_MAX ? (int)problem->k : 0,
        .threads = row.threads,
        .thread_shift = block_rows > 1 ? log2_of(row.threads) : NOT_SHARED,
        .block_rows = block_rows,
        .block_shift = row.block_shift,
        .gamma = params.norm.gamma.data,
        .out = params.out.data,
        .out_stride = params.out.row_stride,
        .rstd = params.norm.rstd.data,
        .per_element = 1.0f / (float)problem->k,
        .eps = params.norm.eps,
        .gamma_offset = params.norm.gamma_offset,
        .contract = params.norm.contract,
        .piece = row.piece,
        .each = row.each,
    };
    const gpu_kernel kernel = {
        .function = function,
        .grid = {(unsigned)blocks, 1, 1},
        .block = {(unsigned)(block_rows * row.threads), 1, 1},
        .shared_bytes = shared,
        .cluster = row.route == IN_STREAM && row.block_shift ? 1u << row.block_shift : 0,
        .overlap = (problem->flags & NORMA_WEIGHTS_STATIC) != 0,
    };
    return gpu_enqueue(device, &kernel, &params, sizeof params);
}

const gpu_operation gpu_rmsnorm_rows = {
    .kernel = NORMA_KERNEL_RMSNORM_ROWS,
    .prepare = prepare,
    .launch = enqueue,
};
