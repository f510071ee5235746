/* Routes, their steps, brackets of M, and slices of a problem: pure functions, by table. */
#include "front/route.h"
#include "front/step.h"

#include <stdio.h>
#include <stdlib.h>

#include "expect.h"

#define LIMIT_BYTES (1 << 20)

static const norma_limits limits = {.target = NORMA_TARGET_CPU_AVX2, .units = 2, .lanes = 8, .max_threads = 1};
static const norma_limits gpu_limits = {.target = NORMA_TARGET_CUDA, .units = 132, .lanes = 32, .max_threads = 1024};

static norma_tensor tensor(norma_dtype dtype, uintptr_t address, int64_t row_stride) {
    norma_tensor made = {.buffer = {(void *)address, 0}, .layout = {dtype, row_stride, 1, 0}};
    return made;
}

static norma_problem linear_problem(norma_dtype x, norma_dtype weight, int64_t k, int64_t n) {
    norma_problem problem = {
        .op = NORMA_OP_RMSNORM_LINEAR, .eps = 1, .batch = 1, .m = 1, .k = k, .parts = 1, .desc_parts = 1};
    problem.x = tensor(x, 0x1000, k);
    problem.gamma = tensor(x, 0x2000, k);
    problem.rstd = tensor(NORMA_F32, 0x3000, 1);
    problem.part[0].n = n;
    problem.part[0].weight = tensor(weight, 0x4000, n);
    problem.part[0].out = tensor(x, 0x5000, n);
    return problem;
}

static void add_residual(norma_problem *problem, norma_dtype dtype, bool residual_out) {
    problem->residual = tensor(dtype, 0x6000, problem->k);
    if (residual_out) problem->residual_out = tensor(dtype, 0x7000, problem->k + 2);
}

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
         "rmsnorm_linear_skinny pair/norm rmsnorm_linear_hopper rmsnorm_linear_tiled reference"},
        {"residual", &with_residual, 64,
         "rmsnorm_linear_hopper rmsnorm_linear_hopper/residual pair/norm rmsnorm_linear_tiled rmsnorm_linear_tiled/residual "
         "rmsnorm_linear_skinny/residual reference"},
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
        {"linear_blas", "..y....yy."},
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

static void direct_step_is_the_problem_itself(void **state) {
    (void)state;
    norma_problem problem = linear_problem(NORMA_BF16, NORMA_BF16, 64, 32);
    add_residual(&problem, NORMA_F32, true);
    const norma_route route = {NORMA_FORM_DIRECT, NORMA_KERNEL_REFERENCE, NULL, ""};
    norma_problem step;
    norma_step_problem(&route, 0, &problem, (norma_buffer){0}, &step);
    assert_int_equal(norma_step_count(&route), 1);
    assert_int_equal(norma_step_kernel(&route, 0), NORMA_KERNEL_REFERENCE);
    assert_memory_equal(&step, &problem, sizeof step);
    assert_true(norma_chunk_rows(&route, &problem, LIMIT_BYTES) == INT64_MAX);
    assert_int_equal(norma_intermediate_bytes(&route, &problem, 1000), 0);
}

static void direct_step_without_parts_is_a_norm(void **state) {
    (void)state;
    norma_problem problem = linear_problem(NORMA_BF16, NORMA_BF16, 64, 32);
    problem.parts = 0;
    const norma_route route = {NORMA_FORM_DIRECT, NORMA_KERNEL_RMSNORM_ROWS, NULL, ""};
    norma_problem step;
    norma_step_problem(&route, 0, &problem, (norma_buffer){0}, &step);
    assert_int_equal(step.op, NORMA_OP_RMSNORM);
    assert_false(norma_tensor_present(&step.out));
    assert_true(norma_tensor_present(&step.rstd));
}

static void residual_first_passes_h_through_residual_out(void **state) {
    (void)state;
    norma_problem problem = linear_problem(NORMA_BF16, NORMA_BF16, 64, 32);
    add_residual(&problem, NORMA_F32, true);
    const norma_route route = {NORMA_FORM_RESIDUAL_FIRST, NORMA_KERNEL_RMSNORM_LINEAR_TILED, &norma_tiles[0], ""};
    assert_int_equal(norma_step_count(&route), 2);
    assert_int_equal(norma_step_kernel(&route, 0), NORMA_KERNEL_RMSNORM_ROWS);
    assert_int_equal(norma_step_kernel(&route, 1), NORMA_KERNEL_RMSNORM_LINEAR_TILED);
    assert_null(norma_step_tile(&route, 0));
    assert_ptr_equal(norma_step_tile(&route, 1), &norma_tiles[0]);
    assert_true(norma_chunk_rows(&route, &problem, LIMIT_BYTES) == INT64_MAX);
    assert_int_equal(norma_intermediate_bytes(&route, &problem, 1000), 0);

    norma_problem first;
    norma_problem second;
    norma_step_problem(&route, 0, &problem, (norma_buffer){0}, &first);
    assert_int_equal(first.op, NORMA_OP_RMSNORM);
    assert_int_equal(first.parts, 0);
    assert_memory_equal(&first.x, &problem.x, sizeof first.x);
    assert_memory_equal(&first.residual, &problem.residual, sizeof first.x);
    assert_memory_equal(&first.residual_out, &problem.residual_out, sizeof first.x);
    assert_false(norma_tensor_present(&first.rstd));
    assert_false(norma_tensor_present(&first.out));
    assert_false(norma_tensor_present(&first.gamma));

    norma_step_problem(&route, 1, &problem, (norma_buffer){0}, &second);
    assert_int_equal(second.op, NORMA_OP_RMSNORM_LINEAR);
    assert_memory_equal(&second.x, &problem.residual_out, sizeof second.x);
    assert_memory_equal(&second.gamma, &problem.gamma, sizeof second.x);
    assert_memory_equal(second.part, problem.part, sizeof second.part);
    assert_false(norma_tensor_present(&second.residual));
    assert_false(norma_tensor_present(&second.residual_out));
    /* The rstd that is written is the one that is used. */
    assert_memory_equal(&second.rstd, &problem.rstd, sizeof second.x);
}

static void residual_first_without_residual_out_passes_h_through_the_workspace(void **state) {
    (void)state;
    norma_problem problem = linear_problem(NORMA_BF16, NORMA_BF16, 64, 32);
    add_residual(&problem, NORMA_F32, false);
    problem.batch = 2;
    problem.m = 5;
    const norma_route route = {NORMA_FORM_RESIDUAL_FIRST, NORMA_KERNEL_RMSNORM_LINEAR_TILED, NULL, ""};
    const norma_buffer workspace = {(void *)0x9000, 128};
    norma_problem first;
    norma_problem second;
    norma_step_problem(&route, 0, &problem, workspace, &first);
    norma_step_problem(&route, 1, &problem, workspace, &second);
    assert_ptr_equal(first.residual_out.buffer.data, workspace.data);
    assert_int_equal(first.residual_out.buffer.offset_bytes, 128);
    assert_int_equal(first.residual_out.layout.dtype, NORMA_F32); /* h's, not x's */
    assert_int_equal(first.residual_out.layout.row_stride, 64);
    assert_int_equal(first.residual_out.layout.batch_stride, 5 * 64);
    assert_memory_equal(&second.x, &first.residual_out, sizeof second.x);
    assert_int_equal(norma_chunk_rows(&route, &problem, LIMIT_BYTES), LIMIT_BYTES / (64 * 4));
    assert_int_equal(norma_intermediate_bytes(&route, &problem, 10), 10 * 64 * 4);
}

static void norm_first_passes_y_through_the_workspace(void **state) {
    (void)state;
    norma_problem problem = linear_problem(NORMA_F16, NORMA_F32, 64, 32);
    add_residual(&problem, NORMA_F16, true);
    const norma_route route = {NORMA_FORM_NORM_FIRST, NORMA_KERNEL_LINEAR_BLAS, NULL, ""};
    const norma_buffer workspace = {(void *)0x9000, 0};
    norma_problem first;
    norma_problem second;
    norma_step_problem(&route, 0, &problem, workspace, &first);
    norma_step_problem(&route, 1, &problem, workspace, &second);
    assert_string_equal(norma_route_name(&route), "pair");
    assert_int_equal(norma_step_kernel(&route, 0), NORMA_KERNEL_RMSNORM_ROWS);
    assert_int_equal(norma_step_kernel(&route, 1), NORMA_KERNEL_LINEAR_BLAS);

    assert_int_equal(first.op, NORMA_OP_RMSNORM);
    assert_memory_equal(&first.gamma, &problem.gamma, sizeof first.x);
    assert_memory_equal(&first.residual_out, &problem.residual_out, sizeof first.x);
    assert_memory_equal(&first.rstd, &problem.rstd, sizeof first.x);
    assert_ptr_equal(first.out.buffer.data, workspace.data);
    assert_int_equal(first.out.layout.dtype, NORMA_F16);
    assert_int_equal(first.out.layout.row_stride, 64);

    assert_int_equal(second.op, NORMA_OP_LINEAR);
    assert_memory_equal(&second.x, &first.out, sizeof second.x);
    assert_false(norma_tensor_present(&second.gamma));
    assert_false(norma_tensor_present(&second.residual));
    assert_false(norma_tensor_present(&second.residual_out));
    assert_false(norma_tensor_present(&second.rstd));
    assert_memory_equal(second.part, problem.part, sizeof second.part);
}

static void a_row_too_large_for_the_intermediate_goes_alone(void **state) {
    (void)state;
    const norma_problem problem = linear_problem(NORMA_F32, NORMA_F32, LIMIT_BYTES, 1);
    const norma_route route = {NORMA_FORM_NORM_FIRST, NORMA_KERNEL_LINEAR_BLAS, NULL, ""};
    assert_int_equal(norma_chunk_rows(&route, &problem, LIMIT_BYTES), 1);
    assert_int_equal(norma_intermediate_bytes(&route, &problem, 1), 4 * LIMIT_BYTES);
}

static void slices_move_what_has_rows(void **state) {
    (void)state;
    norma_problem problem = linear_problem(NORMA_F16, NORMA_F32, 64, 32);
    add_residual(&problem, NORMA_F32, true);
    problem.batch = 4;
    problem.m = 10;
    problem.x.layout.batch_stride = 1000;
    problem.x.buffer.offset_bytes = 6;
    problem.part[0].out.layout.batch_stride = INT64_C(1) << 33;
    norma_problem part;
    norma_problem_slice(&problem, 2, 1, 7, 3, &part);
    assert_int_equal(part.batch, 1);
    assert_int_equal(part.m, 3);
    assert_int_equal(part.x.buffer.offset_bytes, 6 + (2 * 1000 + 7 * 64) * 2);
    assert_int_equal(part.residual.buffer.offset_bytes, 7 * 64 * 4);
    assert_int_equal(part.residual_out.buffer.offset_bytes, 7 * 66 * 4);
    assert_int_equal(part.rstd.buffer.offset_bytes, 7 * 4);
    assert_true(part.part[0].out.buffer.offset_bytes == (UINT64_C(2) << 33) * 2 + 7 * 32 * 2);
    assert_int_equal(part.gamma.buffer.offset_bytes, 0);
    assert_int_equal(part.part[0].weight.buffer.offset_bytes, 0);
    assert_int_equal(part.out.buffer.offset_bytes, 0); /* absent */
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
        cmocka_unit_test(direct_step_is_the_problem_itself),
        cmocka_unit_test(direct_step_without_parts_is_a_norm),
        cmocka_unit_test(residual_first_passes_h_through_residual_out),
        cmocka_unit_test(residual_first_without_residual_out_passes_h_through_the_workspace),
        cmocka_unit_test(norm_first_passes_y_through_the_workspace),
        cmocka_unit_test(a_row_too_large_for_the_intermediate_goes_alone),
        cmocka_unit_test(slices_move_what_has_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
