/* Validation of arguments: rows, addresses, and what depends on them: sizes, alignment, overlap. */
#include <inttypes.h>

#include "../dtype.h"
#include "overlap.h"
#include "slots.h"
#include "status.h"
#include "struct_size.h"
#include "validate.h"

static norma_status settle_rows(norma_problem *problem, int64_t m, int64_t batch) {
    if (m < 0) return norma_fail(NORMA_ERROR_SIZE, "args.m is %" PRId64 "; it must not be negative", m);
    if (batch < 0) return norma_fail(NORMA_ERROR_SIZE, "args.batch is %" PRId64 "; it must not be negative", batch);
    problem->m = m;
    problem->batch = batch == 0 ? 1 : batch;
    int64_t rows;
    if (__builtin_mul_overflow(problem->batch, m, &rows))
        return norma_fail(NORMA_ERROR_OVERFLOW, "args.batch * args.m is %" PRId64 " * %" PRId64 ", which passes 2^63 - 1",
                          batch, m);
    if (problem->max_rows == 0 || rows <= problem->max_rows) return NORMA_OK;
    if (problem->batch == 1)
        return norma_fail(NORMA_ERROR_ROWS, "args.m is %" PRId64 ", but desc.max_rows is %" PRId64, m, problem->max_rows);
    return norma_fail(NORMA_ERROR_ROWS, "args.batch * args.m is %" PRId64 " * %" PRId64 ", but desc.max_rows is %" PRId64,
                      batch, m, problem->max_rows);
}

static norma_status settle_batch_strides(const norma_problem *problem, const norma_slot_list *list) {
    for (int i = 0; i < list->count; i++) {
        const norma_slot *s = &list->slots[i];
        norma_layout *layout = &s->tensor->layout;
        if (layout->dtype == NORMA_NONE || !s->batched || problem->batch == 1 || layout->batch_stride != 0) continue;
        if (__builtin_mul_overflow(problem->m, layout->row_stride, &layout->batch_stride))
            return norma_fail(NORMA_ERROR_OVERFLOW,
                              "args.m * desc.%s.row_stride is %" PRId64 " * %" PRId64 ", which passes 2^63 - 1", s->name,
                              problem->m, layout->row_stride);
    }
    return NORMA_OK;
}

static norma_status settle_buffer(norma_tensor *tensor, const norma_buffer *buffer, const char *name, bool needed) {
    if (tensor->layout.dtype == NORMA_NONE && buffer->data)
        return norma_fail(NORMA_ERROR_NULL_POINTER, "args.%s.data is %p, but desc.%s.dtype is NORMA_NONE; it must be NULL",
                          name, buffer->data, name);
    if (tensor->layout.dtype != NORMA_NONE && !buffer->data && needed)
        return norma_fail(NORMA_ERROR_NULL_POINTER, "args.%s.data is NULL", name);
    tensor->buffer = *buffer;
    return NORMA_OK;
}

/* Of a sum over rows: without any it is still written, unless it is added to. */
static norma_status settle_sum(const norma_problem *problem, norma_tensor *tensor, const norma_buffer *buffer,
                               const char *name, uint64_t accumulates, bool needed) {
    return settle_buffer(tensor, buffer, name, needed || !(problem->flags & accumulates));
}

static uint64_t address_of(const norma_problem *problem, const norma_tensor *tensor) {
    return (problem->opaque_buffers ? 0 : (uint64_t)(uintptr_t)tensor->buffer.data) + tensor->buffer.offset_bytes;
}

static norma_span view_of(const norma_problem *problem, const norma_slot *s) {
    const norma_layout *layout = &s->tensor->layout;
    const int64_t bytes = (int64_t)norma_dtype_bytes(layout->dtype);
    const norma_span view = {
        .space = problem->opaque_buffers ? s->tensor->buffer.data : NULL,
        .start = address_of(problem, s->tensor),
        .element_bytes = bytes,
        .size = {s->batch, s->rows, s->cols},
        /* A dimension of size 1 may have any stride, also one that would overflow here. */
        .stride = {s->batch > 1 ? layout->batch_stride * bytes : 0, s->rows > 1 ? layout->row_stride * bytes : 0,
                   s->cols > 1 ? layout->col_stride * bytes : 0},
    };
    return view;
}

/* Without elements, or without an address because none is needed, a tensor lies nowhere. */
static bool lies_somewhere(const norma_slot *s) {
    return norma_tensor_present(s->tensor) && s->tensor->buffer.data && s->batch > 0 && s->rows > 0 && s->cols > 0;
}

/* Whether a call without rows, or columns, still writes a sum over them. */
static bool has_output(const norma_slot_list *list) {
    for (int i = 0; i < list->count; i++)
        if (list->slots[i].output && lies_somewhere(&list->slots[i])) return true;
    return false;
}

static norma_status check_alignment(const norma_problem *problem, const norma_slot *s) {
    const uint64_t address = address_of(problem, s->tensor);
    const size_t bytes = norma_dtype_bytes(s->tensor->layout.dtype);
    if (address % bytes == 0) return NORMA_OK;
    return norma_fail(NORMA_ERROR_ALIGNMENT,
                      "args.%s begins at %p + %zu bytes, which is not a multiple of its element size, %zu bytes", s->name,
                      s->tensor->buffer.data, s->tensor->buffer.offset_bytes, bytes);
}

/* Whether `output` may lie exactly where `other` lies. */
static bool may_alias(const norma_problem *problem, const norma_tensor *output, const norma_tensor *other) {
    if (output->layout.dtype != other->layout.dtype) return false;
    switch (problem->op) {
    case NORMA_OP_RMSNORM:
        if (output == &problem->out) return other == &problem->x;
        return output == &problem->residual_out && (other == &problem->residual || other == &problem->x);
    case NORMA_OP_RMSNORM_LINEAR:
        return output == &problem->residual_out && (other == &problem->residual || other == &problem->x);
    case NORMA_OP_FOLD_GAMMA: return output == &problem->part[0].out && other == &problem->part[0].weight;
    case NORMA_OP_RMSNORM_BACKWARD:
        return output == &problem->dx && (other == &problem->dout || other == &problem->dresidual_out);
    case NORMA_OP_RMSNORM_LINEAR_BACKWARD:
    case NORMA_OP_PRODUCT:
    case NORMA_OP_COLUMN_SUMS:
    case NORMA_OP_LINEAR:
    case NORMA_OP_STREAM_COPY:
    case NORMA_OP_STREAM_READ: break;
    }
    return false;
}

static norma_status check_aliases(const norma_problem *problem, const norma_slot_list *list, const norma_span *views,
                                  int output) {
    const norma_slot *out = &list->slots[output];
    for (int i = 0; i < list->count; i++) {
        const norma_slot *other = &list->slots[i];
        if (i == output || !lies_somewhere(other)) continue;
        if (!norma_spans_overlap(&views[output], &views[i])) continue;
        if (may_alias(problem, out->tensor, other->tensor) && norma_spans_equal(&views[output], &views[i])) continue;
        return norma_fail(NORMA_ERROR_ALIAS, "args.%s at %p + %zu bytes overlaps args.%s at %p + %zu bytes", out->name,
                          out->tensor->buffer.data, out->tensor->buffer.offset_bytes, other->name,
                          other->tensor->buffer.data, other->tensor->buffer.offset_bytes);
    }
    return NORMA_OK;
}

static norma_status check_self_overlap(const norma_slot *s, const norma_span *view) {
    if (!norma_span_self_overlaps(view)) return NORMA_OK;
    const norma_layout *layout = &s->tensor->layout;
    return norma_fail(NORMA_ERROR_SELF_OVERLAP,
                      "%s overlaps itself: batch %" PRId64 " with stride %" PRId64 ", %" PRId64 " rows with stride %" PRId64
                      ", %" PRId64 " columns with stride %" PRId64,
                      s->name, s->batch, layout->batch_stride, s->rows, layout->row_stride, s->cols, layout->col_stride);
}

norma_status norma_problem_check(const norma_problem *problem) {
    norma_problem copy = *problem; /* slots point at tensors that other users of them may write */
    const norma_slot_list list = norma_slots_of(&copy);
    norma_span views[NORMA_MAX_SLOTS];
    for (int i = 0; i < list.count; i++) {
        const norma_slot *s = &list.slots[i];
        if (!norma_tensor_present(s->tensor)) continue;
        norma_status status = norma_slot_check_span(s);
        if (status) return status;
        if (!lies_somewhere(s) && !has_output(&list)) return NORMA_OK;
        status = check_alignment(&copy, s);
        if (status) return status;
        views[i] = view_of(&copy, s);
    }
    for (int i = 0; i < list.count; i++) {
        if (!lies_somewhere(&list.slots[i]) || !list.slots[i].output) continue;
        norma_status status = check_self_overlap(&list.slots[i], &views[i]);
        if (!status) status = check_aliases(&copy, &list, views, i);
        if (status) return status;
    }
    return NORMA_OK;
}

/* Makes one run of rows out of the batches where every tensor allows it: most kernels then see batch 1. */
static void flatten_batch(norma_problem *problem, const norma_slot_list *list) {
    for (int i = 0; i < list->count && problem->batch > 1; i++) {
        const norma_slot *s = &list->slots[i];
        if (!s->batched || !norma_tensor_present(s->tensor)) continue;
        int64_t run;
        if (__builtin_mul_overflow(problem->m, s->tensor->layout.row_stride, &run)) return;
        if (run != s->tensor->layout.batch_stride) return;
    }
    for (int i = 0; i < list->count; i++)
        if (list->slots[i].batched) list->slots[i].tensor->layout.batch_stride = 0;
    problem->m *= problem->batch;
    problem->batch = 1;
}

static norma_status bind_finish(norma_problem *problem) {
    const norma_slot_list list = norma_slots_of(problem);
    norma_status status = settle_batch_strides(problem, &list);
    if (!status) status = norma_problem_check(problem);
    if (!status) flatten_batch(problem, &list);
    return status;
}

norma_status norma_problem_bind_rmsnorm(norma_problem *problem, const norma_rmsnorm_args *given) {
    norma_rmsnorm_args args;
    norma_status status = norma_struct_read("args", given, NORMA_BYTES_TO(norma_rmsnorm_args, out), &args, sizeof args);
    if (!status) status = settle_rows(problem, args.m, args.batch);
    if (status) return status;
    const bool needed = args.m > 0;
    status = settle_buffer(&problem->x, &args.x, "x", needed);
    if (!status) status = settle_buffer(&problem->gamma, &args.gamma, "gamma", needed);
    if (!status) status = settle_buffer(&problem->residual, &args.residual, "residual", needed);
    if (!status) status = settle_buffer(&problem->residual_out, &args.residual_out, "residual_out", needed);
    if (!status) status = settle_buffer(&problem->rstd, &args.rstd, "rstd", needed);
    if (!status) status = settle_buffer(&problem->out, &args.out, "out", needed);
    return status ? status : bind_finish(problem);
}

static norma_status settle_part_buffers(norma_problem *problem, const norma_rmsnorm_linear_args *args, bool needed) {
    for (int p = 0; p < problem->parts; p++) {
        norma_part *part = &problem->part[p];
        const norma_linear_part_args *given = &args->part[part->index];
        const norma_part_name *names = &norma_part_names[part->index];
        norma_status status = settle_buffer(&part->weight, &given->weight, names->weight, needed);
        if (!status) status = settle_buffer(&part->bias, &given->bias, names->bias, needed);
        if (!status) status = settle_buffer(&part->out, &given->out, names->out, needed);
        if (status) return status;
    }
    for (int p = problem->desc_parts; p < NORMA_MAX_PARTS; p++)
        if (args->part[p].out.data)
            return norma_fail(NORMA_ERROR_NULL_POINTER, "args.part[%d].out.data is %p, but desc.parts is %d", p,
                              args->part[p].out.data, problem->desc_parts);
    return NORMA_OK;
}

norma_status norma_problem_bind_rmsnorm_linear(norma_problem *problem, const norma_rmsnorm_linear_args *given) {
    norma_rmsnorm_linear_args args;
    norma_status status =
        norma_struct_read("args", given, NORMA_BYTES_TO(norma_rmsnorm_linear_args, part), &args, sizeof args);
    if (!status) status = settle_rows(problem, args.m, args.batch);
    if (status) return status;
    const bool needed = args.m > 0;
    status = settle_buffer(&problem->x, &args.x, "x", needed);
    if (!status) status = settle_buffer(&problem->gamma, &args.gamma, "gamma", needed);
    if (!status) status = settle_buffer(&problem->residual, &args.residual, "residual", needed);
    if (!status) status = settle_buffer(&problem->residual_out, &args.residual_out, "residual_out", needed);
    if (!status) status = settle_buffer(&problem->rstd, &args.rstd, "rstd", needed);
    if (!status) status = settle_part_buffers(problem, &args, needed);
    return status ? status : bind_finish(problem);
}

norma_status norma_problem_bind_rmsnorm_backward(norma_problem *problem, const norma_rmsnorm_backward_args *given) {
    norma_rmsnorm_backward_args args;
    norma_status status =
        norma_struct_read("args", given, NORMA_BYTES_TO(norma_rmsnorm_backward_args, dgamma), &args, sizeof args);
    if (!status) status = settle_rows(problem, args.m, args.batch);
    if (status) return status;
    const bool needed = args.m > 0;
    status = settle_buffer(&problem->x, &args.x, "x", needed);
    if (!status) status = settle_buffer(&problem->rstd, &args.rstd, "rstd", needed);
    if (!status) status = settle_buffer(&problem->gamma, &args.gamma, "gamma", needed);
    if (!status) status = settle_buffer(&problem->dout, &args.dout, "dout", needed);
    if (!status) status = settle_buffer(&problem->dresidual_out, &args.dresidual_out, "dresidual_out", needed);
    if (!status) status = settle_buffer(&problem->dx, &args.dx, "dx", needed);
    if (!status) status = settle_sum(problem, &problem->dgamma, &args.dgamma, "dgamma", NORMA_ACCUMULATE_DGAMMA, needed);
    return status ? status : bind_finish(problem);
}

static norma_status settle_backward_part_buffers(norma_problem *problem, const norma_rmsnorm_linear_backward_args *args,
                                                 bool needed) {
    for (int p = 0; p < problem->parts; p++) {
        norma_part *part = &problem->part[p];
        const norma_linear_backward_part_args *given = &args->part[part->index];
        const norma_part_name *names = &norma_part_names[part->index];
        norma_status status = settle_buffer(&part->weight, &given->weight, names->weight, needed);
        if (!status) status = settle_buffer(&part->dout, &given->dout, names->dout, needed);
        if (!status)
            status = settle_sum(problem, &part->dweight, &given->dweight, names->dweight, NORMA_ACCUMULATE_DWEIGHT, needed);
        if (!status) status = settle_sum(problem, &part->dbias, &given->dbias, names->dbias, NORMA_ACCUMULATE_DBIAS, needed);
        if (status) return status;
    }
    for (int p = problem->desc_parts; p < NORMA_MAX_PARTS; p++)
        if (args->part[p].dout.data)
            return norma_fail(NORMA_ERROR_NULL_POINTER, "args.part[%d].dout.data is %p, but desc.parts is %d", p,
                              args->part[p].dout.data, problem->desc_parts);
    return NORMA_OK;
}

norma_status norma_problem_bind_rmsnorm_linear_backward(norma_problem *problem,
                                                        const norma_rmsnorm_linear_backward_args *given) {
    norma_rmsnorm_linear_backward_args args;
    norma_status status =
        norma_struct_read("args", given, NORMA_BYTES_TO(norma_rmsnorm_linear_backward_args, part), &args, sizeof args);
    if (!status) status = settle_rows(problem, args.m, args.batch);
    if (status) return status;
    const bool needed = args.m > 0;
    status = settle_buffer(&problem->x, &args.x, "x", needed);
    if (!status) status = settle_buffer(&problem->rstd, &args.rstd, "rstd", needed);
    if (!status) status = settle_buffer(&problem->gamma, &args.gamma, "gamma", needed);
    if (!status) status = settle_buffer(&problem->dresidual_out, &args.dresidual_out, "dresidual_out", needed);
    if (!status) status = settle_buffer(&problem->dx, &args.dx, "dx", needed);
    if (!status) status = settle_sum(problem, &problem->dgamma, &args.dgamma, "dgamma", NORMA_ACCUMULATE_DGAMMA, needed);
    if (!status) status = settle_backward_part_buffers(problem, &args, needed);
    return status ? status : bind_finish(problem);
}

norma_status norma_problem_bind_fold_gamma(norma_problem *problem, const norma_fold_gamma_args *given) {
    norma_fold_gamma_args args;
    norma_status status = norma_struct_read("args", given, NORMA_BYTES_TO(norma_fold_gamma_args, out), &args, sizeof args);
    if (status) return status;
    const bool needed = problem->part[0].n > 0;
    problem->batch = problem->m = 1;
    status = settle_buffer(&problem->gamma, &args.gamma, "gamma", needed);
    if (!status) status = settle_buffer(&problem->part[0].weight, &args.weight, "weight", needed);
    if (!status) status = settle_buffer(&problem->part[0].out, &args.out, "out", needed);
    return status ? status : norma_problem_check(problem);
}
