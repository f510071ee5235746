/* The judge (reference.h): RMSNorm, RMSNorm + Linear and gamma folding in plain fp64 loops, and the bound on the error of
 * everyone else. Written from the formulas of docs/numerics.md and nothing else; the only roundings are those that the
 * contract defines. Allocates nothing, keeps nothing. Where an output may lie in place of an input, every value is read
 * before its place is written. */
#include "reference.h"

#include <math.h>

#include "reference_access.h"

/* Columns of one pass over a row in reference_linear_row. */
enum { BLOCK_COLUMNS = 32 };

double norma_round_double(norma_dtype dtype, double value) {
    if (!isfinite(value)) return value;
    const format format = format_of(dtype);
    const double step = spacing(&format, value);
    const double rounded = nearbyint(value / step) * step;
    return fabs(rounded) > format.largest ? copysign(INFINITY, value) : rounded;
}

/* Zero where the sum of squares leaves fp32's range, as in the models' own code. */
static double rstd_of(const norma_problem *problem, int64_t row) {
    if (problem->op == NORMA_OP_LINEAR) return 1;
    double sum = 0;
    for (int64_t k = 0; k < problem->k; k++) {
        const double h = h_at(problem, row, k);
        sum += h * h;
    }
    if (isinf(norma_round_double(NORMA_F32, sum))) return 0;
    return 1 / sqrt(sum / (double)problem->k + (double)problem->eps);
}

/* The normalised value. With an exact contract, h * rstd and its product with gamma are fp32 products, so that an fp32
 * implementation with the same rstd gives the same bits. A norm's y is still to be rounded to the output's dtype; a Linear's
 * is rounded to h's dtype here. */
static double y_at(const norma_problem *problem, int64_t row, int64_t k, double rstd) {
    const float h = h_at(problem, row, k);
    const float gamma = gamma_at(problem, k);
    if (problem->op == NORMA_OP_LINEAR) return h;
    if (problem->contract == NORMA_ROUND_DEFERRED) return h * rstd * gamma;
    const norma_dtype dtype = norma_problem_h_dtype(problem);
    const float normalised = h * (float)rstd;
    const float y = gamma * (problem->contract == NORMA_ROUND_TWICE ? norma_round(dtype, normalised) : normalised);
    return problem->op == NORMA_OP_RMSNORM ? y : norma_round(dtype, y);
}

double norma_reference_y(const norma_problem *problem, int64_t row, int64_t k) {
    return y_at(problem, row, k, load(problem, &problem->rstd, row, 0));
}

void norma_reference_row(const norma_problem *problem, int64_t row, double *h, double *y, double *out_rstd) {
    const double rstd = rstd_of(problem, row);
    if (out_rstd) *out_rstd = rstd;
    for (int64_t k = 0; k < problem->k; k++) {
        if (h) h[k] = h_at(problem, row, k);
        if (y) y[k] = y_at(problem, row, k, rstd);
    }
}

double norma_reference_dot(const norma_problem *problem, const double *y, int part, int64_t col, double *out_magnitude) {
    const norma_part *p = &problem->part[part];
    const double bias = norma_tensor_present(&p->bias) ? load_vector(&p->bias, col) : 0.0F;
    double sum = 0;
    double magnitude = 0;
    for (int64_t k = 0; k < problem->k; k++) {
        const double product = y[k] * load_weight(&p->weight, k, col);
        sum += product;
        magnitude += fabs(product);
    }
    if (out_magnitude) *out_magnitude = magnitude + fabs(bias);
    return sum + bias;
}

/* Relative error of an fp32 rstd, in units of fp32's roundoff. */
static double rstd_units(const norma_problem *problem) {
    return problem->op == NORMA_OP_LINEAR ? 0 : 8 + sqrt((double)problem->k) / 4;
}

/* Relative error of y from an inner rounding to a half dtype that falls to the other side, in units of that dtype. */
static double flip_units(const norma_problem *problem) {
    if (norma_problem_h_dtype(problem) == NORMA_F32) return 0;
    const bool gamma = norma_tensor_present(&problem->gamma);
    switch (problem->contract) {
    case NORMA_ROUND_DEFERRED: return 1;
    case NORMA_ROUND_ONCE: return 2;
    case NORMA_ROUND_TWICE: return gamma ? 4 : 2;
    }
    return 0;
}

double norma_bound_norm(const norma_problem *problem, double y, norma_dtype out) {
    const double u = norma_dtype_unit(NORMA_F32);
    if (problem->op == NORMA_OP_FOLD_GAMMA) return with_rounding(out, y, u * fabs(y));
    const norma_dtype dtype = norma_problem_h_dtype(problem);
    double error = (rstd_units(problem) + 3) * u * fabs(y) + FACTOR_LIMIT * half_spacing(NORMA_F32, 0);
    if (problem->contract == NORMA_ROUND_TWICE && dtype != NORMA_F32)
        error += 2 * norma_dtype_unit(dtype) * fabs(y) + 2 * FACTOR_LIMIT * half_spacing(dtype, 0);
    return with_rounding(out, y, error);
}

double norma_bound_linear(const norma_problem *problem, double value, double magnitude, norma_dtype out) {
    const double fp32_units = (double)problem->k + 3 + rstd_units(problem);
    double error = fp32_units * norma_dtype_unit(NORMA_F32) * magnitude;
    double underflow = (double)problem->k * FACTOR_LIMIT * half_spacing(NORMA_F32, 0);
    if (problem->op == NORMA_OP_RMSNORM_LINEAR) {
        if (norma_problem_h_dtype(problem) == NORMA_BF16)
            underflow = (double)problem->k * FACTOR_LIMIT * half_spacing(NORMA_BF16, 0);
        error += flip_units(problem) * norma_dtype_unit(norma_problem_h_dtype(problem)) * magnitude;
        underflow *= fmax(1, 1 / sqrt((double)problem->eps));
    }
    if (magnitude > 0) error += underflow;
    return with_rounding(out, value, error);
}

/* Once for the rstd that is given, and once for the one that is computed anew. */
double norma_bound_y(const norma_problem *problem) {
    return 2 * rstd_units(problem) * norma_dtype_unit(NORMA_F32) +
           flip_units(problem) * norma_dtype_unit(norma_problem_h_dtype(problem));
}

double norma_bound_rstd(const norma_problem *problem, double rstd) {
    return rstd_units(problem) * norma_dtype_unit(NORMA_F32) * fabs(rstd);
}

static void run_linear_row(const norma_problem *problem, int64_t row, double rstd) {
    for (int p = 0; p < problem->parts; p++) {
        const norma_part *part = &problem->part[p];
        for (int64_t begin = 0; begin < part->n; begin += BLOCK_COLUMNS) {
            const int64_t columns = norma_index_min(BLOCK_COLUMNS, part->n - begin);
            double sums[BLOCK_COLUMNS] = {0};
            for (int64_t k = 0; k < problem->k; k++) {
                const double y = y_at(problem, row, k, rstd);
                for (int64_t j = 0; j < columns; j++) sums[j] += y * load_weight(&part->weight, k, begin + j);
            }
            for (int64_t j = 0; j < columns; j++) {
                const double bias = norma_tensor_present(&part->bias) ? load_vector(&part->bias, begin + j) : 0.0F;
                store(problem, &part->out, row, begin + j, sums[j] + bias);
            }
        }
    }
}

static void run_row(const norma_problem *problem, int64_t row) {
    const double rstd = rstd_of(problem, row);
    if (problem->op != NORMA_OP_RMSNORM) run_linear_row(problem, row, rstd);
    for (int64_t k = 0; k < problem->k; k++) {
        const double h = h_at(problem, row, k);
        const double y = y_at(problem, row, k, rstd);
        if (norma_tensor_present(&problem->residual_out)) store(problem, &problem->residual_out, row, k, h);
        if (problem->op == NORMA_OP_RMSNORM && norma_tensor_present(&problem->out)) store(problem, &problem->out, row, k, y);
    }
    if (norma_tensor_present(&problem->rstd)) store(problem, &problem->rstd, row, 0, rstd);
}

static void run_fold_gamma(const norma_problem *problem) {
    const norma_part *part = &problem->part[0];
    const norma_layout *out = &part->out.layout;
    char *data = (char *)part->out.buffer.data + part->out.buffer.offset_bytes;
    for (int64_t k = 0; k < problem->k; k++) {
        const float gamma = gamma_at(problem, k);
        for (int64_t n = 0; n < part->n; n++)
            norma_store(data, out->dtype, k * out->row_stride + n * out->col_stride,
                        gamma * load_weight(&part->weight, k, n));
    }
}

/* The bench's floors, so that the kernel "reference" answers every op. */
static void run_stream(const norma_problem *problem) {
    double sum = 0;
    for (int64_t row = 0; row < problem->batch * problem->m; row++) {
        for (int64_t k = 0; k < problem->k; k++) {
            const double value = load(problem, &problem->x, row, k);
            if (problem->op == NORMA_OP_STREAM_COPY) store(problem, &problem->out, row, k, value);
            sum += value;
        }
    }
    if (problem->op == NORMA_OP_STREAM_READ) store(problem, &problem->out, 0, 0, sum);
}

void norma_reference_run(const norma_problem *problem) {
    switch (problem->op) {
    case NORMA_OP_FOLD_GAMMA: run_fold_gamma(problem); return;
    case NORMA_OP_STREAM_COPY:
    case NORMA_OP_STREAM_READ: run_stream(problem); return;
    case NORMA_OP_RMSNORM_BACKWARD:
    case NORMA_OP_RMSNORM_LINEAR_BACKWARD:
    case NORMA_OP_PRODUCT:
    case NORMA_OP_COLUMN_SUMS: norma_reference_run_backward(problem); return;
    case NORMA_OP_RMSNORM:
    case NORMA_OP_RMSNORM_LINEAR:
    case NORMA_OP_LINEAR: break;
    }
    for (int64_t row = 0; row < problem->batch * problem->m; row++) run_row(problem, row);
}
