/* How rmsnorm_linear_narrow is dealt out: what a launch asks for is what the kernel's blocks lay out in shared memory, the
 * clusters share out all of K, and the tiles all columns. On a driver that runs nothing; only addresses count. */
#include <stdio.h>
#include <stdlib.h>

#include "expect.h"
#include "gpu_fake_driver.h"

static norma_context *context;

static int set_up(void **state) {
    (void)state;
    fake_gpu_reset();
    fake_gpu.reads_host_memory = true; /* any address will do */
    setenv("NORMA_KERNEL", "rmsnorm_linear_narrow", 1);
    EXPECT_OK(fake_gpu_context(NULL, &context));
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    unsetenv("NORMA_KERNEL");
    norma_context_destroy(context);
    fake_gpu_expect_clean("narrow", NULL);
    return 0;
}

typedef struct narrow_shape {
    int64_t m, k, n[3];
    norma_dtype dtype;
    norma_contract contract;
    bool gamma;
} narrow_shape;

static const narrow_shape shapes[] = {
    {19, 896, {1152}, NORMA_BF16, NORMA_ROUND_DEFERRED, false},
    {16, 896, {9728}, NORMA_F16, NORMA_ROUND_DEFERRED, true},
    {17, 4096, {4096}, NORMA_BF16, NORMA_ROUND_DEFERRED, true},
    {33, 4096, {4096, 1024, 1024}, NORMA_BF16, NORMA_ROUND_DEFERRED, false},
    {48, 3072, {9216}, NORMA_BF16, NORMA_ROUND_ONCE, true},
    {63, 4096, {28672}, NORMA_BF16, NORMA_ROUND_DEFERRED, false},
    {64, 4096, {28672}, NORMA_F16, NORMA_ROUND_TWICE, true},
    {64, 8192, {57344}, NORMA_BF16, NORMA_ROUND_DEFERRED, false},
    {32, 8192, {10240}, NORMA_BF16, NORMA_ROUND_TWICE, true},
    {64, 14336, {4096}, NORMA_BF16, NORMA_ROUND_DEFERRED, false},
    {64, 65536, {128}, NORMA_BF16, NORMA_ROUND_DEFERRED, true},
    {20, 64, {8}, NORMA_BF16, NORMA_ROUND_ONCE, false},
    {20, 77, {13, 5, 3}, NORMA_BF16, NORMA_ROUND_DEFERRED, true},
};

static norma_buffer at(uint64_t gib) {
    return (norma_buffer){(void *)(uintptr_t)(gib << 30), 0};
}

static int64_t up(int64_t value, int64_t unit) {
    return (value + unit - 1) / unit * unit;
}

static void run(const narrow_shape *shape, int64_t offset_bytes) {
    norma_rmsnorm_linear_desc desc = norma_rmsnorm_linear_desc_init();
    norma_rmsnorm_linear_args args = norma_rmsnorm_linear_args_init();
    desc.k = shape->k;
    desc.contract = shape->contract;
    desc.x.dtype = shape->dtype;
    desc.x.row_stride = up(shape->k, 8);
    args.m = shape->m;
    args.x = at(1024);
    args.x.offset_bytes = (size_t)offset_bytes;
    if (shape->gamma) {
        desc.gamma.dtype = shape->dtype;
        args.gamma = at(2048);
    }
    for (int p = 0; p < 3 && shape->n[p]; p++) {
        desc.part[p].n = shape->n[p];
        desc.part[p].weight.dtype = desc.part[p].out.dtype = shape->dtype;
        desc.part[p].weight.row_stride = 1;
        desc.part[p].weight.col_stride = up(shape->k, 8);
        args.part[p].weight = at(4096 + 1024 * (uint64_t)p);
        args.part[p].out = at(16384 + 1024 * (uint64_t)p);
        desc.parts = p + 1;
    }
    norma_plan *plan;
    EXPECT_OK(norma_rmsnorm_linear_plan_create(context, &desc, &plan));
    fake_gpu.launched = 0;
    EXPECT_OK(norma_rmsnorm_linear_plan_run(plan, &args));
    norma_plan_destroy(plan);
}

static void a_block_lays_out_what_the_launch_asks_for(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const narrow_shape *shape = &shapes[i];
        run(shape, 0);
        assert_int_equal(fake_gpu.launched, 1);
        const fake_gpu_launch *launch = &fake_gpu.launches[0];
        const norma_narrow_params *params = &launch->narrow;
        const int columns = 64;
        int width;
        char dtype[8];
        if (sscanf(launch->function, "rmsnorm_linear_narrow_%d_%7s", &width, dtype) != 2)
            fail_msg("shape %d runs %s", (int)i, launch->function);
        assert_string_equal(dtype, shape->dtype == NORMA_F16 ? "f16" : "bf16");
        assert_true(width >= shape->m && width - shape->m < 16);
        assert_int_equal(params->rows, shape->m);

        const int cluster = 1 << params->cluster_shift;
        const int64_t steps = up(shape->k, 128) / 128, share = up(steps, cluster) / cluster;
        assert_int_equal(launch->cluster, cluster > 1 ? cluster : 0);
        if (cluster > 4 || cluster > steps) fail_msg("shape %d: %d blocks share %d steps", (int)i, cluster, (int)steps);
        assert_int_equal(launch->grid[0] % (unsigned)cluster, 0);
        assert_true(launch->grid[0] <= (unsigned)(params->tiles * cluster));
        const bool stays = params->x_slots >= share;
        const bool normalises = shape->contract != NORMA_ROUND_DEFERRED || (shape->dtype == NORMA_F16 && shape->gamma);
        assert_int_equal(params->normalise, normalises);
        assert_true(stays || (!normalises && params->x_slots * cluster < steps));
        /* One stage is read while the next is waited for. */
        assert_true(params->stages >= 2 || (params->stages == share && params->buffers == 1));
        assert_true(params->buffers == 2 || params->tiles * cluster == (int)launch->grid[0]);

        const int received = (width / 8 + cluster - 1) / cluster;
        const int64_t ring = params->stages * columns * 256 + params->x_slots * width * 256;
        const int64_t sums = params->buffers * (cluster - 1) * received * 2048;
        const int64_t small = (cluster + 1) * width * 4 + (shape->gamma ? share * 128 * 4 : 0) +
                              8 * (2 * params->stages + 3 * params->x_slots + 6);
        assert_int_equal(launch->shared_bytes, 1024 + ring + sums + small);
        assert_true((int64_t)launch->shared_bytes <= context->device->limits.shared_bytes);

        const uint64_t x[6] = {
            UINT64_C(1024) << 30, (uint64_t)shape->k, (uint64_t)shape->m, (uint64_t)up(shape->k, 8) * 2, 64,
            (uint64_t)width};
        assert_memory_equal(params->x.word, x, sizeof x);
        int tiles = 0;
        for (int p = 0; p < params->parts; p++) {
            const uint64_t n = (uint64_t)shape->n[p], k = (uint64_t)shape->k, address = (4096 + 1024 * (uint64_t)p) << 30;
            const uint64_t weight[6] = {address, k, n, (uint64_t)up(shape->k, 8) * 2, 64, (uint64_t)columns};
            assert_memory_equal(params->part[p].weight.word, weight, sizeof weight);
            assert_int_equal(params->part[p].first_tile, tiles);
            assert_int_equal(params->part[p].paired, shape->n[p] % 2 == 0);
            tiles += (int)(up(shape->n[p], columns) / columns);
        }
        assert_int_equal(params->tiles, tiles);
    }
}

static void addresses_off_16_bytes_go_to_the_tiled_kernel(void **state) {
    (void)state;
    run(&shapes[2], 2);
    assert_int_equal(fake_gpu.launched, 1);
    assert_int_equal(strncmp(fake_gpu.launches[0].function, "rmsnorm_linear_tiled", 20), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_block_lays_out_what_the_launch_asks_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(addresses_off_16_bytes_go_to_the_tiled_kernel, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
