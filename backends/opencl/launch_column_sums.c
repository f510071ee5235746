/* Launches column_sums: once for few rows; for many, once over pieces of them and once over the lines of sums that the
 * pieces leave in the workspace. How rows are cut follows from their number alone. */
#include <stdlib.h>

#include "opencl.h"

static const char stem[] = "column_sums";

/* The launch over the pieces, where there are several, and the one that writes the output. */
typedef struct sums_native {
    opencl_sums first, last;
} sums_native;

enum {
    THREADS = 256,
    PIECE_ROWS = 128, /* at least */
    MOST_PIECES = 64
};

norma_status norma_opencl_sums_find(opencl_device *device, norma_dtype from, norma_dtype to, opencl_sums *out_sums) {
    const opencl_dtypes dtypes = {.matrix = from, .other = to};
    *out_sums =
        (opencl_sums){.columns = NORMA_CL_SUM_COLUMNS, .threads = 1, .width = norma_opencl_run_width(device, dtypes)};
    if (device->base.limits.target == NORMA_TARGET_OPENCL_CPU)
        return norma_opencl_find(device, stem, stem, dtypes, "-DNORMA_CPU", &out_sums->kernel);
    const norma_status status =
        norma_opencl_find_threads(device, stem, dtypes, "", THREADS, &out_sums->kernel, &out_sums->threads);
    out_sums->columns = (int)norma_index_min(out_sums->threads * out_sums->width, NORMA_CL_SUM_LANES);
    return status;
}

/* No rows are one piece, of nothing. */
static int64_t pieces_in(const norma_cl_sums *params) {
    return params->rows > 0 ? norma_ceil_div(params->rows, params->piece_rows) : 1;
}

norma_status norma_opencl_sums_enqueue(opencl_device *device, const opencl_sums *sums, void *from, void *to,
                                       const norma_cl_sums *params) {
    const opencl_argument arguments[] = {{sizeof(cl_mem), &from}, {sizeof(cl_mem), &to}, {sizeof *params, params}};
    const int64_t tiles = norma_ceil_div(params->columns, sums->columns);
    return norma_opencl_enqueue(device, sums->kernel, pieces_in(params) * tiles, sums->threads, arguments,
                                sizeof arguments / sizeof *arguments);
}

/* At most; fewer rows have no more. */
static int64_t pieces_of(int64_t rows) {
    const int64_t most = norma_index_min(norma_ceil_div(rows, PIECE_ROWS), MOST_PIECES);
    return most > 1 ? most : 1;
}

static norma_status prepare(opencl_device *device, norma_launch *launch) {
    const norma_problem *problem = launch->problem;
    const norma_dtype from = problem->x.layout.dtype, to = problem->out.layout.dtype;
    const int64_t pieces = pieces_of(problem->batch * problem->m);
    sums_native *native = calloc(1, sizeof *native);
    if (!native) return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory for a launch");
    launch->native = native;
    if (pieces == 1) return norma_opencl_sums_find(device, from, to, &native->last);
    launch->workspace_bytes = (size_t)(pieces * problem->k) * sizeof(float);
    const norma_status status = norma_opencl_sums_find(device, from, NORMA_F32, &native->first);
    return status ? status : norma_opencl_sums_find(device, NORMA_F32, to, &native->last);
}

static norma_status enqueue(opencl_device *device, const norma_launch *launch) {
    const norma_problem *problem = launch->problem;
    const sums_native *native = launch->native;
    const int64_t rows = problem->batch * problem->m;
    norma_cl_sums whole = {
        .from = norma_opencl_view(&problem->x),
        .to = norma_opencl_view(&problem->out),
        .rows = rows,
        .m = problem->m,
        .columns = problem->k,
        .piece_rows = norma_ceil_div(rows, pieces_of(rows)),
        .accumulate = problem->accumulate,
    };
    const int64_t pieces = pieces_in(&whole);
    const int width = (pieces > 1 ? &native->first : &native->last)->width;
    whole.vectors = problem->k % width == 0 && norma_opencl_in_runs(&problem->x, width);
    if (pieces == 1)
        return norma_opencl_sums_enqueue(device, &native->last, problem->x.buffer.data, problem->out.buffer.data, &whole);

    const norma_cl_view lines = {
        .start = (norma_index)(launch->workspace.offset_bytes / sizeof(float)), .row_stride = problem->k, .col_stride = 1};
    norma_cl_sums cut = whole, last = whole;
    cut.to = last.from = lines;
    cut.accumulate = 0;
    last.rows = last.m = last.piece_rows = pieces;
    last.vectors = problem->k % native->last.width == 0 && launch->workspace.offset_bytes % 16 == 0;
    const norma_status status =
        norma_opencl_sums_enqueue(device, &native->first, problem->x.buffer.data, launch->workspace.data, &cut);
    if (status) return status;
    return norma_opencl_sums_enqueue(device, &native->last, launch->workspace.data, problem->out.buffer.data, &last);
}

const opencl_operation norma_opencl_column_sums = {
    .kernel = NORMA_KERNEL_COLUMN_SUMS,
    .prepare = prepare,
    .launch = enqueue,
};
