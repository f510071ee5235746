/* Runs a trial through the public API alone: allocate, upload, call, synchronise, download. */
#include "harness/trial.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "dtype.h"
#include "harness/place.h"

int test_case_parts(const test_case *test) {
    if (test->op == NORMA_OP_RMSNORM || test->op == NORMA_OP_RMSNORM_BACKWARD) return 0;
    int parts = test->parts;
    while (test->parts == 0 && parts < NORMA_MAX_PARTS && test->n[parts] > 0) parts++;
    return parts;
}

void test_case_describe(const test_case *test, char *text, size_t text_bytes) {
    static const char *const ops[] = {"rmsnorm", "rmsnorm_linear", "linear",           "fold_gamma",
                                      "copy",    "read",           "rmsnorm_backward", "rmsnorm_linear_backward"};
    static const char *const contracts[] = {"deferred", "twice", "once"};
    static const char *const roles[] = {"x",  "gamma",  "residual", "weight", "bias",         "out",
                                        "dx", "dgamma", "dweight",  "dbias",  "residual_out", "rstd"};
    static const char *const arrangements[] = {"", "padded", "columns", "stepped", "heads"};
    int used = snprintf(text, text_bytes, "%s \"%s\" batch %" PRId64 " m %" PRId64 " k %" PRId64 " n", ops[test->op],
                        test->name, test->batch, test->m, test->k);
    for (int p = 0; p < test_case_parts(test); p++)
        used += snprintf(text + used, text_bytes - (size_t)used, " %" PRId64, test->n[p]);
    used += snprintf(text + used, text_bytes - (size_t)used,
                     " %s offset %g eps %g flags %" PRIu64 " max_rows %" PRId64 " share %d alias %d data %d",
                     contracts[test->contract], (double)test->offset, (double)test->eps, test->flags, test->max_rows,
                     test->share, (int)test->alias, (int)test->data);
    for (int role = 0; role < ROLE_COUNT; role++) {
        const bool listed = role < ROLE_DTYPES;
        if (listed ? test->dtype[role] == NORMA_NONE : role == ROLE_RSTD ? !test->rstd : !test->residual_out) continue;
        const test_arrangement arrangement = test->arranged[role] ? test->arranged[role] : test->all;
        used += snprintf(text + used, text_bytes - (size_t)used, ", %s", roles[role]);
        if (listed) used += snprintf(text + used, text_bytes - (size_t)used, " %s", norma_dtype_name(test->dtype[role]));
        if (arrangement) used += snprintf(text + used, text_bytes - (size_t)used, " %s", arrangements[arrangement]);
        if (test->shift_bytes[role])
            used += snprintf(text + used, text_bytes - (size_t)used, " +%d bytes", test->shift_bytes[role]);
    }
}

test_trial *test_trial_create(const test_case *test, uint64_t seed, bool tight) {
    test_trial *trial = test_allocate(sizeof *trial);
    memset(trial, 0, sizeof *trial);
    trial->test = *test;
    if (trial->test.eps == 0) trial->test.eps = NORMA_DEFAULT_EPS;
    trial->seed = seed;
    test_trial_place(trial, tight);
    test_trial_fill(trial);
    return trial;
}

void test_trial_destroy(test_trial *trial) {
    for (int i = 0; i < SLOT_COUNT; i++) {
        free(trial->arena[i].before);
        free(trial->arena[i].after);
        free(trial->arena[i].writable);
    }
    free(trial);
}

static float value_at(const test_tensor *tensor, const unsigned char *bytes, int64_t row, int64_t col) {
    return norma_load(bytes + test_tensor_at(tensor, row, col), tensor->layout.dtype, 0);
}

float test_trial_get(const test_trial *trial, int slot, int64_t row, int64_t col) {
    const test_tensor *tensor = &trial->tensor[slot];
    return value_at(tensor, trial->arena[tensor->arena].before, row, col);
}

float test_trial_result(const test_trial *trial, int slot, int64_t row, int64_t col) {
    const test_tensor *tensor = &trial->tensor[slot];
    return value_at(tensor, trial->arena[tensor->arena].after, row, col);
}

void test_trial_set(test_trial *trial, int slot, int64_t row, int64_t col, float value) {
    const test_tensor *tensor = &trial->tensor[slot];
    norma_store(trial->arena[tensor->arena].before + test_tensor_at(tensor, row, col), tensor->layout.dtype, 0, value);
}

static norma_layout layout_of(const test_trial *trial, int slot) {
    const test_tensor *tensor = &trial->tensor[slot];
    norma_layout layout = tensor->layout;
    if (tensor->packed) layout.row_stride = layout.col_stride = layout.batch_stride = 0;
    const test_role batched[] = {ROLE_X, ROLE_RESIDUAL, ROLE_OUT, ROLE_RESIDUAL_OUT, ROLE_RSTD, ROLE_DX};
    bool has_batch = false;
    for (size_t i = 0; i < sizeof batched / sizeof batched[0]; i++) has_batch = has_batch || tensor->role == batched[i];
    if (!has_batch || trial->test.op == NORMA_OP_FOLD_GAMMA) layout.batch_stride = 0;
    return layout;
}

static norma_buffer buffer_of(const test_trial *trial, int slot, void *const *devices) {
    const test_tensor *tensor = &trial->tensor[slot];
    norma_buffer buffer = {NULL, 0};
    if (tensor->layout.dtype == NORMA_NONE) return buffer;
    buffer.data = devices[tensor->arena];
    buffer.offset_bytes = tensor->offset_bytes;
    return buffer;
}

static norma_rmsnorm_desc rmsnorm_desc(const test_trial *trial) {
    const test_case *test = &trial->test;
    norma_rmsnorm_desc desc = norma_rmsnorm_desc_init();
    desc.k = test->k;
    desc.eps = test->eps;
    desc.gamma_offset = test->offset;
    desc.contract = test->contract;
    desc.flags = test->flags;
    desc.max_rows = test->max_rows;
    desc.x = layout_of(trial, SLOT_X);
    desc.gamma = layout_of(trial, SLOT_GAMMA);
    desc.residual = layout_of(trial, SLOT_RESIDUAL);
    desc.residual_out = layout_of(trial, SLOT_RESIDUAL_OUT);
    desc.rstd = layout_of(trial, SLOT_RSTD);
    desc.out = layout_of(trial, SLOT_OUT);
    return desc;
}

static norma_rmsnorm_args rmsnorm_args(const test_trial *trial, void *const *devices) {
    norma_rmsnorm_args args = norma_rmsnorm_args_init();
    args.m = trial->test.m;
    args.batch = trial->test.batch;
    args.x = buffer_of(trial, SLOT_X, devices);
    args.gamma = buffer_of(trial, SLOT_GAMMA, devices);
    args.residual = buffer_of(trial, SLOT_RESIDUAL, devices);
    args.residual_out = buffer_of(trial, SLOT_RESIDUAL_OUT, devices);
    args.rstd = buffer_of(trial, SLOT_RSTD, devices);
    args.out = buffer_of(trial, SLOT_OUT, devices);
    return args;
}

static norma_rmsnorm_linear_desc linear_desc(const test_trial *trial) {
    const norma_rmsnorm_desc norm = rmsnorm_desc(trial);
    norma_rmsnorm_linear_desc desc = norma_rmsnorm_linear_desc_init();
    desc.k = norm.k;
    desc.eps = norm.eps;
    desc.gamma_offset = norm.gamma_offset;
    desc.contract = norm.contract;
    desc.flags = norm.flags;
    desc.max_rows = norm.max_rows;
    desc.x = norm.x;
    desc.gamma = norm.gamma;
    desc.residual = norm.residual;
    desc.residual_out = norm.residual_out;
    desc.rstd = norm.rstd;
    desc.parts = test_case_parts(&trial->test);
    for (int p = 0; p < desc.parts; p++) {
        desc.part[p].n = trial->test.n[p];
        desc.part[p].weight = layout_of(trial, SLOT_WEIGHT + p);
        desc.part[p].bias = layout_of(trial, SLOT_BIAS + p);
        desc.part[p].out = layout_of(trial, SLOT_OUT + p);
    }
    return desc;
}

static norma_rmsnorm_linear_args linear_args(const test_trial *trial, void *const *devices) {
    norma_rmsnorm_linear_args args = norma_rmsnorm_linear_args_init();
    args.m = trial->test.m;
    args.batch = trial->test.batch;
    args.x = buffer_of(trial, SLOT_X, devices);
    args.gamma = buffer_of(trial, SLOT_GAMMA, devices);
    args.residual = buffer_of(trial, SLOT_RESIDUAL, devices);
    args.residual_out = buffer_of(trial, SLOT_RESIDUAL_OUT, devices);
    args.rstd = buffer_of(trial, SLOT_RSTD, devices);
    for (int p = 0; p < test_case_parts(&trial->test); p++) {
        args.part[p].weight = buffer_of(trial, SLOT_WEIGHT + p, devices);
        args.part[p].bias = buffer_of(trial, SLOT_BIAS + p, devices);
        args.part[p].out = buffer_of(trial, SLOT_OUT + p, devices);
    }
    return args;
}

static norma_fold_gamma_desc fold_desc(const test_trial *trial) {
    norma_fold_gamma_desc desc = norma_fold_gamma_desc_init();
    desc.k = trial->test.k;
    desc.n = trial->test.n[0];
    desc.gamma_offset = trial->test.offset;
    desc.gamma = layout_of(trial, SLOT_GAMMA);
    desc.weight = layout_of(trial, SLOT_WEIGHT);
    desc.out = layout_of(trial, SLOT_OUT);
    return desc;
}

static norma_fold_gamma_args fold_args(const test_trial *trial, void *const *devices) {
    norma_fold_gamma_args args = norma_fold_gamma_args_init();
    args.gamma = buffer_of(trial, SLOT_GAMMA, devices);
    args.weight = buffer_of(trial, SLOT_WEIGHT, devices);
    args.out = buffer_of(trial, SLOT_OUT, devices);
    return args;
}

static norma_rmsnorm_backward_desc rmsnorm_backward_desc(const test_trial *trial) {
    const test_case *test = &trial->test;
    norma_rmsnorm_backward_desc desc = norma_rmsnorm_backward_desc_init();
    desc.k = test->k;
    desc.gamma_offset = test->offset;
    desc.flags = test->flags;
    desc.max_rows = test->max_rows;
    desc.x = layout_of(trial, SLOT_X);
    desc.rstd = layout_of(trial, SLOT_RSTD);
    desc.gamma = layout_of(trial, SLOT_GAMMA);
    desc.dout = layout_of(trial, SLOT_OUT);
    desc.dresidual_out = layout_of(trial, SLOT_RESIDUAL);
    desc.dx = layout_of(trial, SLOT_DX);
    desc.dgamma = layout_of(trial, SLOT_DGAMMA);
    return desc;
}

static norma_rmsnorm_backward_args rmsnorm_backward_args(const test_trial *trial, void *const *devices) {
    norma_rmsnorm_backward_args args = norma_rmsnorm_backward_args_init();
    args.m = trial->test.m;
    args.batch = trial->test.batch;
    args.x = buffer_of(trial, SLOT_X, devices);
    args.rstd = buffer_of(trial, SLOT_RSTD, devices);
    args.gamma = buffer_of(trial, SLOT_GAMMA, devices);
    args.dout = buffer_of(trial, SLOT_OUT, devices);
    args.dresidual_out = buffer_of(trial, SLOT_RESIDUAL, devices);
    args.dx = buffer_of(trial, SLOT_DX, devices);
    args.dgamma = buffer_of(trial, SLOT_DGAMMA, devices);
    return args;
}

static norma_rmsnorm_linear_backward_desc linear_backward_desc(const test_trial *trial) {
    const test_case *test = &trial->test;
    norma_rmsnorm_linear_backward_desc desc = norma_rmsnorm_linear_backward_desc_init();
    desc.k = test->k;
    desc.eps = test->eps;
    desc.gamma_offset = test->offset;
    desc.contract = test->contract;
    desc.flags = test->flags;
    desc.max_rows = test->max_rows;
    desc.x = layout_of(trial, SLOT_X);
    desc.rstd = layout_of(trial, SLOT_RSTD);
    desc.gamma = layout_of(trial, SLOT_GAMMA);
    desc.dresidual_out = layout_of(trial, SLOT_RESIDUAL);
    desc.dx = layout_of(trial, SLOT_DX);
    desc.dgamma = layout_of(trial, SLOT_DGAMMA);
    desc.parts = test_case_parts(test);
    for (int p = 0; p < desc.parts; p++) {
        desc.part[p].n = test->n[p];
        desc.part[p].weight = layout_of(trial, SLOT_WEIGHT + p);
        desc.part[p].dout = layout_of(trial, SLOT_OUT + p);
        desc.part[p].dweight = layout_of(trial, SLOT_DWEIGHT + p);
        desc.part[p].dbias = layout_of(trial, SLOT_DBIAS + p);
    }
    return desc;
}

static norma_rmsnorm_linear_backward_args linear_backward_args(const test_trial *trial, void *const *devices) {
    norma_rmsnorm_linear_backward_args args = norma_rmsnorm_linear_backward_args_init();
    args.m = trial->test.m;
    args.batch = trial->test.batch;
    args.x = buffer_of(trial, SLOT_X, devices);
    args.rstd = buffer_of(trial, SLOT_RSTD, devices);
    args.gamma = buffer_of(trial, SLOT_GAMMA, devices);
    args.dresidual_out = buffer_of(trial, SLOT_RESIDUAL, devices);
    args.dx = buffer_of(trial, SLOT_DX, devices);
    args.dgamma = buffer_of(trial, SLOT_DGAMMA, devices);
    for (int p = 0; p < test_case_parts(&trial->test); p++) {
        args.part[p].weight = buffer_of(trial, SLOT_WEIGHT + p, devices);
        args.part[p].dout = buffer_of(trial, SLOT_OUT + p, devices);
        args.part[p].dweight = buffer_of(trial, SLOT_DWEIGHT + p, devices);
        args.part[p].dbias = buffer_of(trial, SLOT_DBIAS + p, devices);
    }
    return args;
}

/* The gradients of a backward; its residual and outputs are inputs of other names. */
static void set_gradients(norma_problem *problem, const norma_tensor *tensors) {
    problem->residual = (norma_tensor){0};
    problem->dresidual_out = tensors[SLOT_RESIDUAL];
    problem->dx = tensors[SLOT_DX];
    problem->dgamma = tensors[SLOT_DGAMMA];
    if (problem->op == NORMA_OP_RMSNORM_BACKWARD) problem->dout = tensors[SLOT_OUT];
    for (int p = 0; p < problem->parts; p++) {
        problem->part[p].out = (norma_tensor){0};
        problem->part[p].dout = tensors[SLOT_OUT + p];
        problem->part[p].dweight = tensors[SLOT_DWEIGHT + p];
        problem->part[p].dbias = tensors[SLOT_DBIAS + p];
    }
}

norma_problem test_trial_problem(const test_trial *trial) {
    const test_case *test = &trial->test;
    void *hosts[SLOT_COUNT];
    norma_tensor tensors[SLOT_COUNT];
    for (int slot = 0; slot < SLOT_COUNT; slot++) hosts[slot] = trial->arena[slot].before;
    for (int slot = 0; slot < SLOT_COUNT; slot++)
        tensors[slot] = (norma_tensor){buffer_of(trial, slot, hosts), trial->tensor[slot].layout};
    norma_problem problem = {.op = test->op,
                             .contract = test->contract,
                             .flags = test->flags,
                             .eps = test->eps,
                             .gamma_offset = test->offset,
                             .batch = test->batch ? test->batch : 1,
                             .m = test->m,
                             .k = test->k,
                             .x = tensors[SLOT_X],
                             .gamma = tensors[SLOT_GAMMA],
                             .residual = tensors[SLOT_RESIDUAL],
                             .residual_out = tensors[SLOT_RESIDUAL_OUT],
                             .rstd = tensors[SLOT_RSTD],
                             .parts = test_case_parts(test)};
    if (test->op == NORMA_OP_RMSNORM) problem.out = tensors[SLOT_OUT];
    for (int p = 0; p < problem.parts; p++) {
        problem.part[p].n = test->n[p];
        problem.part[p].weight = tensors[SLOT_WEIGHT + p];
        problem.part[p].bias = tensors[SLOT_BIAS + p];
        problem.part[p].out = tensors[SLOT_OUT + p];
    }
    if (test_case_is_backward(test)) set_gradients(&problem, tensors);
    return problem;
}

static norma_status call_one_shot(const test_trial *trial, norma_context *context, void *const *devices) {
    if (trial->test.op == NORMA_OP_FOLD_GAMMA) {
        const norma_fold_gamma_desc desc = fold_desc(trial);
        const norma_fold_gamma_args args = fold_args(trial, devices);
        return norma_fold_gamma(context, &desc, &args);
    }
    if (trial->test.op == NORMA_OP_RMSNORM) {
        const norma_rmsnorm_desc desc = rmsnorm_desc(trial);
        const norma_rmsnorm_args args = rmsnorm_args(trial, devices);
        return norma_rmsnorm(context, &desc, &args);
    }
    if (trial->test.op == NORMA_OP_RMSNORM_BACKWARD) {
        const norma_rmsnorm_backward_desc desc = rmsnorm_backward_desc(trial);
        const norma_rmsnorm_backward_args args = rmsnorm_backward_args(trial, devices);
        return norma_rmsnorm_backward(context, &desc, &args);
    }
    if (trial->test.op == NORMA_OP_RMSNORM_LINEAR_BACKWARD) {
        const norma_rmsnorm_linear_backward_desc desc = linear_backward_desc(trial);
        const norma_rmsnorm_linear_backward_args args = linear_backward_args(trial, devices);
        return norma_rmsnorm_linear_backward(context, &desc, &args);
    }
    const norma_rmsnorm_linear_desc desc = linear_desc(trial);
    const norma_rmsnorm_linear_args args = linear_args(trial, devices);
    return norma_rmsnorm_linear(context, &desc, &args);
}

norma_status test_trial_plan(const test_trial *trial, norma_context *context, norma_plan **out_plan) {
    if (trial->test.op == NORMA_OP_RMSNORM) {
        const norma_rmsnorm_desc desc = rmsnorm_desc(trial);
        return norma_rmsnorm_plan_create(context, &desc, out_plan);
    }
    if (trial->test.op == NORMA_OP_RMSNORM_BACKWARD) {
        const norma_rmsnorm_backward_desc desc = rmsnorm_backward_desc(trial);
        return norma_rmsnorm_backward_plan_create(context, &desc, out_plan);
    }
    if (trial->test.op == NORMA_OP_RMSNORM_LINEAR_BACKWARD) {
        const norma_rmsnorm_linear_backward_desc desc = linear_backward_desc(trial);
        return norma_rmsnorm_linear_backward_plan_create(context, &desc, out_plan);
    }
    const norma_rmsnorm_linear_desc desc = linear_desc(trial);
    return norma_rmsnorm_linear_plan_create(context, &desc, out_plan);
}

static norma_status call_plan(const test_trial *trial, norma_plan *plan, void *const *devices) {
    if (trial->test.op == NORMA_OP_RMSNORM) {
        const norma_rmsnorm_args args = rmsnorm_args(trial, devices);
        return norma_rmsnorm_plan_run(plan, &args);
    }
    if (trial->test.op == NORMA_OP_RMSNORM_BACKWARD) {
        const norma_rmsnorm_backward_args args = rmsnorm_backward_args(trial, devices);
        return norma_rmsnorm_backward_plan_run(plan, &args);
    }
    if (trial->test.op == NORMA_OP_RMSNORM_LINEAR_BACKWARD) {
        const norma_rmsnorm_linear_backward_args args = linear_backward_args(trial, devices);
        return norma_rmsnorm_linear_backward_plan_run(plan, &args);
    }
    const norma_rmsnorm_linear_args args = linear_args(trial, devices);
    return norma_rmsnorm_linear_plan_run(plan, &args);
}

static norma_status upload(const test_trial *trial, norma_context *context, void **devices) {
    norma_status status = NORMA_OK;
    for (int i = 0; i < SLOT_COUNT && !status; i++) {
        const test_arena *arena = &trial->arena[i];
        if (!arena->before) continue;
        status = norma_alloc(context, arena->bytes, &devices[i]);
        if (!status && arena->bytes)
            status = norma_upload(context, (norma_buffer){devices[i], 0}, arena->before, arena->bytes);
    }
    return status;
}

static norma_status download(test_trial *trial, norma_context *context, void *const *devices) {
    norma_status status = norma_synchronize(context);
    for (int i = 0; i < SLOT_COUNT && !status; i++) {
        const test_arena *arena = &trial->arena[i];
        if (arena->before && arena->bytes)
            status = norma_download(context, arena->after, (norma_buffer){devices[i], 0}, arena->bytes);
    }
    return status;
}

/* By one call, or by a plan if there is one. Outputs come back after an argument error too, to show that they are untouched.
 */
static norma_status run(test_trial *trial, norma_context *context, norma_plan *plan) {
    void *devices[SLOT_COUNT] = {NULL};
    norma_status status = upload(trial, context, devices);
    if (!status) {
        status = plan ? call_plan(trial, plan, devices) : call_one_shot(trial, context, devices);
        const norma_status downloaded = download(trial, context, devices);
        if (!status) status = downloaded;
    }
    for (int i = 0; i < SLOT_COUNT; i++) norma_free(context, devices[i]);
    return status;
}

norma_status test_trial_run_plan(test_trial *trial, norma_context *context, norma_plan *plan) {
    return run(trial, context, plan);
}

norma_status test_trial_run(test_trial *trial, norma_context *context, test_path path) {
    norma_plan *plan = NULL;
    norma_status status = NORMA_OK;
    if (path == PATH_PLAN && trial->test.op != NORMA_OP_FOLD_GAMMA) status = test_trial_plan(trial, context, &plan);
    if (!status) status = run(trial, context, plan);
    norma_plan_destroy(plan);
    return status;
}

bool test_trial_untouched(const test_trial *trial) {
    for (int i = 0; i < SLOT_COUNT; i++) {
        const test_arena *arena = &trial->arena[i];
        if (arena->bytes && memcmp(arena->before, arena->after, arena->bytes) != 0) return false;
    }
    return true;
}

static bool slot_rows_equal(const test_trial *one, int64_t one_row, const test_trial *other, int64_t other_row, int64_t rows,
                            int slot) {
    const test_tensor *a = &one->tensor[slot];
    const test_tensor *b = &other->tensor[slot];
    const size_t size = norma_dtype_bytes(a->layout.dtype);
    for (int64_t row = 0; row < rows; row++)
        for (int64_t col = 0; col < a->cols; col++)
            if (memcmp(one->arena[a->arena].after + test_tensor_at(a, one_row + row, col),
                       other->arena[b->arena].after + test_tensor_at(b, other_row + row, col), size) != 0)
                return false;
    return true;
}

bool test_rows_equal(const test_trial *one, int64_t one_row, const test_trial *other, int64_t other_row, int64_t rows) {
    for (int slot = 0; slot < SLOT_COUNT; slot++)
        if (one->tensor[slot].output && !slot_rows_equal(one, one_row, other, other_row, rows, slot)) return false;
    return true;
}

/* Every output has its own number of rows: those of the batch, of W, or one. */
bool test_trials_equal(const test_trial *one, const test_trial *other) {
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        const test_tensor *tensor = &one->tensor[slot];
        if (tensor->output && !slot_rows_equal(one, 0, other, 0, tensor->batch * tensor->rows, slot)) return false;
    }
    return true;
}
