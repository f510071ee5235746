/* cuBLASLt and hipBLASLt: one interface with two sets of names and numbers. Their functions differ in the prefix of their
 * names, so one table serves both, filled from the vendor's library when it is first wanted; what else differs stands in an
 * lt_vendor (cublaslt.c, hipblaslt.c). Everything is declared here, so no vendor header is needed. Matrices are
 * column-major, as in BLAS. */
#ifndef NORMA_BLAS_LT_VENDOR_H
#define NORMA_BLAS_LT_VENDOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The numbers that the vendors give differently. */
typedef enum lt_number {
    /* Statuses other than LT_SUCCESS. */
    LT_ALLOC_FAILED,
    LT_INVALID_VALUE,
    LT_ARCH_MISMATCH,
    LT_INTERNAL_ERROR,
    LT_NOT_SUPPORTED,

    /* Dtypes and how products are summed: fp32 without any rounding of its inputs. */
    LT_F32,
    LT_F16,
    LT_BF16,
    LT_COMPUTE_F32,

    /* Attributes of an operation, a matrix and a search. Of a search all but the first may be LT_ABSENT. */
    LT_OPERATION_TRANSPOSE_A,
    LT_OPERATION_TRANSPOSE_B,
    LT_OPERATION_EPILOGUE,
    LT_OPERATION_BIAS,
    LT_MATRIX_ROWS,
    LT_MATRIX_COLS,
    LT_MATRIX_BATCH,
    LT_MATRIX_BATCH_STRIDE,
    LT_SEARCH_WORKSPACE_BYTES,
    LT_SEARCH_REDUCTIONS,
    LT_SEARCH_ALIGNMENT_A,
    LT_SEARCH_ALIGNMENT_B,
    LT_SEARCH_ALIGNMENT_C,
    LT_SEARCH_ALIGNMENT_D,

    /* Values of theirs. */
    LT_TRANSPOSED,
    LT_EPILOGUE_BIAS,
    LT_REDUCE_IN_COMPUTE_TYPE, /* splits of K are added in fp32, in a fixed order */
    LT_NUMBER_COUNT
} lt_number;

enum { LT_SUCCESS = 0, LT_ABSENT = -1 };

/* What a search finds is an array of an algorithm, lt_vendor.algorithm_bytes of the vendor's own, followed by this. */
typedef struct lt_found {
    size_t workspace_bytes;
    int status;
    float waves;
    int reserved[4];
} lt_found;

#define LT_MAX_ALGORITHM_BYTES 64

enum { LT_OPTIONAL = false, LT_REQUIRED = true };

/* X(member, need, name after the prefix, arguments) */
#define LT_LIST(X)                                                                                                        \
    X(create, LT_REQUIRED, Create, (void **out_handle))                                                                   \
    X(destroy, LT_REQUIRED, Destroy, (void *handle))                                                                      \
    X(operation_create, LT_REQUIRED, MatmulDescCreate, (void **out_operation, int compute, int scale_dtype))              \
    X(operation_destroy, LT_REQUIRED, MatmulDescDestroy, (void *operation))                                               \
    X(operation_set, LT_REQUIRED, MatmulDescSetAttribute,                                                                 \
      (void *operation, int attribute, const void *value, size_t bytes))                                                  \
    X(matrix_create, LT_REQUIRED, MatrixLayoutCreate,                                                                     \
      (void **out_matrix, int dtype, uint64_t rows, uint64_t cols, int64_t ld))                                           \
    X(matrix_destroy, LT_REQUIRED, MatrixLayoutDestroy, (void *matrix))                                                   \
    X(matrix_set, LT_REQUIRED, MatrixLayoutSetAttribute, (void *matrix, int attribute, const void *value, size_t bytes))  \
    X(search_create, LT_REQUIRED, MatmulPreferenceCreate, (void **out_search))                                            \
    X(search_destroy, LT_REQUIRED, MatmulPreferenceDestroy, (void *search))                                               \
    X(search_set, LT_REQUIRED, MatmulPreferenceSetAttribute,                                                              \
      (void *search, int attribute, const void *value, size_t bytes))                                                     \
    X(search, LT_REQUIRED, MatmulAlgoGetHeuristic,                                                                        \
      (void *handle, void *operation, void *a, void *b, void *c, void *d, void *search, int wanted, void *out_candidates, \
       int *out_count))                                                                                                   \
    X(check, LT_OPTIONAL, MatmulAlgoCheck,                                                                                \
      (void *handle, void *operation, void *a, void *b, void *c, void *d, const void *algorithm, void *out_candidate))    \
    X(multiply, LT_REQUIRED, Matmul,                                                                                      \
      (void *handle, void *operation, const void *alpha, const void *a, void *a_matrix, const void *b, void *b_matrix,    \
       const void *beta, const void *c, void *c_matrix, void *d, void *d_matrix, const void *algorithm, void *workspace,  \
       size_t workspace_bytes, void *stream))

typedef struct lt_api {
#define LT_MEMBER(member, need, name, arguments) int(*member) arguments;
    LT_LIST(LT_MEMBER)
#undef LT_MEMBER

    /* GetVersion and GetStatusName, whose arguments and results are the vendor's own. The latter is optional. */
    void (*version)(void);
    void (*status_name)(void);
} lt_api;

#define LT_MAX_LIBRARIES 3

/* The versions of a vendor's library that the process has opened. They stay open. */
typedef struct lt_libraries {
    bool tried;
    int count;
    lt_api api[LT_MAX_LIBRARIES];
} lt_libraries;

typedef struct lt_vendor {
    const char *name;                      /* "cuBLASLt", for sentences */
    const char *prefix;                    /* of its functions' names, "cublasLt" */
    const char *sonames[LT_MAX_LIBRARIES]; /* newest first; NULL ends a shorter list */
    size_t oldest_version;                 /* whose numbers are these */
    int numbers[LT_NUMBER_COUNT];
    size_t algorithm_bytes;

    /* A half output whose rows are not multiples of 16 bytes is rounded before a bias is added. */
    bool rounds_before_bias;

    size_t (*version)(const lt_api *api, void *handle);
    const char *(*status_name)(const lt_api *api, int status);
    lt_libraries *libraries;
} lt_vendor;

/* The vendor's libraries of this process, newest first: number `index` of those that are there, or NULL past the last. A
 * library that something else in the process has loaded already comes before all others. */
const lt_api *norma_lt_api_get(const lt_vendor *vendor, int index);

#endif
