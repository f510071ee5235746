/* Random problems over everything at once: shapes, dtypes, layouts, alignment, aliases, contracts, extremes.
 * NORMA_TEST_RANDOM says how many (2000); a failure prints NORMA_TEST_PROBLEM=..., which runs that problem alone. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "dtype.h"
#include "harness/case_names.h"
#include "harness/random.h"
#include "harness/suite.h"

enum { DEFAULT_PROBLEMS = 2000, PROBLEMS_PER_TEST = 100 };

static norma_dtype any_dtype(test_sequence *draw) {
    return (norma_dtype)(NORMA_F32 + test_pick(draw, 3));
}

static void draw_sizes(test_sequence *draw, test_case *test) {
    test->k = test_size(draw, test_chance(draw, 0.05) ? 3000 : 300);
    test->m = test_chance(draw, 0.02) ? 0 : test_size(draw, 70);
    if (test_chance(draw, 0.25)) test->batch = 1 + test_pick(draw, 4);
    test->parts = test_chance(draw, 0.6) ? 1 : 1 + test_pick(draw, NORMA_MAX_PARTS);
    if (test->op == NORMA_OP_FOLD_GAMMA) test->parts = 1;
    for (int p = 0; p < test->parts; p++) test->n[p] = test_chance(draw, 0.03) ? 0 : test_size(draw, 100);
    const int64_t rows = test->m * (test->batch ? test->batch : 1);
    if (rows > 0 && test_chance(draw, 0.3)) test->max_rows = rows + test_pick(draw, 9);
}

static void draw_dtypes(test_sequence *draw, test_case *test) {
    const bool uniform = test_chance(draw, 0.6);
    const norma_dtype one = any_dtype(draw);
    for (int role = 0; role <= ROLE_OUT; role++) test->dtype[role] = uniform ? one : any_dtype(draw);
    const bool fold = test->op == NORMA_OP_FOLD_GAMMA;
    if (!fold && test_chance(draw, 0.2)) test->gamma = NORMA_NONE;
    if (fold || test_chance(draw, 0.7)) test->residual = NORMA_NONE;
    if (fold || test_chance(draw, 0.5)) test->bias = NORMA_NONE;
    test->residual_out = test->residual != NORMA_NONE && test_chance(draw, 0.7);
    test->rstd = !fold && test_chance(draw, 0.4);
}

static void draw_numbers(test_sequence *draw, test_case *test) {
    static const float eps[] = {1e-12F, 1e-9F, 1e-5F, 1e-3F, 1e-1F};
    test->contract = (norma_contract)test_pick(draw, 3);
    test->offset = test_chance(draw, 0.3) ? 1 : 0;
    test->eps = test_chance(draw, 0.6) ? NORMA_DEFAULT_EPS : eps[test_pick(draw, 5)];
    if (test_chance(draw, 0.2)) test->flags |= NORMA_BATCH_INVARIANT;
    if (test_chance(draw, 0.2)) test->flags |= NORMA_WEIGHTS_STATIC;
    if (test->op == NORMA_OP_RMSNORM_LINEAR && test_chance(draw, 0.2)) test->flags |= NORMA_FP32_TENSOR;
    if (test_chance(draw, 0.3)) test->data = (test_data)(1 + test_pick(draw, 5));
    if (test->data == DATA_INTEGER) test->eps = 1e-37F;
}

static void draw_layouts(test_sequence *draw, test_case *test) {
    if (test_chance(draw, 0.6))
        for (int role = 0; role < ROLE_COUNT; role++) test->arranged[role] = (test_arrangement)test_pick(draw, 5);
    if (test_chance(draw, 0.3))
        for (int role = 0; role < ROLE_COUNT; role++) {
            const bool listed = role < ROLE_DTYPES;
            const norma_dtype dtype = listed ? test->dtype[role] : role == ROLE_RSTD ? NORMA_F32 : test->residual;
            test->shift_bytes[role] = (int)norma_dtype_bytes(dtype) * test_pick(draw, 5);
        }
    if (test->parts > 1 && test_chance(draw, 0.3)) test->share |= SHARE_OUTS;
    if (test->parts > 1 && test_chance(draw, 0.3)) test->share |= SHARE_WEIGHTS;
}

static void draw_alias(test_sequence *draw, test_case *test) {
    if (test->op == NORMA_OP_FOLD_GAMMA) {
        if (test->out == test->weight && test_chance(draw, 0.4)) test->alias = ALIAS_OUT_WEIGHT;
        return;
    }
    const bool out_x = test->op == NORMA_OP_RMSNORM && test->out == test->x;
    if (out_x && test_chance(draw, 0.2)) {
        test->share |= SHARE_X_OUT;
        return;
    }
    if (!test_chance(draw, 0.4)) return;
    switch (test_pick(draw, 4)) {
    case 0:
        if (out_x) test->alias = ALIAS_OUT_X;
        break;
    case 1:
        if (test->residual_out) test->alias = ALIAS_RESIDUAL_OUT_RESIDUAL;
        break;
    case 2:
        if (test->residual_out && test->residual == test->x) test->alias = ALIAS_RESIDUAL_OUT_X;
        break;
    default:
        if (test->residual_out && out_x) test->alias = ALIAS_BOTH;
        break;
    }
}

static test_case draw_case(uint64_t problem, const char *name) {
    test_sequence draw = {problem, 0};
    test_case test = {.name = name, .kind = CLASS_RANDOM, .op = NORMA_OP_RMSNORM_LINEAR};
    if (test_chance(&draw, 0.4)) test.op = NORMA_OP_RMSNORM;
    if (test_chance(&draw, 0.1)) test.op = NORMA_OP_FOLD_GAMMA;
    draw_sizes(&draw, &test);
    draw_dtypes(&draw, &test);
    draw_numbers(&draw, &test);
    draw_layouts(&draw, &test);
    draw_alias(&draw, &test);
    return test;
}

/* Each problem meets one variant, drawn among those that take part in its operation. */
static void try_problem(uint64_t problem) {
    char name[64];
    snprintf(name, sizeof name, "NORMA_TEST_PROBLEM=0x%" PRIx64, problem);
    const test_case test = draw_case(problem, name);
    test_sequence draw = {problem, 1000};
    test_variant *variant;
    do variant = test_variant_at(test_pick(&draw, test_variant_count()));
    while (!test_variant_concerns(variant, test.op));
    test_try(&test, variant, problem);
}

static void try_range(void **state) {
    const int64_t first = *(const int64_t *)*state;
    for (int64_t i = first; i < first + PROBLEMS_PER_TEST; i++) try_problem(test_bits(test_seed(), 300, (uint64_t)i));
}

static void try_one(void **state) {
    (void)state;
    try_problem(strtoull(getenv("NORMA_TEST_PROBLEM"), NULL, 0));
}

int main(void) {
    const struct CMUnitTest one[] = {cmocka_unit_test(try_one)};
    if (getenv("NORMA_TEST_PROBLEM")) return test_group_run("random", one, 1);
    const char *text = getenv("NORMA_TEST_RANDOM");
    const long long problems = text && *text ? atoll(text) : DEFAULT_PROBLEMS;
    const size_t count = (size_t)(problems + PROBLEMS_PER_TEST - 1) / PROBLEMS_PER_TEST;
    struct CMUnitTest *tests = calloc(count, sizeof *tests);
    int64_t *firsts = calloc(count, sizeof *firsts);
    char(*names)[64] = calloc(count, sizeof *names);
    if (!tests || !firsts || !names) return 2;
    for (size_t i = 0; i < count; i++) {
        firsts[i] = (int64_t)i * PROBLEMS_PER_TEST;
        snprintf(names[i], sizeof names[i], "problems %" PRId64 " to %" PRId64, firsts[i],
                 firsts[i] + PROBLEMS_PER_TEST - 1);
        tests[i] = (struct CMUnitTest){.name = names[i], .test_func = try_range, .initial_state = &firsts[i]};
    }
    const int failures = test_group_run("random", tests, count);
    free(tests);
    free(firsts);
    free(names);
    return failures;
}
