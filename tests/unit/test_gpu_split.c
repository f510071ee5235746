/* linear_split's host code on a driver that runs nothing: every product of a value of x and one of W is multiplied once,
 * from parts that were split before and lie in the plan's workspace, whatever is cut into pieces; and what it refuses. */
#include <stdlib.h>

#include "expect.h"
#include "gpu_fake_driver.h"

#define GIB (UINT64_C(1) << 30)

enum { X = 4096, GAMMA = 8192, WEIGHT = 16384, BIAS = 20480, OUT = 24576, PART = 1024 }; /* GiB; PART: from part to part */

enum { CHUNK = 32 };

static norma_context *context;

static int set_up(void **state) {
    (void)state;
    fake_gpu_reset();
    fake_gpu.reads_host_memory = true; /* any address will do */
    setenv("NORMA_KERNEL", "linear_split", 1);
    EXPECT_OK(fake_gpu_context(NULL, &context));
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    unsetenv("NORMA_KERNEL");
    norma_context_destroy(context);
    fake_gpu_expect_clean("split", NULL);
    return 0;
}

static norma_buffer at(uint64_t address) {
    return (norma_buffer){(void *)(uintptr_t)address, 0};
}

typedef struct shape {
    const char *name;
    int64_t batch, m, k, n[2];
    norma_layout weight, out; /* but for dtypes */
    norma_dtype bias;
    int64_t weight_shift; /* bytes */
    const char *weight_kernel;
    int products; /* launches of linear_split */
    unsigned pairs;
} shape;

static norma_rmsnorm_linear_desc desc_of(const shape *s) {
    norma_rmsnorm_linear_desc desc = norma_rmsnorm_linear_desc_init();
    desc.k = s->k;
    desc.flags = NORMA_FP32_TENSOR;
    desc.x.dtype = desc.gamma.dtype = NORMA_F32;
    desc.parts = s->n[1] ? 2 : 1;
    for (int p = 0; p < desc.parts; p++) {
        desc.part[p].n = s->n[p];
        desc.part[p].weight = s->weight;
        desc.part[p].out = s->out;
        desc.part[p].weight.dtype = desc.part[p].out.dtype = NORMA_F32;
        desc.part[p].bias.dtype = s->bias;
    }
    return desc;
}

static norma_rmsnorm_linear_args args_of(const shape *s) {
    norma_rmsnorm_linear_args args = norma_rmsnorm_linear_args_init();
    args.m = s->m;
    args.batch = s->batch;
    args.x = at(X * GIB);
    args.gamma = at(GAMMA * GIB);
    for (int p = 0; p < (s->n[1] ? 2 : 1); p++) {
        args.part[p].weight = at((WEIGHT + (uint64_t)p * PART) * GIB + (uint64_t)s->weight_shift);
        args.part[p].out = at((OUT + (uint64_t)p * PART) * GIB);
        if (s->bias) args.part[p].bias = at((BIAS + (uint64_t)p * PART) * GIB);
    }
    return args;
}

static int64_t rows_stride(const norma_layout *layout, int64_t cols) {
    return layout->row_stride ? layout->row_stride : cols;
}

/* Where the walk over the launches is. */
typedef struct walk {
    const shape *shape;
    norma_plan *plan;
    const norma_split_params *x, *weight;
    int64_t multiplied; /* rows * columns * k */
    int products;
} walk;

static void expect_in_workspace(const walk *w, const void *data, uint64_t bytes) {
    norma_plan_info info = {.struct_size = sizeof info};
    EXPECT_OK(norma_plan_get_info(w->plan, w->shape->m, &info));
    const uint64_t first = (uintptr_t)w->x->from & ~UINT64_C(255); /* in the rows ahead of it */
    assert_true((uintptr_t)data % 256 == 0);
    assert_true((uintptr_t)data > first && (uintptr_t)data + bytes <= first + info.workspace_bytes);
}

/* The parts are those that were split last, and the scales theirs. */
static void expect_parts(const walk *w, const norma_tensor_map *map, const float *scales, const norma_split_params *split) {
    assert_true(map->word[0] == (uintptr_t)split->to);
    assert_true(map->word[1] == (uint64_t)split->chunks * 2 * CHUNK && map->word[2] == (uint64_t)split->lines);
    assert_true(map->word[3] == (uint64_t)split->chunks * 4 * CHUNK);
    assert_ptr_equal(scales, split->scales);
    assert_in_range(split->k, (split->chunks - 1) * CHUNK + 1, split->chunks * CHUNK);
    expect_in_workspace(w, split->to, (uint64_t)(split->lines * split->chunks) * 4 * CHUNK);
    expect_in_workspace(w, split->scales, (uint64_t)split->lines * 4);
}

static void expect_product(walk *w, const norma_split_linear_params *params) {
    const shape *s = w->shape;
    const norma_split_params *x = w->x, *weight = w->weight;
    expect_parts(w, &params->x, params->x_scales, x);
    expect_parts(w, &params->weight, params->weight_scales, weight);
    assert_int_equal(params->rows, x->lines);
    assert_int_equal(params->n, weight->lines);
    assert_int_equal(x->k, weight->k);
    assert_int_equal(params->chunks, x->chunks);
    assert_true(params->row_tiles * 128 >= params->rows && params->col_tiles * 128 >= params->n);

    /* Which columns and which k, by where W was read. */
    const int part = (uintptr_t)weight->from >= (WEIGHT + PART) * GIB;
    const uint64_t base = (WEIGHT + (uint64_t)part * PART) * GIB + (uint64_t)s->weight_shift;
    const int64_t place = (int64_t)((uintptr_t)weight->from - base) / 4;
    const int64_t outer = weight->line_stride > weight->k_stride ? weight->line_stride : weight->k_stride;
    const int64_t major = place / outer, minor = place % outer;
    const int64_t col = weight->line_stride == outer ? major : minor, k = weight->line_stride == outer ? minor : major;
    assert_int_equal(params->accumulate, k > 0);
    const int64_t out_stride = rows_stride(&s->out, s->n[part]);
    const uint64_t out = (OUT + (uint64_t)part * PART) * GIB + (uint64_t)col * 4;
    const int64_t out_rows = (int64_t)((uintptr_t)params->out - out) / 4;
    assert_true(out_rows >= 0 && (s->out.batch_stride || out_rows % out_stride == 0));
    assert_int_equal(params->out_row_stride, out_stride);
    assert_int_equal(params->pairs, s->pairs);
    const uint64_t bias_bytes = s->bias == NORMA_F32 ? 4 : 2;
    const uint64_t bias = s->bias ? (BIAS + (uint64_t)part * PART) * GIB + (uint64_t)col * bias_bytes : 0;
    assert_true((uintptr_t)params->bias == bias);
    w->multiplied += (int64_t)params->rows * params->n * x->k;
    w->products++;
}

static void follow(walk *w, const fake_gpu_launch *launch) {
    const shape *s = w->shape;
    assert_true(launch->grid[0] <= INT32_MAX);
    if (strcmp(launch->function, "linear_split") == 0) {
        expect_product(w, &launch->split_linear);
        assert_in_range(launch->grid[0], 1, context->device->limits.units);
    } else if (strncmp(launch->function, "split_halves", 12) == 0) {
        const bool of_weight = (uintptr_t)launch->split.from >= WEIGHT * GIB && (uintptr_t)launch->split.from < BIAS * GIB;
        assert_string_equal(launch->function, of_weight       ? s->weight_kernel
                                              : s->k % 4 == 0 ? "split_halves_rows"
                                                              : "split_halves_rows_any");
        *(of_weight ? &w->weight : &w->x) = &launch->split;
    } else if (strncmp(launch->function, "rmsnorm_rows", 12) != 0) {
        fail_msg("%s: a launch of %s", s->name, launch->function);
    }
}

static const shape shapes[] = {
    {"one tile", 1, 100, 60, {90}, {0, 1, 60, 0}, {0}, 0, 0, "split_halves_rows", 1, 1},
    {"odd rows of the output", 1, 100, 60, {91}, {0, 1, 60, 0}, {0}, NORMA_F32, 0, "split_halves_rows", 1, 0},
    {"W off by a value", 1, 100, 60, {90}, {0, 1, 60, 0}, {0}, 0, 4, "split_halves_rows_any", 1, 1},
    {"columns of W that do not begin together", 1, 100, 60, {90}, {0, 1, 61, 0}, {0}, 0, 0, "split_halves_rows_any", 1, 1},
    {"rows of W", 1, 300, 200, {90}, {0}, {0}, NORMA_BF16, 0, "split_halves_columns", 1, 1},
    {"two parts", 1, 300, 200, {90, 30}, {0}, {0}, NORMA_F32, 0, "split_halves_columns", 2, 1},
    {"two pieces of K", 1, 300, 4097, {90}, {0, 1, 4104, 0}, {0}, NORMA_F32, 0, "split_halves_rows", 2, 1},
    {"three pieces of W", 1, 300, 4096, {12000}, {0, 1, 4096, 0}, {0}, NORMA_F32, 0, "split_halves_rows", 3, 1},
    {"pieces of K, of W and of rows", 1, 1500, 8192, {9000, 40}, {0}, {0}, NORMA_F16, 0, "split_halves_columns", 16, 1},
    {"batches that join", 3, 50, 64, {90}, {0}, {0}, 0, 0, "split_halves_columns", 1, 1},
    {"batches apart", 3, 50, 64, {90}, {0}, {NORMA_F32, 96, 1, 5000}, 0, 0, "split_halves_columns", 3, 1},
};

static void every_product_is_multiplied_once(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const shape *s = &shapes[i];
        const norma_rmsnorm_linear_desc desc = desc_of(s);
        const norma_rmsnorm_linear_args args = args_of(s);
        walk w = {.shape = s};
        EXPECT_OK(norma_rmsnorm_linear_plan_create(context, &desc, &w.plan));
        fake_gpu.launched = 0;
        EXPECT_OK(norma_rmsnorm_linear_plan_run(w.plan, &args));
        assert_in_range(fake_gpu.launched, 4, FAKE_GPU_MAX_LAUNCHES);
        for (int l = 0; l < fake_gpu.launched; l++) follow(&w, &fake_gpu.launches[l]);
        if (w.multiplied != s->batch * s->m * s->k * (s->n[0] + s->n[1]) || w.products != s->products)
            fail_msg("%s: %d products of %lld multiplications", s->name, w.products, (long long)w.multiplied);
        norma_plan_destroy(w.plan);
    }
}

static void what_it_is_not_for_it_refuses(void **state) {
    (void)state;
    static const char not_listed[] = "does not serve this operation with these flags";
    static const struct {
        const char *name, *sentence;
        uint64_t flags;
        norma_dtype weight, out;
    } rows[] = {
        {"no flag", not_listed, 0, NORMA_F32, NORMA_F32},
        {"batch-invariant", not_listed, NORMA_FP32_TENSOR | NORMA_BATCH_INVARIANT, NORMA_F32, NORMA_F32},
        {"half weights", not_listed, NORMA_FP32_TENSOR, NORMA_BF16, NORMA_F32},
        {"short rows", "rows of x so short", NORMA_FP32_TENSOR, NORMA_F32, NORMA_F32},
        {"a half output", "weight or output that is not fp32", NORMA_FP32_TENSOR, NORMA_F32, NORMA_F16},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        norma_rmsnorm_linear_desc desc = desc_of(&shapes[0]);
        desc.max_rows = 100;
        if (strcmp(rows[i].name, "short rows") == 0) desc.k = 31;
        desc.flags = rows[i].flags;
        desc.part[0].weight.dtype = rows[i].weight;
        desc.part[0].out.dtype = rows[i].out;
        norma_plan *plan;
        expect_sentence(rows[i].name, norma_rmsnorm_linear_plan_create(context, &desc, &plan), NORMA_ERROR_UNSUPPORTED,
                        rows[i].sentence);
        assert_null(plan);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_product_is_multiplied_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_it_is_not_for_it_refuses, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
