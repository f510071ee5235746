/* Launches column_sums: once for few rows; for many, once over pieces of them and once over the lines of sums that the
 * pieces leave in the workspace. How rows are cut follows from their number alone. */
#include "gpu.h"

#include <stdio.h>
#include <stdlib.h>

#include "../dtype.h"

enum {
    THREADS = 256,
    FEW_ROWS = 2048,  /* are summed at once, in narrow tiles, which are more blocks */
    PIECE_ROWS = 128, /* at least */
    MOST_PIECES = 64,
    CHUNK_BYTES = 16
};

norma_status norma_gpu_sums_find(gpu_device *device, norma_dtype dtype, gpu_sums *out_sums) {
    char name[32];
    snprintf(name, sizeof name, "column_sums_%s", norma_dtype_name(dtype));
    const norma_status status = norma_gpu_find(device, name, 0, &out_sums->vectors);
    return status ? status : norma_gpu_find(device, "column_sums_any", 0, &out_sums->elements);
}

/* Whether every row can be read in whole chunks. */
static bool suits_vectors(const norma_sums_params *params) {
    const int64_t bytes = params->from_dtype == NORMA_F32 ? 4 : 2;
    const norma_view *from = &params->from;
    return from->col_stride == 1 && (uintptr_t)from->data % CHUNK_BYTES == 0 && params->columns * bytes % CHUNK_BYTES == 0 &&
           from->row_stride * bytes % CHUNK_BYTES == 0 && from->batch_stride * bytes % CHUNK_BYTES == 0;
}

norma_status norma_gpu_sums_enqueue(gpu_device *device, const gpu_sums *sums, norma_sums_params params) {
    const bool vectors = suits_vectors(&params);
    const int64_t width = !vectors ? 1 : params.from_dtype == NORMA_F32 ? 4 : 8;
    params.lanes = vectors && params.pieces == 1 ? 8 : 32;
    const int64_t tiles = norma_ceil_div(params.columns, params.lanes * width);
    if (tiles > norma_gpu_most_blocks(device, THREADS))
        return norma_fail(NORMA_ERROR_UNSUPPORTED, "column_sums: %lld columns in one call", (long long)params.columns);
    const gpu_kernel kernel = {
        .function = vectors ? sums->vectors : sums->elements,
        .grid = {(unsigned)tiles, (unsigned)params.pieces, 1},
        .block = {THREADS, 1, 1},
        .overlap = true,
    };
    return norma_gpu_enqueue(device, &kernel, &params, sizeof params);
}

typedef struct sums_native {
    gpu_sums pieces, lines;
} sums_native;

static int pieces_of(int64_t rows) {
    return rows <= FEW_ROWS ? 1 : (int)norma_index_min(norma_ceil_div(rows, PIECE_ROWS), MOST_PIECES);
}

static norma_status prepare(gpu_device *device, norma_launch *launch) {
    const norma_problem *problem = launch->problem;
    sums_native *native = calloc(1, sizeof *native);
    if (!native) return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory for a launch");
    launch->native = native;
    /* Fewer rows have no more pieces. */
    const int pieces = pieces_of(problem->batch * problem->m);
    if (pieces > 1) launch->workspace_bytes = (size_t)(pieces * problem->k) * sizeof(float);
    const norma_status status = norma_gpu_sums_find(device, problem->x.layout.dtype, &native->pieces);
    return status ? status : norma_gpu_sums_find(device, NORMA_F32, &native->lines);
}

static norma_status enqueue(gpu_device *device, const norma_launch *launch) {
    const norma_problem *problem = launch->problem;
    const sums_native *native = launch->native;
    const int64_t rows = problem->batch * problem->m;
    const int pieces = pieces_of(rows);
    const norma_view out = norma_gpu_view(&problem->out);
    norma_sums_params params = {
        .from = norma_gpu_view(&problem->x),
        .to = out,
        .rows = rows,
        .m = problem->m,
        .columns = problem->k,
        .piece_rows = norma_ceil_div(rows, pieces),
        .from_dtype = (int)problem->x.layout.dtype,
        .to_dtype = (int)problem->out.layout.dtype,
        .pieces = pieces,
        .accumulate = problem->accumulate,
    };
    if (pieces == 1) return norma_gpu_sums_enqueue(device, &native->pieces, params);
    params.to.data = (char *)launch->workspace.data + launch->workspace.offset_bytes;
    const norma_status status = norma_gpu_sums_enqueue(device, &native->pieces, params);
    if (status) return status;
    params.from = (norma_view){.data = params.to.data, .row_stride = problem->k, .col_stride = 1};
    params.to = out;
    params.rows = params.m = params.piece_rows = pieces;
    params.from_dtype = NORMA_F32;
    params.pieces = 1;
    return norma_gpu_sums_enqueue(device, &native->lines, params);
}

const gpu_operation norma_gpu_column_sums = {
    .kernel = NORMA_KERNEL_COLUMN_SUMS,
    .prepare = prepare,
    .launch = enqueue,
};
