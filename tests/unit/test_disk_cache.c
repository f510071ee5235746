/* The cache on disk: what is kept is read back, by its own key alone; damage is seen; and nobody sees half of a file. */
#include "front/disk_cache.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "expect.h"
#include "harness/cache_folder.h"

static int make_cache(void **state) {
    (void)state;
    return test_cache_make();
}

static int drop_cache(void **state) {
    (void)state;
    return test_cache_drop();
}

static void keep(const char *kind, const char *key, const char *text) {
    char why[256];
    if (!norma_disk_cache_write(kind, key, text, strlen(text), why, sizeof why)) fail_msg("%s", why);
}

/* What is kept has this text; NULL: nothing is. */
static void expect_kept(const char *kind, const char *key, const char *text) {
    unsigned char *content = NULL;
    size_t bytes = 0;
    const bool found = norma_disk_cache_read(kind, key, &content, &bytes);
    assert_int_equal(found, text != NULL);
    if (!text) return;
    assert_int_equal(bytes, strlen(text));
    assert_memory_equal(content, text, bytes);
    free(content);
}

static void what_is_kept_is_read_by_its_key_alone(void **state) {
    (void)state;
    static const char *const kinds[] = {"one", "other"}, *const keys[] = {"", "a", "b", "a\nb"};
    expect_kept("one", "a", NULL);
    for (int kind = 0; kind < 2; kind++)
        for (int key = 0; key < 4; key++) {
            char text[32];
            snprintf(text, sizeof text, "%d %d", kind, key);
            expect_kept(kinds[kind], keys[key], NULL);
            keep(kinds[kind], keys[key], "first");
            keep(kinds[kind], keys[key], text);
        }
    char path[TEST_CACHE_PATH_BYTES];
    assert_int_equal(test_cache_files(path), 8);
    for (int kind = 0; kind < 2; kind++)
        for (int key = 0; key < 4; key++) {
            char text[32];
            snprintf(text, sizeof text, "%d %d", kind, key);
            expect_kept(kinds[kind], keys[key], text);
        }
}

static void damage_is_seen_and_written_over(void **state) {
    (void)state;
    char path[TEST_CACHE_PATH_BYTES];
    for (int which = 0; which < DAMAGE_COUNT; which++) {
        keep("kind", "a key of some length", "content");
        assert_int_equal(test_cache_files(path), 1);
        expect_kept("kind", "a key of some length", "content");
        test_cache_damage((test_damage)which, path);
        unsigned char *content;
        size_t bytes;
        if (norma_disk_cache_read("kind", "a key of some length", &content, &bytes))
            fail_msg("damage %d is not seen", which);
    }
}

static void a_file_that_cannot_be_written_is_said(void **state) {
    (void)state;
    char path[TEST_CACHE_PATH_BYTES], why[256] = "";
    keep("kind", "key", "content");
    assert_int_equal(test_cache_files(path), 1);
    test_cache_obstruct(path);
    expect_kept("kind", "key", NULL);
    assert_false(norma_disk_cache_write("kind", "key", "content", 7, why, sizeof why));
    assert_non_null(strstr(why, "directory"));
    assert_int_equal(test_cache_files(path), 1); /* no draft is left */

    setenv("NORMA_CACHE_DIR", "/proc/norma/cache", 1);
    expect_kept("kind", "key", NULL);
    assert_false(norma_disk_cache_write("kind", "key", "content", 7, why, sizeof why));
    assert_non_null(strstr(why, "/proc/norma/cache: "));
}

static void the_folder_comes_from_the_environment(void **state) {
    (void)state;
    char own[256], path[TEST_CACHE_PATH_BYTES];
    snprintf(own, sizeof own, "%s", getenv("NORMA_CACHE_DIR"));
    const char *const home = getenv("HOME"), *const shared = getenv("XDG_CACHE_HOME");
    char kept_home[256], kept_shared[256];
    snprintf(kept_home, sizeof kept_home, "%s", home ? home : "");
    snprintf(kept_shared, sizeof kept_shared, "%s", shared ? shared : "");

    static const struct {
        const char *variable, *below, *folders[3]; /* the folders to remove, from the inside out */
    } rows[] = {{"NORMA_CACHE_DIR", "/x/y", {"/x/y", "/x"}},
                {"XDG_CACHE_HOME", "/norma", {"/norma"}},
                {"HOME", "/.cache/norma", {"/.cache/norma", "/.cache"}}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const bool is_own = i == 0;
        unsetenv("NORMA_CACHE_DIR");
        unsetenv("XDG_CACHE_HOME");
        unsetenv("HOME");
        char value[300], below[300];
        snprintf(below, sizeof below, "%s%s", own, rows[i].below);
        snprintf(value, sizeof value, "%s", is_own ? below : own);
        setenv(rows[i].variable, value, 1);
        keep("kind", "key", "content");
        expect_kept("kind", "key", "content");
        setenv("NORMA_CACHE_DIR", below, 1); /* the very folder */
        expect_kept("kind", "key", "content");
        struct stat about;
        assert_int_equal(stat(below, &about), 0);
        assert_int_equal(about.st_mode & 077, 0);
        char command[400];
        snprintf(command, sizeof command, "rm -f '%s'/kind-*", below);
        assert_int_equal(system(command), 0);
        for (int f = 0; f < 3 && rows[i].folders[f]; f++) {
            snprintf(path, sizeof path, "%s%s", own, rows[i].folders[f]);
            assert_int_equal(rmdir(path), 0);
        }
    }
    char why[256];
    unsetenv("NORMA_CACHE_DIR");
    unsetenv("XDG_CACHE_HOME");
    unsetenv("HOME");
    expect_kept("kind", "key", NULL);
    assert_false(norma_disk_cache_write("kind", "key", "content", 7, why, sizeof why));
    assert_non_null(strstr(why, "neither NORMA_CACHE_DIR nor HOME names a folder"));
    if (home) setenv("HOME", kept_home, 1);
    if (shared) setenv("XDG_CACHE_HOME", kept_shared, 1);
}

/* ---- At the same time ---- */

enum { WRITERS = 2, ROUNDS = 200, LONGEST = 20000 };

/* Writes contents of one letter and of many lengths, and reads whatever stands there. 0 if each was of one letter. */
static int write_and_read(char letter) {
    char *content = malloc(LONGEST), why[256];
    if (!content) return 1;
    memset(content, letter, LONGEST);
    int wrong = 0;
    for (int round = 0; round < ROUNDS; round++) {
        if (!norma_disk_cache_write("kind", "key", content, (size_t)(1 + round * 97 % LONGEST), why, sizeof why)) wrong++;
        unsigned char *read;
        size_t bytes;
        if (!norma_disk_cache_read("kind", "key", &read, &bytes)) {
            wrong++;
            continue;
        }
        for (size_t i = 1; i < bytes; i++) wrong += read[i] != read[0];
        free(read);
    }
    free(content);
    return wrong;
}

static void processes_never_see_half_a_file(void **state) {
    (void)state;
    pid_t children[WRITERS];
    for (int i = 0; i < WRITERS; i++) {
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (children[i] == 0) _exit(write_and_read((char)('a' + i)) != 0);
    }
    for (int i = 0; i < WRITERS; i++) {
        int result;
        assert_int_equal(waitpid(children[i], &result, 0), children[i]);
        assert_true(WIFEXITED(result) && WEXITSTATUS(result) == 0);
    }
    char path[TEST_CACHE_PATH_BYTES];
    assert_int_equal(test_cache_files(path), 1);
}

static void *write_as_thread(void *user) {
    int *wrong = user;
    *wrong = write_and_read((char)('a' + *wrong));
    return NULL;
}

static void threads_never_see_half_a_file(void **state) {
    (void)state;
    pthread_t threads[WRITERS];
    int wrong[WRITERS];
    for (int i = 0; i < WRITERS; i++) {
        wrong[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, write_as_thread, &wrong[i]), 0);
    }
    for (int i = 0; i < WRITERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(wrong[i], 0);
    }
}

int main(void) {
#define CACHE_TEST(test) cmocka_unit_test_setup_teardown(test, make_cache, drop_cache)
    const struct CMUnitTest tests[] = {
        CACHE_TEST(what_is_kept_is_read_by_its_key_alone), CACHE_TEST(damage_is_seen_and_written_over),
        CACHE_TEST(a_file_that_cannot_be_written_is_said), CACHE_TEST(the_folder_comes_from_the_environment),
        CACHE_TEST(processes_never_see_half_a_file),       CACHE_TEST(threads_never_see_half_a_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
