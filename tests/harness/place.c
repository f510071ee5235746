/* Places a trial's tensors in arenas. Tensors that share an array, and tensors that alias, form groups; a group is laid out
 * as one matrix whose columns are its members', and gets one arena. */
#include "harness/place.h"

#include <stdio.h>
#include <stdlib.h>

#include "dtype.h"

enum { GUARD_BYTES = 256, POISON = 0xff };

void *test_allocate(size_t bytes) {
    void *memory = malloc(bytes ? bytes : 1);
    if (memory) return memory;
    fprintf(stderr, "tests: no memory for %zu bytes\n", bytes);
    exit(2);
}

size_t test_tensor_at(const test_tensor *tensor, int64_t row, int64_t col) {
    const norma_layout *layout = &tensor->layout;
    const int64_t element =
        row / tensor->rows * layout->batch_stride + row % tensor->rows * layout->row_stride + col * layout->col_stride;
    return tensor->offset_bytes + (size_t)element * norma_dtype_bytes(layout->dtype);
}

static void define(test_trial *trial, int slot, test_role role, norma_dtype dtype, int64_t batch, int64_t rows,
                   int64_t cols) {
    test_tensor *tensor = &trial->tensor[slot];
    tensor->role = role;
    tensor->layout.dtype = dtype;
    tensor->batch = batch;
    tensor->rows = rows;
    tensor->cols = cols;
    tensor->arena = -1;
    const bool forward = role == ROLE_OUT || role == ROLE_RESIDUAL_OUT || role == ROLE_RSTD;
    const bool backward = role == ROLE_DX || role == ROLE_DGAMMA || role == ROLE_DWEIGHT || role == ROLE_DBIAS;
    tensor->output = dtype != NORMA_NONE && (test_case_is_backward(&trial->test) ? backward : forward);
}

static void define_all(test_trial *trial) {
    const test_case *test = &trial->test;
    const int64_t batch = test->batch ? test->batch : 1;
    const bool fold = test->op == NORMA_OP_FOLD_GAMMA;
    define(trial, SLOT_X, ROLE_X, fold ? NORMA_NONE : test->x, batch, test->m, test->k);
    define(trial, SLOT_GAMMA, ROLE_GAMMA, test->gamma, 1, 1, test->k);
    define(trial, SLOT_RESIDUAL, ROLE_RESIDUAL, test->residual, batch, test->m, test->k);
    define(trial, SLOT_RESIDUAL_OUT, ROLE_RESIDUAL_OUT, test->residual_out ? test->residual : NORMA_NONE, batch, test->m,
           test->k);
    const bool backward = test_case_is_backward(test);
    define(trial, SLOT_RSTD, ROLE_RSTD, test->rstd || backward ? NORMA_F32 : NORMA_NONE, batch, test->m, 1);
    if (backward) {
        define(trial, SLOT_DX, ROLE_DX, test->dx, batch, test->m, test->k);
        define(trial, SLOT_DGAMMA, ROLE_DGAMMA, test->dgamma, 1, 1, test->k);
    }
    if (test->op == NORMA_OP_RMSNORM || test->op == NORMA_OP_RMSNORM_BACKWARD) {
        define(trial, SLOT_OUT, ROLE_OUT, test->out, batch, test->m, test->k);
        return;
    }
    for (int p = 0; p < test_case_parts(test); p++) {
        define(trial, SLOT_WEIGHT + p, ROLE_WEIGHT, test->weight, 1, test->k, test->n[p]);
        define(trial, SLOT_BIAS + p, ROLE_BIAS, test->bias, 1, 1, test->n[p]);
        define(trial, SLOT_OUT + p, ROLE_OUT, test->out, fold ? 1 : batch, fold ? test->k : test->m, test->n[p]);
        if (!backward) continue;
        define(trial, SLOT_DWEIGHT + p, ROLE_DWEIGHT, test->dweight, 1, test->k, test->n[p]);
        define(trial, SLOT_DBIAS + p, ROLE_DBIAS, test->dbias, 1, 1, test->n[p]);
    }
}

static test_arrangement arrangement_of(const test_case *test, test_role role) {
    return test->arranged[role] != PACKED ? test->arranged[role] : test->all;
}

/* Odd sizes get odd gaps, so that rows are misaligned; even ones keep their rows aligned to 16 bytes where they can be. */
static int64_t gap(int64_t size) {
    return size % 2 ? 3 : 8;
}

static void arrange(norma_layout *layout, test_arrangement arrangement, int64_t batch, int64_t rows, int64_t cols) {
    layout->col_stride = 1;
    layout->row_stride = cols;
    switch (arrangement) {
    case PACKED: layout->batch_stride = rows * cols; return;
    case PADDED: layout->row_stride += gap(cols); break;
    case COLUMNS:
        layout->row_stride = 1;
        layout->col_stride = rows % 16 ? rows + gap(rows) : rows;
        layout->batch_stride = layout->col_stride * cols + gap(cols);
        return;
    case STEPPED:
        layout->col_stride = 3;
        layout->row_stride = 3 * cols + gap(cols);
        break;
    case HEADS:
        layout->row_stride = batch * cols + gap(cols);
        layout->batch_stride = cols;
        return;
    }
    layout->batch_stride = layout->row_stride * rows + gap(cols);
}

/* Lays `count` slots side by side in one arena. */
static void place_group(test_trial *trial, const int *slots, int count, bool tight) {
    test_tensor *first = &trial->tensor[slots[0]];
    if (first->layout.dtype == NORMA_NONE) return;
    const size_t size = norma_dtype_bytes(first->layout.dtype);
    int64_t cols = 0;
    for (int i = 0; i < count; i++) cols += trial->tensor[slots[i]].cols;
    const test_arrangement arrangement = arrangement_of(&trial->test, first->role);
    norma_layout layout = first->layout;
    arrange(&layout, arrangement, first->batch, first->rows, cols);

    const size_t guard = tight ? 0 : GUARD_BYTES;
    const size_t begin = guard + (size_t)trial->test.shift_bytes[first->role];
    size_t extent = 0;
    if (first->batch > 0 && first->rows > 0 && cols > 0)
        extent = size * (size_t)((first->batch - 1) * layout.batch_stride + (first->rows - 1) * layout.row_stride +
                                 (cols - 1) * layout.col_stride + 1);
    test_arena *arena = &trial->arena[slots[0]];
    arena->bytes = begin + extent + guard;
    arena->before = test_allocate(arena->bytes);
    arena->after = test_allocate(arena->bytes);
    arena->writable = test_allocate(arena->bytes);
    memset(arena->before, POISON, arena->bytes);
    memset(arena->after, POISON, arena->bytes);
    memset(arena->writable, 0, arena->bytes);

    int64_t col = 0;
    for (int i = 0; i < count; i++) {
        test_tensor *tensor = &trial->tensor[slots[i]];
        tensor->layout = layout;
        tensor->packed = count == 1 && arrangement == PACKED;
        tensor->arena = slots[0];
        tensor->offset_bytes = begin + size * (size_t)(col * layout.col_stride);
        col += tensor->cols;
    }
}

/* Places slot `same` where slot `as` is. */
static void place_alias(test_trial *trial, int same, int as) {
    test_tensor *tensor = &trial->tensor[same];
    const test_tensor *target = &trial->tensor[as];
    tensor->layout = target->layout;
    tensor->packed = target->packed;
    tensor->arena = target->arena;
    tensor->offset_bytes = target->offset_bytes;
}

static void place_parts(test_trial *trial, int first_slot, bool share, bool tight) {
    const norma_op op = trial->test.op;
    const int parts = op == NORMA_OP_RMSNORM || op == NORMA_OP_RMSNORM_BACKWARD ? 1 : test_case_parts(&trial->test);
    const int slots[NORMA_MAX_PARTS] = {first_slot, first_slot + 1, first_slot + 2, first_slot + 3};
    if (share) {
        place_group(trial, slots, parts, tight);
        return;
    }
    for (int p = 0; p < parts; p++) place_group(trial, &slots[p], 1, tight);
}

static void place_slot(test_trial *trial, int slot, bool tight) {
    if (trial->tensor[slot].arena < 0) place_group(trial, &slot, 1, tight);
}

static void mark_writable(test_trial *trial, const test_tensor *tensor) {
    const size_t size = norma_dtype_bytes(tensor->layout.dtype);
    unsigned char *writable = trial->arena[tensor->arena].writable;
    for (int64_t row = 0; row < tensor->batch * tensor->rows; row++)
        for (int64_t col = 0; col < tensor->cols; col++) memset(writable + test_tensor_at(tensor, row, col), 1, size);
}

void test_trial_place(test_trial *trial, bool tight) {
    const test_case *test = &trial->test;
    define_all(trial);
    if (test->share & SHARE_X_OUT) {
        const int slots[] = {SLOT_X, SLOT_OUT};
        place_group(trial, slots, 2, tight);
    }
    place_slot(trial, SLOT_X, tight);
    place_slot(trial, SLOT_GAMMA, tight);
    place_slot(trial, SLOT_RESIDUAL, tight);
    place_parts(trial, SLOT_WEIGHT, test->share & SHARE_WEIGHTS, tight);
    place_parts(trial, SLOT_BIAS, test->share & SHARE_WEIGHTS, tight);
    if (test->alias == ALIAS_OUT_X || test->alias == ALIAS_BOTH) place_alias(trial, SLOT_OUT, SLOT_X);
    if (test->alias == ALIAS_OUT_WEIGHT) place_alias(trial, SLOT_OUT, SLOT_WEIGHT);
    if (test->alias == ALIAS_RESIDUAL_OUT_RESIDUAL || test->alias == ALIAS_BOTH)
        place_alias(trial, SLOT_RESIDUAL_OUT, SLOT_RESIDUAL);
    if (test->alias == ALIAS_RESIDUAL_OUT_X) place_alias(trial, SLOT_RESIDUAL_OUT, SLOT_X);
    place_slot(trial, SLOT_RESIDUAL_OUT, tight);
    place_slot(trial, SLOT_RSTD, tight);
    if (trial->tensor[SLOT_OUT].arena < 0) place_parts(trial, SLOT_OUT, test->share & SHARE_OUTS, tight);
    if (test->alias == ALIAS_DX_DOUT) place_alias(trial, SLOT_DX, SLOT_OUT);
    if (test->alias == ALIAS_DX_DRESIDUAL) place_alias(trial, SLOT_DX, SLOT_RESIDUAL);
    if (test_case_is_backward(test)) {
        place_slot(trial, SLOT_DX, tight);
        place_slot(trial, SLOT_DGAMMA, tight);
        place_parts(trial, SLOT_DWEIGHT, test->share & SHARE_WEIGHTS, tight);
        place_parts(trial, SLOT_DBIAS, test->share & SHARE_WEIGHTS, tight);
    }
    for (int slot = 0; slot < SLOT_COUNT; slot++)
        if (trial->tensor[slot].output) mark_writable(trial, &trial->tensor[slot]);
}
