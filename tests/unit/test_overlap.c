/* Overlap of views, against enumeration: small random views of every kind must never be called disjoint when two elements
 * meet, and the layouts that the header promises must never be called overlapping. */
#include "front/overlap.h"

#include <stdio.h>
#include <stdlib.h>

#include "expect.h"
#include "harness/random.h"

#define SPACE_BYTES  512
#define RANDOM_PAIRS 400000

/* Marks every byte of the view's elements; returns whether one was marked twice. */
static bool mark(const norma_span *view, unsigned char *bytes) {
    bool twice = false;
    for (int64_t i = 0; i < view->size[0]; i++)
        for (int64_t j = 0; j < view->size[1]; j++)
            for (int64_t l = 0; l < view->size[2]; l++) {
                unsigned char *element =
                    bytes + view->start + i * view->stride[0] + j * view->stride[1] + l * view->stride[2];
                for (int64_t b = 0; b < view->element_bytes; b++) twice = element[b]++ || twice;
            }
    return twice;
}

static bool share_a_byte(const norma_span *a, const norma_span *b) {
    unsigned char marked[2][SPACE_BYTES] = {{0}};
    mark(a, marked[0]);
    mark(b, marked[1]);
    for (int i = 0; i < SPACE_BYTES; i++)
        if (marked[0][i] && marked[1][i]) return true;
    return false;
}

static norma_span random_view(test_sequence *random) {
    norma_span view = {.start = (uint64_t)test_pick(random, 64), .element_bytes = 1 + test_pick(random, 4)};
    for (int d = 0; d < NORMA_SPAN_DIMS; d++) {
        view.size[d] = 1 + test_pick(random, 4);
        view.stride[d] = test_pick(random, test_chance(random, 0.5) ? 12 : 40);
    }
    return view;
}

/* A view whose dimensions nest, with gaps or without, in any order: what a sensible tensor looks like. */
static norma_span random_nested_view(test_sequence *random, const int64_t *strides) {
    norma_span view = {.start = (uint64_t)test_pick(random, 100), .element_bytes = 1 + test_pick(random, 2)};
    const int first = test_pick(random, NORMA_SPAN_DIMS);
    for (int d = 0; d < NORMA_SPAN_DIMS; d++) {
        view.stride[(d + first) % NORMA_SPAN_DIMS] = strides[d];
        const int64_t most = d == 0 ? 4 : strides[d - 1] / strides[d];
        view.size[(d + first) % NORMA_SPAN_DIMS] = 1 + test_pick(random, most > 4 ? 4 : (int)most);
    }
    return view;
}

static void print_view(const char *name, const norma_span *view) {
    print_message("%s: start %d, element %d, sizes %d %d %d, strides %d %d %d\n", name, (int)view->start,
                  (int)view->element_bytes, (int)view->size[0], (int)view->size[1], (int)view->size[2], (int)view->stride[0],
                  (int)view->stride[1], (int)view->stride[2]);
}

static void overlapping_views_are_never_called_disjoint(void **state) {
    (void)state;
    test_sequence random = {.seed = 2};
    int meeting = 0;
    for (int i = 0; i < RANDOM_PAIRS; i++) {
        const norma_span a = random_view(&random);
        const norma_span b = random_view(&random);
        const bool meet = share_a_byte(&a, &b);
        meeting += meet;
        if (meet && !norma_spans_overlap(&a, &b)) {
            print_view("a", &a);
            print_view("b", &b);
            fail_msg("pair %d of seed 2 overlaps and was called disjoint", i);
        }
        assert_int_equal(norma_spans_overlap(&a, &b), norma_spans_overlap(&b, &a));
    }
    assert_in_range(meeting, RANDOM_PAIRS / 10, RANDOM_PAIRS * 9 / 10);
}

static void self_overlap_is_never_missed(void **state) {
    (void)state;
    test_sequence random = {.seed = 3};
    for (int i = 0; i < RANDOM_PAIRS; i++) {
        const norma_span view = random_view(&random);
        unsigned char marked[SPACE_BYTES] = {0};
        if (mark(&view, marked) && !norma_span_self_overlaps(&view)) {
            print_view("view", &view);
            fail_msg("view %d of seed 3 overlaps itself and was called sound", i);
        }
    }
}

static void views_of_one_nesting_are_judged_exactly(void **state) {
    (void)state;
    test_sequence random = {.seed = 4};
    int meeting = 0;
    int apart_within_each_other = 0;
    for (int i = 0; i < RANDOM_PAIRS; i++) {
        const int64_t inner = 2 + test_pick(&random, 2);
        const int64_t middle = inner * (1 + test_pick(&random, 4)) + test_pick(&random, 3);
        const int64_t outer = middle * (1 + test_pick(&random, 4)) + test_pick(&random, 3);
        const int64_t strides[NORMA_SPAN_DIMS] = {outer, middle, inner};
        const norma_span a = random_nested_view(&random, strides);
        const norma_span b = random_nested_view(&random, strides);
        unsigned char marked[SPACE_BYTES] = {0};
        assert_false(mark(&a, marked));
        assert_false(norma_span_self_overlaps(&a));
        const bool meet = share_a_byte(&a, &b);
        if (meet != norma_spans_overlap(&a, &b)) {
            print_view("a", &a);
            print_view("b", &b);
            fail_msg("pair %d of seed 4: overlap is %d and was judged %d", i, meet, !meet);
        }
        meeting += meet;
        apart_within_each_other += !meet && a.start < b.start + 8 && b.start < a.start + 8;
    }
    assert_true(meeting > RANDOM_PAIRS / 20);
    assert_true(apart_within_each_other > RANDOM_PAIRS / 100);
}

/* Slices of one packed (tokens, width) array of fp16, as q, k and v: each may be seen as rows or as heads per token. */
static norma_span slice(int64_t tokens, int64_t width, int64_t first, int64_t heads, int64_t per_head,
                        bool heads_outermost) {
    norma_span view = {.start = 4096 + (uint64_t)first * 2,
                       .element_bytes = 2,
                       .size = {tokens, heads, per_head},
                       .stride = {width * 2, per_head * 2, 2}};
    if (heads_outermost) {
        view.size[0] = heads;
        view.size[1] = tokens;
        view.stride[0] = per_head * 2;
        view.stride[1] = width * 2;
    }
    return view;
}

static void slices_of_one_array_interleave(void **state) {
    (void)state;
    static const int64_t tokens[] = {1, 2, 7, 100000};
    for (size_t t = 0; t < sizeof tokens / sizeof tokens[0]; t++) {
        const int64_t width = 4096 + 2 * 1024;
        const norma_span q = slice(tokens[t], width, 0, 32, 128, false);
        const norma_span k = slice(tokens[t], width, 4096, 8, 128, true);
        const norma_span v = slice(tokens[t], width, 4096 + 1024, 1, 1024, false);
        const norma_span one_head_more = slice(tokens[t], width, 4096 - 128, 9, 128, false);
        assert_false(norma_spans_overlap(&q, &k));
        assert_false(norma_spans_overlap(&q, &v));
        assert_false(norma_spans_overlap(&k, &v));
        assert_true(norma_spans_overlap(&q, &one_head_more));
        assert_true(norma_spans_overlap(&k, &one_head_more));
        assert_false(norma_spans_overlap(&v, &one_head_more));
        assert_false(norma_span_self_overlaps(&k));
        assert_true(norma_spans_overlap(&q, &q));
    }
}

static void opaque_buffers_compare_by_handle(void **state) {
    (void)state;
    int handles[2];
    norma_span a = {.space = &handles[0], .start = 0, .element_bytes = 4, .size = {1, 1, 8}, .stride = {0, 0, 4}};
    norma_span b = a;
    b.start = 16;
    assert_true(norma_spans_overlap(&a, &b));
    b.space = &handles[1];
    assert_false(norma_spans_overlap(&a, &b));
    b.start = 0;
    assert_false(norma_spans_equal(&a, &b));
    b.space = &handles[0];
    assert_true(norma_spans_equal(&a, &b));
}

static void far_addresses_and_wide_strides_do_not_overflow(void **state) {
    (void)state;
    const norma_span low = {.start = 0, .element_bytes = 2, .size = {1, 2, 1}, .stride = {0, INT64_MAX - 8, 0}};
    norma_span high = {.start = UINT64_MAX - 64, .element_bytes = 2, .size = {1, 1, 8}, .stride = {0, 0, 2}};
    assert_false(norma_spans_overlap(&low, &high));
    assert_false(norma_spans_overlap(&high, &low));
    high.start = (uint64_t)INT64_MAX - 8;
    assert_true(norma_spans_overlap(&low, &high));
    assert_true(norma_spans_overlap(&high, &low));
    high.start -= 32;
    assert_false(norma_spans_overlap(&low, &high));
}

static void equal_views_ignore_strides_of_single_elements(void **state) {
    (void)state;
    norma_span a = {.start = 64, .element_bytes = 2, .size = {1, 3, 4}, .stride = {0, 8, 2}};
    norma_span b = a;
    b.stride[0] = 1000;
    assert_true(norma_spans_equal(&a, &b));
    b.stride[1] = 10;
    assert_false(norma_spans_equal(&a, &b));
    b = a;
    b.element_bytes = 4;
    assert_false(norma_spans_equal(&a, &b));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(overlapping_views_are_never_called_disjoint),
        cmocka_unit_test(self_overlap_is_never_missed),
        cmocka_unit_test(views_of_one_nesting_are_judged_exactly),
        cmocka_unit_test(slices_of_one_array_interleave),
        cmocka_unit_test(opaque_buffers_compare_by_handle),
        cmocka_unit_test(far_addresses_and_wide_strides_do_not_overflow),
        cmocka_unit_test(equal_views_ignore_strides_of_single_elements),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
