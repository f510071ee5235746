/* A folder of its own for the cache on disk, and the ways in which a file in it can be damaged. */
#ifndef NORMA_TESTS_CACHE_FOLDER_H
#define NORMA_TESTS_CACHE_FOLDER_H

#include <stddef.h>

#define TEST_CACHE_PATH_BYTES 512

typedef enum test_damage {
    DAMAGE_EMPTY,
    DAMAGE_HALF_A_HEADER,
    DAMAGE_CUT_SHORT,
    DAMAGE_OTHER_MAGIC,
    DAMAGE_HUGE_SIZES,
    DAMAGE_OTHER_KEY,
    DAMAGE_OTHER_CONTENT,
    DAMAGE_LONGER,
    DAMAGE_OTHERS_MAY_WRITE,
    DAMAGE_LINK,
    DAMAGE_COUNT
} test_damage;

/* Makes an empty folder and names it in NORMA_CACHE_DIR; 0 if all went well. */
int test_cache_make(void);

/* Removes the folder with what is in it, and unsets NORMA_CACHE_DIR. */
int test_cache_drop(void);

/* How many files there are, and the path of one. */
int test_cache_files(char path[TEST_CACHE_PATH_BYTES]);

/* Damages the file, of which at least the last byte is content. */
void test_cache_damage(test_damage which, const char *path);

/* Puts a folder in its place. */
void test_cache_obstruct(const char *path);

#endif
