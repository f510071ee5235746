/* Launches rmsnorm_rows: which of the kernels of kernels_cuda/rmsnorm_rows.cu, and how a row is shared out.
 *
 * What depends on strides, dtypes and contract is decided in prepare(); what depends on addresses, at the launch. The sum of
 * a row is ordered by its norma_rows_shape alone, which follows from K, dtype and device, and from M only without
 * NORMA_BATCH_INVARIANT; a ragged kernel, whose order follows the row's address too, is not used with it. */
#include "device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../dtype.h"

enum {
    CHUNK_BYTES = 16,
    ROW_THREADS = 512,  /* the most of a row in a block */
    FEW_ROWS = 32,      /* take as many threads as there are chunks, */
    FEW_THREADS = 256,  /* and several blocks from so many threads on */
    BLOCK_CHUNKS = 128, /* short rows share a block of so many: smaller blocks come too fast to be launched */
    LEAST_THREADS = 8,
    RAGGED_THREADS = 16,       /* at least: one for each element at a ragged row's ends */
    FULL_CHUNKS = 4,           /* of a thread, at least, in kernels that are not lean */
    CLUSTER_SHIFT = 3,         /* eight blocks, which every machine with clusters offers */
    HELD_CHUNKS = 4096,        /* of a row in registers; from there on a cluster has it, where there are clusters */
    ALONE_CHUNKS = 49152,      /* of a row that one block sweeps */
    STAGES = 3,                /* of a stream, */
    STREAM_THREADS = 768,      /* and the threads of it for which a multiprocessor has registers */
    RESERVED_BYTES = 2 * 1024, /* of shared memory, for what is not the rows */
    NOT_SHARED = 30            /* thread_shift where a block has one row */
};

typedef enum row_route { IN_REGISTERS, IN_STREAM, IN_SWEEPS } row_route;

/* Which kernel has a row, and how it is shared out. */
typedef struct row_shape {
    row_route route;
    const char *kernel; /* the end of its name: chunks of a thread, after w for wider blocks and f for few rows */
    int chunks, threads, block_shift;
    int64_t piece;
} row_shape;

typedef struct rows_native {
    row_shape shape, ragged; /* a ragged row has no chunk more than K has whole ones */
    void *lean;              /* chunks begin at multiples of 16 bytes, one batch; NULL if strides or dtypes forbid it */
    void *full;              /* chunks begin at multiples of 16 bytes */
    void *lean_ragged, *full_ragged; /* all tensors begin at the same place within 16 bytes */
    void *any;
} rows_native;

/* A kernel that holds rows in registers, for rows of at most `most` chunks, where there are at least `rows` of them. Which
 * is fastest was measured on an H200. */
typedef struct held_kernel {
    int most;
    const char *kernel;
    int chunks;
    int rows;
} held_kernel;

static const held_kernel held_kernels[] = {
    {32, "c1", 1, 0},      {384, "c2", 2, 0},  {512, "c4", 4, 0},         {1280, "w4", 4, 0},
    {1536, "c8", 8, 4096}, {2048, "w4", 4, 0}, {HELD_CHUNKS, "c8", 8, 0}, {0, NULL, 0, 0},
};
static const held_kernel ragged_kernels[] = {
    {32, "c1", 1, 0},
    {2048, "w4", 4, 0},
    {3072, "c8", 8, 0},
    {0, NULL, 0, 0},
};
/* As many threads as there are chunks, if they are enough. */
static const held_kernel few_kernels[] = {
    {512, "c1", 1, 0}, {1024, "c2", 2, 0}, {2048, "w4", 4, 0}, {HELD_CHUNKS, "f8", 8, 0}, {0, NULL, 0, 0},
};
static const held_kernel few_ragged_kernels[] = {
    {512, "c1", 1, 0}, {1024, "c2", 2, 0}, {2048, "w4", 4, 0}, {3072, "c8", 8, 0}, {0, NULL, 0, 0},
};

static int64_t chunk_width(const norma_problem *problem) {
    return CHUNK_BYTES / (int64_t)norma_dtype_bytes(problem->x.layout.dtype);
}

static int row_threads(int64_t wanted, int least) {
    if (wanted > 32) return (int)(norma_ceil_div(wanted, 32) * 32);
    int power = least;
    while (power < wanted) power *= 2;
    return power;
}

/* `rows` is 0 where nothing may follow from their number. */
static bool in_registers(const held_kernel *kernels, int64_t chunks, int64_t rows, int least, row_shape *out_shape) {
    while (kernels->kernel && (kernels->most < chunks || kernels->rows > rows)) kernels++;
    if (!kernels->kernel) return false;
    *out_shape = (row_shape){.kernel = kernels->kernel,
                             .chunks = kernels->chunks,
                             .threads = row_threads(norma_ceil_div(chunks, kernels->chunks), least),
                             .piece = chunks};
    return true;
}

static int64_t shared_bytes(const row_shape *shape) {
    return shape->route == IN_STREAM ? shape->piece * CHUNK_BYTES * STAGES : 0;
}

/* A piece of each row in each block of a cluster, small ones first: the more blocks a multiprocessor has, the less it waits.
 */
static bool in_stream(const gpu_device *device, int64_t chunks, row_shape *out_shape) {
    static const row_shape shapes[] = {
        {.route = IN_STREAM, .kernel = "c4", .chunks = 4, .threads = ROW_THREADS / 2},
        {.route = IN_STREAM, .kernel = "c8", .chunks = 8, .threads = ROW_THREADS / 2},
        {.route = IN_STREAM, .kernel = "c8", .chunks = 8, .threads = ROW_THREADS},
    };
    const int64_t piece = norma_ceil_div(chunks, 1 << CLUSTER_SHIFT);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        if (piece > (int64_t)shapes[i].chunks * shapes[i].threads) continue;
        *out_shape = shapes[i];
        out_shape->block_shift = CLUSTER_SHIFT;
        out_shape->piece = piece;
        return shared_bytes(out_shape) <= device->base.limits.shared_bytes - RESERVED_BYTES;
    }
    return false;
}

static row_shape swept(const gpu_device *device, int64_t chunks) {
    const int shift = norma_gpu_launches_clusters(device) && chunks > ALONE_CHUNKS ? CLUSTER_SHIFT : 0;
    return (row_shape){
        .route = IN_SWEEPS, .threads = ROW_THREADS, .block_shift = shift, .piece = norma_ceil_div(chunks, 1 << shift)};
}

/* Where a row's chunks begin at multiples of 16 bytes. */
static row_shape aligned_shape(const gpu_device *device, const norma_problem *problem, int64_t rows) {
    const bool few = rows > 0 && rows <= FEW_ROWS;
    const int64_t chunks = norma_ceil_div(problem->k, chunk_width(problem));
    const int least = problem->k % chunk_width(problem) ? RAGGED_THREADS : LEAST_THREADS;
    row_shape shape;
    if (in_registers(few ? few_kernels : held_kernels, chunks, rows, least, &shape)) return shape;
    if (norma_gpu_launches_clusters(device) && in_stream(device, chunks, &shape)) return shape;
    return swept(device, chunks);
}

static row_shape ragged_shape(const gpu_device *device, const norma_problem *problem, int64_t rows) {
    const bool few = rows > 0 && rows <= FEW_ROWS;
    const int64_t whole = problem->k / chunk_width(problem), chunks = whole ? whole : 1;
    row_shape shape;
    if (in_registers(few ? few_ragged_kernels : ragged_kernels, chunks, rows, RAGGED_THREADS, &shape)) return shape;
    return swept(device, chunks);
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

/* Whether a lean kernel need not look what gamma and offset ask for: it multiplies by gamma, twice rounded or once. */
static bool is_product(const norma_problem *problem) {
    return norma_tensor_present(&problem->gamma) && problem->gamma_offset == 0;
}

static const char *kind_of(const norma_problem *problem) {
    if (!is_product(problem)) return "any";
    return problem->x.layout.dtype != NORMA_F32 && problem->contract == NORMA_ROUND_TWICE ? "twice" : "plain";
}

/* rmsnorm_rows_<dtype>_<kind>[_ragged or _stream]_<chunks>, or rmsnorm_rows_<dtype>_sweep */
static norma_status find(gpu_device *device, const norma_problem *problem, const char *kind, const char *how,
                         const row_shape *shape, void **out_function) {
    const char *dtype = norma_dtype_name(problem->x.layout.dtype);
    const bool full = strcmp(kind, "full") == 0;
    const char *chunks = !full ? shape->kernel : shape->chunks > FULL_CHUNKS ? "c8" : "c4";
    char name[64];
    if (shape->route == IN_SWEEPS)
        (void)snprintf(name, sizeof name, "rmsnorm_rows_%s_sweep", dtype);
    else
        (void)snprintf(name, sizeof name, "rmsnorm_rows_%s_%s%s_%s", dtype, kind, how, chunks);
    return norma_gpu_find(device, name, (unsigned)shared_bytes(shape), out_function);
}

static norma_status find_aligned(gpu_device *device, const norma_problem *problem, bool lean, rows_native *native) {
    const row_shape *shape = &native->shape;
    const bool stream = shape->route == IN_STREAM;
    const char *how = stream ? "_stream" : "";
    norma_status status = NORMA_OK;
    if (lean && (stream ? is_product(problem) : shape->route == IN_REGISTERS))
        status = find(device, problem, kind_of(problem), how, shape, &native->lean);
    return status ? status : find(device, problem, "full", how, shape, &native->full);
}

static norma_status find_ragged(gpu_device *device, const norma_problem *problem, bool lean, rows_native *native) {
    const row_shape *shape = &native->ragged;
    norma_status status = NORMA_OK;
    if (lean && is_product(problem) && shape->route == IN_REGISTERS)
        status = find(device, problem, kind_of(problem), "_ragged", shape, &native->lean_ragged);
    return status ? status : find(device, problem, "full", "_ragged", shape, &native->full_ragged);
}

static norma_status find_all(gpu_device *device, const norma_problem *problem, rows_native *native) {
    const bool invariant = (problem->flags & NORMA_BATCH_INVARIANT) != 0, lean = is_lean(problem);
    const int64_t rows = invariant ? 0 : problem->batch * problem->m;
    norma_status status = norma_gpu_find(device, "rmsnorm_rows_any", 0, &native->any);
    native->shape = aligned_shape(device, problem, rows);
    native->ragged = ragged_shape(device, problem, rows);
    if (status || problem->k > INT32_MAX / 4 || !steps_alike(problem)) return status;

    const norma_layout *x = &problem->x.layout;
    const int64_t width = chunk_width(problem);
    const bool aligned = problem->k % width == 0 && x->row_stride % width == 0 && x->batch_stride % width == 0;
    if (aligned) status = find_aligned(device, problem, lean, native);
    return status || invariant ? status : find_ragged(device, problem, lean, native);
}

/* Short rows share a block, few of them only a wave. */
static int rows_of_block(const row_shape *row, int64_t rows) {
    if (row->threads > 32) return 1;
    const int waves = rows <= FEW_ROWS ? 1 : BLOCK_CHUNKS / (32 * row->chunks);
    return 32 / row->threads * waves;
}

/* Of a launch: the kernels count them in 32 bits. */
static int64_t most_rows(const gpu_device *device, const row_shape *shape) {
    const int block_rows = rows_of_block(shape, INT32_MAX);
    const int64_t blocks = norma_gpu_most_blocks(device, block_rows * shape->threads) >> shape->block_shift;
    return norma_index_min(INT32_MAX, blocks * block_rows);
}

static norma_status prepare(gpu_device *device, norma_launch *launch) {
    rows_native *native = calloc(1, sizeof *native);
    if (!native) return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory for a launch");
    launch->native = native;
    const norma_status status = find_all(device, launch->problem, native);
    launch->max_rows = norma_index_min(most_rows(device, &native->shape), most_rows(device, &native->ragged));
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
        .norm = norma_gpu_norm_params(problem),
        .out = norma_gpu_view(&problem->out),
        .out_dtype = (int)problem->out.layout.dtype,
    };
    bool ragged;
    void *const function = choose(native, &params, &ragged);
    row_shape row = ragged ? native->ragged : native->shape;
    const int64_t rows = params.norm.rows;
    const int block_rows = rows_of_block(&row, rows);
    const bool lean = function == native->lean || function == native->lean_ragged;
    if (lean && row.route == IN_REGISTERS && row.threads >= FEW_THREADS && params.norm.x.data != params.out.data)
        while (row.threads >> row.block_shift > 64 && rows << row.block_shift <= FEW_ROWS) row.block_shift++;

    int64_t blocks = norma_ceil_div(rows, block_rows) << row.block_shift;
    const bool stream = row.route == IN_STREAM && function != native->any;
    const unsigned shared = stream ? (unsigned)shared_bytes(&row) : 0;
    if (stream) {
        /* Clusters that wait for others to end would double the time; some multiprocessors are in no whole cluster. */
        const int units = device->base.limits.units;
        const int64_t fit = device->base.limits.shared_bytes / (shared + RESERVED_BYTES),
                      threads = STREAM_THREADS / row.threads;
        const int64_t most = (units - units / 11) * norma_index_min(fit > 0 ? fit : 1, threads);
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
    };
    const gpu_kernel kernel = {
        .function = function,
        .grid = {(unsigned)blocks, 1, 1},
        .block = {(unsigned)(block_rows * row.threads), 1, 1},
        .shared_bytes = shared,
        .cluster = row.route != IN_REGISTERS && row.block_shift ? 1u << row.block_shift : 0,
        .overlap = (problem->flags & NORMA_WEIGHTS_STATIC) != 0,
    };
    return lean ? norma_gpu_enqueue(device, &kernel, &params.shape, sizeof params.shape)
                : norma_gpu_enqueue(device, &kernel, &params, sizeof params);
}

const gpu_operation norma_gpu_rmsnorm_rows = {
    .kernel = NORMA_KERNEL_RMSNORM_ROWS,
    .prepare = prepare,
    .launch = enqueue,
};
