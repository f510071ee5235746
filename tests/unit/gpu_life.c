/* The life and its failures; both drivers go through the same. */
#include "gpu_life.h"

#include <stdio.h>

#include "expect.h"

norma_rmsnorm_desc gpu_life_norm_desc(void) {
    norma_rmsnorm_desc desc = norma_rmsnorm_desc_init();
    desc.k = GPU_LIFE_K;
    desc.max_rows = GPU_LIFE_LARGE_M;
    desc.x.dtype = desc.gamma.dtype = desc.out.dtype = NORMA_BF16;
    return desc;
}

norma_rmsnorm_linear_desc gpu_life_linear_desc(void) {
    norma_rmsnorm_linear_desc desc = norma_rmsnorm_linear_desc_init();
    desc.k = GPU_LIFE_K;
    desc.max_rows = GPU_LIFE_LARGE_M;
    desc.x.dtype = desc.gamma.dtype = NORMA_BF16;
    desc.part[0].n = GPU_LIFE_N;
    desc.part[0].weight = norma_layout_transposed(NORMA_BF16, GPU_LIFE_K);
    desc.part[0].out.dtype = NORMA_BF16;
    return desc;
}

norma_status gpu_life_run_norm(gpu_life *l, int64_t m) {
    norma_rmsnorm_args args = norma_rmsnorm_args_init();
    args.m = m;
    args.x.data = l->x;
    args.gamma.data = l->gamma;
    args.out.data = l->out;
    return norma_rmsnorm_plan_run(l->norm, &args);
}

norma_status gpu_life_run_linear(gpu_life *l, int64_t m) {
    norma_rmsnorm_linear_args args = norma_rmsnorm_linear_args_init();
    args.m = m;
    args.x.data = l->x;
    args.gamma.data = l->gamma;
    args.part[0].weight.data = l->weight;
    args.part[0].out.data = l->out;
    return norma_rmsnorm_linear_plan_run(l->linear, &args);
}

static norma_status run_folded(gpu_life *l, int64_t m) {
    norma_rmsnorm_linear_args args = norma_rmsnorm_linear_args_init();
    args.m = m;
    args.x.data = l->x;
    args.part[0].weight.data = l->weight;
    args.part[0].out.data = l->out;
    return norma_rmsnorm_linear_plan_run(l->folded, &args);
}

norma_status gpu_life_recorded_work(void *user) {
    return gpu_life_run_norm(user, GPU_LIFE_M);
}

norma_status gpu_life_open_all(gpu_life *l, const norma_backend *backend) {
    norma_open_desc desc = {.index = 0};
    norma_status status = norma_logger_init(&desc.log, NORMA_LOG_ERROR, NULL, NULL);
    if (!status) status = norma_context_create_on(backend, &desc, &l->context);
    if (!status) status = norma_alloc(l->context, GPU_LIFE_LARGE_M * GPU_LIFE_K * 4, &l->x);
    if (!status) status = norma_alloc(l->context, GPU_LIFE_K * 2, &l->gamma);
    if (!status) status = norma_alloc(l->context, GPU_LIFE_K * GPU_LIFE_N * 2, &l->weight);
    if (!status) status = norma_alloc(l->context, GPU_LIFE_LARGE_M * GPU_LIFE_K * 4, &l->out);
    const norma_rmsnorm_desc norm = gpu_life_norm_desc();
    if (!status) status = norma_rmsnorm_plan_create(l->context, &norm, &l->norm);
    const norma_rmsnorm_linear_desc linear = gpu_life_linear_desc();
    if (!status) status = norma_rmsnorm_linear_plan_create(l->context, &linear, &l->linear);
    norma_rmsnorm_linear_desc folded = linear;
    folded.gamma.dtype = NORMA_NONE;
    if (!status) status = norma_rmsnorm_linear_plan_create(l->context, &folded, &l->folded);
    return status;
}

static norma_status use_all(gpu_life *l) {
    const norma_buffer x = {.data = l->x, .offset_bytes = 0}, out = {.data = l->out, .offset_bytes = 0};
    norma_device *device = l->context->device;
    norma_status status = norma_upload(l->context, x, l->host, GPU_LIFE_M * GPU_LIFE_K * 2);
    if (!status) status = gpu_life_run_norm(l, GPU_LIFE_M);
    if (!status) status = gpu_life_run_linear(l, 1);
    if (!status) status = gpu_life_run_linear(l, GPU_LIFE_LARGE_M);
    if (!status) status = run_folded(l, GPU_LIFE_LARGE_M);
    if (!status) status = norma_download(l->context, l->host, out, GPU_LIFE_M * GPU_LIFE_K * 2);
    if (!status) status = device->backend->record(device, gpu_life_recorded_work, l, &l->recording);
    double us = 0;
    if (!status) status = device->backend->replay(device, l->recording, &us);
    if (!status) assert_true(us > 249.9 && us < 250.1);
    if (!status) status = norma_synchronize(l->context);
    return status;
}

norma_status gpu_life_close_all(gpu_life *l, norma_status status) {
    if (!l->context) return status;
    norma_device *device = l->context->device;
    if (l->recording) device->backend->forget(device, l->recording);
    norma_plan_destroy(l->norm);
    norma_plan_destroy(l->linear);
    norma_plan_destroy(l->folded);
    void *const blocks[] = {l->x, l->gamma, l->weight, l->out};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
        const norma_status freed = norma_free(l->context, blocks[i]);
        if (!status) status = freed;
    }
    norma_context_destroy(l->context);
    return status;
}

norma_status gpu_live(const norma_backend *backend) {
    static gpu_life l;
    memset(&l, 0, sizeof l);
    norma_status status = gpu_life_open_all(&l, backend);
    if (!status) status = use_all(&l);
    return gpu_life_close_all(&l, status);
}

static bool is(const gpu_rig *rig, gpu_function_id function) {
    return strcmp(rig->failed(), rig->driver->symbols[function].name) == 0;
}

/* Failures that a program is not told of: the library goes on without what the call would have given, or is closing. */
static bool may_pass(const gpu_rig *rig) {
    static const gpu_function_id functions[] = {GPU_FN_capture_mode,       GPU_FN_context_get,    GPU_FN_context_set,
                                                GPU_FN_stream_sync,        GPU_FN_memory_free,    GPU_FN_module_unload,
                                                GPU_FN_stream_destroy,     GPU_FN_event_destroy,  GPU_FN_graph_destroy,
                                                GPU_FN_graph_exec_destroy, GPU_FN_primary_release};
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (is(rig, functions[i])) return true;
    return false;
}

void gpu_fail_every_call(const gpu_rig *rig, int result, bool sticky, norma_status expected) {
    for (int call = 1;; call++) {
        rig->arm(call, result, sticky);
        const norma_status status = gpu_live(rig->backend);
        char label[96];
        if (rig->calls() < call) {
            assert_true(call > 100);
            return;
        }
        snprintf(label, sizeof label, "call %d, %s, answers %d", call, rig->failed(), result);
        rig->expect_clean(label);
        if (status == NORMA_OK && may_pass(rig)) continue;
        const bool while_looking = is(rig, GPU_FN_init) || is(rig, GPU_FN_device_count);
        expect_sentence(label, status, while_looking ? NORMA_ERROR_NO_DEVICE : expected, NULL);
        assert_true(strlen(norma_last_error()) > 10);
    }
}
