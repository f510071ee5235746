/* Backend strings and the choice of a backend, on a registry of fakes and on the library's own. */
#include "front/select.h"

#include <stdio.h>
#include <stdlib.h>

#include "expect.h"
#include "fake_backend.h"

static norma_backend two_devices;
static norma_backend no_devices;

static void probe_two(norma_backend_info *out_info) {
    out_info->devices = 2;
}

static void probe_none(norma_backend_info *out_info) {
    out_info->devices = 0;
    snprintf(out_info->detail, sizeof out_info->detail, "libnone.so.1 was not found");
}

static const norma_registered entries[] = {
    {"absent", NULL, "configure with -DABSENT=ON"}, {"empty", &no_devices, ""}, {"two", &two_devices, ""}};
static const norma_registry registry = {entries, 3};

typedef struct kept_line {
    char text[1024];
} kept_line;

static void keep_line(void *user, norma_log_level level, const char *line) {
    kept_line *kept = user;
    if (level == NORMA_LOG_INFO) snprintf(kept->text, sizeof kept->text, "%s", line);
}

static norma_status open_text(const char *text, kept_line *kept, norma_context **out_context) {
    norma_choices choices;
    const norma_status status = norma_choices_parse(&registry, "desc.backend", text, &choices);
    const norma_open_desc desc = {.log = {NORMA_LOG_INFO, keep_line, kept}};
    *out_context = NULL;
    return status ? status : norma_choices_open(&registry, &choices, desc, out_context);
}

static int reset(void **state) {
    (void)state;
    fake_reset();
    two_devices = no_devices = fake_backend;
    two_devices.name = "two";
    two_devices.probe = probe_two;
    no_devices.name = "empty";
    no_devices.probe = probe_none;
    unsetenv("NORMA_BACKEND");
    unsetenv("NORMA_LOG");
    return 0;
}

static void malformed_strings_are_quoted(void **state) {
    (void)state;
    static const struct {
        const char *text, *needle;
    } rows[] = {
        {"", "empty entry"},
        {",", "empty entry"},
        {"two,", "empty entry"},
        {",two", "empty entry"},
        {"two,,two", "empty entry"},
        {":0", "empty entry"},
        {"metal", "there is no backend \"metal\", only absent, empty, two"},
        {"Two", "there is no backend \"Two\""},
        {"tw", "there is no backend \"tw\""},
        {" two", "there is no backend \" two\""},
        {"two two", "there is no backend \"two two\""},
        {"two,metal:1", "there is no backend \"metal\""},
        {"two:", "\"\" is not a device index"},
        {"two:x", "\"x\" is not a device index"},
        {"two:-1", "\"-1\" is not a device index"},
        {"two:+1", "\"+1\" is not a device index"},
        {"two:1x", "\"1x\" is not a device index"},
        {"two:1:1", "\"1:1\" is not a device index"},
        {"two:2147483648", "\"2147483648\" is not a device index"},
        {"two:99999999999999999999", "is not a device index"},
        {"two,auto", "\"auto\" stands alone"},
        {"auto,two", "\"auto\" stands alone"},
        {"auto:1", "there is no backend \"auto\""},
        {"two,two,two,two,two,two,two,two,two,two,two,two,two,two,two,two,two", "more than 16 entries"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        kept_line kept;
        norma_context *context;
        expect_sentence(rows[i].text, open_text(rows[i].text, &kept, &context), NORMA_ERROR_BACKEND_UNKNOWN, rows[i].needle);
        char quoted[128];
        snprintf(quoted, sizeof quoted, "desc.backend is \"%s\"", rows[i].text);
        assert_non_null(strstr(norma_last_error(), quoted));
        assert_null(context);
    }
    assert_int_equal(fake.calls, 0);
}

static void well_formed_strings_open_what_they_say(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int index;
        const char *logged;
    } rows[] = {
        {"two", 0, "backend two:0 (a fake device, none), by desc.backend"},
        {"two:0", 0, "backend two:0"},
        {"two:1", 1, "backend two:1"},
        {"absent,two:1", 1, "passed over: backend \"absent\" is not in this build: configure with -DABSENT=ON"},
        {"empty,two", 0, "libnone.so.1 was not found"},
        {"two:2,two:1", 1, "passed over: device index is 2"},
        {"two:1,absent", 1, "backend two:1"},
        {"auto", 0, "libnone.so.1 was not found"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        kept_line kept = {""};
        norma_context *context;
        EXPECT_OK(open_text(rows[i].text, &kept, &context));
        assert_string_equal(context->info.backend, "two");
        assert_int_equal(context->info.index, rows[i].index);
        assert_int_equal(context->device->index, rows[i].index);
        if (!strstr(kept.text, rows[i].logged))
            fail_msg("%s: \"%s\" is not in: %s", rows[i].text, rows[i].logged, kept.text);
        norma_context_destroy(context);
        fake_expect_nothing_live(rows[i].text);
    }
}

static void backend_named_alone_is_refused_with_its_own_status(void **state) {
    (void)state;
    static const struct {
        const char *text;
        norma_status status;
        const char *needle;
    } rows[] = {
        {"absent", NORMA_ERROR_BACKEND_NOT_BUILT, "backend \"absent\" is not in this build: configure with -DABSENT=ON"},
        {"empty", NORMA_ERROR_NO_DEVICE, "backend \"empty\" has no device: libnone.so.1 was not found"},
        {"empty:3", NORMA_ERROR_NO_DEVICE, "backend \"empty\" has no device"},
        {"two:2", NORMA_ERROR_DEVICE_INDEX, "device index is 2 in \"two:2\"; backend \"two\" has 2 devices"},
        {"absent,empty", NORMA_ERROR_BACKEND_NOT_BUILT,
         "not in this build: configure with -DABSENT=ON; backend \"empty\" has"},
        {"two:7,absent", NORMA_ERROR_DEVICE_INDEX, "no backend of desc.backend can be used"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        kept_line kept;
        norma_context *context;
        expect_sentence(rows[i].text, open_text(rows[i].text, &kept, &context), rows[i].status, rows[i].needle);
        assert_int_equal(strstr(norma_last_error(), "can be used") != NULL, strchr(rows[i].text, ',') != NULL);
        assert_null(context);
        fake_expect_nothing_live(rows[i].text);
    }
}

static void device_that_does_not_open_is_passed_over_in_a_list_only(void **state) {
    (void)state;
    kept_line kept = {""};
    norma_context *context;
    fake.fail_at = 2; /* open, after describe */
    fake.fail_status = NORMA_ERROR_DEVICE;
    EXPECT_FAILURE(open_text("two", &kept, &context), NORMA_ERROR_DEVICE, "told to fail call 2, open");
    fake_expect_nothing_live("alone");

    fake.calls = 0;
    EXPECT_OK(open_text("two:0,two:1", &kept, &context));
    assert_int_equal(context->info.index, 1);
    assert_non_null(strstr(kept.text, "told to fail call 2, open"));
    norma_context_destroy(context);
    fake_expect_nothing_live("list");
}

static void library_lists_its_backends(void **state) {
    (void)state;
    static const char *const names[] = {"cuda", "hip", "opencl", "cpu"};
    assert_int_equal(norma_backend_count(), 4);
    for (int i = 0; i < 4; i++) {
        norma_backend_info info = {.struct_size = sizeof info};
        EXPECT_OK(norma_backend_get_info(i, &info));
        assert_string_equal(info.name, names[i]);
        assert_true(info.detail[0] != 0);
        assert_true(info.built || info.devices == 0);
    }
    norma_backend_info info = {.struct_size = sizeof info};
    EXPECT_FAILURE(norma_backend_get_info(-1, &info), NORMA_ERROR_BACKEND_UNKNOWN, "index is -1");
    EXPECT_FAILURE(norma_backend_get_info(4, &info), NORMA_ERROR_BACKEND_UNKNOWN, "index is 4");
    EXPECT_FAILURE(norma_backend_get_info(3, NULL), NORMA_ERROR_NULL_POINTER, "out_info is NULL");
    info.struct_size = 1;
    EXPECT_FAILURE(norma_backend_get_info(3, &info), NORMA_ERROR_STRUCT_SIZE, "out_info.struct_size is 1");

    norma_device_info device = {.struct_size = sizeof device};
    EXPECT_OK(norma_device_get_info(3, 0, &device));
    assert_string_equal(device.backend, "cpu");
    assert_true(device.compute_units >= 1);
    assert_true(device.name[0] != 0 && device.arch[0] != 0);
    EXPECT_FAILURE(norma_device_get_info(3, 99, &device), NORMA_ERROR_DEVICE_INDEX, "index is 99");
    EXPECT_FAILURE(norma_device_get_info(3, -1, &device), NORMA_ERROR_DEVICE_INDEX, "index is -1");
    EXPECT_FAILURE(norma_device_get_info(9, 0, &device), NORMA_ERROR_BACKEND_UNKNOWN, "index is 9");
    EXPECT_FAILURE(norma_device_get_info(3, 0, NULL), NORMA_ERROR_NULL_POINTER, "out_info is NULL");
}

static void backend_that_is_not_built_says_how_to_get_it(void **state) {
    (void)state;
    for (int i = 0; i < norma_backends.count; i++) {
        const norma_registered *entry = &norma_backends.entries[i];
        if (entry->backend) continue;
        norma_context_desc desc = norma_context_desc_init();
        desc.backend = entry->name;
        norma_context *context;
        expect_sentence(entry->name, norma_context_create(&desc, &context), NORMA_ERROR_BACKEND_NOT_BUILT, entry->how);
        assert_null(context);
        norma_device_info device = {.struct_size = sizeof device};
        expect_sentence(entry->name, norma_device_get_info(i, 0, &device), NORMA_ERROR_BACKEND_NOT_BUILT, entry->how);
    }
}

static void description_wins_over_environment(void **state) {
    (void)state;
    norma_context *context;
    setenv("NORMA_BACKEND", "nonsense", 1);
    EXPECT_FAILURE(norma_context_create(NULL, &context), NORMA_ERROR_BACKEND_UNKNOWN, "NORMA_BACKEND is \"nonsense\"");
    norma_context_desc desc = norma_context_desc_init();
    EXPECT_FAILURE(norma_context_create(&desc, &context), NORMA_ERROR_BACKEND_UNKNOWN, "NORMA_BACKEND is \"nonsense\"");
    desc.backend = "cpu";
    EXPECT_OK(norma_context_create(&desc, &context));
    norma_context_destroy(context);

    setenv("NORMA_BACKEND", "cpu:99", 1);
    EXPECT_FAILURE(norma_context_create(NULL, &context), NORMA_ERROR_DEVICE_INDEX, "device index is 99 in \"cpu:99\"");
    setenv("NORMA_BACKEND", "cpu:99,cpu", 1);
    EXPECT_OK(norma_context_create(NULL, &context));
    norma_context_destroy(context);
    setenv("NORMA_BACKEND", "", 1);
    EXPECT_OK(norma_context_create(NULL, &context));
    norma_context_destroy(context);
    unsetenv("NORMA_BACKEND");
    EXPECT_OK(norma_context_create(NULL, &context));
    norma_device_info info = {.struct_size = sizeof info};
    EXPECT_OK(norma_context_get_info(context, &info));
    assert_non_null(info.backend);
    norma_context_destroy(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(malformed_strings_are_quoted, reset),
        cmocka_unit_test_setup(well_formed_strings_open_what_they_say, reset),
        cmocka_unit_test_setup(backend_named_alone_is_refused_with_its_own_status, reset),
        cmocka_unit_test_setup(device_that_does_not_open_is_passed_over_in_a_list_only, reset),
        cmocka_unit_test_setup(library_lists_its_backends, reset),
        cmocka_unit_test_setup(backend_that_is_not_built_says_how_to_get_it, reset),
        cmocka_unit_test_setup(description_wins_over_environment, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
