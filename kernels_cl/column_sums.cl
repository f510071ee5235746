/* The sum over the rows of a matrix: one tile of columns and one piece of the rows to a work-group. If there are several
 * pieces, each writes a line of fp32 sums, and a second launch adds up the lines.
 *
 *                      columns
 *              +--------------------------+
 *      group 0 | row 0   row G   row 2G   |      GPU: a thread adds up a run of every G-th row; then the groups' sums are
 *      group 1 | row 1   row G+1          |      added in their order.
 *        :     |                          |
 *              +--------------------------+      CPU: a work-item to a tile, sixteen columns at a time, row after row.
 *
 * Steps, by the names of tile_index.h: 1 place  2 load  4 multiply (here: add)  6 store. The order of the sum follows from
 * the launch's geometry. The build options name both dtypes: MATRIX_DTYPE of what is added up, OTHER_DTYPE of the sums. */
#ifdef NORMA_CPU

#include "vector.clh"

enum { SUM_VECTORS = NORMA_CL_SUM_COLUMNS / LANES };

NORMA_KERNEL(1)
void column_sums(norma_input from, norma_output to, const norma_cl_sums params) {
    /* 1 place */
    const norma_index tiles = norma_ceil_div(params.columns, NORMA_CL_SUM_COLUMNS);
    const norma_index piece = get_group_id(0) / tiles, column = get_group_id(0) % tiles * NORMA_CL_SUM_COLUMNS;
    const norma_index begin = piece * params.piece_rows;
    const norma_index end = norma_index_min(begin + params.piece_rows, params.rows);
    const norma_index columns = norma_tile_extent(column, NORMA_CL_SUM_COLUMNS, params.columns);
    const int vectors = (int)norma_ceil_div(columns, LANES);
    /* 2 load, 4 multiply: add */
    float16 sum[SUM_VECTORS];
    for (int v = 0; v < SUM_VECTORS; v++) sum[v] = (float16)(0.0f);
    for (norma_index row = begin; row < end; row++) {
        const norma_index start = norma_row_start(&params.from, params.m, row), stride = params.from.col_stride;
        for (int v = 0; v < vectors; v++)
            sum[v] += norma_load16(from, MATRIX_DTYPE, start + (column + v * LANES) * stride, stride, columns - v * LANES);
    }
    /* 6 store */
    const norma_index start = params.to.start + piece * params.to.row_stride, stride = params.to.col_stride;
    for (int v = 0; v < vectors; v++) {
        const norma_index at = start + (column + v * LANES) * stride, count = columns - v * LANES;
        if (params.accumulate) sum[v] += norma_load16(to, OTHER_DTYPE, at, stride, count);
        norma_store16(to, OTHER_DTYPE, at, stride, count, sum[v]);
    }
}

#else

#include "run.clh"

enum {
    SUM_LANES = THREADS < NORMA_CL_SUM_LANES / WIDTH ? THREADS : NORMA_CL_SUM_LANES / WIDTH,
    SUM_COLUMNS = SUM_LANES * WIDTH,
    SUM_GROUPS = THREADS / SUM_LANES,
    TURN_ROWS = 4 /* on their way at a time */
};

/* 2 load, 4 multiply: add */
static inline void add_rows(run *sum, norma_input from, const norma_cl_sums *params, norma_index at, norma_index step,
                            int rows, norma_index left) {
    run next[TURN_ROWS];
    NORMA_UNROLL
    for (int i = 0; i < rows; i++) {
        if (IN_VECTORS(params->vectors)) {
            next[i] = load_run(from, MATRIX_DTYPE, at + i * step, true);
            continue;
        }
        NORMA_UNROLL
        for (int e = 0; e < WIDTH; e++)
            next[i].value[e] = e < left ? norma_load(from, MATRIX_DTYPE, at + i * step + e * params->from.col_stride) : 0.0f;
    }
    NORMA_UNROLL
    for (int i = 0; i < rows; i++) {
        NORMA_UNROLL
        for (int e = 0; e < WIDTH; e++) sum->value[e] += next[i].value[e];
    }
}

NORMA_KERNEL(THREADS)
void column_sums(norma_input from, norma_output to, const norma_cl_sums params) {
    __local float sums[SUM_GROUPS * SUM_COLUMNS];
    /* 1 place */
    const int lane = get_local_id(0) % SUM_LANES, group = get_local_id(0) / SUM_LANES;
    const norma_index tiles = norma_ceil_div(params.columns, SUM_COLUMNS);
    const norma_index piece = get_group_id(0) / tiles, first = get_group_id(0) % tiles * SUM_COLUMNS;
    const norma_index end = norma_index_min((piece + 1) * params.piece_rows, params.rows);
    const norma_index left = params.columns - first - lane * WIDTH, step = SUM_GROUPS * params.from.row_stride;
    run sum = run_of(0.0f);
    norma_index row = piece * params.piece_rows + group;
    while (row < end && left > 0 && group < SUM_GROUPS) {
        /* to the end of a batch */
        const norma_index stop = norma_index_min(end, (row / params.m + 1) * params.m);
        norma_index at = norma_row_start(&params.from, params.m, row) + (first + lane * WIDTH) * params.from.col_stride;
        for (; row + (TURN_ROWS - 1) * SUM_GROUPS < stop; row += TURN_ROWS * SUM_GROUPS, at += TURN_ROWS * step)
            add_rows(&sum, from, &params, at, step, TURN_ROWS, left);
        for (; row < stop; row += SUM_GROUPS, at += step) add_rows(&sum, from, &params, at, step, 1, left);
    }
    if (group < SUM_GROUPS) {
        NORMA_UNROLL
        for (int e = 0; e < WIDTH; e++) sums[group * SUM_COLUMNS + lane * WIDTH + e] = sum.value[e];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    /* 6 store */
    for (int c = get_local_id(0); c < SUM_COLUMNS && first + c < params.columns; c += THREADS) {
        float total = 0.0f;
        for (int g = 0; g < SUM_GROUPS; g++) total += sums[g * SUM_COLUMNS + c];
        const norma_index store = params.to.start + piece * params.to.row_stride + (first + c) * params.to.col_stride;
        if (params.accumulate) total += norma_load(to, OTHER_DTYPE, store);
        norma_store(to, OTHER_DTYPE, store, total);
    }
}

#endif
