/* The table of slots for each operation. */
#include "slots.h"

#include <inttypes.h>

#include "../dtype.h"
#include "status.h"

typedef enum slot_kind { INPUT, OPTIONAL_INPUT, OUTPUT, OPTIONAL_OUTPUT } slot_kind;

static void add_slot(norma_slot_list *list, const char *name, norma_tensor *tensor, slot_kind kind, int64_t rows,
                     int64_t cols) {
    norma_slot *added = &list->slots[list->count++];
    added->name = name;
    added->tensor = tensor;
    added->required = kind == INPUT || kind == OUTPUT;
    added->output = kind == OUTPUT || kind == OPTIONAL_OUTPUT;
    added->batched = false;
    added->batch = 1;
    added->rows = rows;
    added->cols = cols;
}

static void add_batched_slot(norma_slot_list *list, const char *name, norma_tensor *tensor, slot_kind kind,
                             const norma_problem *problem, int64_t cols) {
    add_slot(list, name, tensor, kind, problem->m, cols);
    list->slots[list->count - 1].batched = true;
    list->slots[list->count - 1].batch = problem->batch;
}

static void add_norm_slots(norma_slot_list *list, norma_problem *problem) {
    add_batched_slot(list, "x", &problem->x, INPUT, problem, problem->k);
    add_slot(list, "gamma", &problem->gamma, OPTIONAL_INPUT, 1, problem->k);
    add_batched_slot(list, "residual", &problem->residual, OPTIONAL_INPUT, problem, problem->k);
    add_batched_slot(list, "residual_out", &problem->residual_out, OPTIONAL_OUTPUT, problem, problem->k);
    add_batched_slot(list, "rstd", &problem->rstd, OPTIONAL_OUTPUT, problem, 1);
}

/* Spelled out: a call lists its slots several times, and formatting would cost more than all checks together. */
#define PART_NAMES(p)                                                                                                \
    {                                                                                                                \
        "part[" #p "].weight", "part[" #p "].bias", "part[" #p "].out", "part[" #p "].dout", "part[" #p "].dweight", \
            "part[" #p "].dbias"                                                                                     \
    }
const norma_part_name norma_part_names[NORMA_MAX_PARTS] = {PART_NAMES(0), PART_NAMES(1), PART_NAMES(2), PART_NAMES(3)};
#undef PART_NAMES

static void add_part_slots(norma_slot_list *list, norma_problem *problem) {
    for (int p = 0; p < problem->parts; p++) {
        norma_part *part = &problem->part[p];
        const norma_part_name *names = &norma_part_names[part->index];
        add_slot(list, names->weight, &part->weight, INPUT, problem->k, part->n);
        add_slot(list, names->bias, &part->bias, OPTIONAL_INPUT, 1, part->n);
        add_batched_slot(list, names->out, &part->out, OUTPUT, problem, part->n);
    }
}

static void add_backward_slots(norma_slot_list *list, norma_problem *problem) {
    add_batched_slot(list, "x", &problem->x, INPUT, problem, problem->k);
    add_batched_slot(list, "rstd", &problem->rstd, INPUT, problem, 1);
    add_slot(list, "gamma", &problem->gamma, OPTIONAL_INPUT, 1, problem->k);
    add_batched_slot(list, "dresidual_out", &problem->dresidual_out, OPTIONAL_INPUT, problem, problem->k);
    add_batched_slot(list, "dx", &problem->dx, OPTIONAL_OUTPUT, problem, problem->k);
    add_slot(list, "dgamma", &problem->dgamma, OPTIONAL_OUTPUT, 1, problem->k);
}

static void add_backward_part_slots(norma_slot_list *list, norma_problem *problem) {
    for (int p = 0; p < problem->parts; p++) {
        norma_part *part = &problem->part[p];
        const norma_part_name *names = &norma_part_names[part->index];
        add_slot(list, names->weight, &part->weight, INPUT, problem->k, part->n);
        add_batched_slot(list, names->dout, &part->dout, INPUT, problem, part->n);
        add_slot(list, names->dweight, &part->dweight, OPTIONAL_OUTPUT, problem->k, part->n);
        add_slot(list, names->dbias, &part->dbias, OPTIONAL_OUTPUT, 1, part->n);
    }
}

norma_slot_list norma_slots_of(norma_problem *problem) {
    norma_slot_list list = {.count = 0};
    switch (problem->op) {
    case NORMA_OP_RMSNORM:
        add_norm_slots(&list, problem);
        add_batched_slot(&list, "out", &problem->out, OUTPUT, problem, problem->k);
        break;
    case NORMA_OP_RMSNORM_LINEAR:
        add_norm_slots(&list, problem);
        add_part_slots(&list, problem);
        break;
    case NORMA_OP_LINEAR:
        add_batched_slot(&list, "x", &problem->x, INPUT, problem, problem->k);
        add_part_slots(&list, problem);
        break;
    case NORMA_OP_FOLD_GAMMA:
        add_slot(&list, "gamma", &problem->gamma, INPUT, 1, problem->k);
        add_slot(&list, "weight", &problem->part[0].weight, INPUT, problem->k, problem->part[0].n);
        add_slot(&list, "out", &problem->part[0].out, OUTPUT, problem->k, problem->part[0].n);
        break;
    case NORMA_OP_STREAM_COPY:
        add_batched_slot(&list, "x", &problem->x, INPUT, problem, problem->k);
        add_batched_slot(&list, "out", &problem->out, OUTPUT, problem, problem->k);
        break;
    case NORMA_OP_STREAM_READ:
        add_batched_slot(&list, "x", &problem->x, INPUT, problem, problem->k);
        add_slot(&list, "out", &problem->out, OUTPUT, 1, 1);
        break;
    case NORMA_OP_RMSNORM_BACKWARD:
        add_backward_slots(&list, problem);
        add_batched_slot(&list, "dout", &problem->dout, INPUT, problem, problem->k);
        break;
    case NORMA_OP_RMSNORM_LINEAR_BACKWARD:
        add_backward_slots(&list, problem);
        add_backward_part_slots(&list, problem);
        break;
    case NORMA_OP_PRODUCT:
        add_batched_slot(&list, "x", &problem->x, INPUT, problem, problem->k);
        add_slot(&list, "weight", &problem->part[0].weight, INPUT, problem->k, problem->part[0].n);
        add_batched_slot(&list, "out", &problem->part[0].out, OUTPUT, problem, problem->part[0].n);
        break;
    case NORMA_OP_COLUMN_SUMS:
        add_batched_slot(&list, "x", &problem->x, INPUT, problem, problem->k);
        add_slot(&list, "out", &problem->out, OUTPUT, 1, problem->k);
        break;
    }
    return list;
}

/* Adds (size - 1) * stride to *elements. */
static bool add_extent(int64_t *elements, int64_t size, int64_t stride) {
    int64_t extent;
    return !__builtin_mul_overflow(size - 1, stride, &extent) && !__builtin_add_overflow(*elements, extent, elements);
}

bool norma_slot_span(const norma_slot *s, int64_t *out_bytes) {
    const norma_layout *layout = &s->tensor->layout;
    *out_bytes = 0;
    if (layout->dtype == NORMA_NONE || s->rows == 0 || s->cols == 0) return true;
    int64_t elements = 1;
    return add_extent(&elements, s->batch, layout->batch_stride) && add_extent(&elements, s->rows, layout->row_stride) &&
           add_extent(&elements, s->cols, layout->col_stride) &&
           !__builtin_mul_overflow(elements, (int64_t)norma_dtype_bytes(layout->dtype), out_bytes) &&
           !__builtin_add_overflow(*out_bytes, (uint64_t)s->tensor->buffer.offset_bytes, out_bytes);
}

norma_status norma_slot_check_span(const norma_slot *s) {
    const norma_layout *layout = &s->tensor->layout;
    int64_t bytes;
    if (norma_slot_span(s, &bytes)) return NORMA_OK;
    return norma_fail(NORMA_ERROR_OVERFLOW,
                      "%s spans more than 2^63 - 1 bytes: batch %" PRId64 " with stride %" PRId64 ", %" PRId64
                      " rows with stride %" PRId64 ", %" PRId64 " columns with stride %" PRId64 ", offset %" PRIu64 " bytes",
                      s->name, s->batch, layout->batch_stride, s->rows, layout->row_stride, s->cols, layout->col_stride,
                      (uint64_t)s->tensor->buffer.offset_bytes);
}
