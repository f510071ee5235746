/* One small product for the tests of the HIP backend's vendor libraries, whose stand-ins compute in host memory: memory that
 * the stand-in libamdhip64 hands out is the host's. All values and sums are small integers, exact in every dtype. */
#ifndef NORMA_TESTS_HIP_BLAS_PRODUCT_H
#define NORMA_TESTS_HIP_BLAS_PRODUCT_H

#include "front/context.h"

enum { BLAS_PRODUCT_M = 3, BLAS_PRODUCT_N = 5, BLAS_PRODUCT_K = 4, BLAS_PRODUCT_BATCH = 2 };

/* How its matrices lie. */
typedef struct blas_product_form {
    norma_dtype dtype, out_dtype;
    int64_t batch;
    int64_t batch_rows;  /* from one batch to the next: BLAS_PRODUCT_M joins them; one row more at most */
    bool weight_columns; /* W's columns are contiguous, not its rows */
    bool bias;
    bool accumulate;
    int64_t out_padding; /* elements between rows of the output; 0: 1 */
} blas_product_form;

typedef struct blas_product {
    norma_problem problem;
    void *x, *weight, *bias, *out;
    float *old; /* of out */
} blas_product;

blas_product blas_product_make(norma_context *context, blas_product_form form);
void blas_product_free(norma_context *context, blas_product *product);

/* Prepares the kernel linear_blas, launches it once and discards it. */
norma_status blas_product_run(norma_context *context, const norma_problem *problem);

/* Every output is the sum that it should be. */
void blas_product_expect_right(const blas_product *product);

#endif
