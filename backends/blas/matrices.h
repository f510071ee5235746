/* What GPU vendors' products ask of a problem's matrices. */
#ifndef NORMA_BLAS_MATRICES_H
#define NORMA_BLAS_MATRICES_H

#include "../problem.h"

bool norma_blas_rows_are_contiguous(const norma_layout *layout, int64_t columns);

/* A batch whose rows all stand at one stride is one taller matrix. */
bool norma_blas_batches_join(const norma_problem *problem, const norma_part *part);

/* A product that sums over rows has its x column by column, and one batch. */
bool norma_blas_x_is_transposed(const norma_problem *problem);

/* Why no such product takes a part, as "does not take ..."; NULL if it does. The bias is not looked at. */
const char *norma_blas_objection(const norma_problem *problem, const norma_part *part);

#endif
