/* The HIP backend against the stand-in libamdhip64, which runs nothing: what reaches the runtime, from which code object,
 * and what happens when the runtime refuses. The life of a program and its failures are those of every GPU backend
 * (unit/gpu_life.c). */
#include <dlfcn.h>
#include <stdio.h>

#include "../unit/expect.h"
#include "../unit/gpu_life.h"
#include "backend_list.h"
#include "hip/driver.h"
#include "hip/images.h"
#include "stand_in.h"

enum { CALLERS_DEVICE = 7 };

static stand_in_state *stand_in;
static stand_in_reset_fn reset_stand_in;

static int find_stand_in(void **state) {
    (void)state;
    void *const library = dlopen("libamdhip64.so.7", RTLD_NOW | RTLD_LOCAL);
    if (!library) return -1;
    stand_in_control_fn control;
    void *const addresses[] = {dlsym(library, "stand_in_control"), dlsym(library, "stand_in_reset")};
    if (!addresses[0] || !addresses[1]) return -1;
    memcpy(&control, &addresses[0], sizeof control);
    memcpy(&reset_stand_in, &addresses[1], sizeof reset_stand_in);
    stand_in = control();
    return 0;
}

static int reset(void **state) {
    (void)state;
    reset_stand_in();
    snprintf(stand_in->arch, sizeof stand_in->arch, "gfx942:sramecc+:xnack-");
    stand_in->current = CALLERS_DEVICE;
    return 0;
}

/* ---- A whole life ---- */

static void expect_clean(const char *label) {
    const struct {
        const char *what;
        int live;
    } counts[] = {{"modules", stand_in->live_modules}, {"blocks", stand_in->live_blocks},
                  {"streams", stand_in->live_streams}, {"events", stand_in->live_events},
                  {"graphs", stand_in->live_graphs},   {"executable graphs", stand_in->live_execs}};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        if (counts[i].live) fail_msg("%s: %d %s have leaked", label, counts[i].live, counts[i].what);
    if (stand_in->current != CALLERS_DEVICE) fail_msg("%s: the caller's device was not given back", label);
}

static void a_whole_life_leaves_nothing_behind(void **state) {
    (void)state;
    EXPECT_OK(gpu_live(&norma_backend_hip));
    expect_clean("no failure");
    assert_true(stand_in->launched >= 4);
    assert_int_equal(stand_in->graph_launches, 1);
}

static void fail_call(int call, int result, bool sticky) {
    (void)reset(NULL);
    stand_in->fail_at = call;
    stand_in->fail_result = result;
    stand_in->fail_sticky = sticky;
}

static int calls(void) {
    return stand_in->calls;
}

static const char *failed(void) {
    return stand_in->failed ? stand_in->failed : "none";
}

static void live_with_failures(int result, bool sticky, norma_status expected) {
    char why[128];
    const gpu_rig rig = {&norma_backend_hip, norma_hip_driver(why, sizeof why), fail_call, calls, failed, expect_clean};
    assert_non_null(rig.driver);
    gpu_fail_every_call(&rig, result, sticky, expected);
}

static void every_call_may_fail(void **state) {
    (void)state;
    live_with_failures(999, false, NORMA_ERROR_DEVICE);
}

static void every_call_may_run_out_of_memory(void **state) {
    (void)state;
    live_with_failures(GPU_ERROR_OUT_OF_MEMORY, false, NORMA_ERROR_OUT_OF_MEMORY);
}

static void a_fault_at_any_call_loses_the_device(void **state) {
    (void)state;
    live_with_failures(700, true, NORMA_ERROR_DEVICE_LOST);
}

/* ---- Bad machines ---- */

static norma_status open_context(norma_context **out_context) {
    norma_open_desc desc = {.index = 0};
    const norma_status status = norma_logger_init(&desc.log, NORMA_LOG_ERROR, NULL, NULL);
    return status ? status : norma_context_create_on(&norma_backend_hip, &desc, out_context);
}

static void a_runtime_without_devices_is_a_sentence(void **state) {
    (void)state;
    stand_in->devices = 0;
    norma_backend_info info = {.struct_size = sizeof info};
    norma_backend_hip.probe(&info);
    assert_int_equal(info.devices, 0);
    assert_string_equal(info.detail, "the driver finds no AMD device");
    norma_context *context;
    EXPECT_FAILURE(open_context(&context), NORMA_ERROR_NO_DEVICE, "the driver finds no AMD device");
}

static void a_chip_without_code_is_a_sentence(void **state) {
    (void)state;
    snprintf(stand_in->arch, sizeof stand_in->arch, "gfx803");
    norma_backend_info info = {.struct_size = sizeof info};
    norma_backend_hip.probe(&info);
    assert_int_equal(info.devices, 1);
    assert_string_equal(info.detail, "stand-in 0, driver for HIP 6.3; gfx803 is a chip that this library has no code for");
    norma_context *context;
    EXPECT_FAILURE(open_context(&context), NORMA_ERROR_NO_DEVICE, "is gfx803: this library has no code for it");
    expect_clean("no code");
}

static void a_nameless_chip_is_a_sentence(void **state) {
    (void)state;
    stand_in->arch[0] = 0;
    norma_context *context;
    EXPECT_FAILURE(open_context(&context), NORMA_ERROR_DEVICE, "does not say which chip device 0 is");
}

/* The runtime looks into the bundle for itself, and may find nothing for a device that is said to be of a known chip. */
static void a_code_object_without_the_chip_is_a_sentence(void **state) {
    (void)state;
    norma_context *context;
    EXPECT_OK(open_context(&context));
    snprintf(stand_in->arch, sizeof stand_in->arch, "gfx803");
    const norma_rmsnorm_desc desc = gpu_life_norm_desc();
    norma_plan *plan;
    EXPECT_FAILURE(norma_rmsnorm_plan_create(context, &desc, &plan), NORMA_ERROR_DEVICE,
                   "has no use for this library's code for rmsnorm_rows on device 0 (error 209)");
    assert_null(plan);
    norma_context_destroy(context);
    expect_clean("no code object");
}

/* ---- What reaches the runtime ---- */

static void limits_come_from_the_runtime(void **state) {
    (void)state;
    static const struct {
        const char *arch, *name;
        int lanes;
    } chips[] = {{"gfx942:sramecc+:xnack-", "gfx942", 64}, {"gfx1100", "gfx1100", 32}};
    for (size_t i = 0; i < sizeof chips / sizeof *chips; i++) {
        if (!norma_hip_images_have(chips[i].name)) continue; /* this build has fewer chips */
        snprintf(stand_in->arch, sizeof stand_in->arch, "%s", chips[i].arch);
        norma_context *context;
        EXPECT_OK(open_context(&context));
        const norma_limits *limits = &context->device->limits;
        assert_int_equal(limits->target, NORMA_TARGET_HIP);
        assert_int_equal(limits->units, 4);
        assert_int_equal(limits->lanes, chips[i].lanes);
        assert_int_equal(limits->max_threads, 1024);
        assert_int_equal(limits->shared_bytes, 65536);
        assert_int_equal(limits->cache_bytes, 4 << 20);
        norma_device_info info = {.struct_size = sizeof info};
        EXPECT_OK(norma_context_get_info(context, &info));
        assert_string_equal(info.arch, chips[i].name);
        norma_context_destroy(context);
    }
}

/* Few and many rows of bf16: which kernel of the chip, and how many threads. */
static void kernels_fit_the_wave(void **state) {
    (void)state;
    static const struct {
        const char *arch;
        int64_t rows;
        const char *function;
        unsigned threads, shared_bytes;
    } rows[] = {
        {"gfx942", 1, "rmsnorm_linear_skinny_units_bf16", 64, 1088 + 32 * 1024},
        {"gfx942", 100, "rmsnorm_linear_tiled_hip_wave64_small_bf16_nk", 128, 8192 + 256 + 40},
        {"gfx1100", 1, "rmsnorm_linear_skinny_units_bf16", 32, 1088 + 32 * 1024},
        {"gfx1100", 100, "rmsnorm_linear_tiled_hip_wave32_small_bf16_nk", 128, 8192 + 256 + 40},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!norma_hip_images_have(rows[i].arch)) continue;
        snprintf(stand_in->arch, sizeof stand_in->arch, "%s", rows[i].arch);
        static gpu_life l;
        memset(&l, 0, sizeof l);
        EXPECT_OK(gpu_life_open_all(&l, &norma_backend_hip));
        stand_in->launched = 0;
        EXPECT_OK(gpu_life_run_linear(&l, rows[i].rows));
        assert_int_equal(stand_in->launched, 1);
        const stand_in_launch *launch = &stand_in->launches[0];
        assert_string_equal(launch->function, rows[i].function);
        assert_int_equal(launch->block[0], rows[i].threads);
        assert_int_equal(launch->shared_bytes, rows[i].shared_bytes);
        const norma_linear_params *params = (const norma_linear_params *)launch->params;
        assert_ptr_equal(params->norm.x.data, l.x);
        assert_int_equal(params->norm.rows, rows[i].rows);
        assert_int_equal(params->norm.k, GPU_LIFE_K);
        EXPECT_OK(gpu_life_close_all(&l, NORMA_OK));
    }
}

static void a_host_pointer_is_named(void **state) {
    (void)state;
    static gpu_life l;
    memset(&l, 0, sizeof l);
    EXPECT_OK(gpu_life_open_all(&l, &norma_backend_hip));
    void *const x = l.x;
    l.x = l.host;
    EXPECT_FAILURE(gpu_life_run_norm(&l, GPU_LIFE_M), NORMA_ERROR_DEVICE, "x is at 0x");
    l.x = x;
    EXPECT_OK(gpu_life_close_all(&l, NORMA_OK));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_whole_life_leaves_nothing_behind, reset),
        cmocka_unit_test_setup(every_call_may_fail, reset),
        cmocka_unit_test_setup(every_call_may_run_out_of_memory, reset),
        cmocka_unit_test_setup(a_fault_at_any_call_loses_the_device, reset),
        cmocka_unit_test_setup(a_runtime_without_devices_is_a_sentence, reset),
        cmocka_unit_test_setup(a_chip_without_code_is_a_sentence, reset),
        cmocka_unit_test_setup(a_nameless_chip_is_a_sentence, reset),
        cmocka_unit_test_setup(a_code_object_without_the_chip_is_a_sentence, reset),
        cmocka_unit_test_setup(limits_come_from_the_runtime, reset),
        cmocka_unit_test_setup(kernels_fit_the_wave, reset),
        cmocka_unit_test_setup(a_host_pointer_is_named, reset),
    };
    return cmocka_run_group_tests(tests, find_stand_in, NULL);
}
