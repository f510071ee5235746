/* Staging rows of x for a product: what is multiplied into h before the product, and what into the sums after it. */
#ifndef NORMA_CPU_STAGE_H
#define NORMA_CPU_STAGE_H

#include "cpu_device.h"

typedef struct norma_stage {
    const simd_table *simd;
    const norma_problem *problem;
    const float *gamma; /* gamma + offset, or NULL */
    simd_norm norm;
} norma_stage;

typedef struct norma_factors {
    float before, after;
} norma_factors;

/* Ready to stage rows; `room` is for padded(k) floats of gamma. */
norma_stage norma_stage_begin(const norma_cpu_launch *launch, float *room);

/* Stages h of a row, in `room` if it must, and writes residual_out and rstd. The deferred contract multiplies by rstd after
 * the product, the exact contracts before it; a plain product multiplies by 1 twice. */
norma_factors norma_stage_row(const norma_stage *stage, int64_t row, float *room, const float **out_h);

/* y = h * factors.before * gamma, rounded as the contract says, of columns [begin, begin + count). */
void norma_stage_columns(const norma_stage *stage, const float *h, norma_factors factors, int64_t begin, int64_t count,
                         float *y);

/* The bias of columns [col, col + cols) in fp32, staged in `room`, or NULL if the part has none. */
const float *norma_stage_bias(const simd_table *simd, const norma_part *part, int64_t col, int64_t cols, float *room);

/* Writes sums * after + bias to columns [col, col + cols) of one row of the part's output. */
void norma_finish_row(const norma_stage *stage, const norma_part *part, int64_t row, int64_t col, int64_t cols, float after,
                      const float *bias, float *sums);

#endif
