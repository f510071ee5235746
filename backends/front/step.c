/* The steps of a route, and slices of a problem's rows. */
#include "step.h"

#include "../dtype.h"

static bool writes_h_to_intermediate(const norma_route *route, const norma_problem *problem) {
    return route->form == NORMA_FORM_RESIDUAL_FIRST && !norma_tensor_present(&problem->residual_out);
}

static bool uses_intermediate(const norma_route *route, const norma_problem *problem) {
    return route->form == NORMA_FORM_NORM_FIRST || writes_h_to_intermediate(route, problem);
}

static int64_t row_bytes(const norma_problem *problem) {
    return problem->k * (int64_t)norma_dtype_bytes(norma_problem_h_dtype(problem));
}

int norma_step_count(const norma_route *route) {
    return route->form == NORMA_FORM_DIRECT ? 1 : 2;
}

norma_kernel norma_step_kernel(const norma_route *route, int step) {
    return step < norma_step_count(route) - 1 ? NORMA_KERNEL_RMSNORM_ROWS : route->kernel;
}

const norma_tile *norma_step_tile(const norma_route *route, int step) {
    return step < norma_step_count(route) - 1 ? NULL : route->tile;
}

/* Rows of h's dtype, packed, in the intermediate. */
static norma_tensor intermediate_tensor(const norma_problem *problem, norma_buffer intermediate) {
    norma_tensor tensor = {.buffer = intermediate};
    tensor.layout.dtype = norma_problem_h_dtype(problem);
    tensor.layout.row_stride = problem->k;
    tensor.layout.col_stride = 1;
    tensor.layout.batch_stride = problem->batch > 1 ? problem->m * problem->k : 0;
    return tensor;
}

static void drop_parts(norma_problem *problem) {
    memset(problem->part, 0, sizeof problem->part);
    problem->parts = 0;
}

static void drop(norma_tensor *tensor) {
    memset(tensor, 0, sizeof *tensor);
}

/* The launch that comes before the product. */
static void first_problem(const norma_route *route, const norma_problem *problem, norma_buffer intermediate,
                          norma_problem *out) {
    out->op = NORMA_OP_RMSNORM;
    drop_parts(out);
    if (route->form == NORMA_FORM_NORM_FIRST) {
        out->out = intermediate_tensor(problem, intermediate);
        return;
    }
    drop(&out->gamma);
    drop(&out->rstd);
    if (writes_h_to_intermediate(route, problem)) out->residual_out = intermediate_tensor(problem, intermediate);
}

/* The product after it. */
static void second_problem(const norma_route *route, const norma_problem *problem, norma_buffer intermediate,
                           norma_problem *out) {
    if (uses_intermediate(route, problem))
        out->x = intermediate_tensor(problem, intermediate);
    else
        out->x = problem->residual_out;
    drop(&out->residual);
    drop(&out->residual_out);
    if (route->form == NORMA_FORM_NORM_FIRST) {
        out->op = NORMA_OP_LINEAR;
        drop(&out->rstd);
        drop(&out->gamma);
    }
}

void norma_step_problem(const norma_route *route, int step, const norma_problem *problem, norma_buffer intermediate,
                        norma_problem *out_problem) {
    *out_problem = *problem;
    if (problem->op == NORMA_OP_RMSNORM_LINEAR && problem->parts == 0)
        out_problem->op = NORMA_OP_RMSNORM;
    else if (route->form != NORMA_FORM_DIRECT && step == 0)
        first_problem(route, problem, intermediate, out_problem);
    else if (route->form != NORMA_FORM_DIRECT)
        second_problem(route, problem, intermediate, out_problem);
}

int64_t norma_chunk_rows(const norma_route *route, const norma_problem *problem, int64_t limit_bytes) {
    if (!uses_intermediate(route, problem)) return INT64_MAX;
    const int64_t rows = limit_bytes / row_bytes(problem);
    return rows > 0 ? rows : 1;
}

int64_t norma_intermediate_bytes(const norma_route *route, const norma_problem *problem, int64_t rows) {
    return uses_intermediate(route, problem) ? rows * row_bytes(problem) : 0;
}

/* What is left of one batch has no batch stride, as README.md beside this folder has it. */
static void move(norma_tensor *tensor, int64_t batch, int64_t batches, int64_t row) {
    if (!norma_tensor_present(tensor)) return;
    const int64_t elements = batch * tensor->layout.batch_stride + row * tensor->layout.row_stride;
    tensor->buffer.offset_bytes += (size_t)elements * norma_dtype_bytes(tensor->layout.dtype);
    if (batches == 1) tensor->layout.batch_stride = 0;
}

void norma_problem_slice(const norma_problem *problem, int64_t batch, int64_t batches, int64_t row, int64_t m,
                         norma_problem *out_slice) {
    *out_slice = *problem;
    out_slice->batch = batches;
    out_slice->m = m;
    norma_tensor *const of_rows[] = {&out_slice->x,   &out_slice->residual, &out_slice->residual_out,  &out_slice->rstd,
                                     &out_slice->out, &out_slice->dout,     &out_slice->dresidual_out, &out_slice->dx};
    for (size_t i = 0; i < sizeof of_rows / sizeof *of_rows; i++) move(of_rows[i], batch, batches, row);
    for (int p = 0; p < out_slice->parts; p++) move(&out_slice->part[p].out, batch, batches, row);
}
