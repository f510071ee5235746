/* Plans on the fake backend: routes tried in order, brackets, workspace, chunks, the cache, forced kernels. */
#include "front/plan.h"

#include <stdio.h>
#include <stdlib.h>

#include "expect.h"
#include "fake_backend.h"
#include "front/validate.h"

/* Another context in place of the test's own, after the environment has changed. */
static norma_context *reopen(void **state) {
    norma_context_destroy(*state);
    norma_context *context;
    EXPECT_OK(fake_context_create(&context));
    *state = context;
    return context;
}

/* Addresses that nothing follows: the fake computes only when told to. */
static norma_buffer at(uintptr_t address) {
    return (norma_buffer){(void *)address, 0};
}

#define GIB (UINT64_C(1) << 30)

static norma_rmsnorm_linear_desc linear_desc(int64_t k, int64_t n) {
    norma_rmsnorm_linear_desc desc = norma_rmsnorm_linear_desc_init();
    desc.k = k;
    desc.x.dtype = NORMA_F32;
    desc.part[0].n = n;
    desc.part[0].weight.dtype = desc.part[0].out.dtype = NORMA_F32;
    return desc;
}

static norma_rmsnorm_linear_args linear_args(int64_t m) {
    norma_rmsnorm_linear_args args = norma_rmsnorm_linear_args_init();
    args.m = m;
    args.x = at(64 * GIB);
    args.part[0].weight = at(128 * GIB);
    args.part[0].out = at(256 * GIB);
    return args;
}

static norma_plan_info info_of(norma_plan *plan, int64_t m) {
    norma_plan_info info = {.struct_size = sizeof info};
    EXPECT_OK(norma_plan_get_info(plan, m, &info));
    return info;
}

static norma_plan *make_plan(norma_context *context, const norma_rmsnorm_linear_desc *desc) {
    norma_plan *plan;
    EXPECT_OK(norma_rmsnorm_linear_plan_create(context, desc, &plan));
    return plan;
}

/* ---- Choice ---- */

static void plan_takes_the_first_route_that_prepares(void **state) {
    norma_rmsnorm_linear_desc desc = linear_desc(64, 32);
    desc.max_rows = 1;
    static const struct {
        norma_kernel refused;
        const char *kernel;
    } rows[] = {{NORMA_KERNEL_COUNT, "rmsnorm_linear_skinny"},
                {NORMA_KERNEL_RMSNORM_LINEAR_SKINNY, "rmsnorm_linear_tiled"},
                {NORMA_KERNEL_RMSNORM_LINEAR_TILED, "rmsnorm_rows+linear_blas"},
                {NORMA_KERNEL_LINEAR_BLAS, "reference"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].refused < NORMA_KERNEL_COUNT) fake.refuse[rows[i].refused] = true;
        norma_plan *plan = make_plan(*state, &desc);
        const norma_plan_info info = info_of(plan, 1);
        assert_string_equal(info.kernel, rows[i].kernel);
        assert_true(info.reason[0] != 0);
        const norma_rmsnorm_linear_args args = linear_args(1);
        EXPECT_OK(norma_rmsnorm_linear_plan_run(plan, &args));
        norma_plan_destroy(plan);
        assert_int_equal(fake.live_launches, 0);
    }
    fake.refuse[NORMA_KERNEL_REFERENCE] = true;
    norma_plan *plan;
    EXPECT_FAILURE(norma_rmsnorm_linear_plan_create(*state, &desc, &plan), NORMA_ERROR_UNSUPPORTED, "has no kernel");
    assert_null(plan);
    assert_int_equal(fake.live_launches, 0);
}

static void plan_prepares_every_bracket_it_promises(void **state) {
    norma_rmsnorm_linear_desc desc = linear_desc(64, 32);
    desc.max_rows = 20;
    norma_plan *plan = make_plan(*state, &desc);
    static const int64_t prepared_for[] = {20, 16, 8, 4, 2, 1};
    assert_int_equal(fake.prepared, 6);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(fake.preparations[i].problem.m, prepared_for[i]);
        assert_int_equal(fake.preparations[i].problem.batch, 1);
        assert_null(fake.preparations[i].problem.x.buffer.data);
    }
    const int calls = fake.calls;
    for (int64_t m = 1; m <= 20; m++) {
        const norma_rmsnorm_linear_args args = linear_args(m);
        EXPECT_OK(norma_rmsnorm_linear_plan_run(plan, &args));
    }
    assert_int_equal(fake.prepared, 6);
    assert_int_equal(fake.calls - calls, 20); /* launches, and nothing else */
    norma_plan_destroy(plan);
}

static void plan_for_any_rows_prepares_when_first_run(void **state) {
    fake.refuse[NORMA_KERNEL_RMSNORM_ROWS] = true; /* one launch per route */
    const norma_rmsnorm_linear_desc desc = linear_desc(64, 32);
    norma_plan *plan = make_plan(*state, &desc);
    assert_int_equal(fake.prepared, 0);
    static const struct {
        int64_t m, prepared_for;
        int prepared;
    } rows[] = {{3, 4, 1},           {4, 4, 1},           {130, 192, 2},       {140, 192, 2},
                {200000, 200000, 3}, {150000, 200000, 3}, {300000, 300000, 4}, {3, 192, 4}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const norma_rmsnorm_linear_args args = linear_args(rows[i].m);
        EXPECT_OK(norma_rmsnorm_linear_plan_run(plan, &args));
        assert_int_equal(fake.prepared, rows[i].prepared);
        if (i + 1 < sizeof rows / sizeof rows[0])
            assert_int_equal(fake.preparations[fake.prepared - 1].problem.m, rows[i].prepared_for);
    }
    assert_int_equal(fake.live_launches, 3); /* the open bracket was prepared again, and only one is kept */
    assert_string_equal(info_of(plan, 1000).kernel, "rmsnorm_linear_tiled");
    assert_int_equal(fake.prepared, 5);
    assert_string_equal(info_of(plan, 0).kernel, "none");
    norma_plan_destroy(plan);
}

/* What runs is asked of a plan for any rows: it prepares, but neither for a struct that cannot be filled nor on a device
 * that is gone. */
static void asking_what_runs_prepares_only_where_it_can_answer(void **state) {
    const norma_rmsnorm_linear_desc desc = linear_desc(64, 32);
    norma_plan *plan = make_plan(*state, &desc);
    norma_plan_info info = {.struct_size = 3};
    EXPECT_FAILURE(norma_plan_get_info(plan, 100, NULL), NORMA_ERROR_NULL_POINTER, "out_info is NULL");
    EXPECT_FAILURE(norma_plan_get_info(plan, 100, &info), NORMA_ERROR_STRUCT_SIZE, "out_info.struct_size is 3");
    assert_int_equal(fake.prepared, 0);

    fake.fail_at = fake.calls + 1;
    fake.fail_status = NORMA_ERROR_DEVICE_LOST;
    EXPECT_FAILURE(norma_synchronize(*state), NORMA_ERROR_DEVICE_LOST, NULL);
    fake.fail_at = 0;
    const int calls = fake.calls;
    info.struct_size = sizeof info;
    EXPECT_FAILURE(norma_plan_get_info(plan, 100, &info), NORMA_ERROR_DEVICE_LOST, "was lost in an earlier call");
    EXPECT_FAILURE(norma_plan_get_info(plan, 0, &info), NORMA_ERROR_DEVICE_LOST, "was lost in an earlier call");
    assert_int_equal(fake.calls, calls);
    norma_plan_destroy(plan);
}

static void kernel_is_forced_by_name(void **state) {
    static const char *const names[] = {"reference", "rmsnorm_linear_skinny", "rmsnorm_linear_tiled", "pair"};
    static const char *const kernels[] = {"reference", "rmsnorm_linear_skinny", "rmsnorm_linear_tiled",
                                          "rmsnorm_rows+linear_blas"};
    norma_rmsnorm_linear_desc desc = linear_desc(64, 32);
    desc.max_rows = 4096;
    for (int i = 0; i < 4; i++) {
        setenv("NORMA_KERNEL", names[i], 1);
        norma_context *context = reopen(state);
        norma_plan *plan = make_plan(context, &desc);
        for (int64_t m = 1; m <= 4096; m *= 8) {
            const norma_plan_info info = info_of(plan, m);
            assert_string_equal(info.kernel, kernels[i]);
            assert_string_equal(info.reason, "asked for by name");
        }
        norma_plan_destroy(plan);

        /* A norm alone is computed as ever, but for "reference". */
        norma_rmsnorm_desc norm = norma_rmsnorm_desc_init();
        norm.k = 8;
        norm.x.dtype = norm.out.dtype = NORMA_F32;
        EXPECT_OK(norma_rmsnorm_plan_create(context, &norm, &plan));
        assert_string_equal(info_of(plan, 5).kernel, i == 0 ? "reference" : "rmsnorm_rows");
        norma_plan_destroy(plan);
    }
}

static void forced_kernel_that_cannot_serve_is_an_error(void **state) {
    setenv("NORMA_KERNEL", "rmsnorm_linear_skinny", 1);
    norma_context *context = reopen(state);
    norma_rmsnorm_linear_desc desc = linear_desc(64, 32);
    desc.max_rows = 1;
    fake.refuse[NORMA_KERNEL_RMSNORM_LINEAR_SKINNY] = true;
    norma_plan *plan;
    EXPECT_FAILURE(norma_rmsnorm_linear_plan_create(context, &desc, &plan), NORMA_ERROR_UNSUPPORTED,
                   "kernel \"rmsnorm_linear_skinny\" cannot do this on backend \"fake\": the fake backend has no kernel");
    assert_null(plan);
    desc.flags = NORMA_BATCH_INVARIANT;
    EXPECT_FAILURE(norma_rmsnorm_linear_plan_create(context, &desc, &plan), NORMA_ERROR_UNSUPPORTED,
                   "kernel \"rmsnorm_linear_skinny\" does not serve this operation with these flags");

    norma_problem problem;
    EXPECT_OK(norma_problem_from_rmsnorm_linear(&desc, &problem));
    EXPECT_FAILURE(norma_plan_create(context, &problem, 1, "fused", &plan), NORMA_ERROR_UNSUPPORTED, "no kernel \"fused\"");
    assert_null(plan);
    EXPECT_FAILURE(norma_plan_create(context, &problem, 1, "stream", &plan), NORMA_ERROR_UNSUPPORTED, "\"stream\" does not");
    EXPECT_OK(norma_plan_create(context, &problem, 1, "reference", &plan)); /* wins over NORMA_KERNEL */
    assert_string_equal(info_of(plan, 1).kernel, "reference");
    norma_plan_destroy(plan);
}

static void environment_makes_every_call_batch_invariant(void **state) {
    setenv("NORMA_BATCH_INVARIANT", "1", 1);
    norma_context *context = reopen(state);
    const norma_rmsnorm_linear_desc desc = linear_desc(64, 32);
    const norma_rmsnorm_linear_args args = linear_args(1);
    EXPECT_OK(norma_rmsnorm_linear(context, &desc, &args));
    assert_int_equal(fake.launches[0].kernel, NORMA_KERNEL_RMSNORM_LINEAR_TILED);
    assert_int_equal(fake.launches[0].problem.flags, NORMA_BATCH_INVARIANT);
    setenv("NORMA_BATCH_INVARIANT", "0", 1);
    context = reopen(state);
    EXPECT_OK(norma_rmsnorm_linear(context, &desc, &args));
    assert_int_equal(fake.launches[1].kernel, NORMA_KERNEL_RMSNORM_LINEAR_SKINNY);
    assert_int_equal(fake.launches[1].problem.flags, 0);
}

static void keep_line(void *user, norma_log_level level, const char *line) {
    if (level == NORMA_LOG_DEBUG) snprintf(user, 512, "%s", line);
}

static void expect_in_line(const char *line, const char *needle) {
    if (!strstr(line, needle)) fail_msg("\"%s\" is not in: %s", needle, line);
}

static void launches_are_logged_in_the_words_of_the_bench(void **state) {
    char line[512] = "";
    norma_context *context = *state;
    context->device->log = (norma_logger){NORMA_LOG_DEBUG, keep_line, line};
    norma_rmsnorm_linear_desc desc = linear_desc(64, 32);
    desc.x.dtype = NORMA_BF16;
    desc.contract = NORMA_ROUND_TWICE;
    const norma_rmsnorm_linear_args args = linear_args(100);
    EXPECT_OK(norma_rmsnorm_linear(context, &desc, &args));
    expect_in_line(line, "launch rmsnorm_linear_tiled, 1 of 1, tile cpu_avx2");
    expect_in_line(line, "norma-bench --shape 100,64,32 --dtype bf16 --contract twice --kernel rmsnorm_linear_tiled (");
    expect_in_line(line, "gamma none, weight f32, out f32");

    desc.residual.dtype = NORMA_BF16;
    norma_rmsnorm_linear_args more = args;
    more.residual = at(300 * GIB);
    EXPECT_OK(norma_rmsnorm_linear(context, &desc, &more));
    expect_in_line(line, "launch rmsnorm_linear_tiled, 2 of 2, tile cpu_avx2");

    norma_rmsnorm_desc norm = norma_rmsnorm_desc_init();
    norm.k = 8;
    norm.x.dtype = norm.out.dtype = NORMA_F16;
    norma_rmsnorm_args norm_args = norma_rmsnorm_args_init();
    norm_args.m = 5;
    norm_args.x = args.x;
    norm_args.out = args.part[0].out;
    EXPECT_OK(norma_rmsnorm(context, &norm, &norm_args));
    expect_in_line(line, "norma-bench --shape 5,8 --dtype f16 --contract deferred --kernel rmsnorm_rows (");

    line[0] = 0;
    context->device->log.level = NORMA_LOG_INFO;
    EXPECT_OK(norma_rmsnorm_linear(context, &desc, &more));
    assert_string_equal(line, "");
}

/* ---- Workspace and chunks ---- */

static void workspace_holds_intermediate_and_launches(void **state) {
    fake.workspace_bytes[NORMA_KERNEL_RMSNORM_ROWS] = 100;
    fake.workspace_bytes[NORMA_KERNEL_LINEAR_BLAS] = 1000;
    norma_rmsnorm_linear_desc desc = linear_desc(65, 32);
    desc.max_rows = 10;
    norma_problem problem;
    EXPECT_OK(norma_problem_from_rmsnorm_linear(&desc, &problem));
    norma_plan *plan;
    EXPECT_OK(norma_plan_create(*state, &problem, 10, "pair", &plan));
    const size_t intermediate = (10 * 65 * 4 + 255) / 256 * 256;
    assert_int_equal(info_of(plan, 1).workspace_bytes, intermediate + 1000);

    const norma_rmsnorm_linear_args args = linear_args(10);
    EXPECT_OK(norma_rmsnorm_linear_plan_run(plan, &args));
    assert_int_equal(fake.launched, 2);
    for (int step = 0; step < 2; step++) {
        assert_int_equal(fake.launches[step].workspace.offset_bytes, intermediate);
        assert_int_equal(fake.launches[step].workspace_bytes, step ? 1000 : 100);
        assert_ptr_equal(fake.launches[step].workspace.data, fake.launches[0].problem.out.buffer.data);
    }
    assert_ptr_equal(fake.launches[1].problem.x.buffer.data, fake.launches[0].problem.out.buffer.data);
    norma_plan_destroy(plan);
    assert_int_equal(fake.live_buffers, 0);
}

static void one_shot_calls_share_one_workspace(void **state) {
    int grown = 0;
    for (int k = 1; k <= 64; k *= 4) {
        norma_rmsnorm_linear_desc desc = linear_desc(k, 32);
        desc.residual.dtype = NORMA_F32;
        norma_rmsnorm_linear_args args = linear_args(7);
        args.residual = at(300 * GIB);
        EXPECT_OK(norma_rmsnorm_linear(*state, &desc, &args));
        assert_int_equal(fake.live_buffers, ++grown);
        assert_int_equal(fake.largest_alloc_bytes, 8 * k * 4); /* for the bracket's 8 rows */
        desc.k--;
        if (desc.k) EXPECT_OK(norma_rmsnorm_linear(*state, &desc, &args));
        assert_int_equal(fake.live_buffers, grown);
    }
}

/* Each row of out must be computed exactly once, from the same row of x. */
static void expect_rows_covered(int64_t batch, int64_t m, int64_t batch_stride, int64_t k, int64_t n, int64_t chunk_rows) {
    unsigned char *seen = calloc((size_t)(batch * m), 1);
    assert_non_null(seen);
    for (int l = 1; l < fake.launched; l += 2) {
        const norma_problem *first = &fake.launches[l - 1].problem;
        const norma_problem *second = &fake.launches[l].problem;
        assert_int_equal(fake.launches[l - 1].kernel, NORMA_KERNEL_RMSNORM_ROWS);
        assert_int_equal(first->batch, second->batch);
        assert_int_equal(first->m, second->m);
        assert_true(first->batch * first->m <= chunk_rows);
        assert_memory_equal(&first->out, &second->x, sizeof first->out);
        for (int64_t b = 0; b < second->batch; b++)
            for (int64_t i = 0; i < second->m; i++) {
                const int64_t x = (int64_t)(first->x.buffer.offset_bytes / 4) + b * batch_stride + i * k;
                const int64_t out = (int64_t)(second->part[0].out.buffer.offset_bytes / 4) + (b * m + i) * n;
                const int64_t row = out / n;
                assert_true(row < batch * m);
                assert_int_equal(x, row / m * batch_stride + row % m * k);
                seen[row]++;
            }
    }
    for (int64_t row = 0; row < batch * m; row++) assert_int_equal(seen[row], 1);
    free(seen);
}

static void large_intermediates_go_through_in_chunks(void **state) {
    static const struct {
        int64_t batch, m;
        int launches;
    } rows[] = {
        {1, 8, 2}, {1, 9, 4},   {1, 23, 6}, /* rows within a batch */
        {5, 3, 6}, {3, 4, 4},   {2, 8, 4},  /* whole batches */
        {2, 9, 8}, {3, 17, 18},             /* rows within batches */
    };
    const int64_t k = 1 << 20; /* 8 rows of fp32 are 32 MiB */
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        norma_rmsnorm_linear_desc desc = linear_desc(k, 3);
        desc.x.batch_stride = rows[i].m * k + 5;
        norma_problem problem;
        EXPECT_OK(norma_problem_from_rmsnorm_linear(&desc, &problem));
        norma_plan *plan;
        EXPECT_OK(norma_plan_create(*state, &problem, 0, "pair", &plan));
        norma_rmsnorm_linear_args args = linear_args(rows[i].m);
        args.batch = rows[i].batch;
        fake.launched = 0;
        EXPECT_OK(norma_rmsnorm_linear_plan_run(plan, &args));
        assert_int_equal(fake.launched, rows[i].launches);
        expect_rows_covered(rows[i].batch, rows[i].m, desc.x.batch_stride, k, 3, 8);
        assert_true(fake.largest_alloc_bytes <= INT64_C(32) << 20);
        norma_plan_destroy(plan);
    }
}

/* Fewer than pass between two launches at a time: the first launch is split, the second is not. */
static void a_launch_gets_as_many_rows_as_it_takes(void **state) {
    norma_rmsnorm_linear_desc desc = linear_desc(64, 3);
    desc.x.batch_stride = 7 * 64 + 5;
    norma_problem problem;
    EXPECT_OK(norma_problem_from_rmsnorm_linear(&desc, &problem));
    static const struct {
        int64_t batch, max_rows;
        int64_t rows[6][2]; /* batches and rows of each launch */
    } rows[] = {{1, 7, {{1, 7}}},
                {1, 5, {{1, 5}, {1, 2}}},
                {3, 21, {{3, 7}}},
                {3, 20, {{2, 7}, {1, 7}}},
                {2, 4, {{1, 4}, {1, 3}, {1, 4}, {1, 3}}}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        fake.max_rows[NORMA_KERNEL_RMSNORM_ROWS] = rows[i].max_rows;
        norma_plan *plan;
        EXPECT_OK(norma_plan_create(*state, &problem, 0, "pair", &plan));
        norma_rmsnorm_linear_args args = linear_args(7);
        args.batch = rows[i].batch;
        fake.launched = 0;
        EXPECT_OK(norma_rmsnorm_linear_plan_run(plan, &args));
        int64_t done = 0;
        int launch = 0;
        for (; launch < 6 && rows[i].rows[launch][0]; launch++) {
            const norma_problem *piece = &fake.launches[launch].problem;
            assert_int_equal(fake.launches[launch].kernel, NORMA_KERNEL_RMSNORM_ROWS);
            assert_int_equal(piece->batch, rows[i].rows[launch][0]);
            assert_int_equal(piece->m, rows[i].rows[launch][1]);
            assert_int_equal(piece->x.buffer.offset_bytes, 4 * (done / 7 * desc.x.batch_stride + done % 7 * 64));
            assert_int_equal(piece->out.buffer.offset_bytes, 4 * done * 64);
            assert_int_equal(piece->x.layout.batch_stride, piece->batch > 1 ? desc.x.batch_stride : 0);
            done += piece->batch * piece->m;
        }
        assert_int_equal(done, rows[i].batch * 7);
        assert_int_equal(fake.launched, launch + 1);
        assert_int_equal(fake.launches[launch].kernel, NORMA_KERNEL_LINEAR_BLAS);
        assert_int_equal(fake.launches[launch].problem.batch * fake.launches[launch].problem.m, done);
        norma_plan_destroy(plan);
    }
}

/* ---- The cache ---- */

static void same_description_finds_its_plan(void **state) {
    norma_rmsnorm_linear_desc desc = linear_desc(64, 32);
    const norma_rmsnorm_linear_args args = linear_args(3);
    for (int i = 0; i < 3; i++) EXPECT_OK(norma_rmsnorm_linear(*state, &desc, &args));
    assert_int_equal(fake.prepared, 1);
    desc.max_rows = 100; /* does not change what runs */
    desc.x.row_stride = 64;
    desc.part[0].out.col_stride = 1;
    EXPECT_OK(norma_rmsnorm_linear(*state, &desc, &args));
    assert_int_equal(fake.prepared, 1);
    assert_int_equal(fake.launched, 4);
}

static void each_field_of_a_description_makes_another_plan(void **state) {
    norma_rmsnorm_linear_desc base = linear_desc(64, 32);
    base.parts = 2;
    base.part[1] = base.part[0];
    base.gamma.dtype = base.residual.dtype = base.residual_out.dtype = base.rstd.dtype = NORMA_F32;
    base.part[0].bias.dtype = NORMA_F32;
    norma_rmsnorm_linear_desc variants[32];
    int count = 0;
#define VARIANT(change)                                       \
    do {                                                      \
        norma_rmsnorm_linear_desc *desc = &variants[count++]; \
        *desc = base;                                         \
        change;                                               \
    } while (0)
    VARIANT((void)desc);
    VARIANT(desc->k = 63);
    VARIANT(desc->eps = 1e-5F);
    VARIANT(desc->gamma_offset = 1);
    VARIANT(desc->contract = NORMA_ROUND_ONCE);
    VARIANT(desc->flags = NORMA_WEIGHTS_STATIC);
    VARIANT(desc->x.dtype = NORMA_F16);
    VARIANT(desc->x.row_stride = 65);
    VARIANT(desc->x.col_stride = 2);
    VARIANT(desc->x.batch_stride = 1 << 20);
    VARIANT(desc->gamma.dtype = NORMA_F16);
    VARIANT(desc->gamma.col_stride = 2);
    VARIANT(desc->residual.row_stride = 66);
    VARIANT(desc->residual_out.row_stride = 67);
    VARIANT(desc->rstd.row_stride = 2);
    VARIANT(desc->part[0].n = 31);
    VARIANT(desc->part[1].n = 31);
    VARIANT(desc->part[1].weight.dtype = NORMA_BF16);
    VARIANT(desc->part[0].weight = norma_layout_transposed(NORMA_F32, 64));
    VARIANT(desc->part[0].bias.dtype = NORMA_BF16);
    VARIANT(desc->part[1].out.row_stride = 40);
    VARIANT(desc->part[1].out.dtype = NORMA_BF16);
#undef VARIANT
    norma_plan_cache cache = {0};
    for (int i = 0; i < count; i++) {
        norma_problem problem;
        EXPECT_OK(norma_problem_from_rmsnorm_linear(&variants[i], &problem));
        if (norma_plan_cache_find(&cache, &problem)) fail_msg("variant %d is taken for an earlier one", i);
        norma_plan *plan;
        EXPECT_OK(norma_plan_create(*state, &problem, 0, NULL, &plan));
        EXPECT_OK(norma_plan_cache_insert(&cache, &problem, plan));
        assert_ptr_equal(norma_plan_cache_find(&cache, &problem), plan);
    }
    norma_plan_cache_clear(&cache);
    assert_int_equal(cache.count, 0);
}

static void full_cache_drops_the_least_recently_used(void **state) {
    const norma_rmsnorm_linear_args args = linear_args(1);
    for (int k = 1; k <= NORMA_PLAN_CACHE_SIZE; k++) {
        const norma_rmsnorm_linear_desc desc = linear_desc(k, 1);
        EXPECT_OK(norma_rmsnorm_linear(*state, &desc, &args));
    }
    assert_int_equal(fake.live_launches, NORMA_PLAN_CACHE_SIZE);
    const norma_rmsnorm_linear_desc oldest = linear_desc(1, 1);
    EXPECT_OK(norma_rmsnorm_linear(*state, &oldest, &args)); /* used again: now k = 2 is the oldest */
    const norma_rmsnorm_linear_desc another = linear_desc(1000, 1);
    EXPECT_OK(norma_rmsnorm_linear(*state, &another, &args));
    assert_int_equal(fake.live_launches, NORMA_PLAN_CACHE_SIZE);

    const int prepared = fake.prepared;
    EXPECT_OK(norma_rmsnorm_linear(*state, &oldest, &args));
    EXPECT_OK(norma_rmsnorm_linear(*state, &another, &args));
    assert_int_equal(fake.prepared, prepared);
    const norma_rmsnorm_linear_desc dropped = linear_desc(2, 1);
    EXPECT_OK(norma_rmsnorm_linear(*state, &dropped, &args));
    assert_int_equal(fake.prepared, prepared + 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        FAKE_TEST(plan_takes_the_first_route_that_prepares),
        FAKE_TEST(plan_prepares_every_bracket_it_promises),
        FAKE_TEST(plan_for_any_rows_prepares_when_first_run),
        FAKE_TEST(asking_what_runs_prepares_only_where_it_can_answer),
        FAKE_TEST(kernel_is_forced_by_name),
        FAKE_TEST(forced_kernel_that_cannot_serve_is_an_error),
        FAKE_TEST(environment_makes_every_call_batch_invariant),
        FAKE_TEST(launches_are_logged_in_the_words_of_the_bench),
        FAKE_TEST(workspace_holds_intermediate_and_launches),
        FAKE_TEST(one_shot_calls_share_one_workspace),
        FAKE_TEST(large_intermediates_go_through_in_chunks),
        FAKE_TEST(a_launch_gets_as_many_rows_as_it_takes),
        FAKE_TEST(same_description_finds_its_plan),
        FAKE_TEST(each_field_of_a_description_makes_another_plan),
        FAKE_TEST(full_cache_drops_the_least_recently_used),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
