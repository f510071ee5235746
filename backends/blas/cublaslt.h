/* NVIDIA's cuBLASLt: the kernel "linear_blas" of the CUDA backend, and the numbers of its interface, X(ours, theirs). */
#ifndef NORMA_BLAS_CUBLASLT_H
#define NORMA_BLAS_CUBLASLT_H

#include "lt_linear.h"

#define CUBLASLT_NUMBERS(X)         \
    X(LT_ALLOC_FAILED, 3)           \
    X(LT_INVALID_VALUE, 7)          \
    X(LT_ARCH_MISMATCH, 8)          \
    X(LT_INTERNAL_ERROR, 14)        \
    X(LT_NOT_SUPPORTED, 15)         \
    X(LT_F32, 0)                    \
    X(LT_F16, 2)                    \
    X(LT_BF16, 14)                  \
    X(LT_COMPUTE_F32, 68)           \
    X(LT_OPERATION_TRANSPOSE_A, 3)  \
    X(LT_OPERATION_TRANSPOSE_B, 4)  \
    X(LT_OPERATION_EPILOGUE, 7)     \
    X(LT_OPERATION_BIAS, 8)         \
    X(LT_MATRIX_ROWS, 2)            \
    X(LT_MATRIX_COLS, 3)            \
    X(LT_MATRIX_BATCH, 5)           \
    X(LT_MATRIX_BATCH_STRIDE, 6)    \
    X(LT_SEARCH_WORKSPACE_BYTES, 1) \
    X(LT_SEARCH_REDUCTIONS, 3)      \
    X(LT_SEARCH_ALIGNMENT_A, 5)     \
    X(LT_SEARCH_ALIGNMENT_B, 6)     \
    X(LT_SEARCH_ALIGNMENT_C, 7)     \
    X(LT_SEARCH_ALIGNMENT_D, 8)     \
    X(LT_TRANSPOSED, 1)             \
    X(LT_EPILOGUE_BIAS, 4)          \
    X(LT_REDUCE_IN_COMPUTE_TYPE, 2)

enum { CUBLASLT_ALGORITHM_BYTES = 64 };

extern const lt_vendor norma_cublaslt_vendor;
extern const gpu_operation norma_cublaslt_linear;

#endif
