/* The part of cuBLASLt that this library calls, declared here so that no vendor header is needed, and the table of its
 * functions, filled from the library when it is first wanted. Matrices are column-major, as in BLAS. */
#ifndef NORMA_BLAS_CUBLASLT_API_H
#define NORMA_BLAS_CUBLASLT_API_H

#include <stddef.h>
#include <stdint.h>

typedef struct lt_algorithm {
    uint64_t data[8];
} lt_algorithm;

typedef struct lt_candidate {
    lt_algorithm algorithm;
    size_t workspace_bytes;
    int status;
    float waves;
    int reserved[4];
} lt_candidate;

/* Statuses. */
enum {
    LT_SUCCESS = 0,
    LT_ALLOC_FAILED = 3,
    LT_INVALID_VALUE = 7,
    LT_ARCH_MISMATCH = 8,
    LT_INTERNAL_ERROR = 14,
    LT_NOT_SUPPORTED = 15
};

/* Dtypes and how products are summed: fp32 without any rounding of its inputs. */
enum { LT_F32 = 0, LT_F16 = 2, LT_BF16 = 14, LT_COMPUTE_F32 = 68 };

/* Attributes of an operation, a matrix and a search, and values of theirs. */
enum {
    LT_OPERATION_TRANSPOSE_A = 3,
    LT_OPERATION_TRANSPOSE_B = 4,
    LT_OPERATION_EPILOGUE = 7,
    LT_OPERATION_BIAS = 8,
    LT_MATRIX_ROWS = 2,
    LT_MATRIX_COLS = 3,
    LT_MATRIX_BATCH = 5,
    LT_MATRIX_BATCH_STRIDE = 6,
    LT_SEARCH_WORKSPACE_BYTES = 1,
    LT_SEARCH_REDUCTIONS = 3,
    LT_SEARCH_ALIGNMENT_A = 5,
    LT_SEARCH_ALIGNMENT_B = 6,
    LT_SEARCH_ALIGNMENT_C = 7,
    LT_SEARCH_ALIGNMENT_D = 8,
    LT_TRANSPOSED = 1,
    LT_EPILOGUE_BIAS = 4,
    LT_REDUCE_IN_COMPUTE_TYPE = 2 /* splits of K are added in fp32, in a fixed order */
};

/* X(member, exported name, result, arguments) */
#define LT_LIST(X)                                                                                                       \
    X(version, cublasLtGetVersion, size_t, (void))                                                                       \
    X(status_name, cublasLtGetStatusName, const char *, (int status))                                                    \
    X(create, cublasLtCreate, int, (void **out_handle))                                                                  \
    X(destroy, cublasLtDestroy, int, (void *handle))                                                                     \
    X(operation_create, cublasLtMatmulDescCreate, int, (void **out_operation, int compute, int scale_dtype))             \
    X(operation_destroy, cublasLtMatmulDescDestroy, int, (void *operation))                                              \
    X(operation_set, cublasLtMatmulDescSetAttribute, int,                                                                \
      (void *operation, int attribute, const void *value, size_t bytes))                                                 \
    X(matrix_create, cublasLtMatrixLayoutCreate, int,                                                                    \
      (void **out_matrix, int dtype, uint64_t rows, uint64_t cols, int64_t ld))                                          \
    X(matrix_destroy, cublasLtMatrixLayoutDestroy, int, (void *matrix))                                                  \
    X(matrix_set, cublasLtMatrixLayoutSetAttribute, int, (void *matrix, int attribute, const void *value, size_t bytes)) \
    X(search_create, cublasLtMatmulPreferenceCreate, int, (void **out_search))                                           \
    X(search_destroy, cublasLtMatmulPreferenceDestroy, int, (void *search))                                              \
    X(search_set, cublasLtMatmulPreferenceSetAttribute, int,                                                             \
      (void *search, int attribute, const void *value, size_t bytes))                                                    \
    X(search, cublasLtMatmulAlgoGetHeuristic, int,                                                                       \
      (void *handle, void *operation, void *a, void *b, void *c, void *d, void *search, int wanted,                      \
       lt_candidate *out_candidates, int *out_count))                                                                    \
    X(check, cublasLtMatmulAlgoCheck, int,                                                                               \
      (void *handle, void *operation, void *a, void *b, void *c, void *d, const lt_algorithm *algorithm,                 \
       lt_candidate *out_candidate))                                                                                     \
    X(multiply, cublasLtMatmul, int,                                                                                     \
      (void *handle, void *operation, const void *alpha, const void *a, void *a_matrix, const void *b, void *b_matrix,   \
       const void *beta, const void *c, void *c_matrix, void *d, void *d_matrix, const lt_algorithm *algorithm,          \
       void *workspace, size_t workspace_bytes, void *stream))

typedef struct lt_api {
#define LT_MEMBER(member, name, result, arguments) result(*member) arguments;
    LT_LIST(LT_MEMBER)
#undef LT_MEMBER
} lt_api;

/* The libraries of this process, newest first: number `index` of those that are there, or NULL past the last. A library
 * that something else in the process has loaded already comes before all others. They stay open. */
const lt_api *lt_api_get(int index);

#endif
