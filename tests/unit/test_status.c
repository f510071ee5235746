/* Statuses, the sentence, options and the log. */
#include "front/log.h"
#include "front/option.h"
#include "front/status.h"
#include "front/struct_size.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "expect.h"

static void every_status_has_its_own_name(void **state) {
    (void)state;
    for (int a = NORMA_OK; a <= NORMA_ERROR_DEVICE_LOST; a++) {
        const char *name = norma_status_name((norma_status)a);
        assert_int_equal(strncmp(name, "NORMA_", 6), 0);
        for (int b = NORMA_OK; b < a; b++) assert_string_not_equal(name, norma_status_name((norma_status)b));
    }
    assert_string_equal(norma_status_name((norma_status)(NORMA_ERROR_DEVICE_LOST + 1)), "unknown status");
    assert_string_equal(norma_status_name((norma_status)-1), "unknown status");
}

static void version_agrees_with_the_header(void **state) {
    (void)state;
    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", NORMA_VERSION_MAJOR, NORMA_VERSION_MINOR, NORMA_VERSION_PATCH);
    assert_string_equal(norma_version(), version);
}

static void sentence_may_quote_the_one_before(void **state) {
    (void)state;
    assert_int_equal(norma_fail(NORMA_ERROR_SIZE, "k is %d", 0), NORMA_ERROR_SIZE);
    assert_string_equal(norma_last_error(), "k is 0");
    norma_fail(NORMA_ERROR_DEVICE, "outer: %s", norma_last_error());
    assert_string_equal(norma_last_error(), "outer: k is 0");
}

static void long_sentence_is_cut_not_overrun(void **state) {
    (void)state;
    char text[5000];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = 0;
    norma_fail(NORMA_ERROR_OPTION, "%s", text);
    assert_true(strlen(norma_last_error()) >= 500);
    assert_true(strlen(norma_last_error()) < sizeof text - 1);
}

static void *sentence_of_a_new_thread(void *unused) {
    (void)unused;
    static char seen[2][64];
    snprintf(seen[0], sizeof seen[0], "%s", norma_last_error());
    norma_fail(NORMA_ERROR_SIZE, "of the thread");
    snprintf(seen[1], sizeof seen[1], "%s", norma_last_error());
    return seen;
}

static void sentence_belongs_to_its_thread(void **state) {
    (void)state;
    norma_fail(NORMA_ERROR_SIZE, "of main");
    pthread_t thread;
    void *seen;
    assert_int_equal(pthread_create(&thread, NULL, sentence_of_a_new_thread, NULL), 0);
    assert_int_equal(pthread_join(thread, &seen), 0);
    assert_string_equal((char *)seen, "");
    assert_string_equal((char *)seen + 64, "of the thread");
    assert_string_equal(norma_last_error(), "of main");
}

static void options_are_read_strictly(void **state) {
    (void)state;
    static const char name[] = "NORMA_UNIT_OPTION";
    bool on = true;
    int count = 7;
    unsetenv(name);
    EXPECT_OK(norma_option_switch(name, &on));
    assert_false(on);
    EXPECT_OK(norma_option_count(name, &count));
    assert_int_equal(count, 0);
    assert_null(norma_option_text(name));
    setenv(name, "", 1);
    assert_null(norma_option_text(name));

    setenv(name, "1", 1);
    EXPECT_OK(norma_option_switch(name, &on));
    assert_true(on);
    setenv(name, "0", 1);
    EXPECT_OK(norma_option_switch(name, &on));
    assert_false(on);
    static const char *const bad_switches[] = {"2", "on", "true", "01", " 1"};
    for (size_t i = 0; i < sizeof bad_switches / sizeof bad_switches[0]; i++) {
        setenv(name, bad_switches[i], 1);
        expect_sentence(bad_switches[i], norma_option_switch(name, &on), NORMA_ERROR_OPTION, bad_switches[i]);
        assert_false(on);
    }

    setenv(name, "2147483647", 1);
    EXPECT_OK(norma_option_count(name, &count));
    assert_int_equal(count, 2147483647);
    static const char *const bad_counts[] = {"0", "-1", "+1", " 1", "1 ", "x", "1x", "2147483648", "99999999999999999999"};
    for (size_t i = 0; i < sizeof bad_counts / sizeof bad_counts[0]; i++) {
        setenv(name, bad_counts[i], 1);
        expect_sentence(bad_counts[i], norma_option_count(name, &count), NORMA_ERROR_OPTION, bad_counts[i]);
        assert_int_equal(count, 0);
    }
    unsetenv(name);
}

typedef struct kept_lines {
    int count;
    norma_log_level level;
    char line[4096];
} kept_lines;

static void keep_line(void *user, norma_log_level level, const char *line) {
    kept_lines *kept = user;
    kept->count++;
    kept->level = level;
    snprintf(kept->line, sizeof kept->line, "%s", line);
}

static void log_level_comes_from_desc_then_environment(void **state) {
    (void)state;
    norma_logger logger;
    unsetenv("NORMA_LOG");
    EXPECT_OK(norma_logger_init(&logger, NORMA_LOG_DEFAULT, NULL, NULL));
    assert_int_equal(logger.level, NORMA_LOG_WARN);
    static const char *const names[] = {"error", "warn", "info", "debug"};
    for (int i = 0; i < 4; i++) {
        setenv("NORMA_LOG", names[i], 1);
        EXPECT_OK(norma_logger_init(&logger, NORMA_LOG_DEFAULT, NULL, NULL));
        assert_int_equal(logger.level, NORMA_LOG_ERROR + i);
    }
    EXPECT_OK(norma_logger_init(&logger, NORMA_LOG_WARN, NULL, NULL));
    assert_int_equal(logger.level, NORMA_LOG_WARN);
    setenv("NORMA_LOG", "loud", 1);
    EXPECT_FAILURE(norma_logger_init(&logger, NORMA_LOG_DEFAULT, NULL, NULL), NORMA_ERROR_OPTION, "NORMA_LOG is \"loud\"");
    unsetenv("NORMA_LOG");
    EXPECT_FAILURE(norma_logger_init(&logger, (norma_log_level)9, NULL, NULL), NORMA_ERROR_OPTION, "desc.log_level is 9");
    EXPECT_FAILURE(norma_logger_init(&logger, (norma_log_level)-1, NULL, NULL), NORMA_ERROR_OPTION, "desc.log_level is -1");
}

static void log_gives_whole_lines_to_the_callback(void **state) {
    (void)state;
    kept_lines kept = {0};
    const norma_logger logger = {NORMA_LOG_INFO, keep_line, &kept};
    norma_log(&logger, NORMA_LOG_DEBUG, "too much detail");
    assert_int_equal(kept.count, 0);
    norma_log(&logger, NORMA_LOG_WARN, "line %d", 1);
    assert_int_equal(kept.count, 1);
    assert_int_equal(kept.level, NORMA_LOG_WARN);
    assert_string_equal(kept.line, "line 1");

    /* Around the length at which the line leaves the stack. */
    for (int length = 495; length < 520; length++) {
        char text[600];
        memset(text, 'x', (size_t)length);
        text[length] = 0;
        norma_log(&logger, NORMA_LOG_ERROR, "%s", text);
        assert_string_equal(kept.line, text);
    }
}

static void log_writes_prefixed_lines_to_standard_error(void **state) {
    (void)state;
    FILE *file = tmpfile();
    assert_non_null(file);
    fflush(stderr);
    const int saved = dup(STDERR_FILENO);
    assert_true(dup2(fileno(file), STDERR_FILENO) >= 0);
    const norma_logger logger = {NORMA_LOG_WARN, NULL, NULL};
    norma_log(&logger, NORMA_LOG_WARN, "one %s", "line");
    norma_log(&logger, NORMA_LOG_INFO, "not this");
    norma_log(&logger, NORMA_LOG_ERROR, "%600d", 7);
    fflush(stderr);
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    close(saved);

    char text[1024];
    rewind(file);
    const size_t bytes = fread(text, 1, sizeof text - 1, file);
    text[bytes] = 0;
    fclose(file);
    assert_int_equal(strncmp(text, "norma: one line\nnorma:  ", 24), 0);
    assert_int_equal(bytes, strlen("norma: one line\n") + strlen("norma: ") + 601);
    assert_int_equal(text[bytes - 1], '\n');
}

static void struct_may_be_shorter_but_not_longer(void **state) {
    (void)state;
    typedef struct version_two {
        size_t struct_size;
        int first;
        int second;
    } version_two;
    const size_t v1_bytes = NORMA_BYTES_TO(version_two, first);
    version_two given = {.struct_size = v1_bytes, .first = 1, .second = 2};
    version_two read;
    EXPECT_OK(norma_struct_read("desc", &given, v1_bytes, &read, sizeof read));
    assert_int_equal(read.first, 1);
    assert_int_equal(read.second, 0);

    const version_two result = {.struct_size = sizeof result, .first = 5, .second = 6};
    EXPECT_OK(norma_struct_write("out_info", &given, v1_bytes, &result, sizeof result));
    assert_int_equal(given.struct_size, v1_bytes);
    assert_int_equal(given.first, 5);
    assert_int_equal(given.second, 2);

    given.struct_size = sizeof given + 8;
    EXPECT_FAILURE(norma_struct_read("desc", &given, v1_bytes, &read, sizeof read), NORMA_ERROR_STRUCT_SIZE, "newer header");
    given.struct_size = v1_bytes - 1;
    EXPECT_FAILURE(norma_struct_read("desc", &given, v1_bytes, &read, sizeof read), NORMA_ERROR_STRUCT_SIZE,
                   "desc.struct_size is 11");
    EXPECT_FAILURE(norma_struct_write("out_info", NULL, v1_bytes, &result, sizeof result), NORMA_ERROR_NULL_POINTER,
                   "out_info is NULL");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_status_has_its_own_name),
        cmocka_unit_test(version_agrees_with_the_header),
        cmocka_unit_test(sentence_may_quote_the_one_before),
        cmocka_unit_test(long_sentence_is_cut_not_overrun),
        cmocka_unit_test(sentence_belongs_to_its_thread),
        cmocka_unit_test(options_are_read_strictly),
        cmocka_unit_test(log_level_comes_from_desc_then_environment),
        cmocka_unit_test(log_gives_whole_lines_to_the_callback),
        cmocka_unit_test(log_writes_prefixed_lines_to_standard_error),
        cmocka_unit_test(struct_may_be_shorter_but_not_longer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
