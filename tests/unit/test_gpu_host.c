/* The host code of the GPU backends against a driver that runs nothing: what reaches the driver, and what happens when the
 * driver refuses. */
#include "gpu_fake_driver.h"

#include <stdio.h>
#include <stdlib.h>

#include "expect.h"
#include "gpu_life.h"
#include "harness/cache_folder.h"

enum { K = GPU_LIFE_K, N = GPU_LIFE_N, M = GPU_LIFE_M, LARGE_M = GPU_LIFE_LARGE_M };

static int callers_context;

static int reset(void **state) {
    (void)state;
    fake_gpu_reset();
    fake_gpu.current = &callers_context;
    return 0;
}

static void a_whole_life_leaves_nothing_behind(void **state) {
    (void)state;
    EXPECT_OK(gpu_live(&fake_gpu_backend));
    fake_gpu_expect_clean("no failure", &callers_context);
    assert_true(fake_gpu.launched >= 4);
    assert_int_equal(fake_gpu.graph_launches, 1);
    assert_int_equal(fake_gpu.capture_mode, 0);
}

static void fail_call(int call, int result, bool sticky) {
    fake_gpu_reset();
    fake_gpu.current = &callers_context;
    fake_gpu.fail_at = call;
    fake_gpu.fail_result = result;
    fake_gpu.fail_sticky = sticky;
}

static int calls(void) {
    return fake_gpu.calls;
}

static const char *failed(void) {
    return fake_gpu_driver.symbols[fake_gpu.failed].name;
}

static void expect_clean(const char *label) {
    fake_gpu_expect_clean(label, &callers_context);
}

static const gpu_rig rig = {&fake_gpu_backend, &fake_gpu_driver, fail_call, calls, failed, expect_clean};

static void every_call_may_fail(void **state) {
    (void)state;
    gpu_fail_every_call(&rig, 999, false, NORMA_ERROR_DEVICE);
}

static void every_call_may_run_out_of_memory(void **state) {
    (void)state;
    gpu_fail_every_call(&rig, GPU_ERROR_OUT_OF_MEMORY, false, NORMA_ERROR_OUT_OF_MEMORY);
}

static void a_fault_at_any_call_loses_the_device(void **state) {
    (void)state;
    gpu_fail_every_call(&rig, 700, true, NORMA_ERROR_DEVICE_LOST);
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
    char why[128];
    static const char *const missing[] = {"libno-such-driver.so.1", NULL};
    gpu_driver_library none = {.sonames = missing, .symbols = fake_gpu_driver.symbols, .resolve = resolve_nothing};
    assert_null(norma_gpu_driver_get(&none, why, sizeof why));
    assert_string_equal(why, "no driver: libno-such-driver.so.1 was not found");
    static const char *const second[] = {"libno-such-driver.so.1", "libc.so.6", NULL};
    gpu_driver_library empty = {.sonames = second, .symbols = fake_gpu_driver.symbols, .resolve = resolve_nothing};
    assert_null(norma_gpu_driver_get(&empty, why, sizeof why));
    assert_string_equal(why, "the driver is too old: it has no fake_init");
    why[0] = '\0';
    assert_null(norma_gpu_driver_get(&empty, why, sizeof why)); /* and every other time */
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

/* HIP's launches count them in 32 bits, CUDA's only their blocks. */
static void threads_of_a_launch_are_limited_by_the_platform(void **state) {
    (void)state;
    norma_context *context;
    fake_gpu_platform.target = NORMA_TARGET_HIP;
    EXPECT_OK(fake_gpu_context(NULL, &context));
    fake_gpu_platform.target = NORMA_TARGET_CUDA;
    const gpu_device *device = (const gpu_device *)context->device;
    assert_true(norma_gpu_most_blocks(device, 1) == INT32_MAX);
    assert_true(norma_gpu_most_blocks(device, 256) == UINT32_MAX / 256);
    norma_context_destroy(context);
    EXPECT_OK(fake_gpu_context(NULL, &context));
    device = (const gpu_device *)context->device;
    assert_true(norma_gpu_most_blocks(device, 1024) == INT32_MAX);
    norma_context_destroy(context);
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
    gpu_life l = {0};
    EXPECT_OK(gpu_life_open_all(&l, &fake_gpu_backend));
    void *const x = l.x;
    l.x = l.host;
    const int launched = fake_gpu.launched;
    EXPECT_FAILURE(gpu_life_run_norm(&l, M), NORMA_ERROR_DEVICE, "x is at 0x");
    assert_int_equal(fake_gpu.launched, launched);
    l.x = x;
    EXPECT_OK(gpu_life_run_norm(&l, M));
    void *const weight = l.weight;
    l.weight = l.host;
    EXPECT_FAILURE(gpu_life_run_linear(&l, M), NORMA_ERROR_DEVICE, "part[0].weight is at 0x");
    l.weight = weight;
    EXPECT_OK(gpu_life_close_all(&l, NORMA_OK));

    fake_gpu.reads_host_memory = true;
    memset(&l, 0, sizeof l);
    EXPECT_OK(gpu_life_open_all(&l, &fake_gpu_backend));
    void *const device_x = l.x;
    l.x = l.host;
    EXPECT_OK(gpu_life_run_norm(&l, M));
    l.x = device_x;
    EXPECT_OK(gpu_life_close_all(&l, NORMA_OK));
}

static void an_address_is_asked_for_once(void **state) {
    (void)state;
    gpu_life l = {0};
    EXPECT_OK(gpu_life_open_all(&l, &fake_gpu_backend));
    EXPECT_OK(gpu_life_run_norm(&l, M));
    const int queries = fake_gpu.address_queries;
    assert_int_equal(queries, 3); /* x, gamma, out */
    for (int i = 0; i < 10; i++) EXPECT_OK(gpu_life_run_norm(&l, M));
    assert_int_equal(fake_gpu.address_queries, queries);
    EXPECT_OK(gpu_life_close_all(&l, NORMA_OK));
}

/* ---- Launches ---- */

static void arguments_reach_the_kernel(void **state) {
    (void)state;
    gpu_life l = {0};
    EXPECT_OK(gpu_life_open_all(&l, &fake_gpu_backend));
    norma_plan_destroy(l.norm);
    norma_rmsnorm_desc desc = gpu_life_norm_desc();
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
    EXPECT_OK(gpu_life_close_all(&l, NORMA_OK));
}

/* A folded Linear of LARGE_M rows on the kernel that is fed by tensor maps. */
static void tensor_maps_reach_the_kernel(void **state) {
    (void)state;
    gpu_life l = {0};
    EXPECT_OK(gpu_life_open_all(&l, &fake_gpu_backend));
    norma_plan_destroy(l.linear);
    norma_rmsnorm_linear_desc desc = gpu_life_linear_desc();
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
    EXPECT_OK(gpu_life_close_all(&l, NORMA_OK));
    fake_gpu_expect_clean("tensor maps", &callers_context);
}

static void older_devices_have_no_wgmma(void **state) {
    (void)state;
    fake_gpu.arch = 100; /* sm_90a's instructions are gone in its successor */
    gpu_life l = {0};
    EXPECT_OK(gpu_life_open_all(&l, &fake_gpu_backend));
    norma_rmsnorm_linear_desc desc = gpu_life_linear_desc();
    desc.gamma.dtype = NORMA_NONE;
    norma_plan_destroy(l.linear);
    EXPECT_OK(norma_rmsnorm_linear_plan_create(l.context, &desc, &l.linear));
    norma_plan_info info = {.struct_size = sizeof info};
    EXPECT_OK(norma_plan_get_info(l.linear, LARGE_M, &info));
    assert_string_equal(info.kernel, "rmsnorm_linear_tiled");
    EXPECT_OK(gpu_life_close_all(&l, NORMA_OK));
}

/* Blocks of the skinny kernel read all of x, so that h takes the place of x before it and not by one of its blocks. */
static void a_residual_is_added_by_a_launch_of_its_own(void **state) {
    (void)state;
    gpu_life l = {0};
    EXPECT_OK(gpu_life_open_all(&l, &fake_gpu_backend));
    norma_rmsnorm_linear_desc desc = gpu_life_linear_desc();
    desc.max_rows = 1;
    desc.residual.dtype = desc.residual_out.dtype = NORMA_BF16;
    norma_plan_destroy(l.linear);
    EXPECT_OK(norma_rmsnorm_linear_plan_create(l.context, &desc, &l.linear));
    norma_rmsnorm_linear_args args = norma_rmsnorm_linear_args_init();
    args.m = 1;
    args.x.data = args.residual_out.data = l.x;
    args.residual.data = (char *)l.x + K * 2;
    args.gamma.data = l.gamma;
    args.part[0].weight.data = l.weight;
    args.part[0].out.data = l.out;
    fake_gpu.launched = 0;
    EXPECT_OK(norma_rmsnorm_linear_plan_run(l.linear, &args));
    assert_int_equal(fake_gpu.launched, 2);
    assert_int_equal(strncmp(fake_gpu.launches[0].function, "rmsnorm_rows", 12), 0);
    assert_ptr_equal(fake_gpu.launches[0].rows.norm.residual.data, args.residual.data);
    assert_ptr_equal(fake_gpu.launches[0].rows.norm.residual_out.data, l.x);
    assert_int_equal(strncmp(fake_gpu.launches[1].function, "rmsnorm_linear_skinny", 21), 0);
    EXPECT_OK(gpu_life_close_all(&l, NORMA_OK));

    norma_problem problem = {.op = NORMA_OP_RMSNORM_LINEAR, .batch = 1, .m = 1, .k = K, .parts = 1};
    problem.x.layout = problem.residual.layout = (norma_layout){NORMA_BF16, K, 1, 0};
    problem.part[0].n = N;
    problem.part[0].weight.layout = (norma_layout){NORMA_BF16, 1, K, 0};
    problem.part[0].out.layout = (norma_layout){NORMA_BF16, N, 1, 0};
    norma_launch launch = {.kernel = NORMA_KERNEL_RMSNORM_LINEAR_SKINNY, .problem = &problem};
    norma_context *context;
    EXPECT_OK(fake_gpu_context(NULL, &context));
    EXPECT_FAILURE(fake_gpu_backend.prepare(context->device, &launch), NORMA_ERROR_UNSUPPORTED, "added by another kernel");
    norma_context_destroy(context);
}

static void work_goes_to_the_callers_stream(void **state) {
    (void)state;
    int stream;
    gpu_life l = {0};
    EXPECT_OK(fake_gpu_context(&stream, &l.context));
    EXPECT_OK(norma_alloc(l.context, M * K * 2, &l.x));
    EXPECT_OK(norma_alloc(l.context, K * 2, &l.gamma));
    EXPECT_OK(norma_alloc(l.context, M * K * 2, &l.out));
    const norma_rmsnorm_desc desc = gpu_life_norm_desc();
    EXPECT_OK(norma_rmsnorm_plan_create(l.context, &desc, &l.norm));
    EXPECT_OK(gpu_life_run_norm(&l, M));
    assert_ptr_equal(fake_gpu.launches[fake_gpu.launched - 1].stream, &stream);

    /* A recording is captured elsewhere, and the stream is the caller's again after it. */
    norma_device *device = l.context->device;
    EXPECT_OK(device->backend->record(device, gpu_life_recorded_work, &l, &l.recording));
    assert_ptr_not_equal(fake_gpu.launches[fake_gpu.launched - 1].stream, &stream);
    EXPECT_OK(gpu_life_run_norm(&l, M));
    assert_ptr_equal(fake_gpu.launches[fake_gpu.launched - 1].stream, &stream);
    EXPECT_OK(gpu_life_close_all(&l, NORMA_OK));
    fake_gpu_expect_clean("streams", &callers_context);
}

/* What a plan with NORMA_TIME_ROUTES says of M rows. */
static norma_plan_info timed_choice(norma_context *context) {
    norma_rmsnorm_linear_desc desc = gpu_life_linear_desc();
    desc.max_rows = 0;
    desc.flags = NORMA_TIME_ROUTES;
    norma_plan *plan;
    norma_plan_info info = {.struct_size = sizeof info};
    EXPECT_OK(norma_rmsnorm_linear_plan_create(context, &desc, &plan));
    EXPECT_OK(norma_plan_get_info(plan, M, &info));
    norma_plan_destroy(plan);
    return info;
}

static void routes_are_timed_but_not_while_the_stream_is_captured(void **state) {
    (void)state;
    int stream;
    norma_context *context;
    assert_int_equal(test_cache_make(), 0);
    EXPECT_OK(fake_gpu_context(&stream, &context));
    fake_gpu.elapsed_ms = 1;
    fake_gpu.capturing = &stream;
    const int blocks = fake_gpu.live_blocks;
    norma_plan_info info = timed_choice(context);
    assert_string_not_equal(info.reason, "the fastest when timed");
    assert_int_equal(fake_gpu.graph_launches, 0);
    assert_int_equal(fake_gpu.launched, 0);
    assert_ptr_equal(fake_gpu.capturing, &stream); /* still */

    fake_gpu.capturing = NULL;
    info = timed_choice(context);
    assert_string_equal(info.reason, "the fastest when timed");
    const int graph_launches = fake_gpu.graph_launches;
    assert_true(graph_launches > 10);
    fake_gpu.capturing = &stream;
    info = timed_choice(context);
    assert_string_equal(info.reason, "the fastest when timed before");
    assert_int_equal(fake_gpu.graph_launches, graph_launches);
    assert_int_equal(fake_gpu.live_blocks, blocks + 1); /* the words of the wgmma kernel, which raced, stay */
    fake_gpu.capturing = NULL;

    char versions[128];
    norma_device *device = context->device;
    device->backend->versions(device, versions, sizeof versions);
    assert_non_null(strstr(versions, "fake "));
    for (int call = 1; call <= 3; call++) { /* context_get, context_set, capture_status: who cannot tell waits */
        fake_gpu.fail_at = fake_gpu.calls + call;
        fake_gpu.fail_result = 906;
        assert_true(device->backend->capturing(device));
    }
    assert_int_equal(fake_gpu.failed, GPU_FN_capture_status);
    assert_false(device->backend->capturing(device));
    norma_context_destroy(context);
    fake_gpu_expect_clean("timed", &callers_context);
    test_cache_drop();
}

static void extended_launches_need_the_device(void **state) {
    (void)state;
    norma_context *context;
    EXPECT_OK(fake_gpu_context(NULL, &context));
    gpu_device *device = (gpu_device *)context->device;
    void *previous, *function;
    EXPECT_OK(norma_gpu_enter(device, &previous));
    EXPECT_OK(norma_gpu_find(device, "rmsnorm_rows_any", 0, &function));
    const norma_rows_params params = {0};
    gpu_kernel kernel = {.function = function, .grid = {2, 1, 1}, .block = {32, 1, 1}, .cluster = 2, .overlap = true};
    EXPECT_OK(norma_gpu_enqueue(device, &kernel, &params, sizeof params));
    assert_int_equal(fake_gpu.launches[0].cluster, 2);
    assert_true(fake_gpu.launches[0].overlap);

    device->arch = 80;
    EXPECT_FAILURE(norma_gpu_enqueue(device, &kernel, &params, sizeof params), NORMA_ERROR_UNSUPPORTED,
                   "asks for a cluster");
    kernel.cluster = 1;
    EXPECT_OK(norma_gpu_enqueue(device, &kernel, &params, sizeof params));
    assert_int_equal(fake_gpu.launched, 2);
    assert_false(fake_gpu.launches[1].overlap);
    norma_gpu_leave(device, previous);
    norma_context_destroy(context);
}

static void a_missing_kernel_is_unsupported(void **state) {
    (void)state;
    norma_context *context;
    EXPECT_OK(fake_gpu_context(NULL, &context));
    gpu_device *device = (gpu_device *)context->device;
    void *previous, *function;
    EXPECT_OK(norma_gpu_enter(device, &previous));
    fake_gpu.no_function = "absent";
    EXPECT_FAILURE(norma_gpu_find(device, "rmsnorm_rows_absent", 0, &function), NORMA_ERROR_UNSUPPORTED,
                   "rmsnorm_rows_absent");
    EXPECT_FAILURE(norma_gpu_find(device, "unheard_of", 0, &function), NORMA_ERROR_UNSUPPORTED, "unheard_of");
    EXPECT_OK(norma_gpu_find(device, "rmsnorm_rows_present", 0, &function));
    norma_gpu_leave(device, previous);
    norma_context_destroy(context);
}

static void the_limit_of_shared_memory_only_rises(void **state) {
    (void)state;
    norma_context *context;
    EXPECT_OK(fake_gpu_context(NULL, &context));
    gpu_device *device = (gpu_device *)context->device;
    void *previous, *first, *again;
    EXPECT_OK(norma_gpu_enter(device, &previous));
    EXPECT_OK(norma_gpu_find(device, "rmsnorm_rows_any", 49152, &first));
    assert_int_equal(fake_gpu.shared_limit, 49152);
    EXPECT_OK(norma_gpu_find(device, "rmsnorm_rows_any", 100000, &again));
    assert_ptr_equal(first, again);
    assert_int_equal(fake_gpu.shared_limit, 100000);
    EXPECT_OK(norma_gpu_find(device, "rmsnorm_rows_any", 60000, &again));
    assert_int_equal(fake_gpu.shared_limit, 100000);
    norma_gpu_leave(device, previous);
    norma_context_destroy(context);
}

static void a_failed_free_is_reported(void **state) {
    (void)state;
    norma_context *context;
    EXPECT_OK(fake_gpu_context(NULL, &context));
    static const gpu_function_id steps[] = {GPU_FN_context_get, GPU_FN_context_set, GPU_FN_stream_sync, GPU_FN_capture_mode,
                                            GPU_FN_memory_free};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        void *data;
        EXPECT_OK(norma_alloc(context, 16, &data));
        fake_gpu.fail_at = fake_gpu.calls + 1 + (int)i;
        fake_gpu.fail_result = 999;
        if (steps[i] == GPU_FN_capture_mode) /* a driver without modes frees as well */
            EXPECT_OK(norma_free(context, data));
        else
            EXPECT_FAILURE(norma_free(context, data), NORMA_ERROR_DEVICE, fake_gpu_driver.symbols[steps[i]].name);
        assert_int_equal(fake_gpu.failed, steps[i]);
        assert_int_equal(fake_gpu.live_blocks, 0);
    }
    norma_context_destroy(context);
}

static void a_lost_device_is_remembered(void **state) {
    (void)state;
    gpu_life l = {0};
    EXPECT_OK(gpu_life_open_all(&l, &fake_gpu_backend));
    fake_gpu.fail_at = fake_gpu.calls + 1;
    fake_gpu.fail_result = 719;
    fake_gpu.fail_sticky = true;
    EXPECT_FAILURE(norma_synchronize(l.context), NORMA_ERROR_DEVICE_LOST, "719");
    fake_gpu.fail_at = 0;
    EXPECT_FAILURE(norma_synchronize(l.context), NORMA_ERROR_DEVICE_LOST, NULL);
    EXPECT_FAILURE(gpu_life_run_norm(&l, M), NORMA_ERROR_DEVICE_LOST, NULL);
    assert_int_equal(gpu_life_close_all(&l, NORMA_OK), NORMA_ERROR_DEVICE_LOST);
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
        cmocka_unit_test_setup(threads_of_a_launch_are_limited_by_the_platform, reset),
        cmocka_unit_test_setup(the_context_stays_usable_after_running_out_of_memory, reset),
        cmocka_unit_test_setup(a_host_pointer_is_named, reset),
        cmocka_unit_test_setup(an_address_is_asked_for_once, reset),
        cmocka_unit_test_setup(arguments_reach_the_kernel, reset),
        cmocka_unit_test_setup(tensor_maps_reach_the_kernel, reset),
        cmocka_unit_test_setup(older_devices_have_no_wgmma, reset),
        cmocka_unit_test_setup(a_residual_is_added_by_a_launch_of_its_own, reset),
        cmocka_unit_test_setup(work_goes_to_the_callers_stream, reset),
        cmocka_unit_test_setup(routes_are_timed_but_not_while_the_stream_is_captured, reset),
        cmocka_unit_test_setup(extended_launches_need_the_device, reset),
        cmocka_unit_test_setup(a_missing_kernel_is_unsupported, reset),
        cmocka_unit_test_setup(the_limit_of_shared_memory_only_rises, reset),
        cmocka_unit_test_setup(a_failed_free_is_reported, reset),
        cmocka_unit_test_setup(a_lost_device_is_remembered, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
