/* The vector routines of the CPU backend: one table per instruction set, all compiled from the same bodies (simd_body.inc)
 * by simd_plain.c, simd_avx2.c and simd_avx512.c. Everything is computed in fp32; other dtypes are converted while a row or
 * a panel is staged, so no routine exists twice for two dtypes.
 *
 * A staged row is fp32, contiguous, and zero-filled to a multiple of SIMD_PAD values, so that loops over it have no tails.
 * What comes out for one row or one output never depends on the others that share a call. */
#ifndef NORMA_CPU_SIMD_H
#define NORMA_CPU_SIMD_H

#include <math.h>

#include "../dtype.h"
#include "../problem.h"
#include "../tiling/tile_index.h"
#include "../tiling/tile_select.h"

enum {
    SIMD_ALIGN_BYTES = 64,  /* of what is staged here; any other address works */
    SIMD_PAD = 64,          /* staged rows are a multiple of this many values */
    SIMD_SLAB = 256,        /* columns of K that a staged block of x keeps together */
    SIMD_SLAB_STRIDE = 272, /* from row to row of a slab: off the powers of two, so that rows do not share cache sets */
    SIMD_SKINNY_ROWS = 8    /* rows of x that one call of a skinny routine takes at most */
};

/* Where a norm rounds: h * rstd to `inner`, that times gamma to `outer`; NORMA_F32 does not round. */
typedef struct simd_norm {
    norma_dtype inner, outer;
} simd_norm;

/* `columns` outputs of a thin product: sums[i * sums_stride + j] = sum_k x[i * x_stride + k] W[k,j]. */
typedef struct simd_skinny {
    const void *weight; /* W[0,0] of these columns */
    norma_dtype dtype;
    int64_t stride; /* of W, in the direction that is not contiguous */
    int64_t k, columns;
    const float *x; /* staged rows */
    int64_t x_stride;
    int rows;    /* 1, 2, 4 or SIMD_SKINNY_ROWS */
    float *sums; /* room for columns rounded up to SIMD_PAD */
    int64_t sums_stride;
} simd_skinny;

typedef struct simd_table {
    const char *name;
    norma_target target;
    int lanes;
    int tm, tn; /* the register tile of multiply() */

    /* `count` values, `stride` elements apart, to and from fp32; load() zero-fills to a multiple of SIMD_PAD. */
    void (*load)(const void *from, norma_dtype dtype, int64_t stride, int64_t count, float *to);
    void (*store)(void *to, norma_dtype dtype, int64_t stride, int64_t count, const float *from);

    /* h of one row, staged: x, or x + residual rounded, which goes to residual_out as well. In `room`, or x itself. */
    const float *(*stage_row)(const norma_problem *problem, int64_t row, float *room);

    /* Of a staged row: fp32 over short runs, fp64 over the runs. */
    double (*sum_squares)(const float *h, int64_t count);

    /* y = h * rstd * gamma with the roundings of `norm`; gamma (with its offset, staged) may be NULL. Writes `count` values
     * rounded up to whole vectors. */
    void (*normalise)(const simd_norm *norm, const float *gamma, const float *h, float rstd, int64_t count, float *y);

    /* The kernel rmsnorm_rows for rows [first, end); `room` is for one staged row. */
    void (*rmsnorm_rows)(const norma_problem *problem, const simd_norm *norm, const float *gamma, int64_t first, int64_t end,
                         float *room);

    /* Gradients, with n = x * rstd: the sum of t * gamma * n; t becomes rstd * (t * gamma - n * mean) + back, up to whole
     * vectors, gamma and back being NULL where absent; and sums += t * n, or t where x is NULL, up to whole vectors. */
    double (*backward_dot)(const float *t, const float *gamma, const float *x, float rstd, int64_t count);
    void (*backward_row)(float *t, const float *gamma, const float *x, const float *back, float rstd, float mean,
                         int64_t count);
    void (*sum_row)(const float *t, const float *x, float rstd, int64_t count, float *sums);

    /* Packs W[0..depth, 0..columns) into panels of depth x tn, zero-filled at the right edge. */
    void (*pack_weight)(const void *weight, norma_dtype dtype, int64_t row_stride, int64_t col_stride, int64_t depth,
                        int64_t columns, float *panels);

    /* acc (tm x tn, rows acc_stride apart) += x (tm rows of depth, SIMD_SLAB_STRIDE apart) * panel (depth x tn), one k after
     * the other; with `first`, acc starts from zero. Only the first `rows` rows of acc count. */
    void (*multiply)(int64_t rows, int64_t depth, const float *x, const float *panel, bool first, float *acc,
                     int64_t acc_stride);

    /* to[j] = acc[j] * rstd + bias[j], rounded once; bias (staged) may be NULL; acc is overwritten, up to whole vectors. */
    void (*finish)(float *acc, float rstd, const float *bias, int64_t count, void *to, norma_dtype dtype, int64_t stride);

    void (*skinny_k_major)(const simd_skinny *skinny); /* k is contiguous in W, as in nn.Linear */
    void (*skinny_n_major)(const simd_skinny *skinny); /* columns are contiguous in W */

    /* Reads everything; the result depends on all of it. */
    uint64_t (*read)(const void *from, size_t bytes);
} simd_table;

/* The table for a target, or NULL if it is not in this build or the processor lacks its instructions. */
const simd_table *norma_simd_for(norma_target target);

/* The best table that the processor runs. */
const simd_table *norma_simd_best(void);

/* The address of element `index`, counted from the tensor's first. */
static inline void *norma_tensor_element(const norma_tensor *tensor, int64_t index) {
    return (char *)tensor->buffer.data + tensor->buffer.offset_bytes +
           index * (int64_t)norma_dtype_bytes(tensor->layout.dtype);
}

/* The address of (row, col), rows counted over all batches of m. */
static inline void *norma_tensor_at(const norma_tensor *tensor, int64_t m, int64_t row, int64_t col) {
    const norma_layout *layout = &tensor->layout;
    return norma_tensor_element(tensor,
                                norma_element_at(row, col, m, layout->batch_stride, layout->row_stride, layout->col_stride));
}

/* 1 / sqrt(mean + eps), and zero where the sum of squares leaves fp32's range. */
static inline float norma_rstd(const norma_problem *problem, double sum_of_squares) {
    if (isinf((float)sum_of_squares)) return 0;
    return (float)(1 / sqrt(sum_of_squares / (double)problem->k + (double)problem->eps));
}

/* Whether a row of `count` values is as good as staged where it lies: alignment is only for speed. */
static inline bool norma_is_staged(const norma_layout *layout, int64_t count) {
    return layout->dtype == NORMA_F32 && layout->col_stride == 1 && count % SIMD_PAD == 0;
}

/* Values rounded up to whole staged vectors. */
static inline int64_t norma_padded(int64_t count) {
    return norma_ceil_div(count, SIMD_PAD) * SIMD_PAD;
}

#endif
