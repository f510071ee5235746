/* One product for cuBLASLt or hipBLASLt and the choice of its algorithm.
 *
 * Row-major out (m x n) = x (m x k) W (k x n) is, column by column, out' (n x m) = W' (n x k) x' (k x m): A is W, B is x. */
#ifndef NORMA_BLAS_LT_PRODUCT_H
#define NORMA_BLAS_LT_PRODUCT_H

#include "../gpu/device.h"
#include "lt_vendor.h"

#define LT_MAX_WORKSPACE_BYTES ((size_t)32 << 20)
#define LT_FULL_ALIGNMENT      16
#define LT_MAX_CANDIDATES      32

/* What an open device keeps of its vendor's library: gpu_device.lt. */
typedef struct lt_session {
    const lt_vendor *vendor;
    const lt_api *api;
    void *handle;
} lt_session;

/* Everything that the choice of an algorithm depends on. Plain numbers without gaps: compared by their bytes. */
typedef struct lt_shape {
    const lt_vendor *vendor;
    int64_t m, n, k, batch;
    int64_t x_ld, weight_ld, out_ld;
    int64_t x_batch_stride, out_batch_stride;
    int32_t dtype, out_dtype;                /* norma_dtype: of x and W, and of out and the bias */
    int32_t weight_transposed, x_transposed; /* columns are contiguous */
    int32_t accumulate;                      /* out is added to */
    int32_t ordinal;                         /* of the device */

    /* Bytes that the operand's address is a multiple of: from its element's size up to LT_FULL_ALIGNMENT. */
    int32_t x_alignment, weight_alignment, out_alignment;
    int32_t bias_alignment; /* 0: no bias */
} lt_shape;

/* A shape with the library's descriptions of it. */
typedef struct lt_product {
    lt_shape shape;
    void *operation, *x, *weight, *out;
} lt_product;

typedef struct lt_operands {
    const void *x, *weight, *bias;
    void *out;
    void *workspace;
    size_t workspace_bytes;
} lt_operands;

typedef struct lt_candidate {
    uint64_t algorithm[LT_MAX_ALGORITHM_BYTES / sizeof(uint64_t)]; /* the vendor's own */
    size_t workspace_bytes;
} lt_candidate;

norma_status norma_lt_product_create(gpu_device *device, const lt_shape *shape, lt_product *out_product);
void norma_lt_product_destroy(gpu_device *device, lt_product *product);

/* Changes m, k, batch, batch strides and alignments; the rest must be as it was. */
norma_status norma_lt_product_reshape(gpu_device *device, lt_product *product, const lt_shape *shape);

norma_status norma_lt_product_run(gpu_device *device, const lt_product *product, const lt_candidate *candidate,
                                  const lt_operands *operands, void *stream);

/* Asks the library for up to `wanted` algorithms, at most LT_MAX_CANDIDATES, that need at most `workspace_bytes`, best guess
 * first. None is NORMA_ERROR_UNSUPPORTED. */
norma_status norma_lt_product_candidates(gpu_device *device, const lt_product *product, size_t workspace_bytes, int wanted,
                                         lt_candidate *out_candidates, int *out_count);

/* Whether the library says that an algorithm that was found for another m serves the product as it is now, and in how much
 * workspace. A library that cannot say does not. */
bool norma_lt_product_admits(const gpu_device *device, const lt_product *product, const lt_candidate *candidate,
                             size_t workspace_bytes);

/* The library's own first choice, which follows from the shape, the device and its version. */
norma_status norma_lt_product_first(gpu_device *device, const lt_product *product, lt_candidate *out_choice);

/* The fastest of the candidates, timed on random operands, unless the process has searched for this shape before: so every
 * context of the process computes the same bits, but another process may not. Where there is no memory to time in, the first
 * choice, until there is. */
norma_status norma_lt_product_search(gpu_device *device, const lt_product *product, lt_candidate *out_choice);

#endif
