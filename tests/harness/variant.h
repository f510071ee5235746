/* What is tested: each backend that is built and has a device, with the route that it chooses itself and with each route and
 * tile that can be forced. NORMA_REQUIRE lists backends whose absence is a failure; NORMA_TEST_BACKEND names the
 * only one to test; NORMA_TEST_THREADED=1 leaves out variants in which no threads share the work, NORMA_TEST_CHOSEN=1 those
 * whose route is forced. */
#ifndef NORMA_TESTS_VARIANT_H
#define NORMA_TESTS_VARIANT_H

#include <stdbool.h>

#include "problem.h"

typedef struct test_variant {
    char name[64];
    const char *backend;
    const char *kernel; /* forced by NORMA_KERNEL; NULL: the library's own choice, which must never refuse a problem */
    int threads;        /* 0: as many as there are */
    int target;         /* of norma_target, for an instruction set of the CPU or a shape under OpenCL; -1: its best */
    norma_context *context;
    int64_t ran, refused; /* problems */
    double worst;         /* largest error, as in test_verdict */
} test_variant;

/* Opens every variant; prints what is skipped and why. Ends the program with a message if an opening fails that should not,
 * or if NORMA_REQUIRE is not met. */
void test_variants_open(void);
void test_variants_close(void);

/* Prints what each variant ran, and its largest error. */
void test_variants_summary(void);

int test_variant_count(void);
test_variant *test_variant_at(int index);

/* The first variant of `backend` that chooses its own route; NULL if the backend is not there. */
test_variant *test_variant_default(const char *backend);

/* Whether a variant's forced kernel has to do with the operation: a Linear's does not change how a norm is computed. */
bool test_variant_concerns(const test_variant *variant, norma_op op);

/* A context for a variant, opened anew. The caller destroys it. */
norma_context *test_variant_context(const test_variant *variant);

/* Checks a list of required backends: true if every one is known and available(name) says so. Otherwise writes a sentence.
 * NULL and "" require nothing. */
bool test_require(const char *list, bool (*available)(const char *name), char *sentence, size_t sentence_bytes);

#endif
