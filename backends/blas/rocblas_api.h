/* The part of rocBLAS that this library calls, declared here so that no vendor header is needed. Matrices are column-major.
 */
#ifndef NORMA_BLAS_ROCBLAS_API_H
#define NORMA_BLAS_ROCBLAS_API_H

#include <stddef.h>
#include <stdint.h>

/* rocblas_status, rocblas_operation, rocblas_datatype, rocblas_gemm_algo and rocblas_atomics_mode. */
enum {
    ROC_SUCCESS = 0,
    ROC_NOT_IMPLEMENTED = 2,
    ROC_MEMORY_ERROR = 5,
    ROC_NONE = 111,
    ROC_TRANSPOSED = 112,
    ROC_F16 = 150,
    ROC_F32 = 151,
    ROC_BF16 = 168,
    ROC_ALGORITHM_STANDARD = 0,
    ROC_ATOMICS_NOT_ALLOWED = 0
};

/* X(member, exported name, result, arguments) */
#define ROC_LIST(X)                                                                                                       \
    X(create, rocblas_create_handle, int, (void **out_handle))                                                            \
    X(destroy, rocblas_destroy_handle, int, (void *handle))                                                               \
    X(set_stream, rocblas_set_stream, int, (void *handle, void *stream))                                                  \
    X(set_atomics, rocblas_set_atomics_mode, int, (void *handle, int mode))                                               \
    X(version, rocblas_get_version_string, int, (char *text, size_t bytes))                                               \
    X(status_name, rocblas_status_to_string, const char *, (int status))                                                  \
    X(multiply, rocblas_gemm_strided_batched_ex, int,                                                                     \
      (void *handle, int a_operation, int b_operation, int32_t m, int32_t n, int32_t k, const void *alpha, const void *a, \
       int a_dtype, int32_t a_ld, int64_t a_stride, const void *b, int b_dtype, int32_t b_ld, int64_t b_stride,           \
       const void *beta, const void *c, int c_dtype, int32_t c_ld, int64_t c_stride, void *d, int d_dtype, int32_t d_ld,  \
       int64_t d_stride, int32_t batch, int compute_dtype, int algorithm, int32_t solution, uint32_t flags))

typedef struct roc_api {
#define ROC_MEMBER(member, name, result, arguments) result(*member) arguments;
    ROC_LIST(ROC_MEMBER)
#undef ROC_MEMBER
} roc_api;

#endif
