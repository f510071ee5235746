/* Launches rmsnorm_linear_narrow: how many blocks share the K of a tile, and how their shared memory is dealt out between W
 * and x. x and W go through the copy engine, so they need lines without gaps, 16-byte aligned addresses and strides, and one
 * half dtype. What strides and dtypes rule out, prepare() refuses; what an address rules out at the call, and batches that
 * are no single matrix, go to the tiled kernel, which prepare() readies besides. */
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "../dtype.h"
#include "../front/step.h"
#include "../tiling/tile_index.h"
#include "copy_engine.h"

enum {
    MOST_ROWS = 64,
    WIDTH_STEP = 16, /* the kernels come for 16, 32, 48 and 64 rows */
    WIDTHS = MOST_ROWS / WIDTH_STEP,
    TILE_COLUMNS = 64,
    THREADS = 288,
    BOX_K = 64, /* of which a step has two */
    STEP_K = 128,
    STEP_BYTES = STEP_K * 2,
    MOST_SHIFT = 2,         /* clusters of 4 */
    LEAST_STAGES = 2,       /* one is read while the next is waited for */
    SUM_BYTES = 64 * 8 * 4, /* of 8 rows and a tile */
    GOOD_STAGES = 5,
    ALIGN_BYTES = 1024 /* what a block loses by its alignment, and a multiprocessor for each block */
};

typedef struct narrow_native {
    void *functions[WIDTHS];
    norma_launch tiled;
} narrow_native;

/* How a launch is dealt out. */
typedef struct narrow_place {
    int shift; /* 2^shift blocks to a tile */
    int stages, x_slots, buffers;
    int64_t tiles;
    int blocks;
    int64_t bytes; /* of shared memory */
} narrow_place;

static norma_status refuse(const char *why) {
    return norma_fail(NORMA_ERROR_UNSUPPORTED, "rmsnorm_linear_narrow takes no %s", why);
}

static int rows_of(const norma_problem *problem) {
    return (int)(problem->batch * problem->m);
}

static int width_of(const norma_problem *problem) {
    return (int)norma_ceil_div(rows_of(problem), WIDTH_STEP) * WIDTH_STEP;
}

/* Is x normalised before the product? Where a contract rounds it, and where h * gamma could leave the dtype's range. */
static bool normalises(const norma_problem *problem) {
    return problem->contract != NORMA_ROUND_DEFERRED ||
           (problem->x.layout.dtype == NORMA_F16 && norma_tensor_present(&problem->gamma));
}

/* Why the kernel cannot do this, or NULL. */
static const char *objection(const norma_problem *problem) {
    const norma_layout *x = &problem->x.layout, *gamma = &problem->gamma.layout;
    if (x->dtype != NORMA_F16 && x->dtype != NORMA_BF16) return "x that is not of a half dtype";
    if (problem->batch * problem->m > MOST_ROWS) return "more than 64 rows";
    if (problem->flags & NORMA_BATCH_INVARIANT) return "problem whose results must not depend on the number of rows";
    if (norma_tensor_present(&problem->residual)) return "residual";
    if (norma_tensor_present(&problem->gamma) && gamma->col_stride != 1) return "gamma with gaps";
    if (norma_tensor_present(&problem->gamma) && gamma->dtype != x->dtype && gamma->dtype != NORMA_F32)
        return "gamma of another half dtype than x";
    if (!norma_gpu_lines_suit(x->col_stride, x->row_stride, problem->k)) return "rows of x that the copy engine cannot take";
    if (problem->k > INT_MAX / 16) return "rows of x of that length";
    for (int p = 0; p < problem->parts; p++) {
        const norma_part *part = &problem->part[p];
        if (part->weight.layout.dtype != x->dtype || part->out.layout.dtype != x->dtype)
            return "weight or output of another dtype than x";
        if (!norma_gpu_weight_suits(problem, part, true)) return "weight but (N, K) that the copy engine can take";
        if (part->n > INT_MAX / 8) return "output of that width";
    }
    return NULL;
}

/* ---- Geometry ---- */

static int64_t tiles_of(const norma_problem *problem) {
    int64_t tiles = 0;
    for (int p = 0; p < problem->parts; p++) tiles += norma_ceil_div(problem->part[p].n, TILE_COLUMNS);
    return tiles;
}

/* What the kernel's block lays out behind W and x. */
static int64_t fixed_bytes(int cluster, int width, int buffers, int64_t scales) {
    const int64_t groups = width / 8, received = norma_ceil_div(groups, cluster);
    const int64_t sums = buffers * (cluster - 1) * received * SUM_BYTES;
    return ALIGN_BYTES + sums + (cluster + 1) * width * 4 + scales * 4 + 6 * 8;
}

/* Deals out the work to clusters of 2^shift blocks, `resident` of which a multiprocessor holds.
 * x stays in shared memory if `stays`, else it goes through a ring as W does. False if that cannot be. */
static bool place(const gpu_device *device, const norma_problem *problem, int shift, int resident, bool stays,
                  narrow_place *out) {
    const int cluster = 1 << shift, width = width_of(problem);
    const int64_t units = device->base.limits.units;
    const int64_t steps = norma_ceil_div(problem->k, STEP_K), share = norma_ceil_div(steps, cluster);
    if (cluster > steps) return false;
    /* Not all clusters that fit by number find their multiprocessors side by side. */
    const int64_t most = (shift > 1 ? units - units / 11 : units) / cluster * resident;
    const int64_t tiles = tiles_of(problem), clusters = norma_index_min(tiles, most > 1 ? most : 1);
    const int64_t turns = norma_ceil_div(tiles, clusters);
    out->shift = shift;
    out->buffers = turns > 1 ? 2 : 1;
    out->tiles = tiles;
    out->blocks = (int)(clusters * cluster);
    const int64_t scales = norma_tensor_present(&problem->gamma) ? share * STEP_K : 0;
    const int64_t limit = (device->base.limits.shared_bytes + ALIGN_BYTES) / resident - ALIGN_BYTES;
    const int64_t fixed = fixed_bytes(cluster, width, out->buffers, scales);
    const int64_t w_bytes = TILE_COLUMNS * STEP_BYTES + 2 * 8, x_bytes = width * STEP_BYTES + 3 * 8;
    const int64_t room = stays ? (limit - fixed - share * x_bytes) / w_bytes : (limit - fixed) / (w_bytes + x_bytes);
    const int64_t stages = norma_index_min(room, turns * share);
    out->stages = (int)stages;
    out->x_slots = (int)(stays ? share : stages);
    out->bytes = fixed + stages * w_bytes + out->x_slots * x_bytes;
    /* A ring that holds all of a block's share would be taken for one that stays. */
    return stages >= norma_index_min(LEAST_STAGES, turns * share) && (stays || stages < share);
}

/* An estimate in ns. The clusters of a turn share the device's bandwidth, of which a block alone cannot have much; the last
 * turn may have fewer of them. */
static double cost(const norma_problem *problem, const narrow_place *geometry) {
    const double device_rate = 4400, block_rate = 70, turn_ns = 150, alone_ns = 1000; /* bytes in ns, on an H200 */
    const int cluster = 1 << geometry->shift;
    const double share = (double)problem->k / cluster * TILE_COLUMNS * 2;
    const int64_t clusters = geometry->blocks / cluster, turns = norma_ceil_div(geometry->tiles, clusters);
    double ns = cluster == 1 ? alone_ns : 0;
    for (int last = 0; last < 2; last++) {
        const int64_t tiles = last ? geometry->tiles - (turns - 1) * clusters : clusters;
        const double rate = device_rate / (double)(tiles * cluster);
        ns += (double)(last ? 1 : turns - 1) * (share / (rate < block_rate ? rate : block_rate) + turn_ns);
    }
    return ns;
}

/* Half of a multiprocessor, if the ring is deep enough there, leaves the other half to the blocks of the next launch. x
 * stays only where it must, or where a ring for it would have room for all of it. */
static bool place_cluster(const gpu_device *device, const norma_problem *problem, int shift, narrow_place *out) {
    if (!normalises(problem)) {
        const bool fits = place(device, problem, shift, 2, false, out);
        const bool alone = fits && out->blocks <= device->base.limits.units;
        if (fits && out->stages >= (alone ? GOOD_STAGES - 1 : GOOD_STAGES)) return true;
        if (place(device, problem, shift, 1, false, out)) return true;
    }
    return place(device, problem, shift, 1, true, out);
}

static bool choose(const gpu_device *device, const norma_problem *problem, narrow_place *out) {
    double least = HUGE_VAL;
    const int most = norma_gpu_launches_clusters(device) ? MOST_SHIFT : 0;
    for (int shift = 0; shift <= most; shift++) {
        narrow_place geometry;
        if (!place_cluster(device, problem, shift, &geometry) || cost(problem, &geometry) >= least) continue;
        least = cost(problem, &geometry);
        *out = geometry;
    }
    return least < HUGE_VAL;
}

/* ---- The operation ---- */

static norma_status find_functions(gpu_device *device, const norma_problem *problem, narrow_native *native) {
    norma_status status = NORMA_OK;
    for (int width = WIDTH_STEP; width <= width_of(problem) && !status; width += WIDTH_STEP) {
        char name[64];
        (void)snprintf(name, sizeof name, "rmsnorm_linear_narrow_%d_%s", width, norma_dtype_name(problem->x.layout.dtype));
        status = norma_gpu_find(device, name, (unsigned)device->base.limits.shared_bytes,
                                &native->functions[width / WIDTH_STEP - 1]);
    }
    return status;
}

static norma_status prepare(gpu_device *device, norma_launch *launch) {
    const norma_problem *problem = launch->problem;
    if (!device->base.limits.wgmma) return refuse("device but one of compute capability 9.0");
    const char *why = objection(problem);
    if (why) return refuse(why);
    narrow_place geometry;
    if (!choose(device, problem, &geometry)) return refuse("rows of x that shared memory does not hold");
    narrow_native *native = calloc(1, sizeof *native);
    if (!native) return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory for a launch");
    launch->native = native;
    norma_status status = norma_gpu_fallback_prepare(device, problem, &native->tiled);
    return status ? status : find_functions(device, problem, native);
}

/* Also of what prepare() gave up half way. */
static void discard(gpu_device *device, norma_launch *launch) {
    narrow_native *native = launch->native;
    (void)device;
    free(native->tiled.native);
    free(native);
}

static bool addresses_suit(const norma_problem *problem) {
    bool all =
        norma_gpu_aligned(&problem->x) && (!norma_tensor_present(&problem->gamma) || norma_gpu_aligned(&problem->gamma));
    for (int p = 0; p < problem->parts; p++) all = all && norma_gpu_aligned(&problem->part[p].weight);
    return all;
}

/* Whether two neighbouring outputs of a row are one aligned word. */
static bool paired(const norma_tensor *out) {
    return out->layout.col_stride == 1 && out->layout.row_stride % 2 == 0 &&
           ((uintptr_t)out->buffer.data + out->buffer.offset_bytes) % 4 == 0;
}

static norma_status fill_parts(gpu_device *device, const norma_problem *problem, norma_narrow_params *params) {
    norma_status status = NORMA_OK;
    int64_t first_tile = 0;
    for (int p = 0; p < problem->parts && !status; p++) {
        const norma_part *part = &problem->part[p];
        const norma_view bias = norma_gpu_view(&part->bias), out = norma_gpu_view(&part->out);
        norma_narrow_part *const to = &params->part[p];
        to->out = out.data;
        to->out_row_stride = out.row_stride;
        to->out_col_stride = out.col_stride;
        to->bias = bias.data;
        to->bias_stride = bias.col_stride;
        to->bias_dtype = (int)part->bias.layout.dtype;
        to->n = (int)part->n;
        to->first_tile = (int)first_tile;
        to->paired = paired(&part->out);
        first_tile += norma_ceil_div(part->n, TILE_COLUMNS);
        status = norma_gpu_tensor_map(device, &to->weight, &part->weight, problem->k, part->n,
                                      part->weight.layout.col_stride, BOX_K, TILE_COLUMNS);
    }
    return status;
}

static norma_narrow_params params_of(const norma_problem *problem, const narrow_place *geometry) {
    const norma_view rstd = norma_gpu_view(&problem->rstd);
    return (norma_narrow_params){
        .gamma = norma_gpu_view(&problem->gamma).data,
        .rstd_out = rstd.data,
        .rstd_stride = rstd.row_stride,
        .eps = problem->eps,
        .gamma_offset = problem->gamma_offset,
        .gamma_dtype = (int)problem->gamma.layout.dtype,
        .contract = (int)problem->contract,
        .normalise = normalises(problem),
        .rows = rows_of(problem),
        .k = (int)problem->k,
        .parts = problem->parts,
        .tiles = (int)geometry->tiles,
        .cluster_shift = geometry->shift,
        .stages = geometry->stages,
        .x_slots = geometry->x_slots,
        .buffers = geometry->buffers,
        .early = (problem->flags & NORMA_WEIGHTS_STATIC) != 0,
    };
}

static norma_status enqueue(gpu_device *device, const norma_launch *launch) {
    const norma_problem *problem = launch->problem;
    const narrow_native *native = launch->native;
    narrow_place geometry;
    if (!norma_gpu_joined(problem) || !addresses_suit(problem) || !choose(device, problem, &geometry))
        return norma_gpu_fallback_launch(device, &native->tiled, launch);
    norma_narrow_params params = params_of(problem, &geometry);
    const int width = width_of(problem);
    norma_status status = norma_gpu_tensor_map(device, &params.x, &problem->x, problem->k, params.rows,
                                               problem->x.layout.row_stride, BOX_K, width);
    if (!status) status = fill_parts(device, problem, &params);
    if (status) return status;
    norma_log(&device->base.log, NORMA_LOG_DEBUG,
              "rmsnorm_linear_narrow: %d tiles, %d blocks to a tile, %d stages, %d places for x", params.tiles,
              1 << geometry.shift, geometry.stages, geometry.x_slots);
    const gpu_kernel kernel = {
        .function = native->functions[width / WIDTH_STEP - 1],
        .grid = {(unsigned)geometry.blocks, 1, 1},
        .block = {THREADS, 1, 1},
        .shared_bytes = (unsigned)geometry.bytes,
        .cluster = 1u << geometry.shift,
        .overlap = true,
    };
    return norma_gpu_enqueue(device, &kernel, &params, sizeof params);
}

const gpu_operation norma_gpu_rmsnorm_linear_narrow = {
    .kernel = NORMA_KERNEL_RMSNORM_LINEAR_NARROW,
    .prepare = prepare,
    .launch = enqueue,
    .discard = discard,
};
