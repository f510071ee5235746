/* The cache's folder in tests (cache_folder.h). Offsets are those of front/disk_cache.c's header of 40 bytes, which the key
 * follows. */
#include "harness/cache_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];

int test_cache_make(void) {
    snprintf(folder, sizeof folder, "/tmp/norma-cache-XXXXXX");
    if (!mkdtemp(folder)) return -1;
    return setenv("NORMA_CACHE_DIR", folder, 1);
}

int test_cache_drop(void) {
    DIR *entries = opendir(folder);
    for (struct dirent *entry = entries ? readdir(entries) : NULL; entry; entry = readdir(entries)) {
        char path[TEST_CACHE_PATH_BYTES];
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (entry->d_name[0] != '.' && unlink(path) != 0) rmdir(path);
    }
    if (entries) closedir(entries);
    rmdir(folder);
    return unsetenv("NORMA_CACHE_DIR");
}

int test_cache_files(char path[TEST_CACHE_PATH_BYTES]) {
    int files = 0;
    DIR *entries = opendir(folder);
    assert_non_null(entries);
    for (struct dirent *entry = readdir(entries); entry; entry = readdir(entries)) {
        if (entry->d_name[0] == '.') continue;
        snprintf(path, TEST_CACHE_PATH_BYTES, "%s/%s", folder, entry->d_name);
        files++;
    }
    closedir(entries);
    return files;
}

static void overwrite(const char *path, long at, const char *bytes, size_t count) {
    const int file = open(path, O_WRONLY);
    assert_true(file >= 0);
    assert_int_equal(pwrite(file, bytes, count, at), (ssize_t)count);
    close(file);
}

static void flip(const char *path, long at) {
    char byte;
    const int file = open(path, O_RDONLY);
    assert_true(file >= 0);
    assert_int_equal(pread(file, &byte, 1, at), 1);
    close(file);
    byte ^= 1;
    overwrite(path, at, &byte, 1);
}

static void cut(const char *path, long bytes) {
    assert_int_equal(truncate(path, bytes), 0);
}

static void become_a_link(const char *path) {
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("/dev/zero", path), 0);
}

void test_cache_obstruct(const char *path) {
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
}

void test_cache_damage(test_damage which, const char *path) {
    struct stat about;
    assert_int_equal(stat(path, &about), 0);
    const long bytes = (long)about.st_size;
    switch (which) {
    case DAMAGE_EMPTY: cut(path, 0); break;
    case DAMAGE_HALF_A_HEADER: cut(path, 20); break;
    case DAMAGE_CUT_SHORT: cut(path, bytes - 1); break;
    case DAMAGE_OTHER_MAGIC: flip(path, 0); break;
    case DAMAGE_HUGE_SIZES: overwrite(path, 16, "\377\377\377\377\377\377\377\377\377\377\377\377", 12); break;
    case DAMAGE_OTHER_KEY: flip(path, 42); break;
    case DAMAGE_OTHER_CONTENT: flip(path, bytes - 1); break;
    case DAMAGE_LONGER: overwrite(path, bytes, "x", 1); break;
    case DAMAGE_OTHERS_MAY_WRITE: assert_int_equal(chmod(path, 0666), 0); break;
    case DAMAGE_LINK: become_a_link(path); break;
    case DAMAGE_COUNT: break;
    }
}
