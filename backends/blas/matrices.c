/* x with contiguous rows, or columns where a product sums over rows, W of x's dtype with contiguous rows or columns, outputs
 * with contiguous rows of x's dtype or fp32.
 */
#include "matrices.h"

#include <stddef.h>

bool norma_blas_rows_are_contiguous(const norma_layout *layout, int64_t columns) {
    return layout->col_stride == 1 && layout->row_stride >= columns;
}

static bool columns_are_contiguous(const norma_layout *layout, int64_t rows) {
    return layout->row_stride == 1 && layout->col_stride >= rows;
}

bool norma_blas_batches_join(const norma_problem *problem, const norma_part *part) {
    const norma_layout *x = &problem->x.layout, *out = &part->out.layout;
    return problem->batch == 1 ||
           (x->batch_stride == problem->m * x->row_stride && out->batch_stride == problem->m * out->row_stride);
}

bool norma_blas_x_is_transposed(const norma_problem *problem) {
    return problem->op == NORMA_OP_PRODUCT && problem->batch == 1 &&
           !norma_blas_rows_are_contiguous(&problem->x.layout, problem->k) &&
           columns_are_contiguous(&problem->x.layout, problem->m);
}

const char *norma_blas_objection(const norma_problem *problem, const norma_part *part) {
    const norma_layout *weight = &part->weight.layout, *out = &part->out.layout;
    const norma_dtype dtype = problem->x.layout.dtype;
    if (!norma_blas_rows_are_contiguous(&problem->x.layout, problem->k) && !norma_blas_x_is_transposed(problem))
        return "rows of x that are not contiguous";
    if (weight->dtype != dtype) return "a weight of another dtype than x";
    if (out->dtype != dtype && out->dtype != NORMA_F32) return "an output of another half dtype than x";
    if (!norma_blas_rows_are_contiguous(out, part->n)) return "rows of the output that are not contiguous";
    if (!norma_blas_rows_are_contiguous(weight, part->n) && !columns_are_contiguous(weight, problem->k))
        return "a weight with neither contiguous rows nor columns";
    return NULL;
}
