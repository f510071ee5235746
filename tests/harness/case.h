/* A case: one problem to try, written down. The rows of tests/cases/ are cases, and the randomised tests make them up. Data
 * follows from the case and a seed; a value depends on its logical place in its tensor, never on the layout. */
#ifndef NORMA_TESTS_CASE_H
#define NORMA_TESTS_CASE_H

#include <stdbool.h>

#include "problem.h"

/* The part that a tensor plays. The last two are present or not; their dtypes follow. In a backward case, residual is
 * dresidual_out, out is dout, and rstd is an input. */
typedef enum test_role {
    ROLE_X,
    ROLE_GAMMA,
    ROLE_RESIDUAL,
    ROLE_WEIGHT,
    ROLE_BIAS,
    ROLE_OUT,
    ROLE_DX,
    ROLE_DGAMMA,
    ROLE_DWEIGHT,
    ROLE_DBIAS,
    ROLE_RESIDUAL_OUT,
    ROLE_RSTD,
    ROLE_COUNT,
    ROLE_DTYPES = ROLE_RESIDUAL_OUT /* the roles before it have dtypes of their own */
} test_role;

typedef enum test_class {
    CLASS_TINY,   /* a handful of values: readable when it fails */
    CLASS_EDGE,   /* what breaks elsewhere: tails, strides, alignment, extremes */
    CLASS_RANDOM, /* middling sizes over mixed features */
    CLASS_LARGE,  /* sizes at which blocking and threads come into play */
    CLASS_BENCH,  /* the shapes of real models */
    CLASS_COUNT
} test_class;

typedef enum test_arrangement {
    PACKED,  /* strides given as 0 */
    PADDED,  /* rows, and batches, further apart than they are long */
    COLUMNS, /* column-major, and for a weight (N, K) storage; padded unless a multiple of 16 long */
    STEPPED, /* every third element of padded rows */
    HEADS    /* the batches are column slices of one array, as the heads of an attention layer */
} test_arrangement;

typedef enum test_data {
    DATA_NORMAL,  /* x normal, gamma around 1, W normal / sqrt(K) */
    DATA_INTEGER, /* x = +-2 and small integers elsewhere: exact, if eps is tiny */
    DATA_ZERO,    /* rows 0, 2, 4, ... of h are zero */
    DATA_SPIKE,   /* one large value in each row of small ones */
    DATA_TINY,    /* x subnormal in its dtype */
    DATA_HUGE     /* fp16: around 6e4; others: large, with squares inside fp32's range */
} test_data;

typedef enum test_alias {
    ALIAS_NONE,
    ALIAS_OUT_X,                 /* out is x */
    ALIAS_RESIDUAL_OUT_RESIDUAL, /* residual_out is residual */
    ALIAS_RESIDUAL_OUT_X,        /* residual_out is x */
    ALIAS_BOTH,                  /* out is x and residual_out is residual */
    ALIAS_OUT_WEIGHT,            /* folding in place */
    ALIAS_DX_DOUT,               /* dx is dout */
    ALIAS_DX_DRESIDUAL           /* dx is dresidual_out */
} test_alias;

/* Tensors that share an array as neighbouring slices of its rows; combined by or. */
enum {
    SHARE_OUTS = 1,   /* the parts' outputs: a packed q, k, v activation */
    SHARE_WEIGHTS = 2 /* the parts' weights, and their biases: a packed qkv_proj */
};
enum { SHARE_X_OUT = 4 }; /* a norm's x and out lie side by side in one array */

/* In a table: the dtype of this expansion, and every contract in turn. */
#define DTYPE_SAME     ((norma_dtype)100)
#define CONTRACT_EVERY ((norma_contract)100)

typedef struct test_case {
    const char *name;
    test_class kind;
    norma_op op;
    int64_t batch, m, k; /* batch 0 means 1 */
    int64_t n[NORMA_MAX_PARTS];
    int parts; /* 0: as many as n has leading nonzero entries */
    union {
        norma_dtype dtype[ROLE_DTYPES];
        struct {
            norma_dtype x, gamma, residual, weight, bias, out, dx, dgamma, dweight, dbias;
        };
    };
    bool residual_out, rstd;
    norma_contract contract;
    float eps; /* 0: the default */
    float offset;
    uint64_t flags;
    int64_t max_rows;     /* of the description */
    test_arrangement all; /* of every tensor whose own entry below is PACKED */
    test_arrangement arranged[ROLE_COUNT];
    int share;
    int shift_bytes[ROLE_COUNT]; /* off the 256-byte alignment of allocations */
    test_alias alias;
    test_data data;
} test_case;

int test_case_parts(const test_case *test);

static inline bool test_case_is_backward(const test_case *test) {
    return test->op == NORMA_OP_RMSNORM_BACKWARD || test->op == NORMA_OP_RMSNORM_LINEAR_BACKWARD;
}

/* A case in one line, for failure messages. */
void test_case_describe(const test_case *test, char *text, size_t text_bytes);

#endif
