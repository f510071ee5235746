/* Routes and brackets of M: pure functions, by table. */
#include "front/route.h"

#include <stdio.h>
#include <stdlib.h>

#include "expect.h"
#include "problems.h"

static const norma_limits limits = {.target = NORMA_TARGET_CPU_AVX2, .units = 2, .lanes = 8, .max_threads = 1};
static const norma_limits gpu_limits = {.target = NORMA_TARGET_CUDA, .units = 132, .lanes = 32, .max_threads = 1024};

/* "name/form name/form ..." of the proposed routes. */
static void describe(const norma_problem *problem, int64_t rows, const norma_limits *on, char *out_text, size_t bytes) {
    static const char *const forms[] = {"", "/residual", "/norm"};
    norma_route routes[NORMA_MAX_ROUTES];
    const int count = norma_routes_for(problem, rows, on, routes);
    size_t used = 0;
    out_text[0] = 0;
    for (int i = 0; i < count; i++) {
        used += (size_t)snprintf(out_text + used, bytes - used, "%s%s%s", i ? " " : "", norma_route_name(&routes[i]),
                                 forms[routes[i].form]);
        assert_non_null(routes[i].reason);
        assert_int_equal(routes[i].tile != NULL, routes[i].kernel == NORMA_KERNEL_RMSNORM_LINEAR_TILED);
    }
}

static void routes_follow_shape_and_flags(void **state) {
    (void)state;
    const norma_problem fp32 = linear_problem(NORMA_F32, NORMA_F32, 1024, 1024);
    norma_problem half = linear_problem(NORMA_BF16, NORMA_BF16, 1024, 1024);
    norma_problem mixed = linear_problem(NORMA_F32, NORMA_BF16, 1024, 1024);
    norma_problem invariant = fp32;
    invariant.flags = NORMA_BATCH_INVARIANT;
    norma_problem with_residual = half;
    add_residual(&with_residual, NORMA_BF16, true);
    norma_problem invariant_residual = with_residual;
    invariant_residual.flags = NORMA_BATCH_INVARIANT;
    norma_problem wide_residual = half; /* h is fp32, the weight is not */
    add_residual(&wide_residual, NORMA_F32, false);
    norma_problem no_parts = fp32;
    no_parts.parts = 0;
    norma_problem norm = fp32;
    norm.op = NORMA_OP_RMSNORM;
    norma_problem product = fp32;
    product.op = NORMA_OP_LINEAR;
    norma_problem fold = fp32;
    fold.op = NORMA_OP_FOLD_GAMMA;
    norma_problem copy = fp32;
    copy.op = NORMA_OP_STREAM_COPY;
    norma_problem read = fp32;
    read.op = NORMA_OP_STREAM_READ;

    const struct {
        const char *name;
        const norma_problem *problem;
        int64_t rows;
        const char *first, *last;
    } rows[] = {
        {"decode", &half, 1, "rmsnorm_linear_skinny ", " reference"},
        {"decode fp32", &fp32, 4, "rmsnorm_linear_skinny ", " reference"},
        {"prefill", &half, 1024, "rmsnorm_linear_tiled ", " reference"},
        {"prefill fp32", &fp32, 1024, "rmsnorm_linear_tiled ", " reference"},
        {"mixed", &mixed, 1024, "rmsnorm_linear_tiled ", " reference"},
        {"residual", &with_residual, 1, "rmsnorm_linear_skinny rmsnorm_linear_skinny/residual ", " reference"},
        {"residual prefill", &with_residual, 512, "rmsnorm_linear_tiled rmsnorm_linear_tiled/residual ", " reference"},
        {"wide residual", &wide_residual, 512, "rmsnorm_linear_tiled rmsnorm_linear_tiled/residual ", " reference"},
        {"invariant", &invariant, 1, "rmsnorm_linear_tiled reference", "rmsnorm_linear_tiled reference"},
        {"invariant large", &invariant, 4096, "rmsnorm_linear_tiled reference", "rmsnorm_linear_tiled reference"},
        {"invariant residual", &invariant_residual, 64, "rmsnorm_linear_tiled rmsnorm_linear_tiled/residual reference",
         "residual reference"},
        {"no parts", &no_parts, 8, "rmsnorm_rows reference", "rmsnorm_rows reference"},
        {"norm", &norm, 8, "rmsnorm_rows reference", "rmsnorm_rows reference"},
        {"product", &product, 8, "linear_blas rmsnorm_linear_tiled reference", "linear_blas rmsnorm_linear_tiled reference"},
        {"fold", &fold, 1, "fold_gamma reference", "fold_gamma reference"},
        {"copy", &copy, 8, "stream", "stream"},
        {"read", &read, 8, "stream", "stream"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[512];
        describe(rows[i].problem, rows[i].rows, &limits, text, sizeof text);
        const size_t length = strlen(text);
        const size_t tail = strlen(rows[i].last);
        if (strncmp(text, rows[i].first, strlen(rows[i].first)) != 0 || length < tail ||
            strcmp(text + length - tail, rows[i].last) != 0)
            fail_msg("%s: %s", rows[i].name, text);
    }
}

static void a_plain_cpu_leaves_large_fp32_products_to_the_system(void **state) {
    (void)state;
    const norma_limits plain = {.target = NORMA_TARGET_CPU_PLAIN, .units = 2, .lanes = 4, .max_threads = 1};
    const norma_problem fp32 = linear_problem(NORMA_F32, NORMA_F32, 1024, 1024);
    const norma_problem half = linear_problem(NORMA_BF16, NORMA_BF16, 1024, 1024);
    char text[512];
    describe(&fp32, 1024, &plain, text, sizeof text);
    assert_string_equal(text, "pair/norm rmsnorm_linear_tiled rmsnorm_linear_skinny reference");
    describe(&fp32, 32, &plain, text, sizeof text);
    assert_string_equal(text, "rmsnorm_linear_tiled rmsnorm_linear_skinny pair/norm reference");
    describe(&half, 1024, &plain, text, sizeof text);
    assert_string_equal(text, "rmsnorm_linear_tiled rmsnorm_linear_skinny pair/norm reference");
}

static void routes_of_a_gpu_end_in_a_kernel_that_takes_anything(void **state) {
    (void)state;
    norma_problem half = linear_problem(NORMA_BF16, NORMA_BF16, 1024, 1024);
    half.part[0].weight.layout = norma_layout_transposed(NORMA_BF16, 1024);
    norma_problem folded = half;
    folded.gamma.layout.dtype = NORMA_NONE;
    norma_problem longer = linear_problem(NORMA_BF16, NORMA_BF16, 4096, 1024);
    longer.part[0].weight.layout = norma_layout_transposed(NORMA_BF16, 4096);
    norma_problem overlapping = longer;
    overlapping.flags = NORMA_WEIGHTS_STATIC;
    norma_problem wide = half;
    wide.part[0].n = 9728;
    norma_problem longest = linear_problem(NORMA_BF16, NORMA_BF16, 8192, 10240);
    longest.part[0].weight.layout = norma_layout_transposed(NORMA_BF16, 8192);
    norma_problem largest = longest;
    largest.part[0].n = 57344;
    norma_problem fp32 = linear_problem(NORMA_F32, NORMA_F32, 4096, 1024);
    fp32.part[0].weight.layout = norma_layout_transposed(NORMA_F32, 4096);
    norma_problem n_contiguous = half;
    n_contiguous.part[0].weight.layout = norma_layout_strided(NORMA_BF16, 1024, 1);
    norma_problem with_residual = half;
    add_residual(&with_residual, NORMA_BF16, false);
    norma_problem invariant = half;
    invariant.flags = NORMA_BATCH_INVARIANT;
    norma_problem product = half;
    product.op = NORMA_OP_LINEAR;
    const struct {
        const char *name;
        const norma_problem *problem;
        int64_t rows;
        const char *routes;
    } rows[] = {
        {"decode", &half, 8, "rmsnorm_linear_skinny pair/norm rmsnorm_linear_tiled reference"},
        {"decode of short rows", &half, 16, "rmsnorm_linear_skinny pair/norm rmsnorm_linear_tiled reference"},
        {"decode of long rows", &longer, 16, "pair/norm rmsnorm_linear_skinny rmsnorm_linear_tiled reference"},
        {"calls that overlap", &overlapping, 16, "pair/norm rmsnorm_linear_skinny rmsnorm_linear_tiled reference"},
        {"four rows of 8192", &longest, 4, "rmsnorm_linear_skinny pair/norm rmsnorm_linear_tiled reference"},
        {"eight rows of 8192", &longest, 8, "pair/norm rmsnorm_linear_skinny rmsnorm_linear_tiled reference"},
        {"two rows for the largest W", &largest, 2, "rmsnorm_linear_skinny pair/norm rmsnorm_linear_tiled reference"},
        {"four rows for the largest W", &largest, 4, "pair/norm rmsnorm_linear_skinny rmsnorm_linear_tiled reference"},
        {"decode of wide W", &wide, 16, "pair/norm rmsnorm_linear_skinny rmsnorm_linear_tiled reference"},
        {"fp32", &fp32, 2, "rmsnorm_linear_skinny pair/norm rmsnorm_linear_tiled reference"},
        {"fp32, one row", &fp32, 1, "pair/norm rmsnorm_linear_skinny rmsnorm_linear_tiled reference"},
        {"rows of W", &n_contiguous, 1, "pair/norm rmsnorm_linear_skinny rmsnorm_linear_tiled reference"},
        {"between", &half, 17, "pair/norm rmsnorm_linear_tiled rmsnorm_linear_skinny reference"},
        {"folded prefill", &folded, 4096, "pair/norm rmsnorm_linear_tiled rmsnorm_linear_skinny reference"},
        {"residual", &with_residual, 1,
         "rmsnorm_linear_skinny/residual pair/norm rmsnorm_linear_tiled rmsnorm_linear_tiled/residual "
         "reference"},
        {"invariant", &invariant, 1, "rmsnorm_linear_tiled reference"},
        {"product", &product, 8, "linear_blas rmsnorm_linear_tiled reference"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[512];
        describe(rows[i].problem, rows[i].rows, &gpu_limits, text, sizeof text);
        if (strcmp(text, rows[i].routes) != 0) fail_msg("%s: %s", rows[i].name, text);
    }
}

static void routes_of_a_gpu_with_wgmma(void **state) {
    (void)state;
    norma_limits wgmma = gpu_limits;
    wgmma.wgmma = true;
    norma_problem half = linear_problem(NORMA_BF16, NORMA_BF16, 4096, 4096);
    half.part[0].weight.layout = norma_layout_transposed(NORMA_BF16, 4096);
    norma_problem folded = half;
    folded.gamma.layout.dtype = NORMA_NONE;
    norma_problem uneven = folded;
    uneven.part[0].n = 6144;
    norma_problem twice = folded;
    twice.contract = NORMA_ROUND_TWICE;
    norma_problem with_residual = folded;
    add_residual(&with_residual, NORMA_BF16, true);
    norma_problem invariant = folded;
    invariant.flags = NORMA_BATCH_INVARIANT;
    norma_problem invariant_gamma = half;
    invariant_gamma.flags = NORMA_BATCH_INVARIANT;
    norma_problem fp32 = linear_problem(NORMA_F32, NORMA_F32, 4096, 4096);
    fp32.gamma.layout.dtype = NORMA_NONE;
    norma_problem tensor = fp32;
    tensor.flags = NORMA_FP32_TENSOR;
    norma_problem tensor_half = half;
    tensor_half.flags = NORMA_FP32_TENSOR;
    norma_problem tensor_mixed = tensor;
    tensor_mixed.part[0].weight.layout.dtype = NORMA_BF16;
    norma_problem tensor_narrow = tensor;
    tensor_narrow.part[0].n = 64;
    norma_problem tensor_small = tensor;
    tensor_small.k = tensor_small.part[0].n = 1024;
    norma_problem tensor_invariant = tensor;
    tensor_invariant.flags |= NORMA_BATCH_INVARIANT;
    norma_problem parts = half;
    parts.parts = 2;
    parts.part[1] = parts.part[0];
    parts.part[1].n = 2048;
    norma_problem large = half;
    large.part[0].n = 28672;
    norma_problem product = folded;
    product.op = NORMA_OP_LINEAR;
    const struct {
        const char *name;
        const norma_problem *problem;
        int64_t rows;
        const char *routes;
    } rows[] = {
        {"folded", &folded, 4096, "rmsnorm_linear_hopper pair/norm rmsnorm_linear_tiled rmsnorm_linear_skinny reference"},
        {"folded, few rows", &folded, 8,
         "rmsnorm_linear_skinny pair/norm rmsnorm_linear_narrow rmsnorm_linear_hopper rmsnorm_linear_tiled reference"},
        {"residual", &with_residual, 64,
         "rmsnorm_linear_narrow rmsnorm_linear_narrow/residual rmsnorm_linear_hopper rmsnorm_linear_hopper/residual "
         "pair/norm "
         "rmsnorm_linear_tiled rmsnorm_linear_tiled/residual rmsnorm_linear_skinny/residual reference"},
        {"some rows", &folded, 32,
         "rmsnorm_linear_narrow rmsnorm_linear_hopper pair/norm rmsnorm_linear_tiled rmsnorm_linear_skinny reference"},
        {"some rows, gamma", &half, 9,
         "rmsnorm_linear_narrow pair/norm rmsnorm_linear_skinny rmsnorm_linear_hopper rmsnorm_linear_tiled reference"},
        {"more rows, gamma", &half, 48,
         "pair/norm rmsnorm_linear_narrow rmsnorm_linear_hopper rmsnorm_linear_tiled rmsnorm_linear_skinny reference"},
        {"sixteen rows of an exact contract", &twice, 16,
         "rmsnorm_linear_narrow pair/norm rmsnorm_linear_skinny rmsnorm_linear_hopper rmsnorm_linear_tiled reference"},
        {"some rows of an exact contract", &twice, 17,
         "pair/norm rmsnorm_linear_narrow rmsnorm_linear_hopper rmsnorm_linear_tiled rmsnorm_linear_skinny reference"},
        {"many rows of several parts", &parts, 64,
         "rmsnorm_linear_narrow pair/norm rmsnorm_linear_hopper rmsnorm_linear_tiled rmsnorm_linear_skinny reference"},
        {"some rows, a large W", &large, 32,
         "pair/norm rmsnorm_linear_narrow rmsnorm_linear_hopper rmsnorm_linear_tiled rmsnorm_linear_skinny reference"},
        {"folded, 128 rows, W that fills the device", &folded, 128,
         "rmsnorm_linear_hopper pair/norm rmsnorm_linear_tiled rmsnorm_linear_skinny reference"},
        {"folded, 128 rows, W that does not", &uneven, 128,
         "pair/norm rmsnorm_linear_hopper rmsnorm_linear_tiled rmsnorm_linear_skinny reference"},
        {"folded, a huge output", &folded, 1 << 18,
         "pair/norm rmsnorm_linear_hopper rmsnorm_linear_tiled rmsnorm_linear_skinny reference"},
        {"folded, 256 rows", &folded, 256,
         "pair/norm rmsnorm_linear_hopper rmsnorm_linear_tiled rmsnorm_linear_skinny reference"},
        {"gamma", &half, 4096, "pair/norm rmsnorm_linear_hopper rmsnorm_linear_tiled rmsnorm_linear_skinny reference"},
        {"exact", &twice, 4096, "pair/norm rmsnorm_linear_hopper rmsnorm_linear_tiled rmsnorm_linear_skinny reference"},
        {"fp32", &fp32, 4096, "pair/norm rmsnorm_linear_tiled rmsnorm_linear_skinny reference"},
        {"fp32 by tensor cores", &tensor, 4096,
         "linear_split/norm pair/norm rmsnorm_linear_tiled rmsnorm_linear_skinny reference"},
        {"fp32 by tensor cores, few rows", &tensor, 48,
         "pair/norm linear_split/norm rmsnorm_linear_tiled rmsnorm_linear_skinny reference"},
        {"fp32 by tensor cores, 256 rows", &tensor, 256,
         "linear_split/norm pair/norm rmsnorm_linear_tiled rmsnorm_linear_skinny reference"},
        {"fp32 by tensor cores, 256 rows and little else", &tensor_small, 256,
         "pair/norm linear_split/norm rmsnorm_linear_tiled rmsnorm_linear_skinny reference"},
        {"fp32 by tensor cores, few columns", &tensor_narrow, 4096,
         "pair/norm linear_split/norm rmsnorm_linear_tiled rmsnorm_linear_skinny reference"},
        {"tensor cores for a half dtype anyhow", &tensor_half, 4096,
         "pair/norm rmsnorm_linear_hopper rmsnorm_linear_tiled rmsnorm_linear_skinny reference"},
        {"a weight that is not fp32", &tensor_mixed, 4096, "pair/norm rmsnorm_linear_tiled rmsnorm_linear_skinny reference"},
        {"fp32 by tensor cores, invariant", &tensor_invariant, 4096, "rmsnorm_linear_tiled reference"},
        {"invariant", &invariant, 3, "rmsnorm_linear_hopper rmsnorm_linear_tiled reference"},
        {"invariant with gamma", &invariant_gamma, 3, "rmsnorm_linear_hopper rmsnorm_linear_tiled reference"},
        {"product", &product, 64, "linear_blas rmsnorm_linear_hopper rmsnorm_linear_tiled reference"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[512];
        describe(rows[i].problem, rows[i].rows, &wgmma, text, sizeof text);
        if (strcmp(text, rows[i].routes) != 0) fail_msg("%s: %s", rows[i].name, text);
    }
}

static void every_kernel_of_an_operation_can_be_reached_at_any_size(void **state) {
    (void)state;
    /* Forcing a kernel by name picks among the proposals. */
    static const char *const names[] = {"reference", "rmsnorm_linear_skinny", "rmsnorm_linear_tiled", "pair"};
    for (int residual = 0; residual <= 1; residual++) {
        norma_problem problem = linear_problem(NORMA_F32, NORMA_F32, 768, 768);
        if (residual) add_residual(&problem, NORMA_F32, false);
        for (int bracket = 0; bracket < NORMA_BRACKET_COUNT; bracket++) {
            norma_route routes[NORMA_MAX_ROUTES];
            const int count = norma_routes_for(&problem, norma_bracket_rows(bracket), &limits, routes);
            for (size_t n = 0; n < sizeof names / sizeof names[0]; n++) {
                int found = 0;
                for (int i = 0; i < count; i++) found += strcmp(norma_route_name(&routes[i]), names[n]) == 0;
                assert_in_range(found, 1, 1 + residual);
            }
        }
    }
}

static void products_of_a_backward_go_to_the_vendor_where_that_is_ahead(void **state) {
    (void)state;
    static const struct {
        norma_target target;
        const char *first, *second;
    } rows[] = {{NORMA_TARGET_CUDA, "linear_blas", "rmsnorm_linear_tiled"},
                {NORMA_TARGET_CPU_PLAIN, "linear_blas", "rmsnorm_linear_tiled"},
                {NORMA_TARGET_CPU_AVX2, "rmsnorm_linear_tiled", "linear_blas"},
                {NORMA_TARGET_CPU_AVX512, "rmsnorm_linear_tiled", "linear_blas"}};
    norma_problem problem = linear_problem(NORMA_F32, NORMA_F32, 768, 96);
    problem.op = NORMA_OP_PRODUCT;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        norma_limits other = limits;
        other.target = rows[i].target;
        norma_route routes[NORMA_MAX_ROUTES];
        assert_int_equal(norma_routes_for(&problem, 768, &other, routes), 3);
        assert_string_equal(norma_route_name(&routes[0]), rows[i].first);
        assert_string_equal(norma_route_name(&routes[1]), rows[i].second);
        assert_string_equal(norma_route_name(&routes[2]), "reference");
    }
    problem.flags = NORMA_BATCH_INVARIANT;
    norma_route routes[NORMA_MAX_ROUTES];
    assert_int_equal(norma_routes_for(&problem, 768, &limits, routes), 2);
    assert_string_equal(norma_route_name(&routes[0]), "rmsnorm_linear_tiled");
}

static void batch_invariant_routes_do_not_depend_on_rows(void **state) {
    (void)state;
    norma_problem problem = linear_problem(NORMA_F32, NORMA_F32, 768, 3);
    problem.flags = NORMA_BATCH_INVARIANT;
    norma_route first[NORMA_MAX_ROUTES];
    const int count = norma_routes_for(&problem, 1, &limits, first);
    for (int64_t rows = 1; rows < 100000; rows = rows * 3 / 2 + 1) {
        norma_route routes[NORMA_MAX_ROUTES];
        assert_int_equal(norma_routes_for(&problem, rows, &limits, routes), count);
        for (int i = 0; i < count; i++) {
            assert_int_equal(routes[i].form, first[i].form);
            assert_int_equal(routes[i].kernel, first[i].kernel);
            assert_ptr_equal(routes[i].tile, first[i].tile);
        }
    }
}

static void names_concern_their_operations_only(void **state) {
    (void)state;
    static const struct {
        const char *name;
        const char *concerns; /* RMSNORM, RMSNORM_LINEAR, LINEAR, FOLD_GAMMA, STREAM_COPY, STREAM_READ, RMSNORM_BACKWARD,
                                 RMSNORM_LINEAR_BACKWARD, PRODUCT, COLUMN_SUMS */
    } rows[] = {
        {"reference", "yyyy..yyyy"},
        {"rmsnorm_rows", "y........."},
        {"rmsnorm_linear_skinny", ".y........"},
        {"rmsnorm_linear_tiled", ".y.....yy."},
        {"rmsnorm_linear_hopper", ".y........"},
        {"rmsnorm_linear_narrow", ".y........"},
        {"linear_blas", "..y....yy."},
        {"linear_split", ".y........"},
        {"fold_gamma", "...y......"},
        {"rmsnorm_rows_backward", "......y..."},
        {"column_sums", ".........y"},
        {"stream", "....yy...."},
        {"pair", ".y........"},
    };
    assert_int_equal(sizeof rows / sizeof rows[0], NORMA_KERNEL_COUNT + 1);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_string_equal(norma_route_find(rows[i].name), rows[i].name);
        for (int op = NORMA_OP_RMSNORM; op <= NORMA_OP_COLUMN_SUMS; op++) {
            const norma_problem problem = {.op = (norma_op)op, .parts = 1};
            if (norma_route_concerns(rows[i].name, &problem) != (rows[i].concerns[op] == 'y'))
                fail_msg("%s and operation %d", rows[i].name, op);
        }
    }
    assert_null(norma_route_find("rmsnorm"));
    assert_null(norma_route_find(""));
    const norma_problem no_parts = {.op = NORMA_OP_RMSNORM_LINEAR};
    assert_false(norma_route_concerns("rmsnorm_linear_tiled", &no_parts));
    assert_true(norma_route_concerns("rmsnorm_rows", &no_parts));
}

static void brackets_cover_all_rows(void **state) {
    (void)state;
    assert_int_equal(norma_bracket_of(1), 0);
    assert_true(norma_bracket_rows(NORMA_BRACKET_COUNT - 1) == INT64_MAX);
    assert_int_equal(norma_bracket_of(INT64_MAX), NORMA_BRACKET_COUNT - 1);
    for (int b = 1; b < NORMA_BRACKET_COUNT; b++) {
        assert_true(norma_bracket_rows(b) > norma_bracket_rows(b - 1));
        assert_int_equal(norma_bracket_of(norma_bracket_rows(b)), b);
        assert_int_equal(norma_bracket_of(norma_bracket_rows(b - 1) + 1), b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(routes_follow_shape_and_flags),
        cmocka_unit_test(a_plain_cpu_leaves_large_fp32_products_to_the_system),
        cmocka_unit_test(routes_of_a_gpu_end_in_a_kernel_that_takes_anything),
        cmocka_unit_test(routes_of_a_gpu_with_wgmma),
        cmocka_unit_test(every_kernel_of_an_operation_can_be_reached_at_any_size),
        cmocka_unit_test(products_of_a_backward_go_to_the_vendor_where_that_is_ahead),
        cmocka_unit_test(batch_invariant_routes_do_not_depend_on_rows),
        cmocka_unit_test(names_concern_their_operations_only),
        cmocka_unit_test(brackets_cover_all_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
