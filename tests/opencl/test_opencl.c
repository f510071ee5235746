/* What the OpenCL backend does when something is wrong around it, what it does with the caller's own handles, and its cache
 * of binaries. The table of OpenCL functions is the machine's, with some functions replaced that can be told to fail.
 * Skipped, with exit status 77, where there is no OpenCL device, unless NORMA_REQUIRE names opencl. */
#include <stdio.h>
#include <stdlib.h>

#include "front/context.h"
#include "harness/cache_folder.h"
#include "harness/case_names.h"
#include "harness/suite.h"
#include "opencl/force.h"
#include "opencl/matrix.h"
#include "opencl/opencl.h"
#include "unit/expect.h"

enum { SKIPPED = 77, NO_LIMIT = 0 };

/* ---- The table ---- */

static struct {
    bool no_loader;
    cl_int platforms, devices, build, binary, create_buffer, enqueue; /* what these answer, if not CL_SUCCESS */
    size_t local_bytes, threads;                                      /* the device's limits, if not NO_LIMIT */
    int sources_built, binaries_built;                                /* counted */
    const char *ptx;                                                  /* what a program's binary is, if not NULL */
    char taken[256];                                                  /* the binary that was then made into a program */
} faults;

static const opencl_api *real;
static opencl_api altered;
static cl_program from_binary;

static cl_int get_platforms(cl_uint count, cl_platform_id *ids, cl_uint *found) {
    return faults.platforms ? faults.platforms : real->GetPlatformIDs(count, ids, found);
}

static cl_int get_devices(cl_platform_id platform, cl_device_type type, cl_uint count, cl_device_id *ids, cl_uint *found) {
    return faults.devices ? faults.devices : real->GetDeviceIDs(platform, type, count, ids, found);
}

static cl_int get_device_info(cl_device_id id, cl_device_info what, size_t bytes, void *value, size_t *needed) {
    const cl_int result = real->GetDeviceInfo(id, what, bytes, value, needed);
    if (what == CL_DEVICE_LOCAL_MEM_SIZE && faults.local_bytes && value) *(cl_ulong *)value = faults.local_bytes;
    if (what == CL_DEVICE_MAX_WORK_GROUP_SIZE && faults.threads && value) *(size_t *)value = faults.threads;
    return result;
}

static cl_program create_with_binary(cl_context context, cl_uint count, const cl_device_id *ids, const size_t *bytes,
                                     const unsigned char **binaries, cl_int *status, cl_int *result) {
    if (faults.ptx) snprintf(faults.taken, sizeof faults.taken, "%.*s", (int)*bytes, (const char *)*binaries);
    if (faults.binary) {
        *result = faults.binary;
        return NULL;
    }
    from_binary = real->CreateProgramWithBinary(context, count, ids, bytes, binaries, status, result);
    return from_binary;
}

static cl_int get_program_info(cl_program program, cl_program_info what, size_t bytes, void *value, size_t *needed) {
    if (!faults.ptx) return real->GetProgramInfo(program, what, bytes, value, needed);
    if (what == CL_PROGRAM_BINARY_SIZES)
        *(size_t *)value = strlen(faults.ptx);
    else
        memcpy(*(char **)value, faults.ptx, strlen(faults.ptx));
    return CL_SUCCESS;
}

static cl_int build_program(cl_program program, cl_uint count, const cl_device_id *ids, const char *options,
                            void (*done)(cl_program, void *), void *user) {
    if (faults.build) return faults.build;
    if (program == from_binary)
        faults.binaries_built++;
    else
        faults.sources_built++;
    from_binary = NULL;
    return real->BuildProgram(program, count, ids, options, done, user);
}

static cl_int get_build_info(cl_program program, cl_device_id id, cl_program_build_info what, size_t bytes, void *value,
                             size_t *needed) {
    if (!faults.build) return real->GetProgramBuildInfo(program, id, what, bytes, value, needed);
    snprintf(value, bytes, "platform.clh:7:1: error: told to fail");
    return CL_SUCCESS;
}

static cl_mem create_buffer(cl_context context, cl_mem_flags flags, size_t bytes, void *host, cl_int *result) {
    if (!faults.create_buffer) return real->CreateBuffer(context, flags, bytes, host, result);
    *result = faults.create_buffer;
    return NULL;
}

static cl_int enqueue_kernel(cl_command_queue queue, cl_kernel kernel, cl_uint dimensions, const size_t *offset,
                             const size_t *global, const size_t *local, cl_uint waits, const cl_event *wait_list,
                             cl_event *event) {
    if (faults.enqueue) return faults.enqueue;
    return real->EnqueueNDRangeKernel(queue, kernel, dimensions, offset, global, local, waits, wait_list, event);
}

const opencl_api *__real_norma_opencl_load(char *why, size_t why_bytes);
const opencl_api *__wrap_norma_opencl_load(char *why, size_t why_bytes);

const opencl_api *__wrap_norma_opencl_load(char *why, size_t why_bytes) {
    if (faults.no_loader) {
        snprintf(why, why_bytes, "told to find no loader");
        return NULL;
    }
    real = __real_norma_opencl_load(why, why_bytes);
    if (!real) return NULL;
    altered = *real;
    altered.GetPlatformIDs = get_platforms;
    altered.GetDeviceIDs = get_devices;
    altered.GetDeviceInfo = get_device_info;
    altered.CreateProgramWithBinary = create_with_binary;
    altered.GetProgramInfo = get_program_info;
    altered.BuildProgram = build_program;
    altered.GetProgramBuildInfo = get_build_info;
    altered.CreateBuffer = create_buffer;
    altered.EnqueueNDRangeKernel = enqueue_kernel;
    return &altered;
}

static int forget_faults(void **state) {
    (void)state;
    memset(&faults, 0, sizeof faults);
    return 0;
}

/* ---- Contexts and problems ---- */

static norma_status open_named(const char *backend, norma_context **out_context) {
    norma_context_desc desc = norma_context_desc_init();
    desc.backend = backend;
    return norma_context_create(&desc, out_context);
}

static norma_context *opened(void) {
    norma_context *context;
    EXPECT_OK(open_named("opencl", &context));
    return context;
}

static const test_case product = {.name = "product",
                                  .op = NORMA_OP_RMSNORM_LINEAR,
                                  .m = 40,
                                  .k = 70,
                                  .n = {33},
                                  .x = NORMA_BF16,
                                  .gamma = NORMA_BF16,
                                  .weight = NORMA_BF16,
                                  .out = NORMA_BF16};

static const test_case fold = {.name = "fold",
                               .op = NORMA_OP_FOLD_GAMMA,
                               .k = 70,
                               .n = {33},
                               .x = NORMA_BF16,
                               .gamma = NORMA_BF16,
                               .weight = NORMA_BF16,
                               .out = NORMA_BF16};

/* Runs a case on a context and judges it. */
static void expect_right(const test_case *test, norma_context *context) {
    test_trial *trial = test_trial_create(test, 1, false);
    EXPECT_OK(test_trial_run(trial, context, PATH_ONE_SHOT));
    const test_verdict verdict = test_trial_judge(trial);
    if (!verdict.passed) fail_msg("%s", verdict.text);
    test_trial_destroy(trial);
}

static norma_status status_of(const test_case *test, norma_context *context) {
    test_trial *trial = test_trial_create(test, 1, false);
    const norma_status status = test_trial_run(trial, context, PATH_ONE_SHOT);
    test_trial_destroy(trial);
    return status;
}

/* ---- Around the backend ---- */

static void no_loader_is_a_sentence(void **state) {
    (void)state;
    norma_context *context;
    faults.no_loader = true;
    EXPECT_FAILURE(open_named("opencl", &context), NORMA_ERROR_NO_DEVICE, "told to find no loader");
}

static void no_platform_is_a_sentence(void **state) {
    (void)state;
    norma_context *context;
    faults.platforms = -1001;
    EXPECT_FAILURE(open_named("opencl", &context), NORMA_ERROR_NO_DEVICE, "CL_PLATFORM_NOT_FOUND_KHR (-1001)");
}

static void no_device_is_a_sentence_that_names_the_platform(void **state) {
    (void)state;
    norma_context *context;
    faults.devices = CL_DEVICE_NOT_FOUND;
    EXPECT_FAILURE(open_named("opencl", &context), NORMA_ERROR_NO_DEVICE, "finds no device: CL_DEVICE_NOT_FOUND (-1)");
}

static void a_device_that_is_not_there_is_a_sentence(void **state) {
    (void)state;
    norma_context *context;
    EXPECT_FAILURE(open_named("opencl:31", &context), NORMA_ERROR_DEVICE_INDEX, "31");
}

static void a_cpu_device_leaves_the_automatic_choice_to_others(void **state) {
    (void)state;
    norma_context *context = opened();
    const bool is_cpu = ((opencl_device *)context->device)->is_cpu;
    norma_context_destroy(context);
    EXPECT_OK(open_named("auto", &context));
    if (is_cpu) assert_string_not_equal(context->info.backend, "opencl");
    norma_context_destroy(context);
}

static char logged[4096];

static void keep_line(void *user, norma_log_level level, const char *line) {
    (void)user;
    (void)level;
    const size_t used = strlen(logged);
    snprintf(logged + used, sizeof logged - used, "%s\n", line);
}

static norma_context *opened_with_log(void) {
    norma_context_desc desc = norma_context_desc_init();
    norma_context *context;
    desc.backend = "opencl";
    desc.log = keep_line;
    logged[0] = '\0';
    EXPECT_OK(norma_context_create(&desc, &context));
    return context;
}

static void a_compiler_that_fails_shows_its_log(void **state) {
    (void)state;
    norma_context *context = opened_with_log();
    faults.build = CL_BUILD_PROGRAM_FAILURE;
    faults.binary = CL_INVALID_BINARY;
    EXPECT_FAILURE(status_of(&product, context), NORMA_ERROR_DEVICE, "platform.clh:7:1: error: told to fail");
    assert_non_null(strstr(logged, "platform.clh:7:1: error: told to fail"));
    forget_faults(NULL);
    expect_right(&product, context);
    norma_context_destroy(context);
}

static void too_little_memory_leaves_the_context_usable(void **state) {
    (void)state;
    norma_context *context = opened();
    void *data;
    faults.create_buffer = CL_MEM_OBJECT_ALLOCATION_FAILURE;
    EXPECT_FAILURE(norma_alloc(context, 64, &data), NORMA_ERROR_OUT_OF_MEMORY, "64 bytes");
    forget_faults(NULL);
    expect_right(&product, context);
    norma_context_destroy(context);
}

static void a_lost_device_is_remembered(void **state) {
    (void)state;
    norma_context *context = opened();
    expect_right(&product, context);
    faults.enqueue = CL_INVALID_COMMAND_QUEUE;
    EXPECT_FAILURE(status_of(&product, context), NORMA_ERROR_DEVICE_LOST, NULL);
    forget_faults(NULL);
    EXPECT_FAILURE(norma_synchronize(context), NORMA_ERROR_DEVICE_LOST, "was lost in an earlier call: to this context");
    norma_context_destroy(context);
}

/* Local memory for no tile, for the smallest, and work-groups of one to 64: everything still comes out right. */
static void small_devices_get_smaller_tiles(void **state) {
    (void)state;
    static const struct {
        size_t local_bytes, threads;
    } limits[] = {{1024, NO_LIMIT}, {8192, NO_LIMIT}, {NO_LIMIT, 64}, {NO_LIMIT, 8}, {512, 1}};
    test_case few = product;
    few.m = 3;
    test_case norm = product;
    norm.op = NORMA_OP_RMSNORM;
    test_case gradients = product;
    gradients.op = NORMA_OP_RMSNORM_BACKWARD;
    gradients.dx = gradients.dgamma = NORMA_BF16;
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        faults.local_bytes = limits[i].local_bytes;
        faults.threads = limits[i].threads;
        norma_context *context = opened();
        assert_true(norma_opencl_force_target(context->device, NORMA_TARGET_OPENCL_GPU));
        expect_right(&product, context);
        expect_right(&few, context);
        expect_right(&norm, context);
        expect_right(&gradients, context);
        norma_context_destroy(context);
    }
}

/* ---- The trial that a kernel for matrix units has to pass, run by a kernel for CPUs ---- */

static norma_status run_tiled(opencl_device *device, const void *user, const norma_problem *problem) {
    (void)user;
    norma_launch launch = {
        .kernel = NORMA_KERNEL_RMSNORM_LINEAR_TILED, .problem = problem, .tile = &norma_tiles[NORMA_TILE_opencl_cpu_small]};
    norma_status status = norma_opencl_prepare(&device->base, &launch);
    if (!status) status = norma_opencl_launch(&device->base, &launch);
    norma_opencl_discard(&device->base, &launch);
    return status;
}

static norma_status leave_a_row_out(opencl_device *device, const void *user, const norma_problem *problem) {
    norma_problem less = *problem;
    less.m--;
    return run_tiled(device, user, &less);
}

static void the_trial_tells_right_from_wrong(void **state) {
    (void)state;
    static const struct {
        norma_op op;
        norma_contract contract;
        norma_dtype x, gamma, out;
        bool along_k;
    } rows[] = {{NORMA_OP_RMSNORM_LINEAR, NORMA_ROUND_DEFERRED, NORMA_BF16, NORMA_BF16, NORMA_BF16, true},
                {NORMA_OP_RMSNORM_LINEAR, NORMA_ROUND_TWICE, NORMA_F16, NORMA_F16, NORMA_F16, false},
                {NORMA_OP_RMSNORM_LINEAR, NORMA_ROUND_ONCE, NORMA_BF16, NORMA_F32, NORMA_F16, true},
                {NORMA_OP_RMSNORM_LINEAR, NORMA_ROUND_DEFERRED, NORMA_F16, NORMA_NONE, NORMA_F32, false},
                {NORMA_OP_PRODUCT, NORMA_ROUND_DEFERRED, NORMA_BF16, NORMA_NONE, NORMA_BF16, true}};
    norma_context *context = opened();
    opencl_device *device = (opencl_device *)context->device;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        norma_problem like = {.op = rows[i].op, .contract = rows[i].contract};
        like.x.layout.dtype = rows[i].x;
        like.gamma.layout.dtype = rows[i].gamma;
        like.part[0].out.layout.dtype = rows[i].out;
        if (!norma_opencl_matrix_works(device, &like, rows[i].along_k, run_tiled, NULL)) fail_msg("row %zu: not right", i);
        if (norma_opencl_matrix_works(device, &like, rows[i].along_k, leave_a_row_out, NULL))
            fail_msg("row %zu: not seen", i);
    }
    norma_context_destroy(context);
}

/* ---- Instructions of sm_90a ---- */

static void hidden_instructions_are_uncovered(void **state) {
    (void)state;
    static const struct {
        const char *covered, *uncovered;
    } rows[] = {
        {".target sm_90, texmode\n\t//sm_90a a.b {%r1};\n//sm_90a c;// d\n",
         ".target sm_90a, texmode\n\ta.b {%r1};\nc;// d\n"},
        {".target sm_90a\n// .target sm_90\n", ".target sm_90a\n// .target sm_90\n"},
        {"not PTX //sm_90a", ""},
    };
    norma_context *context = opened();
    opencl_device *device = (opencl_device *)context->device;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cl_int result;
        cl_program program = real->CreateProgramWithSource(device->context, 1, (const char *[]){""}, NULL, &result);
        assert_int_equal(result, CL_SUCCESS);
        faults.ptx = rows[i].covered;
        faults.binary = CL_INVALID_BINARY;
        faults.taken[0] = '\0';
        assert_int_equal(norma_opencl_uncover_sm90a(device, "product", "", &program), NORMA_ERROR_UNSUPPORTED);
        assert_null(program);
        assert_string_equal(faults.taken, rows[i].uncovered);
    }
    faults.ptx = NULL;
    norma_context_destroy(context);
}

/* ---- The caller's handles ---- */

typedef struct handles {
    opencl_place place;
    cl_context context;
    cl_command_queue queue;
} handles;

static handles make_handles(cl_command_queue_properties properties) {
    const opencl_api *api;
    opencl_place places[OPENCL_MAX_PLACES];
    char why[256];
    assert_true(norma_opencl_list(&api, places, why, sizeof why) > 0);
    handles own = {.place = places[0]};
    cl_int result;
    own.context = real->CreateContext(NULL, 1, &own.place.id, NULL, NULL, &result);
    assert_int_equal(result, CL_SUCCESS);
    own.queue = real->CreateCommandQueue(own.context, own.place.id, properties, &result);
    if (properties && result != CL_SUCCESS) own.queue = NULL;
    return own;
}

static void free_handles(const handles *own) {
    if (own->queue) real->ReleaseCommandQueue(own->queue);
    real->ReleaseContext(own->context);
}

static void the_callers_queue_context_and_device_are_used(void **state) {
    (void)state;
    const handles own = make_handles(0);
    norma_context_desc desc = norma_context_desc_init();
    norma_context *context;
    desc.backend = "opencl";
    desc.stream = own.queue;
    EXPECT_OK(norma_context_create(&desc, &context));
    assert_ptr_equal(((opencl_device *)context->device)->queue, own.queue);
    expect_right(&product, context);
    norma_context_destroy(context);

    desc.stream = NULL;
    desc.native_context = own.context;
    desc.native_device = own.place.id;
    EXPECT_OK(norma_context_create(&desc, &context));
    assert_ptr_equal(((opencl_device *)context->device)->context, own.context);
    expect_right(&product, context);
    norma_context_destroy(context);
    free_handles(&own);
}

/* cl_mem of the caller's own, with an offset: RMSNorm of (3, 4, 0, 0) with mean square 25 / 4. */
static void the_callers_memory_is_used(void **state) {
    (void)state;
    const handles own = make_handles(0);
    norma_context_desc desc = norma_context_desc_init();
    norma_context *context;
    desc.backend = "opencl";
    desc.stream = own.queue;
    EXPECT_OK(norma_context_create(&desc, &context));
    float values[12] = {9, 9, 9, 9, 3, 4, 0, 0, 9, 9, 9, 9};
    cl_int result;
    cl_mem memory =
        real->CreateBuffer(own.context, CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR, sizeof values, values, &result);
    assert_int_equal(result, CL_SUCCESS);
    norma_rmsnorm_desc norm = norma_rmsnorm_desc_init();
    norm.k = 4;
    norm.eps = 1e-30F;
    norm.x.dtype = norm.out.dtype = NORMA_F32;
    norma_rmsnorm_args args = norma_rmsnorm_args_init();
    args.m = 1;
    args.x = args.out = (norma_buffer){memory, 4 * sizeof(float)};
    EXPECT_OK(norma_rmsnorm(context, &norm, &args));
    assert_int_equal(real->EnqueueReadBuffer(own.queue, memory, CL_TRUE, 0, sizeof values, values, 0, NULL, NULL),
                     CL_SUCCESS);
    const float wanted[12] = {9, 9, 9, 9, 1.2F, 1.6F, 0, 0, 9, 9, 9, 9};
    for (int i = 0; i < 12; i++) assert_float_equal(values[i], wanted[i], 1e-6);
    real->ReleaseMemObject(memory);
    norma_context_destroy(context);
    free_handles(&own);
}

static void handles_that_do_not_fit_are_refused(void **state) {
    (void)state;
    const handles own = make_handles(0), other = make_handles(0);
    const handles unordered = make_handles(CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE);
    const struct {
        void *stream, *context, *device;
        const char *needle;
    } rows[] = {
        {NULL, own.context, NULL, "native_device is NULL"},
        {NULL, NULL, own.place.id, "native_context is NULL"},
        {own.queue, other.context, own.place.id, "another context"},
        {own.queue, own.context, (void *)&faults, "another device"},
        {NULL, own.context, (void *)&faults, "none of the"},
        {unordered.queue, NULL, NULL, "out-of-order"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        norma_context_desc desc = norma_context_desc_init();
        norma_context *context;
        desc.backend = "opencl";
        desc.stream = rows[i].stream;
        desc.native_context = rows[i].context;
        desc.native_device = rows[i].device;
        if (!desc.stream && !desc.native_context && !desc.native_device) continue; /* no such queue on this device */
        expect_sentence(rows[i].needle, norma_context_create(&desc, &context), NORMA_ERROR_OPTION, rows[i].needle);
    }
    free_handles(&own);
    free_handles(&other);
    free_handles(&unordered);
}

/* ---- The cache ---- */

static int make_cache(void **state) {
    forget_faults(state);
    return test_cache_make();
}

static int drop_cache(void **state) {
    (void)state;
    return test_cache_drop();
}

/* The one file of the cache. */
static void cached_file(char path[TEST_CACHE_PATH_BYTES]) {
    assert_int_equal(test_cache_files(path), 1);
}

/* Folding, whose program is the shortest, on a context of its own; how it came by it is then in `faults`. */
static void run_once(void) {
    norma_context *context = opened();
    faults.sources_built = faults.binaries_built = 0;
    expect_right(&fold, context);
    norma_context_destroy(context);
}

static void expect_built(int sources, int binaries) {
    assert_int_equal(faults.sources_built, sources);
    assert_int_equal(faults.binaries_built, binaries);
}

static void a_kept_binary_is_used(void **state) {
    (void)state;
    run_once();
    expect_built(1, 0);
    run_once();
    expect_built(0, 1);
}

static void a_binary_that_the_driver_refuses_is_built_anew(void **state) {
    (void)state;
    run_once();
    faults.binary = CL_INVALID_BINARY;
    run_once();
    expect_built(1, 0);
}

static void a_damaged_file_is_built_anew_and_replaced(void **state) {
    (void)state;
    char path[TEST_CACHE_PATH_BYTES];
    run_once();
    for (int which = 0; which < DAMAGE_COUNT; which++) {
        cached_file(path);
        test_cache_damage((test_damage)which, path);
        run_once();
        if (faults.sources_built != 1 || faults.binaries_built != 0) fail_msg("damage %d was not seen", which);
        run_once();
        expect_built(0, 1);
    }
}

static void a_folder_in_the_way_is_lived_with(void **state) {
    (void)state;
    char path[TEST_CACHE_PATH_BYTES];
    run_once();
    cached_file(path);
    test_cache_obstruct(path);
    run_once();
    expect_built(1, 0);
}

static void a_cache_that_cannot_be_written_is_said_once(void **state) {
    (void)state;
    setenv("NORMA_CACHE_DIR", "/proc/norma/cache", 1);
    test_case norm = product;
    norm.op = NORMA_OP_RMSNORM;
    norma_context *context = opened_with_log();
    expect_right(&fold, context);
    const char *sentence = strstr(logged, "/proc/norma/cache");
    assert_non_null(sentence);
    assert_true(norma_opencl_force_target(context->device, NORMA_TARGET_OPENCL_GPU));
    expect_right(&norm, context);
    assert_null(strstr(sentence + 1, "/proc/norma/cache"));
    norma_context_destroy(context);
}

static bool has_device(void) {
    norma_context *context;
    if (open_named("opencl", &context)) return false;
    norma_context_destroy(context);
    return true;
}

int main(void) {
    const char *required = getenv("NORMA_REQUIRE");
    if (!has_device()) {
        printf("backend opencl: skipped: %s\n", norma_last_error());
        return required && strstr(required, "opencl") ? 1 : SKIPPED;
    }
#define FAULT_TEST(test) cmocka_unit_test_setup(test, forget_faults)
#define CACHE_TEST(test) cmocka_unit_test_setup_teardown(test, make_cache, drop_cache)
    const struct CMUnitTest tests[] = {
        FAULT_TEST(no_loader_is_a_sentence),
        FAULT_TEST(no_platform_is_a_sentence),
        FAULT_TEST(no_device_is_a_sentence_that_names_the_platform),
        FAULT_TEST(a_device_that_is_not_there_is_a_sentence),
        FAULT_TEST(a_cpu_device_leaves_the_automatic_choice_to_others),
        FAULT_TEST(a_compiler_that_fails_shows_its_log),
        FAULT_TEST(too_little_memory_leaves_the_context_usable),
        FAULT_TEST(a_lost_device_is_remembered),
        FAULT_TEST(small_devices_get_smaller_tiles),
        FAULT_TEST(the_trial_tells_right_from_wrong),
        FAULT_TEST(hidden_instructions_are_uncovered),
        FAULT_TEST(the_callers_queue_context_and_device_are_used),
        FAULT_TEST(the_callers_memory_is_used),
        FAULT_TEST(handles_that_do_not_fit_are_refused),
        CACHE_TEST(a_kept_binary_is_used),
        CACHE_TEST(a_binary_that_the_driver_refuses_is_built_anew),
        CACHE_TEST(a_damaged_file_is_built_anew_and_replaced),
        CACHE_TEST(a_folder_in_the_way_is_lived_with),
        CACHE_TEST(a_cache_that_cannot_be_written_is_said_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
