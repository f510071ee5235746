/* Expands case tables and runs them under cmocka. */
#include "harness/suite.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "dtype.h"
#include "harness/place.h"
#include "harness/random.h"

enum { NAME_BYTES = 96 };

static const char *const class_names[CLASS_COUNT] = {"tiny", "edge", "random", "large", "bench"};

uint64_t test_seed(void) {
    static uint64_t seed;
    static bool known;
    if (known) return seed;
    const char *text = getenv("NORMA_TEST_SEED");
    seed = text && *text ? strtoull(text, NULL, 0) : UINT64_C(20260701);
    known = true;
    printf("seed %" PRIu64 " (NORMA_TEST_SEED)\n", seed);
    return seed;
}

uint64_t test_seed_for(const char *name) {
    uint64_t seed = test_seed();
    for (; *name; name++) seed = test_mix(seed ^ (unsigned char)*name);
    return seed;
}

static void fail_case(const test_case *test, const test_variant *variant, uint64_t seed, const char *path,
                      const char *text) {
    char line[1024];
    test_case_describe(test, line, sizeof line);
    fail_msg("%s, %s: %s\n  %s\n  seed 0x%" PRIx64, variant->name, path, text, line, seed);
}

/* False if a forced kernel refuses. */
static bool run(test_trial *trial, test_variant *variant, test_path path, const char *what) {
    const norma_status status = test_trial_run(trial, variant->context, path);
    if (status == NORMA_ERROR_UNSUPPORTED && variant->kernel) return false;
    if (status) fail_case(&trial->test, variant, trial->seed, what, norma_last_error());
    const test_verdict verdict = test_trial_judge(trial);
    if (!verdict.passed) fail_case(&trial->test, variant, trial->seed, what, verdict.text);
    if (verdict.worst > variant->worst) variant->worst = verdict.worst;
    return true;
}

bool test_compute(test_trial *trial, test_variant *variant, const char *what) {
    const bool computed = run(trial, variant, PATH_ONE_SHOT, what);
    *(computed ? &variant->ran : &variant->refused) += 1;
    return computed;
}

test_trial *test_computed(const test_case *test, test_variant *variant, uint64_t seed) {
    test_trial *trial = test_trial_create(test, seed, false);
    if (test_compute(trial, variant, "one-shot")) return trial;
    test_trial_destroy(trial);
    return NULL;
}

/* One-shot with guard zones, and as a plan of the same description in tight arenas. A plan made for max_rows may choose
 * otherwise than a one-shot call, which only a batch-invariant call may not show in its bits; and a forced kernel may
 * refuse the plan alone, since up to max_rows there may be an m with which the layouts do not suit it. */
static bool try_both(test_trial *guarded, test_trial *tight, test_variant *variant) {
    const test_case *test = &guarded->test;
    const bool one_shot = run(guarded, variant, PATH_ONE_SHOT, "one-shot");
    const bool plan = run(tight, variant, PATH_PLAN, "plan");
    const bool same_choice = test->max_rows == 0 || (test->flags & NORMA_BATCH_INVARIANT);
    if (one_shot != plan && !(variant->kernel && test->max_rows > 0))
        fail_case(test, variant, guarded->seed, "one of one-shot and plan", "refused what the other computed");
    if (one_shot && plan && same_choice && !test_trials_equal(guarded, tight))
        fail_case(test, variant, guarded->seed, "plan", "its bits differ from the one-shot call's");
    *(one_shot ? &variant->ran : &variant->refused) += 1;
    return one_shot;
}

bool test_try(const test_case *test, test_variant *variant, uint64_t seed) {
    test_trial *guarded = test_trial_create(test, seed, false);
    test_trial *tight = test_trial_create(test, seed, true);
    const bool computed = try_both(guarded, tight, variant);
    test_trial_destroy(guarded);
    test_trial_destroy(tight);
    return computed;
}

/* The reference is slow, and the same at every size. */
static bool worth_trying(const test_variant *variant, const test_case *test) {
    if (variant->kernel && strcmp(variant->kernel, "reference") == 0 && test->kind >= CLASS_LARGE) return false;
    return test_variant_concerns(variant, test->op);
}

static void try_everywhere(void **state) {
    const test_case *test = *state;
    const uint64_t seed = test_seed_for(test->name);
    test_trial *guarded = test_trial_create(test, seed, false);
    test_trial *tight = test_trial_create(test, seed, true);
    for (int i = 0; i < test_variant_count(); i++)
        if (worth_trying(test_variant_at(i), test)) try_both(guarded, tight, test_variant_at(i));
    test_trial_destroy(guarded);
    test_trial_destroy(tight);
}

typedef struct expansion {
    test_case *cases;
    size_t count, capacity;
} expansion;

static void append(expansion *list, const test_case *test, const char *dtype, const char *contract) {
    if (list->count == list->capacity) {
        list->capacity = list->capacity ? 2 * list->capacity : 64;
        list->cases = realloc(list->cases, list->capacity * sizeof *list->cases);
        if (!list->cases) exit(2);
    }
    char *name = test_allocate(NAME_BYTES);
    snprintf(name, NAME_BYTES, "%s%s%s%s%s", test->name, *dtype ? " " : "", dtype, *contract ? " " : "", contract);
    list->cases[list->count] = *test;
    list->cases[list->count++].name = name;
}

static void expand_contracts(expansion *list, test_case test, const char *dtype) {
    static const char *const names[] = {"deferred", "twice", "once"};
    if (test.contract != CONTRACT_EVERY) {
        append(list, &test, dtype, "");
        return;
    }
    for (int contract = NORMA_ROUND_DEFERRED; contract <= NORMA_ROUND_ONCE; contract++) {
        test.contract = (norma_contract)contract;
        append(list, &test, dtype, names[contract]);
    }
}

static void expand_dtypes(expansion *list, const test_case *test) {
    if (test->x != DTYPE_SAME) {
        expand_contracts(list, *test, "");
        return;
    }
    for (int dtype = NORMA_F32; dtype <= NORMA_BF16; dtype++) {
        test_case expanded = *test;
        for (int role = 0; role < ROLE_DTYPES; role++)
            if (expanded.dtype[role] == DTYPE_SAME) expanded.dtype[role] = (norma_dtype)dtype;
        expand_contracts(list, expanded, norma_dtype_name((norma_dtype)dtype));
    }
}

int test_group_run(const char *group, const struct CMUnitTest *tests, size_t test_count) {
    test_seed();
    test_variants_open();
    const int failures = _cmocka_run_group_tests(group, tests, test_count, NULL, NULL);
    test_variants_summary();
    test_variants_close();
    return failures;
}

int test_suite_run_by(const char *group, const test_case *cases, size_t case_count, const char *kind,
                      CMUnitTestFunction test) {
    expansion list = {NULL, 0, 0};
    for (size_t i = 0; i < case_count; i++)
        if (!kind || strcmp(kind, class_names[cases[i].kind]) == 0) expand_dtypes(&list, &cases[i]);
    if (list.count == 0) {
        fprintf(stderr, "%s: no case of class %s\n", group, kind ? kind : "any");
        return 1;
    }
    struct CMUnitTest *tests = test_allocate(list.count * sizeof *tests);
    for (size_t i = 0; i < list.count; i++)
        tests[i] = (struct CMUnitTest){.name = list.cases[i].name, .test_func = test, .initial_state = &list.cases[i]};
    const int failures = test_group_run(group, tests, list.count);
    for (size_t i = 0; i < list.count; i++) free((void *)list.cases[i].name);
    free(list.cases);
    free(tests);
    return failures;
}

int test_suite_run(const char *group, const test_case *cases, size_t case_count, const char *kind) {
    return test_suite_run_by(group, cases, case_count, kind, try_everywhere);
}
