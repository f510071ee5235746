/* Sums over rows (sums.h). */
#include "sums.h"

#include <string.h>

norma_sums norma_sums_begin(norma_scratch *scratch, int64_t rows, int64_t columns) {
    norma_sums sums = {.rows = rows, .columns = columns};
    sums.piece_rows = rows > 0 ? norma_ceil_div(rows, NORMA_SUM_PIECES) : 1;
    sums.pieces = norma_ceil_div(rows, sums.piece_rows);
    /* For fewer rows there may be more pieces, so there is room for as many as there ever are. */
    sums.lines = norma_scratch_take(scratch, norma_index_min(rows, NORMA_SUM_PIECES), columns);
    return sums;
}

float *norma_sums_line(const norma_sums *sums, int64_t index) {
    float *line = sums->lines + index * norma_padded(sums->columns);
    memset(line, 0, (size_t)norma_padded(sums->columns) * sizeof *line);
    return line;
}

typedef struct finish_work {
    const norma_cpu_launch *launch;
    const norma_sums *sums;
    const norma_tensor *out;
    bool accumulate;
} finish_work;

static void finish_columns(void *user, int64_t index, int worker) {
    (void)worker;
    const finish_work *work = user;
    const norma_layout *layout = &work->out->layout;
    const int64_t begin = index * SIMD_SLAB;
    const int64_t count = norma_tile_extent(begin, SIMD_SLAB, work->sums->columns);
    void *to = norma_tensor_element(work->out, begin * layout->col_stride);
    _Alignas(SIMD_ALIGN_BYTES) float values[SIMD_SLAB];
    double totals[SIMD_SLAB] = {0};
    for (int64_t piece = 0; piece < work->sums->pieces; piece++) {
        const float *line = work->sums->lines + piece * norma_padded(work->sums->columns) + begin;
        for (int64_t i = 0; i < count; i++) totals[i] += (double)line[i];
    }
    if (work->accumulate) {
        work->launch->simd->load(to, layout->dtype, layout->col_stride, count, values);
        for (int64_t i = 0; i < count; i++) totals[i] += (double)values[i];
    }
    for (int64_t i = 0; i < count; i++) values[i] = (float)totals[i];
    work->launch->simd->store(to, layout->dtype, layout->col_stride, count, values);
}

void norma_sums_finish(const norma_cpu_launch *launch, const norma_sums *sums, const norma_tensor *out, bool accumulate) {
    finish_work work = {.launch = launch, .sums = sums, .out = out, .accumulate = accumulate};
    norma_threads_run(launch->threads, norma_ceil_div(sums->columns, SIMD_SLAB), finish_columns, &work);
}
