/* The judge: what every backend's results are compared with. Plain loops in fp64, straight from the formulas of
 * docs/numerics.md, and the bound within which a correct implementation's error must lie.
 *
 * All functions take a bound problem whose addresses are host memory. Rows count all batches. */
#ifndef NORMA_CPU_REFERENCE_H
#define NORMA_CPU_REFERENCE_H

#include "../problem.h"

/* One row of the norm: h (x plus the residual, rounded to its dtype), rstd, and the normalised y as the contract defines it.
 * With NORMA_ROUND_DEFERRED y is the exact product; the exact contracts round it as docs/numerics.md says, a Linear's to h's
 * dtype. A norm's y is still to be rounded to the output's dtype. For NORMA_OP_LINEAR y is x. h and y hold problem->k
 * values; any of the three may be NULL. */
void norma_reference_row(const norma_problem *problem, int64_t row, double *h, double *y, double *out_rstd);

/* One output of a Linear before its rounding, y W + bias, and the magnitude sum_k |y[k] W[k,col]| + |bias|. */
double norma_reference_dot(const norma_problem *problem, const double *y, int part, int64_t col, double *out_magnitude);

/* The largest error that a result of dtype `out` may have against the reference: of a norm output y, of a Linear's output,
 * of rstd. Derived in docs/numerics.md from the dtypes, K and the contract; the same for every backend. */
double norma_bound_norm(const norma_problem *problem, double y, norma_dtype out);
double norma_bound_linear(const norma_problem *problem, double value, double magnitude, norma_dtype out);
double norma_bound_rstd(const norma_problem *problem, double rstd);

/* A gradient before its last rounding, the sum of its terms' magnitudes, and the error that anyone else may have made by
 * then. Like the bounds above, derived in docs/numerics.md. */
typedef struct norma_gradient {
    double value, magnitude, error;
} norma_gradient;

/* The gradients of NORMA_OP_RMSNORM_BACKWARD and NORMA_OP_RMSNORM_LINEAR_BACKWARD: t, what the norm's own gradient starts
 * from; dx of a row from the k values of its t; and the sums over all rows, with the old value where they accumulate. */
norma_gradient norma_reference_t(const norma_problem *problem, int64_t row, int64_t k);
void norma_reference_dx(const norma_problem *problem, int64_t row, const norma_gradient *t, norma_gradient *dx);
norma_gradient norma_reference_dgamma(const norma_problem *problem, int64_t k);
norma_gradient norma_reference_dbias(const norma_problem *problem, int part, int64_t col);
norma_gradient norma_reference_dweight(const norma_problem *problem, int part, int64_t k, int64_t col);

/* The largest error of a gradient of dtype `out`. */
double norma_bound_gradient(const norma_gradient *gradient, norma_dtype out);

/* One normalised value as a Linear multiplies it, from the rstd that is given to a backward, and the relative error of one
 * that is computed anew. */
double norma_reference_y(const norma_problem *problem, int64_t row, int64_t k);
double norma_bound_y(const norma_problem *problem);

/* Rounds to nearest even, in one step from fp64. */
double norma_round_double(norma_dtype dtype, double value);

/* Runs a whole problem of any op by these functions: the kernel "reference". The second function has the backward's. */
void norma_reference_run(const norma_problem *problem);
void norma_reference_run_backward(const norma_problem *problem);

#endif
