/* Contexts: creation and its options, memory, and the latch of a lost device. */
#include "front/context.h"

#include <stdlib.h>

#include "expect.h"
#include "fake_backend.h"

static int reset(void **state) {
    (void)state;
    fake_reset();
    unsetenv("NORMA_BACKEND");
    unsetenv("NORMA_KERNEL");
    unsetenv("NORMA_LOG");
    unsetenv("NORMA_THREADS");
    unsetenv("NORMA_BATCH_INVARIANT");
    unsetenv("NORMA_TIME_ROUTES");
    return 0;
}

static void bad_descriptions_make_no_context(void **state) {
    (void)state;
    norma_context *context = (norma_context *)&state;
    EXPECT_FAILURE(norma_context_create(NULL, NULL), NORMA_ERROR_NULL_POINTER, "out_context is NULL");

    norma_context_desc desc = norma_context_desc_init();
    desc.struct_size = 3;
    EXPECT_FAILURE(norma_context_create(&desc, &context), NORMA_ERROR_STRUCT_SIZE, "desc.struct_size is 3");
    assert_null(context);
    desc.struct_size = sizeof desc + 1;
    EXPECT_FAILURE(norma_context_create(&desc, &context), NORMA_ERROR_STRUCT_SIZE, "desc.struct_size is");

    desc = norma_context_desc_init();
    desc.threads = -2;
    EXPECT_FAILURE(norma_context_create(&desc, &context), NORMA_ERROR_SIZE, "desc.threads is -2");
    desc = norma_context_desc_init();
    desc.log_level = (norma_log_level)5;
    EXPECT_FAILURE(norma_context_create(&desc, &context), NORMA_ERROR_OPTION, "desc.log_level is 5");

    desc = norma_context_desc_init();
    desc.backend = "cpu";
    desc.stream = &desc;
    EXPECT_FAILURE(norma_context_create(&desc, &context), NORMA_ERROR_OPTION, "desc.stream is 0x");
    assert_non_null(strstr(norma_last_error(), "backend \"cpu\" takes only NULL"));
    desc.backend = "cpu,cpu:0";
    EXPECT_FAILURE(norma_context_create(&desc, &context), NORMA_ERROR_OPTION, "a choice among several backends");
    desc.backend = "cpu";
    desc.stream = NULL;
    desc.native_context = &desc;
    EXPECT_FAILURE(norma_context_create(&desc, &context), NORMA_ERROR_OPTION, "desc.native_context is 0x");
    desc.native_context = NULL;
    desc.native_device = &desc;
    EXPECT_FAILURE(norma_context_create(&desc, &context), NORMA_ERROR_OPTION, "desc.native_device is 0x");
    assert_null(context);
}

static void bad_environment_makes_no_context(void **state) {
    (void)state;
    static const struct {
        const char *name, *value;
    } rows[] = {{"NORMA_LOG", "verbose"},  {"NORMA_KERNEL", "no_such_kernel"}, {"NORMA_THREADS", "0"},
                {"NORMA_THREADS", "many"}, {"NORMA_BATCH_INVARIANT", "yes"},   {"NORMA_TIME_ROUTES", "2"}};
    norma_context_desc desc = norma_context_desc_init();
    desc.backend = "cpu";
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        setenv(rows[i].name, rows[i].value, 1);
        norma_context *context;
        expect_sentence(rows[i].value, norma_context_create(&desc, &context), NORMA_ERROR_OPTION, rows[i].value);
        assert_non_null(strstr(norma_last_error(), rows[i].name));
        assert_null(context);
        unsetenv(rows[i].name);
    }
}

static void threads_come_from_desc_then_environment(void **state) {
    (void)state;
    norma_context_desc desc = norma_context_desc_init();
    desc.backend = "cpu";
    norma_context *context;
    setenv("NORMA_THREADS", "3", 1);
    EXPECT_OK(norma_context_create(&desc, &context));
    assert_int_equal(context->device->limits.units, 3);
    norma_context_destroy(context);
    desc.threads = 1;
    EXPECT_OK(norma_context_create(&desc, &context));
    assert_int_equal(context->device->limits.units, 1);
    norma_context_destroy(context);
}

static void null_arguments_are_named(void **state) {
    (void)state;
    norma_context *context;
    EXPECT_OK(fake_context_create(&context));
    char byte = 0;
    void *data = &byte;
    const norma_buffer here = {&byte, 0};
    const norma_buffer nowhere = {NULL, 0};
    norma_device_info info = {.struct_size = sizeof info};

    EXPECT_FAILURE(norma_context_get_info(NULL, &info), NORMA_ERROR_NULL_POINTER, "context is NULL");
    EXPECT_FAILURE(norma_context_get_info(context, NULL), NORMA_ERROR_NULL_POINTER, "out_info is NULL");
    EXPECT_FAILURE(norma_synchronize(NULL), NORMA_ERROR_NULL_POINTER, "context is NULL");
    EXPECT_FAILURE(norma_alloc(NULL, 1, &data), NORMA_ERROR_NULL_POINTER, "context is NULL");
    assert_null(data);
    EXPECT_FAILURE(norma_alloc(context, 1, NULL), NORMA_ERROR_NULL_POINTER, "out_data is NULL");
    EXPECT_FAILURE(norma_free(NULL, &byte), NORMA_ERROR_NULL_POINTER, "context is NULL");
    EXPECT_FAILURE(norma_upload(NULL, here, &byte, 1), NORMA_ERROR_NULL_POINTER, "context is NULL");
    EXPECT_FAILURE(norma_upload(context, nowhere, &byte, 1), NORMA_ERROR_NULL_POINTER, "to.data is NULL");
    EXPECT_FAILURE(norma_upload(context, here, NULL, 1), NORMA_ERROR_NULL_POINTER, "from is NULL");
    EXPECT_FAILURE(norma_download(NULL, &byte, here, 1), NORMA_ERROR_NULL_POINTER, "context is NULL");
    EXPECT_FAILURE(norma_download(context, NULL, here, 1), NORMA_ERROR_NULL_POINTER, "to is NULL");
    EXPECT_FAILURE(norma_download(context, &byte, nowhere, 1), NORMA_ERROR_NULL_POINTER, "from.data is NULL");

    EXPECT_OK(norma_free(context, NULL));
    EXPECT_OK(norma_upload(context, nowhere, NULL, 0));
    EXPECT_OK(norma_download(context, NULL, nowhere, 0));
    norma_context_destroy(context);
    norma_context_destroy(NULL);
    fake_expect_nothing_live("null arguments");
}

static void memory_goes_there_and_back(void **state) {
    (void)state;
    norma_context *context;
    EXPECT_OK(fake_context_create(&context));
    void *data;
    EXPECT_OK(norma_alloc(context, 16, &data));
    const char sent[4] = {1, 2, 3, 4};
    char received[4] = {0};
    EXPECT_OK(norma_upload(context, (norma_buffer){data, 12}, sent, 4));
    EXPECT_OK(norma_download(context, received, (norma_buffer){data, 12}, 4));
    assert_memory_equal(sent, received, 4);
    EXPECT_OK(norma_free(context, data));

    EXPECT_OK(norma_alloc(context, 0, &data));
    assert_non_null(data);
    EXPECT_OK(norma_free(context, data));
    EXPECT_OK(norma_synchronize(context));
    assert_int_equal(fake.synchronized, 1);
    norma_device_info info = {.struct_size = sizeof info};
    EXPECT_OK(norma_context_get_info(context, &info));
    assert_string_equal(info.backend, "fake");
    assert_string_equal(info.name, "a fake device");
    assert_int_equal(info.struct_size, sizeof info);
    norma_context_destroy(context);
    fake_expect_nothing_live("memory");
}

static void device_error_does_not_latch(void **state) {
    (void)state;
    norma_context *context;
    EXPECT_OK(fake_context_create(&context));
    fake.fail_at = fake.calls + 1;
    fake.fail_status = NORMA_ERROR_OUT_OF_MEMORY;
    void *data = &context;
    EXPECT_FAILURE(norma_alloc(context, 16, &data), NORMA_ERROR_OUT_OF_MEMORY, "told to fail");
    assert_null(data);
    EXPECT_OK(norma_alloc(context, 16, &data));
    EXPECT_OK(norma_free(context, data));
    norma_context_destroy(context);
}

static void lost_device_answers_every_later_call(void **state) {
    (void)state;
    norma_context *context;
    EXPECT_OK(fake_context_create(&context));
    void *data;
    EXPECT_OK(norma_alloc(context, 16, &data));
    norma_rmsnorm_desc desc = norma_rmsnorm_desc_init();
    desc.k = 4;
    desc.x.dtype = desc.out.dtype = NORMA_F32;
    norma_plan *plan;
    EXPECT_OK(norma_rmsnorm_plan_create(context, &desc, &plan));
    norma_rmsnorm_args args = norma_rmsnorm_args_init();
    args.m = 1;
    args.x.data = args.out.data = data;

    fake.fail_at = fake.calls + 1;
    fake.fail_status = NORMA_ERROR_DEVICE_LOST;
    EXPECT_FAILURE(norma_synchronize(context), NORMA_ERROR_DEVICE_LOST, "told to fail");

    const int calls = fake.calls;
    char bytes[4];
    void *more = &more;
    norma_plan *another;
    EXPECT_FAILURE(norma_synchronize(context), NORMA_ERROR_DEVICE_LOST, "device fake:0 was lost in an earlier call");
    EXPECT_FAILURE(norma_alloc(context, 16, &more), NORMA_ERROR_DEVICE_LOST, "was lost");
    assert_null(more);
    EXPECT_FAILURE(norma_upload(context, (norma_buffer){data, 0}, bytes, 4), NORMA_ERROR_DEVICE_LOST, "was lost");
    EXPECT_FAILURE(norma_download(context, bytes, (norma_buffer){data, 0}, 4), NORMA_ERROR_DEVICE_LOST, "was lost");
    EXPECT_FAILURE(norma_rmsnorm(context, &desc, &args), NORMA_ERROR_DEVICE_LOST, "was lost");
    EXPECT_FAILURE(norma_rmsnorm_plan_create(context, &desc, &another), NORMA_ERROR_DEVICE_LOST, "was lost");
    assert_null(another);
    EXPECT_FAILURE(norma_rmsnorm_plan_run(plan, &args), NORMA_ERROR_DEVICE_LOST, "was lost");
    args.m = 0;
    EXPECT_FAILURE(norma_rmsnorm(context, &desc, &args), NORMA_ERROR_DEVICE_LOST, "was lost");
    assert_int_equal(fake.calls, calls);

    EXPECT_FAILURE(norma_free(context, data), NORMA_ERROR_DEVICE_LOST, "was lost");
    norma_plan_destroy(plan);
    norma_context_destroy(context);
    fake_expect_nothing_live("lost");
}

/* One call to each function of a backend, through the public function that leads there. */
static norma_status visit(norma_context *context, const char *function, void *data) {
    char bytes[4] = {0};
    void *more;
    norma_rmsnorm_linear_desc desc = norma_rmsnorm_linear_desc_init();
    desc.k = 4;
    desc.x.dtype = desc.residual.dtype = NORMA_F32;
    desc.part[0].n = 1;
    desc.part[0].weight.dtype = desc.part[0].out.dtype = NORMA_F32;
    norma_rmsnorm_linear_args args = norma_rmsnorm_linear_args_init();
    args.m = 1;
    args.x.data = args.residual.data = args.part[0].weight.data = data;
    args.part[0].out = (norma_buffer){data, 4096};
    if (strcmp(function, "sync") == 0) return norma_synchronize(context);
    if (strcmp(function, "alloc") == 0) return norma_alloc(context, 4, &more);
    if (strcmp(function, "upload") == 0) return norma_upload(context, (norma_buffer){data, 0}, bytes, 4);
    if (strcmp(function, "download") == 0) return norma_download(context, bytes, (norma_buffer){data, 0}, 4);
    return norma_rmsnorm_linear(context, &desc, &args);
}

/* The call that first meets the fault, whichever it is, latches it. */
static void any_call_may_meet_the_fault(void **state) {
    (void)state;
    static const char *const functions[] = {"sync", "alloc", "upload", "download", "prepare", "launch"};
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        fake_reset();
        norma_context *context;
        void *data;
        EXPECT_OK(fake_context_create(&context));
        EXPECT_OK(norma_alloc(context, 8192, &data));
        fake.fail_only = functions[i];
        fake.fail_at = fake.calls + 1;
        fake.fail_status = NORMA_ERROR_DEVICE_LOST;
        expect_sentence(functions[i], visit(context, functions[i], data), NORMA_ERROR_DEVICE_LOST, functions[i]);
        EXPECT_FAILURE(norma_synchronize(context), NORMA_ERROR_DEVICE_LOST, "was lost in an earlier call");
        (void)norma_free(context, data);
        norma_context_destroy(context);
        fake_expect_nothing_live(functions[i]);
    }
}

/* Freeing works on a lost device, so the call that frees may succeed: the next one tells. */
static void fault_while_memory_is_freed_is_not_forgotten(void **state) {
    (void)state;
    norma_context *context;
    EXPECT_OK(fake_context_create(&context));
    norma_workspace workspace = {0};
    EXPECT_OK(norma_workspace_reserve(context, &workspace, 16));
    EXPECT_OK(norma_workspace_reserve(context, &workspace, 32));
    fake.fail_only = "release";
    fake.fail_at = fake.calls + 1;
    fake.fail_status = NORMA_ERROR_DEVICE_LOST;
    norma_workspace_release(context, &workspace);
    EXPECT_FAILURE(norma_synchronize(context), NORMA_ERROR_DEVICE_LOST, "was lost in an earlier call");
    norma_context_destroy(context);
    fake_expect_nothing_live("workspace");
}

/* A graph that was captured before a workspace grew goes on using the memory it was captured with. */
static void growing_workspace_keeps_what_it_grew_out_of(void **state) {
    (void)state;
    norma_context *context;
    EXPECT_OK(fake_context_create(&context));
    norma_workspace workspace = {0};
    char *blocks[3];
    static const size_t sizes[][2] = {{16, 16}, {17, 32}, {100, 100}}; /* asked for, and had */
    for (int i = 0; i < 3; i++) {
        EXPECT_OK(norma_workspace_reserve(context, &workspace, sizes[i][0]));
        EXPECT_OK(norma_workspace_reserve(context, &workspace, sizes[i][0] - 1));
        assert_int_equal(workspace.bytes, sizes[i][1]);
        assert_int_equal(fake.live_buffers, i + 1);
        blocks[i] = workspace.data;
        memset(blocks[i], i, workspace.bytes);
    }
    for (int i = 0; i < 3; i++) assert_int_equal(blocks[i][15], i);
    fake.fail_only = "alloc";
    fake.fail_at = fake.calls + 1;
    fake.fail_status = NORMA_ERROR_OUT_OF_MEMORY;
    assert_int_equal(norma_workspace_reserve(context, &workspace, 1000), NORMA_ERROR_OUT_OF_MEMORY);
    assert_ptr_equal(workspace.data, blocks[2]);
    norma_workspace_release(context, &workspace);
    norma_context_destroy(context);
    fake_expect_nothing_live("workspace");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(bad_descriptions_make_no_context, reset),
        cmocka_unit_test_setup(bad_environment_makes_no_context, reset),
        cmocka_unit_test_setup(threads_come_from_desc_then_environment, reset),
        cmocka_unit_test_setup(null_arguments_are_named, reset),
        cmocka_unit_test_setup(memory_goes_there_and_back, reset),
        cmocka_unit_test_setup(device_error_does_not_latch, reset),
        cmocka_unit_test_setup(lost_device_answers_every_later_call, reset),
        cmocka_unit_test_setup(any_call_may_meet_the_fault, reset),
        cmocka_unit_test_setup(fault_while_memory_is_freed_is_not_forgotten, reset),
        cmocka_unit_test_setup(growing_workspace_keeps_what_it_grew_out_of, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
