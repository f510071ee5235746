/* Launches rmsnorm_linear_hopper: as many blocks as multiprocessors, which share out the product in the way that tile_walk.c
 * finds cheapest for the rows at hand. The kernel's tensors go through the copy engine, so each needs rows (W: or
 * columns) without gaps between elements, 16-byte aligned addresses and strides, and all of them one half dtype. What
 * strides and dtypes rule out, prepare() refuses; what an address rules out at the call goes to the tiled kernel, which
 * prepare() readies besides. Batches that are no single matrix go there too, unless NORMA_BATCH_INVARIANT wants a row to
 * have the same kernel in any batch: then each is a launch.
 *
 * Blocks of a launch talk to each other in the device's words (norma_gpu_words_reserve): the kernel's comment says how. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "../dtype.h"
#include "../front/step.h"
#include "../tiling/tile_walk.h"
#include "copy_engine.h"

enum { STORE_ROWS = 16, THREADS = 384, WALK_GROUP = 8, SLAB_COLUMNS = 64, LEAST_BM = 64, LEAST_BN = 64 };

/* The most that the workspace for normalised rows may take; more rows come in pieces. */
#define MAX_Y_BYTES (INT64_C(1) << 30)

/* The words: two counters, and one for every row. */
#define COUNTER_BYTES 256

typedef struct hopper_native {
    void *functions[NORMA_TILE_COUNT]; /* of the table's rows for this kernel; NULL elsewhere */
    bool columns;                      /* weights lie as (N, K) */
    norma_launch tiled;
} hopper_native;

static norma_status refuse(const char *why) {
    return norma_fail(NORMA_ERROR_UNSUPPORTED, "rmsnorm_linear_hopper takes no %s", why);
}

/* Why the kernel cannot do this, or NULL. */
static const char *objection(const norma_problem *problem, bool columns) {
    const norma_layout *x = &problem->x.layout;
    if (x->dtype != NORMA_F16 && x->dtype != NORMA_BF16) return "x that is not of a half dtype";
    if (norma_tensor_present(&problem->residual)) return "residual";
    if (norma_tensor_present(&problem->gamma) && problem->gamma.layout.col_stride != 1) return "gamma with gaps";
    if (norma_tensor_present(&problem->gamma) && problem->gamma.layout.dtype != x->dtype &&
        problem->gamma.layout.dtype != NORMA_F32)
        return "gamma of another half dtype than x";
    if (!norma_gpu_lines_suit(x->col_stride, x->row_stride, problem->k)) return "rows of x that the copy engine cannot take";
    if (problem->k > INT_MAX / 2) return "rows of x of that length";
    for (int p = 0; p < problem->parts; p++) {
        const norma_part *part = &problem->part[p];
        if (part->weight.layout.dtype != x->dtype || part->out.layout.dtype != x->dtype)
            return "weight or output of another dtype than x";
        if (!norma_gpu_weight_suits(problem, part, columns)) return "weight that the copy engine cannot take";
        if (!norma_gpu_lines_suit(part->out.layout.col_stride, part->out.layout.row_stride, part->n))
            return "output that the copy engine cannot take";
        /* What lies between rows may not be written; an H200 was seen to, with 21 columns in rows of 24. */
        if (part->n % 8 != 0) return "rows of an output that end within 16 bytes";
        if (part->n > INT_MAX / 2) return "output of that width";
    }
    return NULL;
}

/* As hopper_tile of the kernel's file lays it out: the part of a tile that a block of a cluster stores is 64 rows of it. */
static int part_columns(const norma_tile *tile) {
    const int pieces = tile->bk / NORMA_WALK_BK, m_tiles = tile->bm / 64;
    return pieces == 1 ? tile->bn : tile->bn * m_tiles / pieces;
}

static int box_columns(const norma_tile *tile) {
    return part_columns(tile) % 32 == 0 ? 32 : 16;
}

/* Are rows normalised ahead of the product? Where gamma or a rounding stands before it. */
static bool ahead(const norma_problem *problem) {
    return problem->op != NORMA_OP_LINEAR &&
           (norma_tensor_present(&problem->gamma) || problem->contract != NORMA_ROUND_DEFERRED);
}

static int64_t y_stride(const norma_problem *problem) {
    return norma_ceil_div(problem->k, 8) * 8;
}

static unsigned shared_bytes(const norma_tile *tile, bool columns) {
    const int pieces = tile->bk / NORMA_WALK_BK;
    const int w_columns = columns ? tile->bn : (int)norma_ceil_div(tile->bn, SLAB_COLUMNS) * SLAB_COLUMNS;
    const int stages = tile->stages * (tile->bm + w_columns) * NORMA_WALK_BK * 2;
    const int parts = (pieces - 1) * 64 * part_columns(tile) * 4;
    const int boxes = (pieces == 1 ? 8 : 4) * 2 * STORE_ROWS * box_columns(tile) * 2;
    return (unsigned)(1024 + stages + parts + boxes + 2 * (tile->bm + tile->bn) * 4 + (2 * tile->stages + 7) * 8);
}

static norma_status find_functions(gpu_device *device, const norma_problem *problem, hopper_native *native) {
    norma_status status = NORMA_OK;
    for (int i = 0; i < NORMA_TILE_COUNT && !status; i++) {
        const norma_tile *tile = &norma_tiles[i];
        if (tile->kernel != NORMA_KERNEL_RMSNORM_LINEAR_HOPPER) continue;
        char name[96];
        snprintf(name, sizeof name, "rmsnorm_linear_hopper_%s_%s_%s", tile->name, norma_dtype_name(problem->x.layout.dtype),
                 native->columns ? "nk" : "kn");
        status = norma_gpu_find(device, name, shared_bytes(tile, native->columns), &native->functions[i]);
    }
    return status;
}

/* Of a launch: the kernel counts rows and tiles in 32 bits. */
static int64_t most_rows(const norma_problem *problem) {
    norma_index n[NORMA_MAX_PARTS] = {0};
    for (int p = 0; p < problem->parts; p++) n[p] = problem->part[p].n;
    const int64_t row_tiles = INT_MAX / 2 / norma_col_tiles(n, problem->parts, LEAST_BN);
    const int64_t rows = norma_index_min(INT_MAX / 2, row_tiles * LEAST_BM);
    const int64_t y_rows = ahead(problem) ? MAX_Y_BYTES / 2 / y_stride(problem) : rows;
    return norma_index_min(rows, y_rows > 0 ? y_rows : 1);
}

static norma_status prepare(gpu_device *device, norma_launch *launch) {
    const norma_problem *problem = launch->problem;
    if (!device->base.limits.wgmma) return refuse("device but one of compute capability 9.0");
    const bool columns = norma_gpu_weight_suits(problem, &problem->part[0], true);
    const char *why = objection(problem, columns);
    if (why) return refuse(why);
    hopper_native *native = calloc(1, sizeof *native);
    if (!native) return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory for a launch");
    launch->native = native;
    native->columns = columns;
    norma_status status = norma_gpu_fallback_prepare(device, problem, &native->tiled);
    if (!status) status = find_functions(device, problem, native);
    if (status) return status;
    launch->max_rows = norma_index_min(most_rows(problem), native->tiled.max_rows);
    const int64_t rows = norma_index_min(problem->batch * problem->m, launch->max_rows);
    if (ahead(problem)) launch->workspace_bytes = (size_t)(rows * y_stride(problem) * 2);
    return norma_gpu_words_reserve(device, COUNTER_BYTES + (problem->op == NORMA_OP_LINEAR ? 0 : (size_t)rows * 8));
}

/* Also of what prepare() gave up half way. */
static void discard(gpu_device *device, norma_launch *launch) {
    hopper_native *native = launch->native;
    (void)device;
    free(native->tiled.native);
    free(native);
}

/* ---- Launching ---- */

static bool addresses_suit(const norma_problem *problem) {
    bool all =
        norma_gpu_aligned(&problem->x) && (!norma_tensor_present(&problem->gamma) || norma_gpu_aligned(&problem->gamma));
    for (int p = 0; p < problem->parts; p++)
        all = all && norma_gpu_aligned(&problem->part[p].weight) && norma_gpu_aligned(&problem->part[p].out);
    return all;
}

static norma_status encode_part(gpu_device *device, const norma_problem *problem, const norma_part *part, bool columns,
                                const norma_tile *tile, int64_t rows, norma_hopper_part *out) {
    const norma_layout *weight = &part->weight.layout;
    norma_status status = columns ? norma_gpu_tensor_map(device, &out->weight, &part->weight, problem->k, part->n,
                                                         weight->col_stride, NORMA_WALK_BK, tile->bn)
                                  : norma_gpu_tensor_map(device, &out->weight, &part->weight, part->n, problem->k,
                                                         weight->row_stride, SLAB_COLUMNS, NORMA_WALK_BK);
    if (!status)
        status = norma_gpu_tensor_map(device, &out->out, &part->out, part->n, rows, part->out.layout.row_stride,
                                      box_columns(tile), STORE_ROWS);
    return status;
}

static norma_status fill_parts(gpu_device *device, const norma_problem *problem, bool columns, const norma_tile *tile,
                               norma_hopper_params *params) {
    norma_status status = NORMA_OK;
    int first_tile = 0;
    for (int p = 0; p < problem->parts && !status; p++) {
        const norma_part *part = &problem->part[p];
        const norma_view bias = norma_gpu_view(&part->bias);
        norma_hopper_part *const to = &params->part[p];
        to->bias = bias.data;
        to->bias_stride = bias.col_stride;
        to->bias_dtype = (int)part->bias.layout.dtype;
        to->n = (int)part->n;
        to->first_tile = first_tile;
        first_tile += (int)norma_ceil_div(part->n, tile->bn);
        status = encode_part(device, problem, part, columns, tile, params->rows, to);
    }
    return status;
}

static norma_hopper_params params_of(const gpu_device *device, const norma_launch *launch, const norma_walk *walk) {
    const norma_problem *problem = launch->problem;
    const norma_view x = norma_gpu_view(&problem->x), rstd = norma_gpu_view(&problem->rstd);
    char *const words = norma_gpu_words(device);
    return (norma_hopper_params){
        .x_data = x.data,
        .x_stride = x.row_stride,
        .rstd_out = rstd.data,
        .rstd_stride = rstd.row_stride,
        .rstd = (unsigned long long *)(words + COUNTER_BYTES),
        .launches = (unsigned *)words,
        .rows = (int)(problem->batch * problem->m),
        .k = (int)problem->k,
        .parts = problem->parts,
        .row_tiles = (int)walk->row_tiles,
        .col_tiles = (int)walk->col_tiles,
        .group = WALK_GROUP,
        .eps = problem->eps,
        .y = ahead(problem) ? (char *)launch->workspace.data + launch->workspace.offset_bytes : NULL,
        .y_stride = y_stride(problem),
        .gamma = norma_gpu_view(&problem->gamma).data,
        .gamma_offset = problem->gamma_offset,
        .gamma_dtype = (int)problem->gamma.layout.dtype,
        .contract = (int)problem->contract,
        .plain = problem->op == NORMA_OP_LINEAR,
    };
}

static norma_walk walk_for(const gpu_device *device, const norma_problem *problem) {
    norma_walk_shape shape = {.rows = problem->batch * problem->m,
                              .k = problem->k,
                              .parts = problem->parts,
                              .whole = (problem->flags & NORMA_BATCH_INVARIANT) != 0};
    for (int p = 0; p < problem->parts; p++) shape.n[p] = problem->part[p].n;
    return norma_walk_choose(&shape, &device->base.limits);
}

/* One matrix. */
static norma_status enqueue_matrix(gpu_device *device, const norma_launch *launch) {
    const norma_problem *problem = launch->problem;
    const hopper_native *native = launch->native;
    if (!addresses_suit(problem)) return norma_gpu_fallback_launch(device, &native->tiled, launch);
    const norma_walk walk = walk_for(device, problem);
    norma_hopper_params params = params_of(device, launch, &walk);
    norma_tensor rows = problem->x;
    if (params.y) {
        rows.buffer = launch->workspace;
        rows.layout.row_stride = params.y_stride;
    }
    norma_status status = norma_gpu_tensor_map(device, &params.x, &rows, problem->k, params.rows, rows.layout.row_stride,
                                               NORMA_WALK_BK, walk.tile->bm);
    if (!status) status = fill_parts(device, problem, native->columns, walk.tile, &params);
    if (status) return status;
    const int64_t tiles = walk.row_tiles * walk.col_tiles;
    norma_log(&device->base.log, NORMA_LOG_DEBUG, "rmsnorm_linear_hopper: %lld tiles of row %s, %d blocks to a tile",
              (long long)tiles, walk.tile->name, walk.pieces);
    const gpu_kernel kernel = {
        .function = native->functions[walk.tile - norma_tiles],
        .grid = {walk.pieces == 1 ? (unsigned)device->base.limits.units : (unsigned)(tiles * walk.pieces), 1, 1},
        .block = {THREADS, 1, 1},
        .shared_bytes = shared_bytes(walk.tile, native->columns),
        .cluster = (unsigned)walk.pieces,
        .overlap = true,
    };
    return norma_gpu_enqueue(device, &kernel, &params, sizeof params);
}

static norma_status enqueue(gpu_device *device, const norma_launch *launch) {
    const norma_problem *problem = launch->problem;
    const hopper_native *native = launch->native;
    if (norma_gpu_joined(problem)) return enqueue_matrix(device, launch);
    if (!(problem->flags & NORMA_BATCH_INVARIANT)) return norma_gpu_fallback_launch(device, &native->tiled, launch);
    norma_status status = NORMA_OK;
    for (int64_t batch = 0; batch < problem->batch && !status; batch++) {
        norma_problem one;
        norma_problem_slice(problem, batch, 1, 0, problem->m, &one);
        norma_launch part = *launch;
        part.problem = &one;
        status = enqueue_matrix(device, &part);
    }
    return status;
}

const gpu_operation norma_gpu_rmsnorm_linear_hopper = {
    .kernel = NORMA_KERNEL_RMSNORM_LINEAR_HOPPER,
    .prepare = prepare,
    .launch = enqueue,
    .discard = discard,
};
