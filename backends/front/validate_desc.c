/* Validation of descriptions: what a description alone can say wrong, the defaults of its layouts, and the problem without
 * addresses that it stands for. */
#include <inttypes.h>
#include <math.h>

#include "../dtype.h"
#include "slots.h"
#include "status.h"
#include "struct_size.h"
#include "validate.h"

#define FORWARD_FLAGS         (NORMA_WEIGHTS_STATIC | NORMA_BATCH_INVARIANT | NORMA_TIME_ROUTES)
#define LINEAR_FLAGS          (FORWARD_FLAGS | NORMA_FP32_TENSOR)
#define BACKWARD_FLAGS        (FORWARD_FLAGS | NORMA_ACCUMULATE_DGAMMA)
#define LINEAR_BACKWARD_FLAGS (BACKWARD_FLAGS | NORMA_ACCUMULATE_DWEIGHT | NORMA_ACCUMULATE_DBIAS)

static norma_status check_positive(const char *name, int64_t value) {
    if (value >= 1) return NORMA_OK;
    return norma_fail(NORMA_ERROR_SIZE, "%s is %" PRId64 "; it must be at least 1", name, value);
}

static norma_status check_not_negative(const char *name, int64_t value) {
    if (value >= 0) return NORMA_OK;
    return norma_fail(NORMA_ERROR_SIZE, "%s is %" PRId64 "; it must not be negative", name, value);
}

static norma_status check_stride(const norma_slot *s, const char *stride, int64_t value) {
    if (value >= 0) return NORMA_OK;
    return norma_fail(NORMA_ERROR_STRIDE, "desc.%s.%s is %" PRId64 "; it must not be negative", s->name, stride, value);
}

static norma_status check_layout(const norma_slot *s) {
    const norma_layout *layout = &s->tensor->layout;
    if (layout->dtype == NORMA_NONE && s->required)
        return norma_fail(NORMA_ERROR_DTYPE, "desc.%s.dtype is NORMA_NONE; this tensor is required", s->name);
    if (layout->dtype == NORMA_NONE) return NORMA_OK;
    if (!norma_dtype_valid(layout->dtype))
        return norma_fail(NORMA_ERROR_DTYPE, "desc.%s.dtype is %d; it must be NORMA_F32, NORMA_F16 or NORMA_BF16", s->name,
                          (int)layout->dtype);
    norma_status status = check_stride(s, "row_stride", layout->row_stride);
    if (!status) status = check_stride(s, "col_stride", layout->col_stride);
    if (!status) status = check_stride(s, "batch_stride", layout->batch_stride);
    if (status) return status;
    if (!s->batched && layout->batch_stride != 0)
        return norma_fail(NORMA_ERROR_STRIDE,
                          "desc.%s.batch_stride is %" PRId64 "; it must be 0: all batches share this one", s->name,
                          layout->batch_stride);
    return NORMA_OK;
}

/* Fills defaults, and makes descriptions equal that mean the same. */
static void settle_layout(const norma_slot *s) {
    norma_layout *layout = &s->tensor->layout;
    const bool vector_over_cols = !s->batched && s->rows == 1;
    if (layout->dtype == NORMA_NONE) {
        memset(layout, 0, sizeof *layout);
        return;
    }
    if (layout->row_stride == 0 || vector_over_cols) layout->row_stride = s->cols;
    if (layout->col_stride == 0 && layout->row_stride == 1 && !s->batched) layout->col_stride = s->rows;
    if (layout->col_stride == 0 || s->cols == 1) layout->col_stride = 1;
}

static norma_status check_residual(const norma_problem *problem) {
    const norma_layout *residual_out = &problem->residual_out.layout;
    const norma_layout *residual = &problem->residual.layout;
    if (residual_out->dtype != NORMA_NONE && residual->dtype == NORMA_NONE)
        return norma_fail(NORMA_ERROR_DTYPE, "desc.residual_out.dtype is %s, but desc.residual.dtype is NORMA_NONE",
                          norma_dtype_name(residual_out->dtype));
    if (residual_out->dtype != NORMA_NONE && residual_out->dtype != residual->dtype)
        return norma_fail(NORMA_ERROR_DTYPE,
                          "desc.residual_out.dtype is %s, but desc.residual.dtype is %s; they must be equal",
                          norma_dtype_name(residual_out->dtype), norma_dtype_name(residual->dtype));
    return NORMA_OK;
}

static norma_status check_rstd(const norma_problem *problem) {
    const norma_dtype rstd = problem->rstd.layout.dtype;
    if (rstd != NORMA_NONE && rstd != NORMA_F32)
        return norma_fail(NORMA_ERROR_DTYPE, "desc.rstd.dtype is %s; it must be NORMA_F32", norma_dtype_name(rstd));
    return NORMA_OK;
}

/* dgamma is the gradient of a gamma that took part. */
static norma_status check_dgamma(const norma_problem *problem) {
    const norma_dtype dgamma = problem->dgamma.layout.dtype;
    if (dgamma == NORMA_NONE || norma_tensor_present(&problem->gamma)) return NORMA_OK;
    return norma_fail(NORMA_ERROR_DTYPE, "desc.dgamma.dtype is %s, but desc.gamma.dtype is NORMA_NONE",
                      norma_dtype_name(dgamma));
}

static norma_status check_flags(const norma_problem *problem, uint64_t known) {
    if (!(problem->flags & ~known)) return NORMA_OK;
    return norma_fail(NORMA_ERROR_FLAGS, "desc.flags is 0x%" PRIx64 "; the bits 0x%" PRIx64 " are not known here",
                      problem->flags, problem->flags & ~known);
}

static norma_status check_numbers(const norma_problem *problem) {
    if ((int)problem->contract < NORMA_ROUND_DEFERRED || problem->contract > NORMA_ROUND_ONCE)
        return norma_fail(NORMA_ERROR_CONTRACT, "desc.contract is %d; it must be from 0 to %d", (int)problem->contract,
                          NORMA_ROUND_ONCE);
    if (!isfinite(problem->eps) || problem->eps <= 0)
        return norma_fail(NORMA_ERROR_EPS, "desc.eps is %g; it must be finite and greater than 0", (double)problem->eps);
    return NORMA_OK;
}

static norma_status check_offset(const norma_problem *problem) {
    if (isfinite(problem->gamma_offset)) return NORMA_OK;
    return norma_fail(NORMA_ERROR_OFFSET, "desc.gamma_offset is %g; it must be finite", (double)problem->gamma_offset);
}

/* The layouts of a problem's tensors, and what can be said of their sizes before m is known: each must be able to hold one
 * row, or max_rows of them. */
static norma_status settle_description(norma_problem *problem) {
    const norma_slot_list list = norma_slots_of(problem);
    for (int i = 0; i < list.count; i++) {
        norma_slot s = list.slots[i];
        if (s.batched) {
            s.batch = 1;
            s.rows = problem->max_rows > 0 ? problem->max_rows : 1;
        }
        norma_status status = check_layout(&s);
        if (status) return status;
        settle_layout(&s);
        status = norma_slot_check_span(&s);
        if (status) return status;
    }
    return NORMA_OK;
}

static void settle_parts(norma_problem *problem) {
    int kept = 0;
    for (int p = 0; p < problem->parts; p++)
        if (problem->part[p].n > 0) problem->part[kept++] = problem->part[p];
    memset(&problem->part[kept], 0, sizeof problem->part[0] * (size_t)(NORMA_MAX_PARTS - kept));
    problem->parts = kept;
}

norma_status norma_problem_from_rmsnorm(const norma_rmsnorm_desc *given, norma_problem *out_problem) {
    norma_rmsnorm_desc desc;
    norma_status status = norma_struct_read("desc", given, NORMA_BYTES_TO(norma_rmsnorm_desc, out), &desc, sizeof desc);
    if (status) return status;

    norma_problem problem = {
        .op = NORMA_OP_RMSNORM,
        .contract = desc.contract,
        .flags = desc.flags,
        .eps = desc.eps,
        .gamma_offset = desc.gamma_offset,
        .max_rows = desc.max_rows,
        .k = desc.k,
        .x.layout = desc.x,
        .gamma.layout = desc.gamma,
        .residual.layout = desc.residual,
        .residual_out.layout = desc.residual_out,
        .rstd.layout = desc.rstd,
        .out.layout = desc.out,
    };
    status = check_positive("desc.k", desc.k);
    if (!status) status = check_not_negative("desc.max_rows", desc.max_rows);
    if (!status) status = check_numbers(&problem);
    if (!status) status = check_flags(&problem, FORWARD_FLAGS);
    if (!status) status = check_offset(&problem);
    if (!status) status = settle_description(&problem);
    if (!status) status = check_residual(&problem);
    if (!status) status = check_rstd(&problem);
    if (!status) *out_problem = problem;
    return status;
}

/* The parts' columns; `given` is desc.parts as it was given. */
static norma_status check_parts(int64_t given, int64_t parts, const int64_t n[NORMA_MAX_PARTS]) {
    if (parts < 1 || parts > NORMA_MAX_PARTS)
        return norma_fail(NORMA_ERROR_SIZE, "desc.parts is %" PRId64 "; it must be from 0 to %d", parts, NORMA_MAX_PARTS);
    int64_t columns = 0;
    for (int p = 0; p < NORMA_MAX_PARTS; p++) {
        if (n[p] < 0)
            return norma_fail(NORMA_ERROR_SIZE, "desc.part[%d].n is %" PRId64 "; it must not be negative", p, n[p]);
        if (p >= parts && n[p] != 0)
            return norma_fail(NORMA_ERROR_SIZE, "desc.part[%d].n is %" PRId64 ", but desc.parts is %" PRId64, p, n[p],
                              given);
        if (__builtin_add_overflow(columns, n[p], &columns))
            return norma_fail(NORMA_ERROR_OVERFLOW,
                              "desc.part[%d].n is %" PRId64 "; the parts' columns together pass 2^63 - 1", p, n[p]);
    }
    return NORMA_OK;
}

norma_status norma_problem_from_rmsnorm_linear(const norma_rmsnorm_linear_desc *given, norma_problem *out_problem) {
    norma_rmsnorm_linear_desc desc;
    norma_status status =
        norma_struct_read("desc", given, NORMA_BYTES_TO(norma_rmsnorm_linear_desc, part), &desc, sizeof desc);
    if (status) return status;

    norma_problem problem = {
        .op = NORMA_OP_RMSNORM_LINEAR,
        .contract = desc.contract,
        .flags = desc.flags,
        .eps = desc.eps,
        .gamma_offset = desc.gamma_offset,
        .max_rows = desc.max_rows,
        .k = desc.k,
        .x.layout = desc.x,
        .gamma.layout = desc.gamma,
        .residual.layout = desc.residual,
        .residual_out.layout = desc.residual_out,
        .rstd.layout = desc.rstd,
    };
    const int64_t parts = desc.parts == 0 ? 1 : desc.parts;
    status = check_positive("desc.k", desc.k);
    if (!status) status = check_not_negative("desc.max_rows", desc.max_rows);
    if (!status) status = check_numbers(&problem);
    if (!status) status = check_flags(&problem, LINEAR_FLAGS);
    if (!status) status = check_offset(&problem);
    const int64_t n[NORMA_MAX_PARTS] = {desc.part[0].n, desc.part[1].n, desc.part[2].n, desc.part[3].n};
    if (!status) status = check_parts(desc.parts, parts, n);
    if (status) return status;

    problem.desc_parts = problem.parts = (int)parts;
    for (int p = 0; p < problem.parts; p++) {
        problem.part[p] = (norma_part){.index = p,
                                       .n = desc.part[p].n,
                                       .weight.layout = desc.part[p].weight,
                                       .bias.layout = desc.part[p].bias,
                                       .out.layout = desc.part[p].out};
    }
    status = settle_description(&problem);
    if (!status) status = check_residual(&problem);
    if (!status) status = check_rstd(&problem);
    if (status) return status;
    settle_parts(&problem);
    *out_problem = problem;
    return NORMA_OK;
}

norma_status norma_problem_from_rmsnorm_backward(const norma_rmsnorm_backward_desc *given, norma_problem *out_problem) {
    norma_rmsnorm_backward_desc desc;
    norma_status status =
        norma_struct_read("desc", given, NORMA_BYTES_TO(norma_rmsnorm_backward_desc, dgamma), &desc, sizeof desc);
    if (status) return status;

    norma_problem problem = {
        .op = NORMA_OP_RMSNORM_BACKWARD,
        .flags = desc.flags,
        .gamma_offset = desc.gamma_offset,
        .max_rows = desc.max_rows,
        .k = desc.k,
        .x.layout = desc.x,
        .rstd.layout = desc.rstd,
        .gamma.layout = desc.gamma,
        .dout.layout = desc.dout,
        .dresidual_out.layout = desc.dresidual_out,
        .dx.layout = desc.dx,
        .dgamma.layout = desc.dgamma,
        .accumulate = (desc.flags & NORMA_ACCUMULATE_DGAMMA) != 0,
    };
    status = check_positive("desc.k", desc.k);
    if (!status) status = check_not_negative("desc.max_rows", desc.max_rows);
    if (!status) status = check_flags(&problem, BACKWARD_FLAGS);
    if (!status) status = check_offset(&problem);
    if (!status) status = settle_description(&problem);
    if (!status) status = check_rstd(&problem);
    if (!status) status = check_dgamma(&problem);
    if (!status) *out_problem = problem;
    return status;
}

norma_status norma_problem_from_rmsnorm_linear_backward(const norma_rmsnorm_linear_backward_desc *given,
                                                        norma_problem *out_problem) {
    norma_rmsnorm_linear_backward_desc desc;
    norma_status status =
        norma_struct_read("desc", given, NORMA_BYTES_TO(norma_rmsnorm_linear_backward_desc, part), &desc, sizeof desc);
    if (status) return status;

    norma_problem problem = {
        .op = NORMA_OP_RMSNORM_LINEAR_BACKWARD,
        .contract = desc.contract,
        .flags = desc.flags,
        .eps = desc.eps,
        .gamma_offset = desc.gamma_offset,
        .max_rows = desc.max_rows,
        .k = desc.k,
        .x.layout = desc.x,
        .rstd.layout = desc.rstd,
        .gamma.layout = desc.gamma,
        .dresidual_out.layout = desc.dresidual_out,
        .dx.layout = desc.dx,
        .dgamma.layout = desc.dgamma,
    };
    const int64_t parts = desc.parts == 0 ? 1 : desc.parts;
    const int64_t n[NORMA_MAX_PARTS] = {desc.part[0].n, desc.part[1].n, desc.part[2].n, desc.part[3].n};
    status = check_positive("desc.k", desc.k);
    if (!status) status = check_not_negative("desc.max_rows", desc.max_rows);
    if (!status) status = check_numbers(&problem);
    if (!status) status = check_flags(&problem, LINEAR_BACKWARD_FLAGS);
    if (!status) status = check_offset(&problem);
    if (!status) status = check_parts(desc.parts, parts, n);
    if (status) return status;

    problem.desc_parts = problem.parts = (int)parts;
    for (int p = 0; p < problem.parts; p++) {
        problem.part[p] = (norma_part){.index = p,
                                       .n = desc.part[p].n,
                                       .weight.layout = desc.part[p].weight,
                                       .dout.layout = desc.part[p].dout,
                                       .dweight.layout = desc.part[p].dweight,
                                       .dbias.layout = desc.part[p].dbias};
    }
    status = settle_description(&problem);
    if (!status) status = check_rstd(&problem);
    if (!status) status = check_dgamma(&problem);
    if (status) return status;
    settle_parts(&problem);
    *out_problem = problem;
    return NORMA_OK;
}

norma_status norma_problem_from_fold_gamma(const norma_fold_gamma_desc *given, norma_problem *out_problem) {
    norma_fold_gamma_desc desc;
    norma_status status = norma_struct_read("desc", given, NORMA_BYTES_TO(norma_fold_gamma_desc, out), &desc, sizeof desc);
    if (status) return status;

    norma_problem problem = {
        .op = NORMA_OP_FOLD_GAMMA,
        .gamma_offset = desc.gamma_offset,
        .k = desc.k,
        .gamma.layout = desc.gamma,
        .desc_parts = 1,
        .parts = 1,
        .part[0] = {.n = desc.n, .weight.layout = desc.weight, .out.layout = desc.out},
    };
    status = check_positive("desc.k", desc.k);
    if (!status) status = check_not_negative("desc.n", desc.n);
    if (!status) status = check_offset(&problem);
    if (!status) status = settle_description(&problem);
    if (!status) *out_problem = problem;
    return status;
}
