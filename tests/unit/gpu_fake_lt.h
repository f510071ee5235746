/* A cuBLASLt that multiplies nothing: what it is asked for is kept, and each algorithm takes the time that the test gives
 * it. */
#ifndef NORMA_TESTS_UNIT_GPU_FAKE_LT_H
#define NORMA_TESTS_UNIT_GPU_FAKE_LT_H

#include "blas/cublaslt.h"

/* Its numbers by our names. */
enum {
#define NUMBER(ours, theirs) CU_##ours = (theirs),
    CUBLASLT_NUMBERS(NUMBER)
#undef NUMBER
};

enum { FAKE_LT_ALGORITHMS = 8, FAKE_LT_FIRST = 100 };

typedef struct fake_lt_matrix {
    int dtype;
    int64_t rows, cols, ld;
    int32_t batch;
    int64_t batch_stride;
} fake_lt_matrix;

typedef struct fake_lt_operation {
    int32_t transposed, x_transposed;
    uint32_t epilogue;
    const void *bias;
} fake_lt_operation;

typedef struct fake_lt_search {
    uint64_t workspace_bytes;
    uint32_t reductions;
    uint32_t alignment[4];
} fake_lt_search;

typedef struct fake_lt_state {
    /* Set by the test. */
    int candidates; /* that a search finds, algorithms FAKE_LT_FIRST and on */
    size_t workspace_bytes[FAKE_LT_ALGORITHMS];
    float ms[FAKE_LT_ALGORITHMS];     /* how long each takes */
    bool refuses[FAKE_LT_ALGORITHMS]; /* found, but does not run */
    bool refuses_other_shapes;        /* check() says no */
    bool refuses_batches;
    uint32_t least_alignment; /* a search for less than this finds nothing */
    int multiply_status;

    /* Seen by the test. */
    int live, searches, multiplications;
    fake_lt_operation operation; /* of the last multiplication */
    fake_lt_matrix a, b, d;
    const void *a_data, *b_data;
    void *d_data, *workspace, *stream;
    float old; /* the factor of what the output held */
    int algorithm;
    fake_lt_search first_search, last_search;
} fake_lt_state;

extern fake_lt_state fake_lt;
extern const lt_api fake_lt_api;

#endif
