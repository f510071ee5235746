/* A problem: what is to be computed, after validation. The front builds it from a description and arguments with every
 * default filled in (no stride is "packed" any more, batch is at least 1, parts at least 1); backends only read it.
 * A tensor is absent if its dtype is NORMA_NONE. */
#ifndef NORMA_PROBLEM_H
#define NORMA_PROBLEM_H

#include <stdbool.h>

#include "norma/norma.h"

typedef enum norma_op {
    NORMA_OP_RMSNORM,        /* x, gamma, residual, residual_out, rstd -> out; out may be absent (residual or rstd only) */
    NORMA_OP_RMSNORM_LINEAR, /* x, gamma, residual, residual_out, rstd -> part[].out */
    NORMA_OP_LINEAR,         /* x -> part[].out, no normalisation: the second half of the pair route, and the bench's peer */
    NORMA_OP_FOLD_GAMMA,     /* gamma (k), part[0].weight (k, n) -> part[0].out (k, n) */
    NORMA_OP_STREAM_COPY,    /* x (m, k) -> out (m, k), both contiguous: the bench's floor for reading and writing */
    NORMA_OP_STREAM_READ,    /* x (m, k) is read; out (1, 1) may get a value, so that no read can be left out: the floor for
                                reading */
    NORMA_OP_RMSNORM_BACKWARD,        /* x, rstd, gamma, dout, dresidual_out -> dx, dgamma; an absent dout counts as zero */
    NORMA_OP_RMSNORM_LINEAR_BACKWARD, /* x, rstd, gamma, dresidual_out, part[].weight, .dout
                                         -> dx, dgamma, part[].dweight, .dbias */
    NORMA_OP_PRODUCT,    /* x (m, k), part[0].weight (k, n) -> part[0].out (m, n), any strides: a step of the backward */
    NORMA_OP_COLUMN_SUMS /* x (m, k) -> out (k), the sum over rows: another */
} norma_op;

typedef struct norma_tensor {
    norma_buffer buffer;
    norma_layout layout;
} norma_tensor;

typedef struct norma_part {
    int index; /* in the caller's description, where parts with n = 0 count too */
    int64_t n;
    norma_tensor weight, bias, out;
    norma_tensor dout, dweight, dbias; /* of NORMA_OP_RMSNORM_LINEAR_BACKWARD */
} norma_part;

typedef struct norma_problem {
    norma_op op;
    norma_contract contract;
    uint64_t flags;
    float eps;
    float gamma_offset;
    bool opaque_buffers; /* a buffer's data is a handle (cl_mem), not an address */
    int64_t max_rows;    /* the most that batch * m may be; 0: any */
    int64_t batch, m, k; /* batch * m rows of k; batch and m are 0 in a plan, which does not know them yet */
    norma_tensor x, gamma, residual, residual_out, rstd, out;
    norma_tensor dout, dresidual_out, dx, dgamma; /* of the backward operations; rstd is an input there */
    bool accumulate;                              /* PRODUCT, COLUMN_SUMS: out is added to; RMSNORM_BACKWARD: dgamma is */
    int desc_parts;                               /* in the caller's description */
    int parts;                                    /* here: those with n >= 1 */
    norma_part part[NORMA_MAX_PARTS];
} norma_problem;

static inline bool norma_tensor_present(const norma_tensor *tensor) {
    return tensor->layout.dtype != NORMA_NONE;
}

/* The dtype of h, which is x after the optional residual: the dtype that the exact contracts round to. */
static inline norma_dtype norma_problem_h_dtype(const norma_problem *problem) {
    return norma_tensor_present(&problem->residual) ? problem->residual.layout.dtype : problem->x.layout.dtype;
}

/* Products of x as it is: no norm, no gamma. */
static inline bool norma_problem_is_plain(const norma_problem *problem) {
    return problem->op == NORMA_OP_LINEAR || problem->op == NORMA_OP_PRODUCT;
}

/* The rows that a tile is chosen for: with NORMA_BATCH_INVARIANT always as many. */
#define NORMA_INVARIANT_ROWS 1024
static inline int64_t norma_problem_tile_rows(const norma_problem *problem, int64_t rows) {
    return problem->flags & NORMA_BATCH_INVARIANT ? NORMA_INVARIANT_ROWS : rows;
}

/* The number of output columns over all parts. */
static inline int64_t norma_problem_columns(const norma_problem *problem) {
    int64_t columns = 0;
    for (int p = 0; p < problem->parts; p++) columns += problem->part[p].n;
    return columns;
}

#endif
