/* Case tables as cmocka groups. */
#ifndef NORMA_TESTS_SUITE_H
#define NORMA_TESTS_SUITE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "harness/trial.h"

/* NORMA_TEST_SEED, or a fixed number; printed once. */
uint64_t test_seed(void);

/* The seed of something named. */
uint64_t test_seed_for(const char *name);

/* Tries one case on one variant: one-shot with guard zones, then as a plan in tight arenas, which must give the same bits.
 * Fails the running cmocka test with the variant, the case and the seed. False if a forced kernel refuses the case. */
bool test_try(const test_case *test, test_variant *variant, uint64_t seed);

/* A trial of a case, created, run on a variant by one call and judged; fails the running cmocka test if anything is wrong.
 * NULL if a forced kernel refuses the case. The caller destroys it. */
test_trial *test_computed(const test_case *test, test_variant *variant, uint64_t seed);

/* As above for a trial that exists, whose inputs the caller may have changed. `what` says in a failure what was tried. */
bool test_compute(test_trial *trial, test_variant *variant, const char *what);

/* Runs cmocka tests with the variants open. Returns the number of failures. */
int test_group_run(const char *group, const struct CMUnitTest *tests, size_t test_count);

/* Runs a table over all variants as one cmocka group, each test named after its case, with every CONTRACT_EVERY and
 * DTYPE_SAME expanded. `kind` is a class's name, or NULL for all. Returns the number of failures. */
int test_suite_run(const char *group, const test_case *cases, size_t case_count, const char *kind);

/* The same with a test of the caller's, whose state is the expanded case. */
int test_suite_run_by(const char *group, const test_case *cases, size_t case_count, const char *kind,
                      CMUnitTestFunction test);

#endif
