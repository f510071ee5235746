/* Launches rmsnorm_linear_skinny: how a weight is dealt out to blocks and waves, and what fits in shared memory. The picture
 * is in kernels_cuda/rmsnorm_linear_skinny.cu. Tuned on sm_90. Where W goes to registers, one block of up to 512 threads on
 * each multiprocessor with 128 KB under way reads at full speed, and more than about 164 KB of shared memory slows the
 * reads. Where it goes through rings in shared memory, 64 to 96 KB under way do, and little enough is used that the blocks
 * of the next launch find a place beside those of this one. */
#include "device.h"

#include <stdio.h>
#include <stdlib.h>

#include "../dtype.h"

enum {
    WAVES = 16, /* of 32 threads */
    ANY_THREADS = WAVES * 32,
    TILE_COLUMNS = 16, /* with K contiguous */
    TILE_PIECES = 8,   /* of 16 bytes, with N contiguous */
    STEP_K = 32,
    CHUNK_BYTES = 16,
    SQUARE_BYTES = 1024,
    HALF_ROWS = 16, /* the most rows */
    F32_ROWS = 8,
    SPLIT_ROWS = 4,  /* up to so many rows the idle operands take the low halves of h * gamma */
    QUEUE_STEPS = 8, /* a multiple of the steps that a wave has under way */
    SHARED_BYTES = 160 * 1024,
    HALF_WAVES = 8,               /* of a block, in the kernels of skinny_short.cuh and skinny_half.cuh */
    HALF_BATCH_BYTES = 24 * 1024, /* of sums that wait for those of the cluster's other blocks */
    HALF_X_BYTES = 64 * 1024,     /* of the x operand in a block, where clusters can share it */
    HALF_KERNELS = 2,             /* for up to 8 and 16 operands */
    SHORT_ROWS = 8,
    SHORT_STEPS = 16, /* of a wave, the most that registers hold */
    RING_STEPS = 4,
    RING_STAGES = 3,
    RING_BYTES = 4096,             /* of a stage */
    SMALL_UNIT_BYTES = 192 * 1024, /* of W, for each multiprocessor */
    RESERVED_BYTES = 1024,         /* of shared memory, for each block */
    CLUSTER_BLOCKS = 8,            /* what every machine with clusters offers */
};

typedef struct skinny_native {
    void *brief;              /* of skinny_short.cuh; NULL if the problem is not for it */
    void *half[HALF_KERNELS]; /* of skinny_half.cuh, for 8 << i operands; likewise */
    void *fast[2];
    void *any;
    bool along_k; /* weights with K contiguous; else with N */
} skinny_native;

static bool half(const norma_problem *problem) {
    return problem->x.layout.dtype != NORMA_F32;
}

static int64_t chunk_width(const norma_problem *problem) {
    return CHUNK_BYTES / (int64_t)norma_dtype_bytes(problem->x.layout.dtype);
}

static int rows_of(const norma_problem *problem) {
    return (int)(problem->batch * problem->m);
}

/* ---- Which kernels ---- */

static bool x_fits(const norma_problem *problem) {
    const norma_layout *layout = &problem->x.layout;
    const int64_t width = chunk_width(problem);
    return layout->col_stride == 1 && layout->row_stride % width == 0 && layout->batch_stride % width == 0;
}

/* Whether every weight lies with K contiguous (`along_k`), or every one with N contiguous. */
static bool weights_fit(const norma_problem *problem, bool along_k) {
    const int64_t width = chunk_width(problem);
    for (int p = 0; p < problem->parts; p++) {
        const norma_part *part = &problem->part[p];
        const norma_layout *layout = &part->weight.layout;
        if (layout->dtype != problem->x.layout.dtype) return false;
        if (along_k ? layout->row_stride != 1 || layout->col_stride % width
                    : layout->col_stride != 1 || layout->row_stride % width || part->n % width)
            return false;
    }
    return true;
}

static norma_status refuse(const char *why) {
    return norma_fail(NORMA_ERROR_UNSUPPORTED, "rmsnorm_linear_skinny: %s", why);
}

static norma_status check(const norma_problem *problem, bool along_k) {
    if (norma_tensor_present(&problem->residual)) return refuse("a residual is added by another kernel");
    if (problem->batch * problem->m > (half(problem) ? HALF_ROWS : F32_ROWS)) return refuse("too many rows");
    if (problem->k % chunk_width(problem) || problem->k > INT32_MAX / 64) return refuse("K is no multiple of 16 bytes");
    if (norma_problem_columns(problem) > INT32_MAX / 64) return refuse("too many columns");
    if (!x_fits(problem)) return refuse("x is not packed in 16-byte pieces");
    return weights_fit(problem, along_k) ? NORMA_OK : refuse("the weights are not packed in 16-byte pieces of x's dtype");
}

/* The kernels come for up to 8 and 16 operands of the matrix units, in fp32 for up to 4 and 8 rows. */
static int fragments_of(const norma_problem *problem, int rows) {
    return rows > (half(problem) ? 8 : 4) ? 2 : 1;
}

static bool one_stride(const norma_problem *problem, const norma_tensor *tensor) {
    const norma_layout *layout = &tensor->layout;
    return !norma_tensor_present(tensor) || problem->batch == 1 || layout->batch_stride == problem->m * layout->row_stride;
}

/* The kernels of skinny_half.cuh: halves of one dtype, rows at one stride, columns side by side. */
static bool suits_half(const norma_problem *problem, bool along_k) {
    const norma_layout *gamma = &problem->gamma.layout;
    bool suits =
        half(problem) && along_k && one_stride(problem, &problem->rstd) &&
        (!norma_tensor_present(&problem->gamma) || (gamma->dtype == problem->x.layout.dtype && gamma->col_stride == 1));
    for (int p = 0; p < problem->parts; p++) {
        const norma_part *part = &problem->part[p];
        suits = suits && part->out.layout.col_stride == 1 && one_stride(problem, &part->out) &&
                (!norma_tensor_present(&part->bias) || part->bias.layout.col_stride == 1);
    }
    return suits;
}

static int short_steps(const norma_problem *problem) {
    return RING_STEPS * (int)norma_ceil_div(problem->k, RING_STEPS * STEP_K * HALF_WAVES);
}

/* Those of skinny_short.cuh: also up to 8 rows of a short K. They sum in another order, so that a batch-invariant problem,
 * of any rows, is not for them. */
static bool suits_short(const norma_problem *problem) {
    return rows_of(problem) <= SHORT_ROWS && problem->k <= HALF_WAVES * SHORT_STEPS * STEP_K &&
           !(problem->flags & NORMA_BATCH_INVARIANT);
}

/* The rows that the walk of skinny_half.cuh is for: where results must not depend on their number, the most. */
static int half_rows(const norma_problem *problem) {
    return problem->flags & NORMA_BATCH_INVARIANT ? HALF_ROWS : rows_of(problem);
}

/* Which of native->half they take. */
static int half_kernel(int rows) {
    return rows > HALF_ROWS / 2 ? 1 : 0;
}

static norma_status find_half(gpu_device *device, const norma_problem *problem, const norma_skinny_params *params,
                              skinny_native *native) {
    const bool rounded = params->normalise || problem->gamma_offset != 0;
    char stem[48], name[64];
    (void)snprintf(stem, sizeof stem, "rmsnorm_linear_skinny_%s_%s", norma_dtype_name(problem->x.layout.dtype),
                   rounded ? "rounded" : "packed");
    norma_status status = NORMA_OK;
    for (int i = 0; !status && i <= half_kernel(half_rows(problem)); i++) {
        (void)snprintf(name, sizeof name, "%s%d", stem, 1 << i);
        status = norma_gpu_find(device, name, (unsigned)device->base.limits.shared_bytes, &native->half[i]);
    }
    if (status || !suits_short(problem)) return status;
    (void)snprintf(name, sizeof name, "%s_short%d", stem, short_steps(problem));
    return norma_gpu_find(device, name, (unsigned)device->base.limits.shared_bytes, &native->brief);
}

static norma_status find_all(gpu_device *device, const norma_problem *problem, const norma_skinny_params *params,
                             skinny_native *native) {
    norma_status status = norma_gpu_find(device, "rmsnorm_linear_skinny_any", 0, &native->any);
    for (int fragments = 1; !status && fragments <= fragments_of(problem, rows_of(problem)); fragments++) {
        char name[64];
        (void)snprintf(name, sizeof name, "rmsnorm_linear_skinny_%s_%c%d", norma_dtype_name(problem->x.layout.dtype),
                       native->along_k ? 'k' : 'n', fragments);
        const unsigned shared = (unsigned)norma_index_min(device->base.limits.shared_bytes, SHARED_BYTES);
        status = norma_gpu_find(device, name, shared, &native->fast[fragments - 1]);
    }
    return status || !suits_half(problem, native->along_k) ? status : find_half(device, problem, params, native);
}

/* ---- Geometry ---- */

/* Deals out the columns to `resident` blocks for each multiprocessor. Returns the bytes of one wave's sums for one tile and
 * row. */
static int place_tiles(const gpu_device *device, const norma_problem *problem, bool along_k, int resident,
                       norma_skinny_params *params) {
    const int width = along_k ? 1 : (int)chunk_width(problem), tile = along_k ? TILE_COLUMNS : TILE_PIECES;
    const int pieces = (int)norma_problem_columns(problem) / width;
    const int blocks = (int)norma_index_min(pieces, (int64_t)device->base.limits.units * resident);
    params->block_tiles = (int)norma_ceil_div(pieces, (int64_t)tile * blocks);
    params->tiles = blocks * params->block_tiles;
    params->each = pieces / params->tiles;
    params->longer = pieces % params->tiles;
    return tile * width * 4;
}

/* Deals out K in `phases`, with the order of sums that `rows` rows have. Returns the bytes of shared memory, which may be
 * too many. */
static int64_t place_steps(const norma_problem *problem, int rows, int phases, int64_t limit, int sum_bytes,
                           norma_skinny_params *params) {
    const int phase_steps = (int)norma_ceil_div(norma_ceil_div(problem->k, STEP_K), phases);
    params->phases = phases;
    params->steps = QUEUE_STEPS * (int)norma_ceil_div(phase_steps, QUEUE_STEPS * WAVES);
    params->waves = (int)norma_ceil_div(phase_steps, params->steps);

    const int64_t step_bytes = (int64_t)rows * params->split * STEP_K * (half(problem) ? 2 : 4);
    const int64_t fixed = SQUARE_BYTES + params->waves * params->steps * step_bytes +
                          (phases > 1 ? (int64_t)params->block_tiles * sum_bytes * rows : 0);
    const int64_t tile_bytes = (int64_t)params->waves * sum_bytes * rows, fit = (limit - fixed) / tile_bytes;
    params->batch = (int)norma_index_min(params->block_tiles, fit > 1 ? fit : 1);
    return fixed + params->batch * tile_bytes;
}

static norma_skinny_params params_of(const norma_problem *problem) {
    const bool deferred = problem->contract == NORMA_ROUND_DEFERRED, gamma = norma_tensor_present(&problem->gamma);
    const bool invariant = (problem->flags & NORMA_BATCH_INVARIANT) != 0;
    return (norma_skinny_params){
        .linear = norma_gpu_linear_params(problem),
        .split = half(problem) && deferred && gamma && rows_of(problem) <= SPLIT_ROWS && !invariant ? 2 : 1,
        .normalise = !deferred || (problem->x.layout.dtype == NORMA_F16 && gamma),
        .early = (problem->flags & NORMA_WEIGHTS_STATIC) != 0,
    };
}

/* Fills the walk and returns the bytes of shared memory; 0 if it does not fit. */
static int64_t place(const gpu_device *device, const norma_problem *problem, bool along_k, norma_skinny_params *params) {
    const bool invariant = (problem->flags & NORMA_BATCH_INVARIANT) != 0;
    const int rows = !invariant ? rows_of(problem) : half(problem) ? HALF_ROWS : F32_ROWS;
    const int steps = (int)norma_ceil_div(problem->k, STEP_K), waves = (int)norma_ceil_div(steps, QUEUE_STEPS);
    const int resident = waves < WAVES ? WAVES / waves : 1; /* where K gives a block few waves */
    const int64_t limit = norma_index_min(device->base.limits.shared_bytes, SHARED_BYTES) / resident;
    const int sum_bytes = place_tiles(device, problem, along_k, resident, params);
    for (int phases = 1; phases <= steps; phases++) {
        const int64_t bytes = place_steps(problem, rows, phases, limit, sum_bytes, params);
        if (bytes <= limit) return bytes;
    }
    return 0;
}

/* The same for `resident` blocks for each multiprocessor, or for clusters, of which not all that fit by number find their
 * multiprocessors side by side. */
static void place_half_tiles(const gpu_device *device, const norma_problem *problem, int resident, int cluster,
                             norma_half_params *params) {
    const int64_t columns = norma_problem_columns(problem), units = device->base.limits.units;
    const int64_t most = cluster > 2 ? (units - units / 11) / cluster : units * resident / cluster;
    params->blocks = (int)norma_index_min(columns, most > 1 ? most : 1);
    params->block_tiles = (int)norma_ceil_div(columns, (int64_t)TILE_COLUMNS * params->blocks);
    params->tiles = params->blocks * params->block_tiles;
    params->each = (int)(columns / params->tiles);
    params->longer = (int)(columns % params->tiles);
}

/* Two blocks on a multiprocessor read a large W faster than one. Where launches overlap, the second place is worth more to
 * the next launch if W is small. */
static int resident(const gpu_device *device, const norma_problem *problem, const norma_half_params *params, int64_t bytes) {
    const int64_t columns = norma_problem_columns(problem), units = device->base.limits.units;
    const bool small = params->early && columns * problem->k * 2 < SMALL_UNIT_BYTES * units;
    const bool few = columns < 2 * TILE_COLUMNS * units;
    return small || few || 2 * bytes + RESERVED_BYTES > device->base.limits.shared_bytes ? 1 : 2;
}

/* Fills the walk of a kernel of skinny_short.cuh and returns the bytes of shared memory. */
static int64_t place_short(const gpu_device *device, const norma_problem *problem, norma_half_params *params) {
    params->waves = (int)norma_ceil_div(problem->k, short_steps(problem) * STEP_K);
    const int64_t bytes = SQUARE_BYTES + params->waves * (2 * TILE_COLUMNS * SHORT_ROWS * 4 + RING_STAGES * RING_BYTES);
    params->cluster = params->phases = 1;
    place_half_tiles(device, problem, resident(device, problem, params, bytes), 1, params);
    return bytes;
}

/* Deals out K to the waves of `cluster` blocks in `phases`. Returns the bytes of shared memory, which may be too many. */
static int64_t place_half_steps(const gpu_device *device, const norma_problem *problem, int rows, int cluster, int phases,
                                norma_half_params *params) {
    const int kernel = half_kernel(rows);
    const int steps = (int)norma_ceil_div(problem->k, STEP_K), step_bytes = STEP_K * 2, shares = cluster * phases;
    const int tile_bytes = TILE_COLUMNS * (8 << kernel) * 4;
    params->cluster = cluster;
    params->phases = phases;
    params->steps = RING_STEPS * (int)norma_ceil_div(steps, (int64_t)shares * HALF_WAVES * RING_STEPS);
    params->waves = (int)norma_ceil_div(steps, (int64_t)shares * params->steps);
    params->phase_k = cluster * params->waves * params->steps * STEP_K;
    const int gamma_bytes = params->steps * step_bytes;
    params->scratch_bytes = 2 * tile_bytes > gamma_bytes ? 2 * tile_bytes : gamma_bytes;
    params->wave_bytes =
        params->scratch_bytes + params->steps * rows * params->split * step_bytes + RING_STAGES * RING_BYTES;
    place_half_tiles(device, problem, 1, cluster, params);
    const int kept = shares == 1 ? 0 : phases > 1 ? params->block_tiles : HALF_BATCH_BYTES / tile_bytes;
    params->batch = (int)norma_index_min(kept, params->block_tiles);
    const int64_t square_bytes = norma_ceil_div((HALF_WAVES + 1) * (8 << kernel) * 4, 128) * 128;
    return square_bytes + (int64_t)params->waves * params->wave_bytes + (int64_t)params->batch * tile_bytes;
}

/* The same for a kernel of skinny_half.cuh; 0 if the problem does not fit. Rows that are normalised are read in full first.
 */
static int64_t place_half(const gpu_device *device, const norma_problem *problem, norma_half_params *params) {
    const int rows = half_rows(problem), steps = (int)norma_ceil_div(problem->k, STEP_K);
    const int most = norma_gpu_launches_clusters(device) ? CLUSTER_BLOCKS : 1;
    const int64_t limit = device->base.limits.shared_bytes;
    for (int cluster = 1; cluster <= most; cluster *= 2) {
        const int64_t bytes = place_half_steps(device, problem, rows, cluster, 1, params);
        if (bytes <= limit && (cluster == most || problem->k * rows * params->split * 2 / cluster <= HALF_X_BYTES))
            return bytes;
    }
    for (int phases = params->normalise ? steps : 1; phases < steps; phases++) {
        const int64_t bytes = place_half_steps(device, problem, rows, most, phases, params);
        if (bytes <= limit) return bytes;
    }
    return 0;
}

static norma_half_params half_params(const norma_skinny_params *general) {
    const norma_linear_params *linear = &general->linear;
    const norma_norm_params *norm = &linear->norm;
    norma_half_params params = {
        .x = norm->x.data,
        .gamma = norm->gamma.data,
        .x_stride = norm->x.row_stride,
        .rows = (int)norm->rows,
        .k = (int)norm->k,
        .split = general->split,
        .normalise = general->normalise,
        .early = general->early,
        .contract = norm->contract,
        .parts = linear->parts,
        .eps = norm->eps,
        .gamma_offset = norm->gamma_offset,
        .rstd = norm->rstd.data,
        .rstd_stride = norm->rstd.row_stride,
    };
    int first = 0;
    for (int p = 0; p < linear->parts; p++) {
        const norma_part_params *part = &linear->part[p];
        params.part[p] = (norma_half_part){
            .weight = part->weight.data,
            .weight_stride = part->weight.col_stride,
            .out = part->out.data,
            .out_stride = part->out.row_stride,
            .bias = part->bias.data,
            .first = first,
            .bias_dtype = part->bias_dtype,
            .out_dtype = part->out_dtype,
        };
        first += (int)part->n;
    }
    return params;
}

/* ---- The operation ---- */

static norma_status prepare(gpu_device *device, norma_launch *launch) {
    const norma_problem *problem = launch->problem;
    const bool along_k = weights_fit(problem, true);
    norma_status status = check(problem, along_k);
    if (status) return status;
    norma_skinny_params params = params_of(problem);
    if (!place(device, problem, along_k, &params)) return refuse("shared memory is too small");

    skinny_native *native = calloc(1, sizeof *native);
    if (!native) return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory for a launch");
    native->along_k = along_k;
    status = find_all(device, problem, &params, native);
    if (status)
        free(native);
    else
        launch->native = native;
    return status;
}

static bool aligned(const norma_linear_params *linear) {
    uintptr_t all = (uintptr_t)linear->norm.x.data;
    for (int p = 0; p < linear->parts; p++) all |= (uintptr_t)linear->part[p].weight.data;
    return all % CHUNK_BYTES == 0;
}

static bool gamma_aligned(const norma_norm_params *norm) {
    return (uintptr_t)norm->gamma.data % CHUNK_BYTES == 0;
}

/* Enqueues a kernel of skinny_short.cuh or skinny_half.cuh; *out_done is false if the problem does not fit after all. */
static norma_status enqueue_half(gpu_device *device, const norma_launch *launch, const norma_skinny_params *general,
                                 bool *out_done) {
    const norma_problem *problem = launch->problem;
    const skinny_native *native = launch->native;
    norma_half_params params = half_params(general);
    void *function = native->brief;
    int64_t shared = 0;
    if (function) {
        shared = place_short(device, problem, &params);
    } else {
        function = native->half[half_kernel(half_rows(problem))];
        shared = function ? place_half(device, problem, &params) : 0;
    }
    *out_done = shared != 0;
    if (!shared) return NORMA_OK;
    const gpu_kernel kernel = {
        .function = function,
        .grid = {(unsigned)(params.blocks * params.cluster), 1, 1},
        .block = {(unsigned)params.waves * 32, 1, 1},
        .shared_bytes = (unsigned)shared,
        .cluster = (unsigned)params.cluster,
        .overlap = true,
    };
    return norma_gpu_enqueue(device, &kernel, &params, sizeof params);
}

static norma_status enqueue(gpu_device *device, const norma_launch *launch) {
    const norma_problem *problem = launch->problem;
    const skinny_native *native = launch->native;
    norma_skinny_params params = params_of(problem);
    /* The fast kernels find row r of all batches at r row strides. */
    const bool packed = aligned(&params.linear) && one_stride(problem, &problem->x);
    if (packed && gamma_aligned(&params.linear.norm)) {
        bool done = false;
        const norma_status status = enqueue_half(device, launch, &params, &done);
        if (done) return status;
    }
    gpu_kernel kernel = {.grid = {1, 1, 1}, .block = {1, 1, 1}};
    const int64_t shared = packed ? place(device, problem, native->along_k, &params) : 0;
    if (shared) {
        kernel.function = native->fast[fragments_of(problem, rows_of(problem)) - 1];
        kernel.shared_bytes = (unsigned)shared;
        kernel.block[0] = (unsigned)params.waves * 32;
        kernel.grid[0] = (unsigned)(params.tiles / params.block_tiles);
        kernel.overlap = native->along_k; /* with N contiguous, blocks of two launches get in each other's way */
    } else {
        const int64_t columns = norma_problem_columns(problem);
        kernel.function = native->any;
        kernel.block[0] = ANY_THREADS;
        kernel.grid[0] = (unsigned)norma_index_min(norma_ceil_div(columns, WAVES), 4LL * device->base.limits.units);
        params.each = (int)(columns / kernel.grid[0]);
        params.longer = (int)(columns % kernel.grid[0]);
    }
    return norma_gpu_enqueue(device, &kernel, &params, sizeof params);
}

const gpu_operation norma_gpu_rmsnorm_linear_skinny = {
    .kernel = NORMA_KERNEL_RMSNORM_LINEAR_SKINNY,
    .prepare = prepare,
    .launch = enqueue,
};
