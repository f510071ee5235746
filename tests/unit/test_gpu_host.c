/* The host code of the GPU backends against a driver that runs nothing: what reaches the driver, and what happens when the
 * driver refuses. */
#include "gpu_fake_driver.h"

#include <stdio.h>
#include <stdlib.h>

#include "expect.h"

enum { K = 64, N = 48, M = 4, LARGE_M = 100 };

static int callers_context;

static int reset(void **state) {
    (void)state;
    fake_gpu_reset();
    fake_gpu.current = &callers_context;
    return 0;
}

/* ---- A whole life: everything that a program may do, stopping at the first failure ---- */

typedef struct life {
    norma_context *context;
    norma_plan *norm, *linear, *folded;
    void *x, *gamma, *weight, *out, *recording;
    char host[LARGE_M * K * 4];
} life;

static norma_rmsnorm_desc norm_desc(void) {
    norma_rmsnorm_desc desc = norma_rmsnorm_desc_init();
    desc.k = K;
    desc.max_rows = LARGE_M;
    desc.x.dtype = desc.gamma.dtype = desc.out.dtype = NORMA_BF16;
    return desc;
}

static norma_rmsnorm_linear_desc linear_desc(void) {
    norma_rmsnorm_linear_desc desc = norma_rmsnorm_linear_desc_init();
    desc.k = K;
    desc.max_rows = LARGE_M;
    desc.x.dtype = desc.gamma.dtype = NORMA_BF16;
    desc.part[0].n = N;
    desc.part[0].weight = norma_layout_transposed(NORMA_BF16, K);
    desc.part[0].out.dtype = NORMA_BF16;
    return desc;
}

static norma_status run_norm(life *l, int64_t m) {
    norma_rmsnorm_args args = norma_rmsnorm_args_init();
    args.m = m;
    args.x.data = l->x;
    args.gamma.data = l->gamma;
    args.out.data = l->out;
    return norma_rmsnorm_plan_run(l->norm, &args);
}

static norma_status run_linear(life *l, int64_t m) {
    norma_rmsnorm_linear_args args = norma_rmsnorm_linear_args_init();
    args.m = m;
    args.x.data = l->x;
    args.gamma.data = l->gamma;
    args.part[0].weight.data = l->weight;
    args.part[0].out.data = l->out;
    return norma_rmsnorm_linear_plan_run(l->linear, &args);
}

static norma_status run_folded(life *l, int64_t m) {
    norma_rmsnorm_linear_args args = norma_rmsnorm_linear_args_init();
    args.m = m;
    args.x.data = l->x;
    args.part[0].weight.data = l->weight;
    args.part[0].out.data = l->out;
    return norma_rmsnorm_linear_plan_run(l->folded, &args);
}

static norma_status recorded_work(void *user) {
    return run_norm(user, M);
}

static norma_status open_all(life *l) {
    norma_status status = fake_gpu_context(NULL, &l->context);
    if (!status) status = norma_alloc(l->context, LARGE_M * K * 4, &l->x);
    if (!status) status = norma_alloc(l->context, K * 2, &l->gamma);
    if (!status) status = norma_alloc(l->context, K * N * 2, &l->weight);
    if (!status) status = norma_alloc(l->context, LARGE_M * K * 4, &l->out);
    const norma_rmsnorm_desc norm = norm_desc();
    if (!status) status = norma_rmsnorm_plan_create(l->context, &norm, &l->norm);
    const norma_rmsnorm_linear_desc linear = linear_desc();
    if (!status) status = norma_rmsnorm_linear_plan_create(l->context, &linear, &l->linear);
    norma_rmsnorm_linear_desc folded = linear;
    folded.gamma.dtype = NORMA_NONE;
    if (!status) status = norma_rmsnorm_linear_plan_create(l->context, &folded, &l->folded);
    return status;
}

static norma_status use_all(life *l) {
    const norma_buffer x = {.data = l->x, .offset_bytes = 0}, out = {.data = l->out, .offset_bytes = 0};
    norma_device *device = l->context->device;
    norma_status status = norma_upload(l->context, x, l->host, M * K * 2);
    if (!status) status = run_norm(l, M);
    if (!status) status = run_linear(l, 1);
    if (!status) status = run_linear(l, LARGE_M);
    if (!status) status = run_folded(l, LARGE_M);
    if (!status) status = norma_download(l->context, l->host, out, M * K * 2);
    if (!status) status = device->backend->record(device, recorded_work, l, &l->recording);
    double us = 0;
    if (!status) status = device->backend->replay(device, l->recording, &us);
    if (!status) assert_true(us > 249.9 && us < 250.1);
    if (!status) status = norma_synchronize(l->context);
    return status;
}

/* Also of a life that ended early; gives the first failure. */
static norma_status close_all(life *l, norma_status status) {
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

static norma_status live(void) {
    static life l;
    memset(&l, 0, sizeof l);
    norma_status status = open_all(&l);
    if (!status) status = use_all(&l);
    return close_all(&l, status);
}

static void a_whole_life_leaves_nothing_behind(void **state) {
    (void)state;
    EXPECT_OK(live());
    fake_gpu_expect_clean("no failure", &callers_context);
    assert_true(fake_gpu.launched >= 4);
    assert_int_equal(fake_gpu.graph_launches, 1);
    assert_int_equal(fake_gpu.capture_mode, 0);
}

/* Failures that a program is not told of: the library goes on without what the call would have given, or is closing. */
static bool may_pass(gpu_function_id function) {
    return function == GPU_FN_capture_mode || function == GPU_FN_context_get || function == GPU_FN_context_set ||
           function == GPU_FN_stream_sync || function == GPU_FN_memory_free || function == GPU_FN_module_unload ||
           function == GPU_FN_stream_destroy || function == GPU_FN_event_destroy || function == GPU_FN_graph_destroy ||
           function == GPU_FN_graph_exec_destroy || function == GPU_FN_primary_release;
}

/* Lives once for every call that the driver gets, with that call failing. */
static void fail_every_call(int result, bool sticky, norma_status expected) {
    for (int call = 1;; call++) {
        fake_gpu_reset();
        fake_gpu.current = &callers_context;
        fake_gpu.fail_at = call;
        fake_gpu.fail_result = result;
        fake_gpu.fail_sticky = sticky;
        const norma_status status = live();
        char label[96];
        if (fake_gpu.calls < call) {
            assert_true(call > 100);
            return;
        }
        const char *name = fake_gpu_driver.symbols[fake_gpu.failed].name;
        snprintf(label, sizeof label, "call %d, %s, answers %d", call, name, result);
        fake_gpu_expect_clean(label, &callers_context);
        if (status == NORMA_OK && may_pass(fake_gpu.failed)) continue;
        const bool while_looking = fake_gpu.failed == GPU_FN_init || fake_gpu.failed == GPU_FN_device_count;
        expect_sentence(label, status, while_looking ? NORMA_ERROR_NO_DEVICE : expected, NULL);
        assert_true(strlen(norma_last_error()) > 10);
    }
}

static void every_call_may_fail(void **state) {
    (void)state;
    fail_every_call(999, false, NORMA_ERROR_DEVICE);
}

static void every_call_may_run_out_of_memory(void **state) {
    (void)state;
    fail_every_call(GPU_ERROR_OUT_OF_MEMORY, false, NORMA_ERROR_OUT_OF_MEMORY);
}

static void a_fault_at_any_call_loses_the_device(void **state) {
    (void)state;
    fail_every_call(700, true, NORMA_ERROR_DEVICE_LOST);
}

/* ---- Finding and opening ---- */

static void a_missing_driver_is_a_sentence(void **state) {
    (void)state;
    fake_gpu.no_driver = "no driver: libfake.so.1 was not found";
    norma_fail(NORMA_ERROR_SIZE, "from before");
    norma_backend_info info = {.struct_size = sizeof info};
    fake_gpu_backend.probe(&info);
    assert_int_equal(info.built, 1);
    assert_int_equal(info.devices, 0);
    assert_string_equal(info.detail, fake_gpu.no_driver);
    assert_string_equal(norma_last_error(), "from before"); /* probe is silent */
    norma_context *context;
    EXPECT_FAILURE(fake_gpu_context(NULL, &context), NORMA_ERROR_NO_DEVICE, "libfake.so.1 was not found");
    assert_null(context);
}

static void *resolve_nothing(void *library, const gpu_symbol *symbol) {
    (void)library, (void)symbol;
    return NULL;
}

static void a_library_is_found_by_soname_and_must_be_complete(void **state) {
    (void)state;
    gpu_driver driver;
    char why[128];
    static const char *const missing[] = {"libno-such-driver.so.1", NULL};
    assert_false(gpu_driver_load(&driver, missing, fake_gpu_driver.symbols, resolve_nothing, why, sizeof why));
    assert_string_equal(why, "no driver: libno-such-driver.so.1 was not found");
    static const char *const second[] = {"libno-such-driver.so.1", "libc.so.6", NULL};
    assert_false(gpu_driver_load(&driver, second, fake_gpu_driver.symbols, resolve_nothing, why, sizeof why));
    assert_string_equal(why, "the driver is too old: it has no fake_init");
}

static void a_driver_without_devices_is_a_sentence(void **state) {
    (void)state;
    fake_gpu.devices = 0;
    norma_backend_info info = {.struct_size = sizeof info};
    fake_gpu_backend.probe(&info);
    assert_int_equal(info.devices, 0);
    assert_string_equal(info.detail, "the driver finds no fake device");
}

static void probe_names_the_device_and_the_driver(void **state) {
    (void)state;
    fake_gpu.devices = 3;
    norma_backend_info info = {.struct_size = sizeof info};
    fake_gpu_backend.probe(&info);
    assert_int_equal(info.devices, 3);
    assert_string_equal(info.detail, "fake GPU 40 and 2 more, driver for fake 13000");
    fake_gpu_expect_clean("probe", &callers_context);
}

static void an_old_device_is_refused(void **state) {
    (void)state;
    fake_gpu.arch = 75;
    norma_context *context;
    EXPECT_FAILURE(fake_gpu_context(NULL, &context), NORMA_ERROR_NO_DEVICE, "is sm_75");
    fake_gpu_expect_clean("old device", &callers_context);
}

static void a_foreign_context_is_refused(void **state) {
    (void)state;
    norma_open_desc desc = {.native_context = &callers_context};
    norma_device *device;
    EXPECT_FAILURE(fake_gpu_backend.open(&desc, &device), NORMA_ERROR_OPTION, "native_context");
    desc = (norma_open_desc){.index = 1};
    EXPECT_FAILURE(fake_gpu_backend.open(&desc, &device), NORMA_ERROR_DEVICE_INDEX, "device index 1");
}

static void limits_come_from_the_driver(void **state) {
    (void)state;
    norma_context *context;
    EXPECT_OK(fake_gpu_context(NULL, &context));
    const norma_limits *limits = &context->device->limits;
    assert_int_equal(limits->target, NORMA_TARGET_CUDA);
    assert_int_equal(limits->units, 132);
    assert_int_equal(limits->lanes, 32);
    assert_int_equal(limits->max_threads, 1024);
    assert_int_equal(limits->shared_bytes, 232448);
    assert_int_equal(limits->cache_bytes, 62914560);
    assert_true(limits->memory_bytes == INT64_C(80) << 30);
    norma_device_info info = {.struct_size = sizeof info};
    EXPECT_OK(norma_context_get_info(context, &info));
    assert_string_equal(info.arch, "sm_90");
    norma_context_destroy(context);
}

/* ---- Memory ---- */

static void the_context_stays_usable_after_running_out_of_memory(void **state) {
    (void)state;
    norma_context *context;
    EXPECT_OK(fake_gpu_context(NULL, &context));
    void *data;
    fake_gpu.fail_result = GPU_ERROR_OUT_OF_MEMORY;
    for (int next = 1; next <= 8; next++) { /* among the next calls is the allocation */
        fake_gpu.fail_at = fake_gpu.calls + next;
        const norma_status status = norma_alloc(context, 100, &data);
        if (status == NORMA_OK)
            norma_free(context, data);
        else
            expect_sentence("alloc", status, NORMA_ERROR_OUT_OF_MEMORY, NULL);
    }
    fake_gpu.fail_at = 0;
    EXPECT_OK(norma_alloc(context, 100, &data));
    EXPECT_OK(norma_free(context, data));
    norma_context_destroy(context);
    fake_gpu_expect_clean("out of memory", &callers_context);
}

static void a_host_pointer_is_named(void **state) {
    (void)state;
    life l = {0};
    EXPECT_OK(open_all(&l));
    void *const x = l.x;
    l.x = l.host;
    const int launched = fake_gpu.launched;
    EXPECT_FAILURE(run_norm(&l, M), NORMA_ERROR_DEVICE, "x is at 0x");
    assert_int_equal(fake_gpu.launched, launched);
    l.x = x;
    EXPECT_OK(run_norm(&l, M));
    void *const weight = l.weight;
    l.weight = l.host;
    EXPECT_FAILURE(run_linear(&l, M), NORMA_ERROR_DEVICE, "part[0].weight is at 0x");
    l.weight = weight;
    EXPECT_OK(close_all(&l, NORMA_OK));

    fake_gpu.reads_host_memory = true;
    memset(&l, 0, sizeof l);
    EXPECT_OK(open_all(&l));
    void *const device_x = l.x;
    l.x = l.host;
    EXPECT_OK(run_norm(&l, M));
    l.x = device_x;
    EXPECT_OK(close_all(&l, NORMA_OK));
}

static void an_address_is_asked_for_once(void **state) {
    (void)state;
    life l = {0};
    EXPECT_OK(open_all(&l));
    EXPECT_OK(run_norm(&l, M));
    const int queries = fake_gpu.address_queries;
    assert_int_equal(queries, 3); /* x, gamma, out */
    for (int i = 0; i < 10; i++) EXPECT_OK(run_norm(&l, M));
    assert_int_equal(fake_gpu.address_queries, queries);
    EXPECT_OK(close_all(&l, NORMA_OK));
}

/* ---- Launches ---- */

static void arguments_reach_the_kernel(void **state) {
    (void)state;
    life l = {0};
    EXPECT_OK(open_all(&l));
    norma_plan_destroy(l.norm);
    norma_rmsnorm_desc desc = norm_desc();
    desc.x.batch_stride = 5 * K;
    EXPECT_OK(norma_rmsnorm_plan_create(l.context, &desc, &l.norm));
    fake_gpu.launched = 0;
    norma_rmsnorm_args args = norma_rmsnorm_args_init();
    args.m = 2;
    args.batch = 3;
    args.x.data = l.x;
    args.x.offset_bytes = 32;
    args.gamma.data = l.gamma;
    args.out.data = l.out;
    EXPECT_OK(norma_rmsnorm_plan_run(l.norm, &args));
    assert_int_equal(fake_gpu.launched, 1);
    const norma_rows_params *params = &fake_gpu.launches[0].rows;
    assert_ptr_equal(params->norm.x.data, (char *)l.x + 32);
    assert_ptr_equal(params->norm.gamma.data, l.gamma);
    assert_ptr_equal(params->out.data, l.out);
    assert_null(params->norm.residual.data);
    assert_null(params->norm.rstd.data);
    assert_int_equal(params->norm.rows, 6);
    assert_int_equal(params->norm.m, 2);
    assert_int_equal(params->norm.k, K);
    assert_int_equal(params->norm.x.row_stride, K);
    assert_int_equal(params->norm.x.batch_stride, 5 * K);
    assert_int_equal(params->out.batch_stride, 2 * K);
    assert_int_equal(params->norm.x_dtype, NORMA_BF16);
    assert_int_equal(params->norm.h_dtype, NORMA_BF16);
    assert_int_equal(params->out_dtype, NORMA_BF16);
    EXPECT_OK(close_all(&l, NORMA_OK));
}

/* A folded Linear of LARGE_M rows on the kernel that is fed by tensor maps. */
static void tensor_maps_reach_the_kernel(void **state) {
    (void)state;
    life l = {0};
    EXPECT_OK(open_all(&l));
    norma_plan_destroy(l.linear);
    norma_rmsnorm_linear_desc desc = linear_desc();
    desc.gamma.dtype = NORMA_NONE;
    EXPECT_OK(norma_rmsnorm_linear_plan_create(l.context, &desc, &l.linear));
    norma_plan_info info = {.struct_size = sizeof info};
    EXPECT_OK(norma_plan_get_info(l.linear, LARGE_M, &info));
    assert_string_equal(info.kernel, "rmsnorm_linear_hopper");

    fake_gpu.launched = 0;
    norma_rmsnorm_linear_args args = norma_rmsnorm_linear_args_init();
    args.m = LARGE_M;
    args.x.data = l.x;
    args.part[0].weight.data = l.weight;
    args.part[0].out.data = l.out;
    EXPECT_OK(norma_rmsnorm_linear_plan_run(l.linear, &args));
    assert_int_equal(fake_gpu.launched, 1);
    const fake_gpu_launch *launch = &fake_gpu.launches[0];
    const norma_hopper_params *params = &launch->hopper;
    assert_string_equal(launch->function, "rmsnorm_linear_hopper_hopper_64x128_bf16_nk");
    assert_int_equal(launch->grid[0], 132);
    assert_int_equal(launch->block[0], 384);
    assert_true(launch->overlap);
    const uint64_t x[6] = {(uintptr_t)l.x, K, LARGE_M, 2 * K, 64, 64};
    const uint64_t weight[6] = {(uintptr_t)l.weight, K, N, 2 * K, 64, 128};
    const uint64_t out[6] = {(uintptr_t)l.out, N, LARGE_M, 2 * N, 32, 16};
    assert_memory_equal(params->x.word, x, sizeof x);
    assert_memory_equal(params->part[0].weight.word, weight, sizeof weight);
    assert_memory_equal(params->part[0].out.word, out, sizeof out);
    assert_ptr_equal(params->x_data, l.x);
    assert_int_equal(params->rows, LARGE_M);
    assert_int_equal(params->row_tiles, 2);
    assert_int_equal(params->col_tiles, 1);
    assert_int_equal(params->launches[0], 0);
    assert_int_equal(params->launches[1], 0);
    for (int i = 0; i < LARGE_M; i++) assert_true(params->rstd[i] == 0);

    /* An address that the copy engine cannot take: the tiled kernel. */
    args.x.offset_bytes = 2;
    EXPECT_OK(norma_rmsnorm_linear_plan_run(l.linear, &args));
    assert_int_equal(strncmp(fake_gpu.launches[1].function, "rmsnorm_linear_tiled", 20), 0);
    EXPECT_OK(close_all(&l, NORMA_OK));
    fake_gpu_expect_clean("tensor maps", &callers_context);
}

static void older_devices_have_no_wgmma(void **state) {
    (void)state;
    fake_gpu.arch = 100; /* sm_90a's instructions are gone in its successor */
    life l = {0};
    EXPECT_OK(open_all(&l));
    norma_rmsnorm_linear_desc desc = linear_desc();
    desc.gamma.dtype = NORMA_NONE;
    norma_plan_destroy(l.linear);
    EXPECT_OK(norma_rmsnorm_linear_plan_create(l.context, &desc, &l.linear));
    norma_plan_info info = {.struct_size = sizeof info};
    EXPECT_OK(norma_plan_get_info(l.linear, LARGE_M, &info));
    assert_string_equal(info.kernel, "rmsnorm_linear_tiled");
    EXPECT_OK(close_all(&l, NORMA_OK));
}

static void work_goes_to_the_callers_stream(void **state) {
    (void)state;
    int stream;
    life l = {0};
    EXPECT_OK(fake_gpu_context(&stream, &l.context));
    EXPECT_OK(norma_alloc(l.context, M * K * 2, &l.x));
    EXPECT_OK(norma_alloc(l.context, K * 2, &l.gamma));
    EXPECT_OK(norma_alloc(l.context, M * K * 2, &l.out));
    const norma_rmsnorm_desc desc = norm_desc();
    EXPECT_OK(norma_rmsnorm_plan_create(l.context, &desc, &l.norm));
    EXPECT_OK(run_norm(&l, M));
    assert_ptr_equal(fake_gpu.launches[fake_gpu.launched - 1].stream, &stream);

    /* A recording is captured elsewhere, and the stream is the caller's again after it. */
    norma_device *device = l.context->device;
    EXPECT_OK(device->backend->record(device, recorded_work, &l, &l.recording));
    assert_ptr_not_equal(fake_gpu.launches[fake_gpu.launched - 1].stream, &stream);
    EXPECT_OK(run_norm(&l, M));
    assert_ptr_equal(fake_gpu.launches[fake_gpu.launched - 1].stream, &stream);
    EXPECT_OK(close_all(&l, NORMA_OK));
    fake_gpu_expect_clean("streams", &callers_context);
}

static void extended_launches_need_the_device(void **state) {
    (void)state;
    norma_context *context;
    EXPECT_OK(fake_gpu_context(NULL, &context));
    gpu_device *device = (gpu_device *)context->device;
    void *previous, *function;
    EXPECT_OK(gpu_enter(device, &previous));
    EXPECT_OK(gpu_find(device, "rmsnorm_rows_any", 0, &function));
    const norma_rows_params params = {0};
    gpu_kernel kernel = {.function = function, .grid = {2, 1, 1}, .block = {32, 1, 1}, .cluster = 2, .overlap = true};
    EXPECT_OK(gpu_enqueue(device, &kernel, &params, sizeof params));
    assert_int_equal(fake_gpu.launches[0].cluster, 2);
    assert_true(fake_gpu.launches[0].overlap);

    device->arch = 80;
    EXPECT_FAILURE(gpu_enqueue(device, &kernel, &params, sizeof params), NORMA_ERROR_UNSUPPORTED, "asks for a cluster");
    kernel.cluster = 1;
    EXPECT_OK(gpu_enqueue(device, &kernel, &params, sizeof params));
    assert_int_equal(fake_gpu.launched, 2);
    assert_false(fake_gpu.launches[1].overlap);
    gpu_leave(device, previous);
    norma_context_destroy(context);
}

static void a_missing_kernel_is_unsupported(void **state) {
    (void)state;
    norma_context *context;
    EXPECT_OK(fake_gpu_context(NULL, &context));
    gpu_device *device = (gpu_device *)context->device;
    void *previous, *function;
    EXPECT_OK(gpu_enter(device, &previous));
    fake_gpu.no_function = "absent";
    EXPECT_FAILURE(gpu_find(device, "rmsnorm_rows_absent", 0, &function), NORMA_ERROR_UNSUPPORTED, "rmsnorm_rows_absent");
    EXPECT_FAILURE(gpu_find(device, "unheard_of", 0, &function), NORMA_ERROR_UNSUPPORTED, "unheard_of");
    EXPECT_OK(gpu_find(device, "rmsnorm_rows_present", 0, &function));
    gpu_leave(device, previous);
    norma_context_destroy(context);
}

static void the_limit_of_shared_memory_only_rises(void **state) {
    (void)state;
    norma_context *context;
    EXPECT_OK(fake_gpu_context(NULL, &context));
    gpu_device *device = (gpu_device *)context->device;
    void *previous, *first, *again;
    EXPECT_OK(gpu_enter(device, &previous));
    EXPECT_OK(gpu_find(device, "rmsnorm_rows_any", 49152, &first));
    assert_int_equal(fake_gpu.shared_limit, 49152);
    EXPECT_OK(gpu_find(device, "rmsnorm_rows_any", 100000, &again));
    assert_ptr_equal(first, again);
    assert_int_equal(fake_gpu.shared_limit, 100000);
    EXPECT_OK(gpu_find(device, "rmsnorm_rows_any", 60000, &again));
    assert_int_equal(fake_gpu.shared_limit, 100000);
    gpu_leave(device, previous);
    norma_context_destroy(context);
}

static void a_failed_free_is_reported(void **state) {
    (void)state;
    norma_context *context;
    EXPECT_OK(fake_gpu_context(NULL, &context));
    static const gpu_function_id steps[] = {GPU_FN_context_get, GPU_FN_context_set, GPU_FN_stream_sync, GPU_FN_memory_free};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        void *data;
        EXPECT_OK(norma_alloc(context, 16, &data));
        fake_gpu.fail_at = fake_gpu.calls + 1 + (int)i;
        fake_gpu.fail_result = 999;
        EXPECT_FAILURE(norma_free(context, data), NORMA_ERROR_DEVICE, fake_gpu_driver.symbols[steps[i]].name);
        assert_int_equal(fake_gpu.failed, steps[i]);
        assert_int_equal(fake_gpu.live_blocks, 0);
    }
    norma_context_destroy(context);
}

static void a_lost_device_is_remembered(void **state) {
    (void)state;
    life l = {0};
    EXPECT_OK(open_all(&l));
    fake_gpu.fail_at = fake_gpu.calls + 1;
    fake_gpu.fail_result = 719;
    fake_gpu.fail_sticky = true;
    EXPECT_FAILURE(norma_synchronize(l.context), NORMA_ERROR_DEVICE_LOST, "719");
    fake_gpu.fail_at = 0;
    EXPECT_FAILURE(norma_synchronize(l.context), NORMA_ERROR_DEVICE_LOST, NULL);
    EXPECT_FAILURE(run_norm(&l, M), NORMA_ERROR_DEVICE_LOST, NULL);
    assert_int_equal(close_all(&l, NORMA_OK), NORMA_ERROR_DEVICE_LOST);
    fake_gpu_expect_clean("lost device", &callers_context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_whole_life_leaves_nothing_behind, reset),
        cmocka_unit_test_setup(every_call_may_fail, reset),
        cmocka_unit_test_setup(every_call_may_run_out_of_memory, reset),
        cmocka_unit_test_setup(a_fault_at_any_call_loses_the_device, reset),
        cmocka_unit_test_setup(a_missing_driver_is_a_sentence, reset),
        cmocka_unit_test_setup(a_library_is_found_by_soname_and_must_be_complete, reset),
        cmocka_unit_test_setup(a_driver_without_devices_is_a_sentence, reset),
        cmocka_unit_test_setup(probe_names_the_device_and_the_driver, reset),
        cmocka_unit_test_setup(an_old_device_is_refused, reset),
        cmocka_unit_test_setup(a_foreign_context_is_refused, reset),
        cmocka_unit_test_setup(limits_come_from_the_driver, reset),
        cmocka_unit_test_setup(the_context_stays_usable_after_running_out_of_memory, reset),
        cmocka_unit_test_setup(a_host_pointer_is_named, reset),
        cmocka_unit_test_setup(an_address_is_asked_for_once, reset),
        cmocka_unit_test_setup(arguments_reach_the_kernel, reset),
        cmocka_unit_test_setup(tensor_maps_reach_the_kernel, reset),
        cmocka_unit_test_setup(older_devices_have_no_wgmma, reset),
        cmocka_unit_test_setup(work_goes_to_the_callers_stream, reset),
        cmocka_unit_test_setup(extended_launches_need_the_device, reset),
        cmocka_unit_test_setup(a_missing_kernel_is_unsupported, reset),
        cmocka_unit_test_setup(the_limit_of_shared_memory_only_rises, reset),
        cmocka_unit_test_setup(a_failed_free_is_reported, reset),
        cmocka_unit_test_setup(a_lost_device_is_remembered, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
