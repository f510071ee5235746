/* Which kernels of the GPU backends get which rows: all of them exactly once where they are too many for one launch, and
 * with NORMA_BATCH_INVARIANT the same kernel whatever their number. On a driver that runs nothing; only addresses count. */
#include <stdlib.h>

#include "expect.h"
#include "gpu_fake_driver.h"

#define GIB (UINT64_C(1) << 30)

static norma_context *context;

static int set_up(void **state) {
    (void)state;
    fake_gpu_reset();
    fake_gpu.reads_host_memory = true; /* any address will do */
    EXPECT_OK(fake_gpu_context(NULL, &context));
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    norma_context_destroy(context);
    fake_gpu_expect_clean("rows", NULL);
    return 0;
}

static norma_buffer at(uint64_t address) {
    return (norma_buffer){(void *)(uintptr_t)address, 0};
}

enum {
    X = 4096,
    WEIGHT = 16384,
    OUT = 20480,
    RSTD = 32768,
    GAMMA = 36864,
    DOUT = 40960,
    DX = 49152,
    DGAMMA = 57344
}; /* GiB */

static bool runs(int launch, const char *stem) {
    assert_in_range(launch, 0, FAKE_GPU_MAX_LAUNCHES - 1);
    return strncmp(fake_gpu.launches[launch].function, stem, strlen(stem)) == 0;
}

static void expect_kernel(int launch, const char *stem) {
    if (!runs(launch, stem)) fail_msg("launch %d is %s, not %s", launch, fake_gpu.launches[launch].function, stem);
}

static void expect_grid(const fake_gpu_launch *launch) {
    const int64_t threads = (int64_t)launch->grid[0] * launch->block[0];
    assert_true(launch->grid[0] <= INT32_MAX && launch->grid[1] == 1 && launch->grid[2] == 1);
    assert_true(threads <= context->device->limits.grid_threads);
}

/* ---- More rows than a launch takes ---- */

static const struct {
    int64_t k, m;
    norma_dtype dtype;
    int64_t grid_threads;
    int least_launches;
} many_rows[] = {
    {8, INT32_MAX, NORMA_BF16, INT64_MAX, 1},         {8, (INT64_C(1) << 31) + 5, NORMA_BF16, INT64_MAX, 2},
    {8, INT64_C(3) << 31, NORMA_BF16, INT64_MAX, 3},  {1, INT64_C(1) << 33, NORMA_F32, INT64_MAX, 4},
    {8, INT64_C(1) << 30, NORMA_BF16, UINT32_MAX, 2}, {4096, INT64_C(1) << 26, NORMA_BF16, UINT32_MAX, 3},
    {4096, 1 << 20, NORMA_BF16, UINT32_MAX, 1},       {8191, INT64_C(1) << 24, NORMA_F16, UINT32_MAX, 2},
};

static void every_row_is_normalised(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof many_rows / sizeof *many_rows; i++) {
        const int64_t k = many_rows[i].k, m = many_rows[i].m;
        norma_rmsnorm_desc desc = norma_rmsnorm_desc_init();
        desc.k = k;
        desc.x.dtype = desc.out.dtype = many_rows[i].dtype;
        context->device->limits.grid_threads = many_rows[i].grid_threads;
        norma_plan *plan;
        EXPECT_OK(norma_rmsnorm_plan_create(context, &desc, &plan));
        norma_rmsnorm_args args = norma_rmsnorm_args_init();
        args.m = m;
        args.x = at(X * GIB);
        args.out = at(OUT * GIB);
        fake_gpu.launched = 0;
        EXPECT_OK(norma_rmsnorm_plan_run(plan, &args));
        norma_plan_destroy(plan);

        const int64_t row_bytes = k * (many_rows[i].dtype == NORMA_F32 ? 4 : 2);
        int64_t done = 0;
        assert_in_range(fake_gpu.launched, many_rows[i].least_launches, FAKE_GPU_MAX_LAUNCHES);
        for (int l = 0; l < fake_gpu.launched; l++) {
            const fake_gpu_launch *launch = &fake_gpu.launches[l];
            const norma_rows_shape *shape = &launch->rows.shape;
            expect_kernel(l, "rmsnorm_rows");
            expect_grid(launch);
            assert_true(shape->rows > 0);
            assert_true((uintptr_t)shape->x == X * GIB + (uint64_t)(done * row_bytes));
            assert_true((uintptr_t)shape->out == OUT * GIB + (uint64_t)(done * row_bytes));
            assert_true((int64_t)launch->grid[0] * shape->block_rows >= shape->rows);
            done += shape->rows;
        }
        assert_true(done == m);
    }
}

static norma_rmsnorm_linear_desc linear_desc(int64_t k, int64_t n, norma_dtype dtype) {
    norma_rmsnorm_linear_desc desc = norma_rmsnorm_linear_desc_init();
    desc.k = k;
    desc.x.dtype = dtype;
    desc.part[0].n = n;
    desc.part[0].weight = norma_layout_transposed(dtype, k);
    desc.part[0].out.dtype = dtype;
    return desc;
}

static norma_rmsnorm_linear_args linear_args(const norma_rmsnorm_linear_desc *desc, int64_t batch, int64_t m) {
    norma_rmsnorm_linear_args args = norma_rmsnorm_linear_args_init();
    args.m = m;
    args.batch = batch;
    args.x = at(X * GIB);
    if (desc->gamma.dtype) args.gamma = at(GAMMA * GIB);
    if (desc->rstd.dtype) args.rstd = at(RSTD * GIB);
    args.part[0].weight = at(WEIGHT * GIB);
    args.part[0].out = at(OUT * GIB);
    return args;
}

static void run_linear(const norma_rmsnorm_linear_desc *desc, const norma_rmsnorm_linear_args *args) {
    norma_plan *plan;
    EXPECT_OK(norma_rmsnorm_linear_plan_create(context, desc, &plan));
    fake_gpu.launched = 0;
    EXPECT_OK(norma_rmsnorm_linear_plan_run(plan, args));
    norma_plan_destroy(plan);
}

static void every_row_is_multiplied(void **state) {
    (void)state;
    static const struct {
        int64_t m, n, grid_threads;
        int least_launches;
    } rows[] = {{1 << 20, 8, INT64_MAX, 1}, {INT64_C(1) << 31, 200, UINT32_MAX, 2}, {INT64_C(1) << 38, 8, INT64_MAX, 2}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const norma_rmsnorm_linear_desc desc = linear_desc(4, rows[i].n, NORMA_F32);
        norma_rmsnorm_linear_args args = linear_args(&desc, 1, rows[i].m);
        context->device->limits.grid_threads = rows[i].grid_threads;
        run_linear(&desc, &args);
        int64_t done = 0;
        assert_in_range(fake_gpu.launched, rows[i].least_launches, FAKE_GPU_MAX_LAUNCHES);
        for (int l = 0; l < fake_gpu.launched; l++) {
            const fake_gpu_launch *launch = &fake_gpu.launches[l];
            expect_kernel(l, "rmsnorm_linear_tiled");
            expect_grid(launch);
            assert_true((uintptr_t)launch->linear.norm.x.data == X * GIB + (uint64_t)(done * 16));
            assert_true((uintptr_t)launch->linear.part[0].out.data == OUT * GIB + (uint64_t)(done * rows[i].n * 4));
            done += launch->linear.norm.rows;
        }
        assert_true(done == rows[i].m);
    }
}

/* ---- Batch invariance ---- */

/* Every launch is of the wgmma kernel, and together they have every row of every batch, in order. */
static void expect_hopper_rows(const norma_rmsnorm_linear_desc *desc, int64_t batch, int64_t m) {
    const int64_t x_stride = desc->x.batch_stride ? desc->x.batch_stride : m * desc->k;
    const int64_t out_stride = desc->part[0].out.batch_stride ? desc->part[0].out.batch_stride : m * desc->part[0].n;
    int64_t done = 0;
    for (int l = 0; l < fake_gpu.launched; l++) {
        expect_kernel(l, "rmsnorm_linear_hopper");
        const norma_hopper_params *params = &fake_gpu.launches[l].hopper;
        const int64_t b = done / m, i = done % m;
        assert_true((uintptr_t)params->x_data == X * GIB + (uint64_t)(b * x_stride + i * desc->k) * 2);
        assert_true(params->part[0].out.word[0] == OUT * GIB + (uint64_t)(b * out_stride + i * desc->part[0].n) * 2);
        if (params->rstd_out)
            assert_true((uintptr_t)params->rstd_out == RSTD * GIB + (uint64_t)(b * desc->rstd.batch_stride + i) * 4);
        assert_true(fake_gpu.launches[l].cluster <= 1); /* no sum over K is shared out */
        done += params->rows;
    }
    assert_true(done == batch * m);
}

static void the_wgmma_kernel_takes_any_number_of_rows(void **state) {
    (void)state;
    static const int64_t rows[] = {1, 100, 65000, 65536, 66000, 131073, 200000};
    for (int exact = 0; exact < 2; exact++) {
        norma_rmsnorm_linear_desc desc = linear_desc(8192, 64, NORMA_BF16);
        desc.flags = NORMA_BATCH_INVARIANT;
        if (exact)
            desc.contract = NORMA_ROUND_ONCE;
        else
            desc.gamma.dtype = NORMA_BF16;
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            const norma_rmsnorm_linear_args args = linear_args(&desc, 1, rows[i]);
            run_linear(&desc, &args);
            expect_hopper_rows(&desc, 1, rows[i]);
            desc.max_rows = rows[i];
            run_linear(&desc, &args);
            expect_hopper_rows(&desc, 1, rows[i]);
            desc.max_rows = 0;
        }
    }
}

static void the_wgmma_kernel_takes_batches_apart(void **state) {
    (void)state;
    enum { ROWS = 50 };
    norma_rmsnorm_linear_desc desc = linear_desc(64, 48, NORMA_F16);
    desc.rstd.dtype = NORMA_F32;
    desc.x.batch_stride = ROWS * 64 + 128;
    desc.rstd.batch_stride = ROWS + 3;
    for (int gamma = 0; gamma < 2; gamma++) {
        desc.flags = NORMA_BATCH_INVARIANT;
        desc.gamma.dtype = gamma ? NORMA_F16 : NORMA_NONE;
        for (int64_t batch = 1; batch <= 3; batch++) {
            const norma_rmsnorm_linear_args args = linear_args(&desc, batch, ROWS);
            run_linear(&desc, &args);
            expect_hopper_rows(&desc, batch, ROWS);
        }
    }
    /* Without the flag one launch of another kernel. */
    desc.flags = 0;
    const norma_rmsnorm_linear_args args = linear_args(&desc, 3, ROWS);
    run_linear(&desc, &args);
    assert_int_equal(fake_gpu.launched, 1);
    expect_kernel(0, "rmsnorm_linear_tiled");
}

/* Where the tiled kernel stands in for the wgmma kernel. */
static void the_tile_does_not_follow_from_the_rows(void **state) {
    (void)state;
    static const int64_t rows[] = {1, 20, 300, 5000, 140000};
    char first[96] = "";
    norma_rmsnorm_linear_desc desc = linear_desc(64, 1024, NORMA_BF16);
    desc.flags = NORMA_BATCH_INVARIANT;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        norma_rmsnorm_linear_args args = linear_args(&desc, 1, rows[i]);
        args.part[0].out.offset_bytes = 2; /* no address for the copy engine */
        run_linear(&desc, &args);
        assert_int_equal(fake_gpu.launched, 1);
        expect_kernel(0, "rmsnorm_linear_tiled");
        if (!*first) memcpy(first, fake_gpu.launches[0].function, sizeof first);
        assert_string_equal(fake_gpu.launches[0].function, first);
    }
}

static norma_rmsnorm_backward_desc backward_desc(int64_t k) {
    norma_rmsnorm_backward_desc desc = norma_rmsnorm_backward_desc_init();
    desc.k = k;
    desc.x.dtype = desc.gamma.dtype = desc.dout.dtype = desc.dx.dtype = NORMA_BF16;
    desc.rstd.dtype = desc.dgamma.dtype = NORMA_F32;
    return desc;
}

static void run_backward(const norma_rmsnorm_backward_desc *desc, int64_t batch, int64_t m) {
    norma_plan *plan;
    EXPECT_OK(norma_rmsnorm_backward_plan_create(context, desc, &plan));
    norma_rmsnorm_backward_args args = norma_rmsnorm_backward_args_init();
    args.m = m;
    args.batch = batch;
    args.x = at(X * GIB);
    args.rstd = at(RSTD * GIB);
    args.gamma = at(GAMMA * GIB);
    args.dout = at(DOUT * GIB);
    if (desc->dx.dtype) args.dx = at(DX * GIB);
    if (desc->dgamma.dtype) args.dgamma = at(DGAMMA * GIB);
    fake_gpu.launched = 0;
    EXPECT_OK(norma_rmsnorm_backward_plan_run(plan, &args));
    norma_plan_destroy(plan);
}

/* Rows past 8192 halves have one kernel that keeps them in registers, and it has one batch. */
static void long_rows_of_dx_come_from_one_kernel(void **state) {
    (void)state;
    enum { LONG = 8200, SHORT = 8192, ROWS = 20 };
    static const char kernel[] = "rmsnorm_rows_backward_bf16_4_lean";
    norma_rmsnorm_backward_desc desc = backward_desc(LONG);
    desc.flags = NORMA_BATCH_INVARIANT;
    desc.x.batch_stride = (ROWS + 1) * LONG;
    for (int sums = 0; sums < 2; sums++) {
        desc.dgamma.dtype = sums ? NORMA_F32 : NORMA_NONE;
        run_backward(&desc, 1, ROWS);
        assert_int_equal(fake_gpu.launched, 1 + sums);
        assert_string_equal(fake_gpu.launches[0].function, kernel);
        for (int64_t batch = 2; batch <= 4; batch++) {
            run_backward(&desc, batch, ROWS);
            assert_int_equal(fake_gpu.launched, batch + 2 * sums);
            for (int b = 0; b < batch; b++) {
                const norma_rows_backward_params *params = &fake_gpu.launches[b].backward;
                assert_string_equal(fake_gpu.launches[b].function, kernel);
                assert_int_equal(params->norm.rows, ROWS);
                assert_true((uintptr_t)params->norm.x.data == X * GIB + (uint64_t)b * (ROWS + 1) * LONG * 2);
                assert_true((uintptr_t)params->norm.rstd.data == RSTD * GIB + (uint64_t)b * ROWS * 4);
                assert_true((uintptr_t)params->dout.data == DOUT * GIB + (uint64_t)b * ROWS * LONG * 2);
                assert_true((uintptr_t)params->dx.data == DX * GIB + (uint64_t)b * ROWS * LONG * 2);
                assert_null(params->lines);
            }
            if (!sums) continue;
            /* Sums over all rows are of another launch, which leaves dx alone. */
            const norma_rows_backward_params *params = &fake_gpu.launches[batch].backward;
            expect_kernel((int)batch, "rmsnorm_rows_backward_any");
            assert_int_equal(params->norm.rows, batch * ROWS);
            assert_null(params->dx.data);
            assert_non_null(params->lines);
            expect_kernel((int)batch + 1, "column_sums");
        }
    }
    /* Shorter rows have a kernel for any batches, and without the flag so have long ones. */
    desc.flags = 0;
    run_backward(&desc, 2, ROWS);
    expect_kernel(0, "rmsnorm_rows_backward_any");
    desc = backward_desc(SHORT);
    desc.flags = NORMA_BATCH_INVARIANT;
    desc.x.batch_stride = (ROWS + 1) * SHORT;
    run_backward(&desc, 2, ROWS);
    assert_string_equal(fake_gpu.launches[0].function, "rmsnorm_rows_backward_bf16_2");
    assert_true(fake_gpu.launches[0].backward.dx.data && fake_gpu.launches[0].backward.lines);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_row_is_normalised, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_row_is_multiplied, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_wgmma_kernel_takes_any_number_of_rows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_wgmma_kernel_takes_batches_apart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_tile_does_not_follow_from_the_rows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(long_rows_of_dx_come_from_one_kernel, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
