/* Sums over rows whose order does not depend on the threads: rows are cut into pieces by their number alone, each piece is
 * summed in fp32 into a line of its own, and the lines are added up in their order in fp64. */
#ifndef NORMA_CPU_SUMS_H
#define NORMA_CPU_SUMS_H

#include "cpu_device.h"

enum { NORMA_SUM_PIECES = 64 };

typedef struct norma_sums {
    int64_t rows, columns;
    int64_t pieces, piece_rows;
    float *lines; /* pieces x padded(columns) */
} norma_sums;

/* How rows are cut, and room for the lines, which are not zeroed. */
norma_sums norma_sums_begin(norma_scratch *scratch, int64_t rows, int64_t columns);

/* Piece `index`'s line, zeroed. */
float *norma_sums_line(const norma_sums *sums, int64_t index);

/* Adds up the lines, and the old values with `accumulate`, into a vector over columns. */
void norma_sums_finish(const norma_cpu_launch *launch, const norma_sums *sums, const norma_tensor *out, bool accumulate);

#endif
