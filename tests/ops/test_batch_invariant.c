/* NORMA_BATCH_INVARIANT over the whole API: a row's bits depend neither on the other rows, nor on their number, nor on its
 * place, nor on how batches cut them. The cases are those of tests/cases/batch_invariant.def; an argument names the class to
 * run. */
#include <inttypes.h>

#include "harness/case_names.h"
#include "harness/suite.h"

static const test_case cases[] = {
#define NORMA_CASE(id, class, ...) {.name = #id, .kind = CLASS_##class, .flags = NORMA_BATCH_INVARIANT, __VA_ARGS__},
#include "cases/batch_invariant.def"
#undef NORMA_CASE
};

/* Rows first, first + step, ... of a case's rows, as batches of m; m 0: as many as there are. */
typedef struct selection {
    int64_t batch, m, first, step;
} selection;

static const selection selections[] = {
    {1, 255, 0, 1},  {3, 100, 0, 1},  {300, 1, 0, 1},  {1, 2, 0, 1},   {1, 9, 4, 1},
    {1, 64, 100, 1}, {1, 17, 5, 13},  {1, 0, -1, -1}, /* from the last to the first */
    {1, 1299, 0, 1}, {1, 1024, 7, 1}, {13, 100, 0, 1}, {1, 1, 0, 1},   {1, 1, 1, 1},
    {1, 1, 63, 1},   {1, 1, 64, 1},   {1, 1, 150, 1},  {1, 1, 299, 1}, {1, 1, 1299, 1},
};

/* Whether the slot's rows are those of the batch. */
static bool has_rows_of_the_batch(const test_trial *trial, int slot) {
    const test_tensor *tensor = &trial->tensor[slot];
    const bool of_all = slot == SLOT_X || slot == SLOT_RESIDUAL || slot == SLOT_RSTD || tensor->role == ROLE_OUT;
    return tensor->layout.dtype != NORMA_NONE && !tensor->output && of_all;
}

/* A trial of the selected rows of another. */
static test_trial *select_rows(const test_trial *whole, const selection *rows) {
    test_case test = whole->test;
    test.batch = rows->batch;
    test.m = rows->m;
    test_trial *part = test_trial_create(&test, whole->seed, false);
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        if (!has_rows_of_the_batch(part, slot)) continue;
        for (int64_t row = 0; row < rows->batch * rows->m; row++)
            for (int64_t col = 0; col < part->tensor[slot].cols; col++)
                test_trial_set(part, slot, row, col, test_trial_get(whole, slot, rows->first + row * rows->step, col));
    }
    return part;
}

static void compare(const test_trial *whole, selection rows, test_variant *variant) {
    test_trial *part = select_rows(whole, &rows);
    assert_true(test_compute(part, variant, "some of the rows"));
    for (int64_t row = 0; row < rows.batch * rows.m; row++) {
        const int64_t place = rows.first + row * rows.step;
        if (!test_rows_equal(whole, place, part, row, 1))
            fail_msg("%s: %s: row %" PRId64 " of %" PRId64 " has other bits as row %" PRId64 " of %" PRId64 " x %" PRId64,
                     variant->name, whole->test.name, place, whole->test.m, row, rows.batch, rows.m);
    }
    test_trial_destroy(part);
}

static void compare_selections(const test_case *test, test_variant *variant) {
    test_trial *whole = test_computed(test, variant, test_seed_for(test->name));
    if (!whole) return;
    int compared = 0;
    for (size_t i = 0; i < sizeof selections / sizeof selections[0]; i++) {
        selection rows = selections[i];
        if (rows.m == 0) rows.m = test->m;
        if (rows.first < 0) rows.first += test->m;
        const int64_t last = rows.first + (rows.batch * rows.m - 1) * rows.step;
        if (rows.first >= test->m || last < 0 || last >= test->m) continue;
        compare(whole, rows, variant);
        compared++;
    }
    assert_true(compared >= 12);
    test_trial_destroy(whole);
}

static void rows_keep_their_bits(void **state) {
    const test_case *test = *state;
    for (int v = 0; v < test_variant_count(); v++)
        if (test_variant_concerns(test_variant_at(v), test->op)) compare_selections(test, test_variant_at(v));
}

int main(int argc, char **argv) {
    return test_suite_run_by("batch_invariant", cases, sizeof cases / sizeof cases[0], argc > 1 ? argv[1] : NULL,
                             rows_keep_their_bits);
}
