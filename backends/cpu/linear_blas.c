/* The kernel linear_blas: an fp32 product by the CBLAS library of the system (blas/cblas.h). A bias is written to the output
 * first and the product added to it. The library uses as many threads as it is set to, whatever the context's number. */
#include <limits.h>

#include "../blas/cblas.h"
#include "stage.h"

typedef struct matrix {
    bool row_major;
    int64_t ld;
} matrix;

/* A matrix as BLAS takes it: contiguous in one direction, lines that do not overlap. */
static bool matrix_of(const norma_layout *layout, int64_t rows, int64_t cols, matrix *out_matrix) {
    if (layout->col_stride == 1 && (rows == 1 || layout->row_stride >= cols)) {
        *out_matrix = (matrix){true, rows == 1 ? cols : layout->row_stride};
        return out_matrix->ld <= INT_MAX;
    }
    if (layout->row_stride == 1 && (cols == 1 || layout->col_stride >= rows)) {
        *out_matrix = (matrix){false, cols == 1 ? rows : layout->col_stride};
        return out_matrix->ld <= INT_MAX;
    }
    return false;
}

static norma_status refuse(const char *why) {
    return norma_fail(NORMA_ERROR_UNSUPPORTED, "linear_blas %s", why);
}

static bool is_f32(const norma_tensor *tensor) {
    return tensor->layout.dtype == NORMA_F32;
}

static norma_status check(const norma_cpu_launch *launch) {
    const norma_problem *problem = launch->problem;
    matrix ignored;
    if (!norma_problem_is_plain(problem)) return refuse("computes a plain product");
    if (norma_tensor_present(&problem->residual)) return refuse("takes no residual");
    if (!norma_cblas_get()) return refuse("finds no CBLAS library on this machine");
    if (problem->m > INT_MAX || problem->k > INT_MAX) return refuse("takes sizes up to 2^31 - 1");
    if (!is_f32(&problem->x) || !matrix_of(&problem->x.layout, problem->m, problem->k, &ignored))
        return refuse("needs x in f32, contiguous in one direction");
    for (int p = 0; p < problem->parts; p++) {
        const norma_part *part = &problem->part[p];
        if (part->n > INT_MAX) return refuse("takes sizes up to 2^31 - 1");
        if (!is_f32(&part->weight) || !matrix_of(&part->weight.layout, problem->k, part->n, &ignored))
            return refuse("needs each weight in f32, contiguous in one direction");
        if (!is_f32(&part->out) || !matrix_of(&part->out.layout, problem->m, part->n, &ignored))
            return refuse("needs each out in f32, contiguous in one direction");
    }
    return NORMA_OK;
}

typedef struct bias_work {
    const norma_cpu_launch *launch;
    const norma_part *part;
} bias_work;

static void write_bias_row(void *user, int64_t row, int worker) {
    (void)worker;
    const bias_work *work = user;
    const norma_part *part = work->part;
    const simd_table *simd = work->launch->simd;
    for (int64_t col = 0; col < part->n; col += SIMD_SLAB) {
        _Alignas(SIMD_ALIGN_BYTES) float room[SIMD_SLAB];
        const int64_t count = norma_tile_extent(col, SIMD_SLAB, part->n);
        const float *bias = norma_stage_bias(simd, part, col, count, room);
        simd->store(norma_tensor_at(&part->out, work->launch->problem->m, row, col), NORMA_F32, part->out.layout.col_stride,
                    count, bias);
    }
}

/* out = x W (+ out): y' = W' x' for one row, else C = A B in the order of out. */
static norma_status multiply_batch(const norma_problem *problem, const norma_part *part, int64_t batch, float beta) {
    const norma_cblas *blas = norma_cblas_get();
    const float *x = norma_tensor_at(&problem->x, problem->m, batch * problem->m, 0);
    const float *weight = norma_tensor_element(&part->weight, 0);
    float *out = norma_tensor_at(&part->out, problem->m, batch * problem->m, 0);
    matrix a, b, c;
    /* A plan without a largest M may meet more rows than it was prepared for. */
    if (problem->m > INT_MAX || !matrix_of(&problem->x.layout, problem->m, problem->k, &a) ||
        !matrix_of(&part->weight.layout, problem->k, part->n, &b) || !matrix_of(&part->out.layout, problem->m, part->n, &c))
        return refuse("cannot take this many rows");
    const int m = (int)problem->m;
    const int n = (int)part->n;
    const int k = (int)problem->k;
    if (m == 1 && a.row_major && c.row_major) {
        /* Named by W's own order, so that W is never transposed: (N, K) times x, or (K, N)' times x. */
        if (b.row_major)
            blas->sgemv(CBLAS_ROW_MAJOR, CBLAS_TRANS, k, n, 1, weight, (int)b.ld, x, 1, beta, out, 1);
        else
            blas->sgemv(CBLAS_ROW_MAJOR, CBLAS_NO_TRANS, n, k, 1, weight, (int)b.ld, x, 1, beta, out, 1);
        return NORMA_OK;
    }
    const int trans_a = a.row_major == c.row_major ? CBLAS_NO_TRANS : CBLAS_TRANS;
    const int trans_b = b.row_major == c.row_major ? CBLAS_NO_TRANS : CBLAS_TRANS;
    blas->sgemm(c.row_major ? CBLAS_ROW_MAJOR : CBLAS_COL_MAJOR, trans_a, trans_b, m, n, k, 1, x, (int)a.ld, weight,
                (int)b.ld, beta, out, (int)c.ld);
    return NORMA_OK;
}

static norma_status run(const norma_cpu_launch *launch) {
    const norma_problem *problem = launch->problem;
    for (int p = 0; p < problem->parts; p++) {
        const norma_part *part = &problem->part[p];
        const bool bias = norma_tensor_present(&part->bias);
        bias_work work = {.launch = launch, .part = part};
        if (bias) norma_threads_run(launch->threads, problem->batch * problem->m, write_bias_row, &work);
        for (int64_t batch = 0; batch < problem->batch; batch++) {
            const norma_status status = multiply_batch(problem, part, batch, bias || problem->accumulate ? 1 : 0);
            if (status) return status;
        }
    }
    return NORMA_OK;
}

const norma_cpu_kernel norma_cpu_linear_blas = {.check = check, .run = run};
