/* The judge of gradients (reference.h): the formulas of docs/numerics.md, "Gradients", in plain fp64 loops, each value with
 * the sum of its terms' magnitudes and the error that everyone else may make before the last rounding. The steps of a
 * backward, products and column sums, are here too. Allocates nothing, keeps nothing. dx may lie in place of dout or
 * dresidual_out: what is summed over rows is computed before any of it is written, and each row is summed before it is. */
#include "reference.h"

#include "reference_access.h"

static double u_of(norma_dtype dtype) {
    return norma_dtype_unit(dtype);
}

/* The absolute error of a rounding among subnormals, times a factor that may follow. */
static double underflow(norma_dtype dtype) {
    return FACTOR_LIMIT * half_spacing(dtype, 0);
}

static void add_term(norma_gradient *sum, double term) {
    sum->value += term;
    sum->magnitude += fabs(term);
}

static int64_t row_count(const norma_problem *problem) {
    return problem->batch * problem->m;
}

static double n_at(const norma_problem *problem, int64_t row, int64_t k) {
    return (double)load(problem, &problem->x, row, k) * (double)load(problem, &problem->rstd, row, 0);
}

/* ---- t ---- */

/* Each part's product is rounded to x's dtype on its way into the sum. */
norma_gradient norma_reference_t(const norma_problem *problem, int64_t row, int64_t k) {
    norma_gradient t = {0, 0, 0};
    if (problem->op == NORMA_OP_RMSNORM_BACKWARD) {
        if (norma_tensor_present(&problem->dout)) add_term(&t, load(problem, &problem->dout, row, k));
        return t;
    }
    int64_t terms = 0;
    for (int p = 0; p < problem->parts; p++) {
        const norma_part *part = &problem->part[p];
        for (int64_t n = 0; n < part->n; n++)
            add_term(&t, (double)load(problem, &part->dout, row, n) * load_weight(&part->weight, k, n));
        terms += part->n;
    }
    const norma_dtype dtype = problem->x.layout.dtype;
    if (t.magnitude == 0) return t;
    t.error = ((double)(terms + problem->parts) * u_of(NORMA_F32) + problem->parts * u_of(dtype)) * t.magnitude +
              (double)terms * underflow(NORMA_F32) + problem->parts * underflow(dtype);
    return t;
}

/* ---- dx ---- */

static double weighted(const norma_problem *problem, double t, int64_t k) {
    return t * gamma_at(problem, k);
}

static double dx_of(const norma_problem *problem, int64_t row, int64_t k, double t, double mean) {
    const double rstd = load(problem, &problem->rstd, row, 0);
    const double back =
        norma_tensor_present(&problem->dresidual_out) ? load(problem, &problem->dresidual_out, row, k) : 0.0F;
    return rstd * (weighted(problem, t, k) - n_at(problem, row, k) * mean) + back;
}

void norma_reference_dx(const norma_problem *problem, int64_t row, const norma_gradient *t, norma_gradient *dx) {
    const double u = u_of(NORMA_F32);
    const double columns = (double)problem->k;
    const double rstd = load(problem, &problem->rstd, row, 0);
    double mean = 0, magnitude = 0, error = 0;
    for (int64_t k = 0; k < problem->k; k++) {
        const double n = n_at(problem, row, k);
        mean += weighted(problem, t[k].value, k) * n / columns;
        magnitude += fabs(weighted(problem, t[k].magnitude, k) * n) / columns;
        error += fabs(weighted(problem, t[k].error, k) * n) / columns;
    }
    for (int64_t k = 0; k < problem->k; k++) {
        const double n = fabs(n_at(problem, row, k));
        const double own = fabs(weighted(problem, t[k].magnitude, k));
        const double back =
            norma_tensor_present(&problem->dresidual_out) ? fabs((double)load(problem, &problem->dresidual_out, row, k)) : 0;
        dx[k].value = dx_of(problem, row, k, t[k].value, mean);
        dx[k].magnitude = rstd * (own + n * magnitude) + back;
        dx[k].error = rstd * (fabs(weighted(problem, t[k].error, k)) + n * error) +
                      u * (rstd * (4 * own + (columns + 9) * n * magnitude) + back);
        if (dx[k].magnitude > 0) dx[k].error += underflow(NORMA_F32) * (1 + rstd) * (4 + n + magnitude);
    }
}

/* ---- Sums over rows ---- */

static double old_value(const norma_tensor *tensor, int64_t index, bool accumulate) {
    return accumulate ? norma_load(tensor_data(tensor), tensor->layout.dtype, index) : 0.0F;
}

/* The error of summing what was added to *sum, whose terms had `units` roundings each, and of adding it to the old value. */
static void finish_sum(const norma_problem *problem, norma_gradient *sum, double units, double old) {
    add_term(sum, old);
    if (sum->magnitude == 0) return;
    sum->error += ((double)row_count(problem) + units) * u_of(NORMA_F32) * sum->magnitude +
                  (double)row_count(problem) * underflow(NORMA_F32);
}

norma_gradient norma_reference_dgamma(const norma_problem *problem, int64_t k) {
    norma_gradient sum = {0, 0, 0};
    for (int64_t row = 0; row < row_count(problem); row++) {
        const double n = n_at(problem, row, k);
        const norma_gradient t = norma_reference_t(problem, row, k);
        sum.value += t.value * n;
        sum.magnitude += fabs(t.magnitude * n);
        sum.error += fabs(t.error * n);
    }
    const bool accumulate = problem->accumulate || (problem->flags & NORMA_ACCUMULATE_DGAMMA);
    finish_sum(problem, &sum, 3, old_value(&problem->dgamma, k * problem->dgamma.layout.col_stride, accumulate));
    return sum;
}

norma_gradient norma_reference_dbias(const norma_problem *problem, int part, int64_t col) {
    const norma_part *p = &problem->part[part];
    norma_gradient sum = {0, 0, 0};
    for (int64_t row = 0; row < row_count(problem); row++) add_term(&sum, load(problem, &p->dout, row, col));
    finish_sum(problem, &sum, 1,
               old_value(&p->dbias, col * p->dbias.layout.col_stride, problem->flags & NORMA_ACCUMULATE_DBIAS));
    return sum;
}

/* Batches that lie at a stride of their own are added to dweight one after the other. */
norma_gradient norma_reference_dweight(const norma_problem *problem, int part, int64_t k, int64_t col) {
    const norma_part *p = &problem->part[part];
    const norma_layout *layout = &p->dweight.layout;
    norma_gradient sum = {0, 0, 0};
    for (int64_t row = 0; row < row_count(problem); row++)
        add_term(&sum, norma_reference_y(problem, row, k) * load(problem, &p->dout, row, col));
    const norma_dtype dtype = problem->x.layout.dtype;
    const double lost = (double)row_count(problem) * underflow(dtype) * fmax(1, 1 / sqrt((double)problem->eps));
    if (sum.magnitude > 0) sum.error = norma_bound_y(problem) * sum.magnitude + lost;
    finish_sum(problem, &sum, 3,
               old_value(&p->dweight, k * layout->row_stride + col * layout->col_stride,
                         problem->flags & NORMA_ACCUMULATE_DWEIGHT));
    if (problem->batch > 1) sum.error += (double)problem->batch * u_of(layout->dtype) * sum.magnitude;
    return sum;
}

double norma_bound_gradient(const norma_gradient *gradient, norma_dtype out) {
    return with_rounding(out, gradient->value, gradient->error);
}

/* ---- Running ---- */

static void put(const norma_tensor *tensor, int64_t index, double value) {
    const norma_dtype dtype = tensor->layout.dtype;
    norma_store((char *)tensor->buffer.data + tensor->buffer.offset_bytes, dtype, index,
                (float)norma_round_double(dtype, value));
}

static void run_dx_row(const norma_problem *problem, int64_t row) {
    double mean = 0;
    for (int64_t k = 0; k < problem->k; k++)
        mean += weighted(problem, norma_reference_t(problem, row, k).value, k) * n_at(problem, row, k) / (double)problem->k;
    for (int64_t k = 0; k < problem->k; k++)
        store(problem, &problem->dx, row, k, dx_of(problem, row, k, norma_reference_t(problem, row, k).value, mean));
}

static void run_dweight(const norma_problem *problem, int part) {
    const norma_part *p = &problem->part[part];
    const norma_layout *layout = &p->dweight.layout;
    for (int64_t k = 0; k < problem->k; k++)
        for (int64_t n = 0; n < p->n; n++)
            put(&p->dweight, k * layout->row_stride + n * layout->col_stride,
                norma_reference_dweight(problem, part, k, n).value);
}

static void run_gradients(const norma_problem *problem) {
    for (int p = 0; p < problem->parts; p++) {
        const norma_part *part = &problem->part[p];
        if (norma_tensor_present(&part->dweight)) run_dweight(problem, p);
        if (norma_tensor_present(&part->dbias))
            for (int64_t n = 0; n < part->n; n++)
                put(&part->dbias, n * part->dbias.layout.col_stride, norma_reference_dbias(problem, p, n).value);
    }
    if (norma_tensor_present(&problem->dgamma))
        for (int64_t k = 0; k < problem->k; k++)
            put(&problem->dgamma, k * problem->dgamma.layout.col_stride, norma_reference_dgamma(problem, k).value);
    if (norma_tensor_present(&problem->dx))
        for (int64_t row = 0; row < row_count(problem); row++) run_dx_row(problem, row);
}

static void run_product(const norma_problem *problem) {
    const norma_part *part = &problem->part[0];
    for (int64_t row = 0; row < row_count(problem); row++) {
        for (int64_t n = 0; n < part->n; n++) {
            double sum = problem->accumulate ? load(problem, &part->out, row, n) : 0.0F;
            for (int64_t k = 0; k < problem->k; k++)
                sum += (double)load(problem, &problem->x, row, k) * load_weight(&part->weight, k, n);
            store(problem, &part->out, row, n, sum);
        }
    }
}

static void run_column_sums(const norma_problem *problem) {
    for (int64_t k = 0; k < problem->k; k++) {
        const int64_t at = k * problem->out.layout.col_stride;
        double sum = old_value(&problem->out, at, problem->accumulate);
        for (int64_t row = 0; row < row_count(problem); row++) sum += load(problem, &problem->x, row, k);
        put(&problem->out, at, sum);
    }
}

void norma_reference_run_backward(const norma_problem *problem) {
    switch (problem->op) {
    case NORMA_OP_PRODUCT: run_product(problem); break;
    case NORMA_OP_COLUMN_SUMS: run_column_sums(problem); break;
    default: run_gradients(problem); break;
    }
}
