/* Launches linear_split: a product of fp32 as three of fp16 parts, for a Linear with NORMA_FP32_TENSOR on sm_90a.
 * split_halves first splits the rows of x, and then the columns of each piece of W, into parts in the workspace. K beyond
 * NORMA_SPLIT_PIECE is cut too: the pieces' products are added up in the output, whose lines may lie in any way, as those of
 * x and W may. x comes in as many rows as room is taken for, in launches of their own. */
#include <limits.h>
#include <stdlib.h>

#include "../blas/matrices.h"
#include "../dtype.h"
#include "../front/step.h"
#include "device.h"

enum { TILE = 128, THREADS = 384, STAGES = 5, CHUNK = 32, WALK_GROUP = 8 };
enum { ROW_THREADS = 256, COLUMN_THREADS = 512, COLUMN_LINES = 32 };

/* Of a line in a chunk: 32 high parts and 32 low ones. */
enum { CHUNK_BYTES = 4 * CHUNK };

enum { SHARED_BYTES = 1024 + STAGES * 2 * TILE * CHUNK_BYTES + TILE * TILE * 4 + 2 * STAGES * 8 };

/* From here on the bound of docs/numerics.md has room for the parts' own errors. */
enum { LEAST_K = 32 };

/* For parts, of which those of rows may take as much as the second: with K up to a piece, rows and columns enough to fill a
 * device. */
#define PARTS_BYTES     (INT64_C(80) << 20)
#define ROW_PARTS_BYTES (INT64_C(32) << 20)

typedef struct split_native {
    void *product, *rows, *rows_any, *columns; /* kernels */
    int64_t line_bytes;                        /* of parts */
    int64_t most_rows, most_columns;           /* that there is room for; whole tiles */
} split_native;

/* The workspace of a launch. */
typedef struct split_room {
    char *x, *weight; /* parts */
    float *x_scales, *weight_scales;
} split_room;

static norma_status refuse(const char *why) {
    return norma_fail(NORMA_ERROR_UNSUPPORTED, "linear_split takes no %s", why);
}

/* Why the kernel cannot do this, or NULL. */
static const char *objection(const norma_problem *problem) {
    if (!(problem->flags & NORMA_FP32_TENSOR)) return "description without NORMA_FP32_TENSOR";
    if (problem->flags & NORMA_BATCH_INVARIANT) return "description with NORMA_BATCH_INVARIANT";
    if (problem->op != NORMA_OP_LINEAR) return "operation but a plain Linear";
    if (problem->x.layout.dtype != NORMA_F32) return "x that is not fp32";
    if (problem->k < LEAST_K) return "rows of x so short that the errors of parts would show";
    for (int p = 0; p < problem->parts; p++) {
        const norma_part *part = &problem->part[p];
        if (part->weight.layout.dtype != NORMA_F32 || part->out.layout.dtype != NORMA_F32)
            return "weight or output that is not fp32";
        if (part->n > INT_MAX / 2) return "output of that width";
    }
    return NULL;
}

static int64_t chunks_of(int64_t k) {
    return norma_ceil_div(norma_index_min(k, NORMA_SPLIT_PIECE), CHUNK);
}

static int64_t whole_tiles(int64_t lines) {
    return norma_ceil_div(lines, TILE) * TILE;
}

/* Columns in pieces of about one size, and none larger than `most`. */
static int64_t piece_columns(int64_t n, int64_t most) {
    return whole_tiles(norma_ceil_div(n, norma_ceil_div(n, most)));
}

static void share_out(const norma_problem *problem, split_native *native) {
    native->line_bytes = chunks_of(problem->k) * CHUNK_BYTES;
    const int64_t most = PARTS_BYTES / native->line_bytes / TILE * TILE, rows = ROW_PARTS_BYTES / native->line_bytes;
    native->most_rows = whole_tiles(norma_index_min(problem->batch * problem->m, rows / TILE * TILE));
    for (int p = 0; p < problem->parts; p++) {
        const int64_t columns = piece_columns(problem->part[p].n, most - native->most_rows);
        if (columns > native->most_columns) native->most_columns = columns;
    }
}

/* Whole tiles of parts are multiples of 1024 bytes, and of scales multiples of 512. */
static split_room room_at(const split_native *native, char *workspace) {
    char *const weight = workspace + native->most_rows * native->line_bytes;
    char *const scales = weight + native->most_columns * native->line_bytes;
    return (split_room){workspace, weight, (float *)(void *)scales, (float *)(void *)scales + native->most_rows};
}

static norma_status prepare(gpu_device *device, norma_launch *launch) {
    const norma_problem *problem = launch->problem;
    if (!device->base.limits.wgmma) return refuse("device but one of compute capability 9.0");
    const char *why = objection(problem);
    if (why) return refuse(why);
    split_native *native = calloc(1, sizeof *native);
    if (!native) return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory for a launch");
    launch->native = native;
    norma_status status = norma_gpu_find(device, "linear_split", SHARED_BYTES, &native->product);
    if (!status) status = norma_gpu_find(device, "split_halves_rows", 0, &native->rows);
    if (!status) status = norma_gpu_find(device, "split_halves_rows_any", 0, &native->rows_any);
    if (!status) status = norma_gpu_find(device, "split_halves_columns", 0, &native->columns);
    if (status) return status;
    share_out(problem, native);
    launch->max_rows = ROW_PARTS_BYTES / native->line_bytes / TILE * TILE;
    launch->workspace_bytes = (size_t)((native->most_rows + native->most_columns) * (native->line_bytes + 4));
    return NORMA_OK;
}

/* ---- Launching ---- */

/* `lines` lines of `k` values, at any strides. */
static norma_status split(gpu_device *device, const split_native *native, norma_split_params params) {
    const bool together = params.k_stride == 1;
    const bool aligned = (uintptr_t)params.from % 16 == 0 && params.line_stride % 4 == 0;
    params.chunks = (int)chunks_of(params.k);
    const gpu_kernel kernel = {
        .function = !together ? native->columns
                    : aligned ? native->rows
                              : native->rows_any,
        .grid = {(unsigned)(together ? params.lines : norma_ceil_div(params.lines, COLUMN_LINES)), 1, 1},
        .block = {together ? ROW_THREADS : COLUMN_THREADS, 1, 1},
        .overlap = true,
    };
    return norma_gpu_enqueue(device, &kernel, &params, sizeof params);
}

static norma_status encode(gpu_device *device, norma_tensor_map *map, const void *parts, int64_t lines, int64_t chunks) {
    const uint64_t sizes[2] = {(uint64_t)chunks * 2 * CHUNK, (uint64_t)lines}, bytes[1] = {(uint64_t)chunks * CHUNK_BYTES};
    const uint32_t box[2] = {2 * CHUNK, TILE}, steps[2] = {1, 1};
    return GPU_CALL(device->driver, tensor_map_encode, map, GPU_TENSOR_F16, 2, (void *)(uintptr_t)parts, sizes, bytes, box,
                    steps, 0, GPU_SWIZZLE_128, GPU_PROMOTION_256, 0);
}

/* A piece of K and of a part's columns. */
typedef struct split_piece {
    int64_t k_first, k, n_first, n;
} split_piece;

static const void *bias_at(const norma_part *part, int64_t col) {
    const norma_layout *layout = &part->bias.layout;
    if (layout->dtype == NORMA_NONE) return NULL;
    const char *bias = norma_gpu_view(&part->bias).data;
    return bias + col * layout->col_stride * (int64_t)norma_dtype_bytes(layout->dtype);
}

static norma_status multiply(gpu_device *device, const split_native *native, const norma_problem *problem,
                             const norma_part *part, const split_room *room, const split_piece *piece) {
    const norma_view out = norma_gpu_view(&part->out);
    const int64_t rows = problem->batch * problem->m, chunks = chunks_of(piece->k);
    norma_split_linear_params params = {
        .x_scales = room->x_scales,
        .weight_scales = room->weight_scales,
        .out = (float *)out.data + piece->n_first * out.col_stride,
        .out_row_stride = out.row_stride,
        .out_col_stride = out.col_stride,
        .bias = bias_at(part, piece->n_first),
        .bias_stride = part->bias.layout.col_stride,
        .bias_dtype = (int)part->bias.layout.dtype,
        .rows = (int)rows,
        .n = (int)piece->n,
        .chunks = (int)chunks,
        .row_tiles = (int)norma_ceil_div(rows, TILE),
        .col_tiles = (int)norma_ceil_div(piece->n, TILE),
        .group = WALK_GROUP,
        .accumulate = piece->k_first > 0,
        .pairs = out.col_stride == 1 && out.row_stride % 2 == 0 && (uintptr_t)out.data % 8 == 0,
    };
    norma_status status = encode(device, &params.x, room->x, rows, chunks);
    if (!status) status = encode(device, &params.weight, room->weight, piece->n, chunks);
    if (status) return status;
    const int64_t tiles = (int64_t)params.row_tiles * params.col_tiles;
    const gpu_kernel kernel = {
        .function = native->product,
        .grid = {(unsigned)norma_index_min(device->base.limits.units, tiles), 1, 1},
        .block = {THREADS, 1, 1},
        .shared_bytes = SHARED_BYTES,
        .overlap = true,
    };
    return norma_gpu_enqueue(device, &kernel, &params, sizeof params);
}

static norma_status enqueue_part(gpu_device *device, const split_native *native, const norma_problem *problem,
                                 const norma_part *part, const split_room *room, split_piece piece) {
    const norma_view weight = norma_gpu_view(&part->weight);
    const int64_t columns = piece_columns(part->n, native->most_columns);
    norma_status status = NORMA_OK;
    for (; piece.n_first < part->n && !status; piece.n_first += columns) {
        piece.n = norma_index_min(columns, part->n - piece.n_first);
        status = split(device, native,
                       (norma_split_params){.from = (float *)weight.data + piece.k_first * weight.row_stride +
                                                    piece.n_first * weight.col_stride,
                                            .line_stride = weight.col_stride,
                                            .k_stride = weight.row_stride,
                                            .lines = piece.n,
                                            .to = room->weight,
                                            .scales = room->weight_scales,
                                            .k = (int)piece.k});
        if (!status) status = multiply(device, native, problem, part, room, &piece);
    }
    return status;
}

/* One matrix of at most as many rows as prepare() set. */
static norma_status enqueue_matrix(gpu_device *device, const norma_launch *launch, const norma_problem *problem) {
    const split_native *native = launch->native;
    const norma_view x = norma_gpu_view(&problem->x);
    const int64_t rows = problem->batch * problem->m;
    const split_room room = room_at(native, (char *)launch->workspace.data + launch->workspace.offset_bytes);
    norma_status status = NORMA_OK;
    for (int64_t first = 0; first < problem->k && !status; first += NORMA_SPLIT_PIECE) {
        const split_piece piece = {.k_first = first, .k = norma_index_min(NORMA_SPLIT_PIECE, problem->k - first)};
        status = split(device, native,
                       (norma_split_params){.from = (float *)x.data + first * x.col_stride,
                                            .line_stride = x.row_stride,
                                            .k_stride = x.col_stride,
                                            .lines = rows,
                                            .to = room.x,
                                            .scales = room.x_scales,
                                            .k = (int)piece.k});
        for (int p = 0; p < problem->parts && !status; p++)
            status = enqueue_part(device, native, problem, &problem->part[p], &room, piece);
    }
    return status;
}

/* Whether the batches are one taller matrix. */
static bool joined(const norma_problem *problem) {
    bool all = true;
    for (int p = 0; p < problem->parts; p++) all = all && norma_blas_batches_join(problem, &problem->part[p]);
    return all;
}

static norma_status enqueue(gpu_device *device, const norma_launch *launch) {
    const norma_problem *problem = launch->problem;
    if (joined(problem)) return enqueue_matrix(device, launch, problem);
    norma_status status = NORMA_OK;
    for (int64_t batch = 0; batch < problem->batch && !status; batch++) {
        norma_problem one;
        norma_problem_slice(problem, batch, 1, 0, problem->m, &one);
        status = enqueue_matrix(device, launch, &one);
    }
    return status;
}

const gpu_operation norma_gpu_linear_split = {
    .kernel = NORMA_KERNEL_LINEAR_SPLIT,
    .prepare = prepare,
    .launch = enqueue,
};
