/* Operands to time on (scratch.h). */
#include "scratch.h"

#include <inttypes.h>
#include <stdlib.h>

#include "../dtype.h"
#include "normals.h"
#include "slots.h"

#define ALIGNMENT      INT64_C(256)
#define PATTERN_VALUES 65536 /* of which every tensor is a repetition */
#define CACHE_FACTOR   2     /* all sets together, over the last-level cache */
#define MOST_SETS      256
#define MEMORY_SHARE   8
#define MEMORY_BYTES   (INT64_C(4) << 30) /* of a device that does not say */

/* Moves every tensor by so many bytes, in memory at `data`. */
static void move_slots(norma_problem *problem, void *data, int64_t offset_bytes) {
    const norma_slot_list list = norma_slots_of(problem);
    for (int i = 0; i < list.count; i++) {
        norma_buffer *buffer = &list.slots[i].tensor->buffer;
        if (!norma_tensor_present(list.slots[i].tensor)) continue;
        *buffer = (norma_buffer){data, buffer->offset_bytes + (size_t)offset_bytes};
    }
}

/* Gives each tensor its place in a set; *out_bytes is the set's size. */
static bool lay_out(norma_problem *problem, int64_t *out_bytes) {
    const norma_slot_list list = norma_slots_of(problem);
    *out_bytes = 0;
    for (int i = 0; i < list.count; i++) {
        int64_t bytes;
        list.slots[i].tensor->buffer = (norma_buffer){0};
        if (!norma_slot_span(&list.slots[i], &bytes)) return false;
        list.slots[i].tensor->buffer.offset_bytes = (size_t)*out_bytes;
        if (__builtin_add_overflow(*out_bytes, bytes, out_bytes) ||
            __builtin_add_overflow(*out_bytes, ALIGNMENT - 1, out_bytes))
            return false;
        *out_bytes -= *out_bytes % ALIGNMENT;
    }
    return true;
}

static int choose_sets(const norma_limits *limits, int64_t set_bytes, int64_t most_bytes) {
    int64_t sets = CACHE_FACTOR * limits->cache_bytes / set_bytes + 1;
    if (sets > MOST_SETS) sets = MOST_SETS;
    if (sets > most_bytes / set_bytes) sets = most_bytes / set_bytes;
    return (int)sets;
}

static norma_status fill_tensor(norma_context *context, const norma_slot *slot, const void *pattern) {
    const size_t pattern_bytes = PATTERN_VALUES * norma_dtype_bytes(slot->tensor->layout.dtype);
    norma_buffer to = slot->tensor->buffer;
    int64_t end;
    if (!norma_slot_span(slot, &end)) return norma_slot_check_span(slot);
    norma_status status = NORMA_OK;
    while (to.offset_bytes < (size_t)end && !status) {
        const size_t left = (size_t)end - to.offset_bytes;
        const size_t step = left < pattern_bytes ? left : pattern_bytes;
        status = context->device->backend->upload(context->device, to, pattern, step);
        to.offset_bytes += step;
    }
    return status;
}

/* The tensors of one dtype in all sets, outputs too, since some are added to. */
static norma_status fill_dtype(norma_context *context, const norma_scratch *scratch, norma_dtype dtype, void *pattern) {
    norma_status status = NORMA_OK;
    bool ready = false;
    for (int set = 0; set < scratch->sets && !status; set++) {
        norma_problem problem;
        norma_scratch_problem(scratch, set, &problem);
        const norma_slot_list list = norma_slots_of(&problem);
        for (int i = 0; i < list.count && !status; i++) {
            if (list.slots[i].tensor->layout.dtype != dtype) continue;
            if (!ready) norma_normals_fill(pattern, dtype, PATTERN_VALUES);
            ready = true;
            status = fill_tensor(context, &list.slots[i], pattern);
        }
    }
    return status;
}

static norma_status fill(norma_context *context, const norma_scratch *scratch) {
    void *pattern = malloc(PATTERN_VALUES * sizeof(float)); /* of whatever dtype; the widest fits */
    if (!pattern) return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory for operands to time on");
    norma_status status = NORMA_OK;
    for (int dtype = NORMA_F32; dtype <= NORMA_BF16 && !status; dtype++)
        status = fill_dtype(context, scratch, (norma_dtype)dtype, pattern);
    free(pattern);
    return status;
}

norma_status norma_scratch_create(norma_context *context, const norma_problem *problem, int64_t rows,
                                  norma_scratch *out_scratch) {
    const norma_limits *limits = &context->device->limits;
    const int64_t most_bytes = (limits->memory_bytes > 0 ? limits->memory_bytes : MEMORY_BYTES) / MEMORY_SHARE;
    norma_scratch made = {.problem = *problem};
    made.problem.batch = 1;
    made.problem.m = rows;
    memset(out_scratch, 0, sizeof *out_scratch);
    if (!lay_out(&made.problem, &made.set_bytes) || made.set_bytes > most_bytes)
        return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "operands of that size take more than %" PRId64 " bytes", most_bytes);
    made.sets = choose_sets(limits, made.set_bytes, most_bytes);
    norma_status status =
        context->device->backend->alloc(context->device, (size_t)made.set_bytes * (size_t)made.sets, &made.data);
    if (status) return status;
    move_slots(&made.problem, made.data, 0);
    status = fill(context, &made);
    if (status)
        norma_scratch_free(context, &made);
    else
        *out_scratch = made;
    return status;
}

void norma_scratch_free(norma_context *context, norma_scratch *scratch) {
    if (scratch->data) norma_context_check(context, context->device->backend->release(context->device, scratch->data));
    memset(scratch, 0, sizeof *scratch);
}

void norma_scratch_problem(const norma_scratch *scratch, int set, norma_problem *out_problem) {
    *out_problem = scratch->problem;
    move_slots(out_problem, scratch->data, set * scratch->set_bytes);
}
