/* Every route computes what the reference computes: random problems on the fake backend, whose kernels are the reference, so
 * that what is tried is how a plan cuts a problem into steps and chunks. */
#include <stdlib.h>

#include "dtype.h"
#include "expect.h"
#include "fake_backend.h"
#include "front/plan.h"
#include "front/validate.h"
#include "harness/random.h"

/* Host memory for one tensor of a random problem, with its values. */
typedef struct operand {
    norma_layout layout;
    size_t bytes;
    unsigned char *data;
} operand;

#define MAX_OPERANDS (5 + 3 * NORMA_MAX_PARTS)

typedef struct trial {
    norma_rmsnorm_linear_desc desc;
    norma_rmsnorm_linear_args args;
    operand operands[MAX_OPERANDS];
    int count;
} trial;

static norma_buffer add_operand(trial *t, test_sequence *random, norma_layout *layout, int64_t rows, int64_t cols) {
    layout->row_stride = cols + test_pick(random, 3);
    layout->col_stride = 1;
    operand *added = &t->operands[t->count++];
    added->layout = *layout;
    const int64_t elements = rows * layout->row_stride + 64;
    added->bytes = (size_t)elements * norma_dtype_bytes(layout->dtype);
    added->data = malloc(added->bytes);
    assert_non_null(added->data);
    for (int64_t i = 0; i < elements; i++) norma_store(added->data, layout->dtype, i, test_normal(test_next(random)));
    return (norma_buffer){added->data, 0};
}

static norma_dtype pick_dtype(test_sequence *random) {
    return (norma_dtype)(NORMA_F32 + test_pick(random, 3));
}

/* A random problem of `batch` x m rows whose batches do not flatten, with a contract that rounds y: then every route must
 * give the same bits. */
static void make_trial(trial *t, test_sequence *random, int64_t batch, int64_t m, int64_t k, int64_t max_n) {
    memset(t, 0, sizeof *t);
    norma_rmsnorm_linear_desc *desc = &t->desc;
    norma_rmsnorm_linear_args *args = &t->args;
    *desc = norma_rmsnorm_linear_desc_init();
    *args = norma_rmsnorm_linear_args_init();
    desc->k = k;
    desc->contract = test_chance(random, 0.5) ? NORMA_ROUND_ONCE : NORMA_ROUND_TWICE;
    desc->gamma_offset = (float)test_pick(random, 2);
    args->m = m;
    args->batch = batch;
    const int64_t rows = batch * (m + 1); /* a row of padding after each batch */
    desc->x.dtype = pick_dtype(random);
    args->x = add_operand(t, random, &desc->x, rows, k);
    desc->x.batch_stride = (m + 1) * desc->x.row_stride;
    if (test_chance(random, 0.7)) {
        desc->gamma.dtype = pick_dtype(random);
        args->gamma = add_operand(t, random, &desc->gamma, 1, k);
    }
    if (test_chance(random, 0.7)) {
        desc->residual.dtype = pick_dtype(random);
        args->residual = add_operand(t, random, &desc->residual, rows, k);
        desc->residual.batch_stride = (m + 1) * desc->residual.row_stride;
        const int kind = test_pick(random, 4);
        if (kind == 1) {
            desc->residual_out.dtype = desc->residual.dtype;
            args->residual_out = add_operand(t, random, &desc->residual_out, rows, k);
            desc->residual_out.batch_stride = (m + 1) * desc->residual_out.row_stride;
        } else if (kind == 2) {
            desc->residual_out = desc->residual;
            args->residual_out = args->residual;
        } else if (kind == 3 && desc->x.dtype == desc->residual.dtype) {
            desc->residual_out = desc->x;
            args->residual_out = args->x;
        }
    }
    if (test_chance(random, 0.5)) {
        desc->rstd.dtype = NORMA_F32;
        args->rstd = add_operand(t, random, &desc->rstd, rows, 1);
        desc->rstd.batch_stride = (m + 1) * desc->rstd.row_stride;
    }
    desc->parts = 1 + test_pick(random, NORMA_MAX_PARTS);
    for (int p = 0; p < desc->parts; p++) {
        norma_linear_part_desc *part = &desc->part[p];
        part->n = test_pick(random, (int)max_n + 1); /* also none */
        part->weight.dtype = pick_dtype(random);
        part->out.dtype = pick_dtype(random);
        args->part[p].weight = add_operand(t, random, &part->weight, k, part->n);
        args->part[p].out = add_operand(t, random, &part->out, rows, part->n);
        part->out.batch_stride = (m + 1) * part->out.row_stride;
        if (!test_chance(random, 0.5)) continue;
        part->bias.dtype = pick_dtype(random);
        args->part[p].bias = add_operand(t, random, &part->bias, 1, part->n);
    }
}

static void save(const trial *t, unsigned char *copies[MAX_OPERANDS]) {
    for (int i = 0; i < t->count; i++) {
        copies[i] = malloc(t->operands[i].bytes);
        assert_non_null(copies[i]);
        memcpy(copies[i], t->operands[i].data, t->operands[i].bytes);
    }
}

static void restore(const trial *t, unsigned char *copies[MAX_OPERANDS]) {
    for (int i = 0; i < t->count; i++) memcpy(t->operands[i].data, copies[i], t->operands[i].bytes);
}

static void release(unsigned char *copies[MAX_OPERANDS], int count) {
    for (int i = 0; i < count; i++) free(copies[i]);
}

/* Runs the trial by each route and compares every byte of every tensor with the reference's. */
static void compare_routes(norma_context *context, const trial *t, const char *const *names, int count, int number) {
    unsigned char *inputs[MAX_OPERANDS];
    unsigned char *results[MAX_OPERANDS];
    save(t, inputs);
    for (int i = 0; i < count; i++) {
        norma_problem problem;
        EXPECT_OK(norma_problem_from_rmsnorm_linear(&t->desc, &problem));
        norma_plan *plan;
        EXPECT_OK(norma_plan_create(context, &problem, 0, problem.parts ? names[i] : NULL, &plan));
        EXPECT_OK(norma_problem_bind_rmsnorm_linear(&problem, &t->args));
        EXPECT_OK(norma_plan_run(plan, &problem));
        norma_plan_destroy(plan);
        if (i == 0) {
            save(t, results);
        } else {
            for (int o = 0; o < t->count; o++)
                if (memcmp(t->operands[o].data, results[o], t->operands[o].bytes) != 0)
                    fail_msg("trial %d: route %s differs from the reference in tensor %d", number, names[i], o);
        }
        restore(t, inputs);
    }
    release(results, t->count);
    release(inputs, t->count);
}

static void free_trial(trial *t) {
    for (int i = 0; i < t->count; i++) free(t->operands[i].data);
}

static void every_route_computes_what_the_reference_computes(void **state) {
    static const char *const routes[] = {"reference", "rmsnorm_linear_tiled", "rmsnorm_linear_skinny", "pair"};
    norma_context *context = *state;
    fake.compute = true;
    fake.workspace_bytes[NORMA_KERNEL_RMSNORM_LINEAR_TILED] = 300;
    test_sequence random = {.seed = 7};
    for (int i = 0; i < 500; i++) {
        trial t;
        make_trial(&t, &random, 1 + test_pick(&random, 3), 1 + test_pick(&random, 7), test_size(&random, 40), 6);
        /* From chunks of single rows to all at once. */
        context->intermediate_bytes = 1 + test_pick(&random, 500);
        fake.refuse_residual = test_chance(&random, 0.5);
        compare_routes(context, &t, routes, 4, i);
        free_trial(&t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        FAKE_TEST(every_route_computes_what_the_reference_computes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
