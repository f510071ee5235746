/* Bad input, one row of a table for each way of being wrong: its own status, a sentence that names the argument and its
 * value, no byte of any tensor changed, no launch, nothing leaked. Each row is tried as a one-shot call and as a plan. Then
 * the unusual calls that are right. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "expect.h"
#include "fake_backend.h"
#include "front/plan.h"
#include "front/validate.h"

#define REGION_BYTES 4096
#define REGIONS      14

/* Every tensor in a region of its own, large enough for any of the mutations that reaches memory. */
static _Alignas(64) unsigned char memory[REGIONS][REGION_BYTES];

static norma_buffer region(int index) {
    return (norma_buffer){memory[index], 64};
}

static void poison(void) {
    memset(memory, 0x5a, sizeof memory);
}

static void expect_untouched(const char *label) {
    const unsigned char *bytes = memory[0];
    for (size_t i = 0; i < sizeof memory; i++)
        if (bytes[i] != 0x5a) fail_msg("%s: byte %zu was written", label, i);
    if (fake.launched) fail_msg("%s: %d launches", label, fake.launched);
}

static void linear_inputs(norma_rmsnorm_linear_desc *desc, norma_rmsnorm_linear_args *args) {
    *desc = norma_rmsnorm_linear_desc_init();
    desc->k = 8;
    desc->parts = 2;
    desc->x.dtype = desc->gamma.dtype = desc->residual.dtype = desc->residual_out.dtype = desc->rstd.dtype = NORMA_F32;
    *args = norma_rmsnorm_linear_args_init();
    args->m = 3;
    args->x = region(0);
    args->gamma = region(1);
    args->residual = region(2);
    args->residual_out = region(3);
    args->rstd = region(4);
    for (int p = 0; p < 2; p++) {
        desc->part[p].n = 4 + p;
        desc->part[p].weight.dtype = desc->part[p].bias.dtype = desc->part[p].out.dtype = NORMA_F32;
        args->part[p].weight = region(5 + 3 * p);
        args->part[p].bias = region(6 + 3 * p);
        args->part[p].out = region(7 + 3 * p);
    }
}

static void rmsnorm_inputs(norma_rmsnorm_desc *desc, norma_rmsnorm_args *args) {
    *desc = norma_rmsnorm_desc_init();
    desc->k = 8;
    desc->x.dtype = desc->gamma.dtype = desc->residual.dtype = desc->residual_out.dtype = desc->rstd.dtype =
        desc->out.dtype = NORMA_F32;
    *args = norma_rmsnorm_args_init();
    args->m = 3;
    args->x = region(0);
    args->gamma = region(1);
    args->residual = region(2);
    args->residual_out = region(3);
    args->rstd = region(4);
    args->out = region(5);
}

static void fold_inputs(norma_fold_gamma_desc *desc, norma_fold_gamma_args *args) {
    *desc = norma_fold_gamma_desc_init();
    desc->k = 8;
    desc->n = 5;
    desc->gamma.dtype = desc->weight.dtype = desc->out.dtype = NORMA_F32;
    *args = norma_fold_gamma_args_init();
    args->gamma = region(0);
    args->weight = region(1);
    args->out = region(2);
}

static void rmsnorm_backward_inputs(norma_rmsnorm_backward_desc *desc, norma_rmsnorm_backward_args *args) {
    *desc = norma_rmsnorm_backward_desc_init();
    desc->k = 8;
    desc->x.dtype = desc->rstd.dtype = desc->gamma.dtype = desc->dout.dtype = desc->dresidual_out.dtype = desc->dx.dtype =
        desc->dgamma.dtype = NORMA_F32;
    *args = norma_rmsnorm_backward_args_init();
    args->m = 3;
    args->x = region(0);
    args->rstd = region(1);
    args->gamma = region(2);
    args->dout = region(3);
    args->dresidual_out = region(4);
    args->dx = region(5);
    args->dgamma = region(6);
}

static void linear_backward_inputs(norma_rmsnorm_linear_backward_desc *desc, norma_rmsnorm_linear_backward_args *args) {
    *desc = norma_rmsnorm_linear_backward_desc_init();
    desc->k = 8;
    desc->parts = 2;
    desc->x.dtype = desc->rstd.dtype = desc->gamma.dtype = desc->dresidual_out.dtype = desc->dx.dtype = desc->dgamma.dtype =
        NORMA_F32;
    *args = norma_rmsnorm_linear_backward_args_init();
    args->m = 3;
    args->x = region(0);
    args->rstd = region(1);
    args->gamma = region(2);
    args->dresidual_out = region(3);
    args->dx = region(4);
    args->dgamma = region(5);
    for (int p = 0; p < 2; p++) {
        desc->part[p].n = 4 + p;
        desc->part[p].weight.dtype = desc->part[p].dout.dtype = desc->part[p].dweight.dtype = desc->part[p].dbias.dtype =
            NORMA_F32;
        args->part[p].weight = region(6 + 4 * p);
        args->part[p].dout = region(7 + 4 * p);
        args->part[p].dweight = region(8 + 4 * p);
        args->part[p].dbias = region(9 + 4 * p);
    }
}

#define BAD(name, status, change, needle)                                                         \
    static void linear_##name(norma_rmsnorm_linear_desc *desc, norma_rmsnorm_linear_args *args) { \
        (void)desc;                                                                               \
        (void)args;                                                                               \
        (void)(change);                                                                           \
    }
#include "bad_linear.def"
#undef BAD
#define BAD(name, status, change, needle)                                            \
    static void rmsnorm_##name(norma_rmsnorm_desc *desc, norma_rmsnorm_args *args) { \
        (void)desc;                                                                  \
        (void)args;                                                                  \
        (void)(change);                                                              \
    }
#include "bad_rmsnorm.def"
#undef BAD
#define BAD(name, status, change, needle)                                               \
    static void fold_##name(norma_fold_gamma_desc *desc, norma_fold_gamma_args *args) { \
        (void)desc;                                                                     \
        (void)args;                                                                     \
        (void)(change);                                                                 \
    }
#include "bad_fold.def"
#undef BAD

#define BAD(name, status, change, needle)                                                                       \
    static void rmsnorm_backward_##name(norma_rmsnorm_backward_desc *desc, norma_rmsnorm_backward_args *args) { \
        (void)desc;                                                                                             \
        (void)args;                                                                                             \
        (void)(change);                                                                                         \
    }
#include "bad_rmsnorm_backward.def"
#undef BAD
#define BAD(name, status, change, needle)                                          \
    static void linear_backward_##name(norma_rmsnorm_linear_backward_desc *desc,   \
                                       norma_rmsnorm_linear_backward_args *args) { \
        (void)desc;                                                                \
        (void)args;                                                                \
        (void)(change);                                                            \
    }
#include "bad_linear_backward.def"
#undef BAD

typedef struct bad_linear {
    const char *name;
    norma_status status;
    void (*change)(norma_rmsnorm_linear_desc *desc, norma_rmsnorm_linear_args *args);
    const char *needle;
} bad_linear;

static const bad_linear bad_linears[] = {
#define BAD(name, status, change, needle) {#name, NORMA_ERROR_##status, linear_##name, needle},
#include "bad_linear.def"
#undef BAD
};

typedef struct bad_rmsnorm {
    const char *name;
    norma_status status;
    void (*change)(norma_rmsnorm_desc *desc, norma_rmsnorm_args *args);
    const char *needle;
} bad_rmsnorm;

static const bad_rmsnorm bad_rmsnorms[] = {
#define BAD(name, status, change, needle) {#name, NORMA_ERROR_##status, rmsnorm_##name, needle},
#include "bad_rmsnorm.def"
#undef BAD
};

typedef struct bad_fold {
    const char *name;
    norma_status status;
    void (*change)(norma_fold_gamma_desc *desc, norma_fold_gamma_args *args);
    const char *needle;
} bad_fold;

static const bad_fold bad_folds[] = {
#define BAD(name, status, change, needle) {#name, NORMA_ERROR_##status, fold_##name, needle},
#include "bad_fold.def"
#undef BAD
};

typedef struct bad_rmsnorm_backward {
    const char *name;
    norma_status status;
    void (*change)(norma_rmsnorm_backward_desc *desc, norma_rmsnorm_backward_args *args);
    const char *needle;
} bad_rmsnorm_backward;

static const bad_rmsnorm_backward bad_rmsnorm_backwards[] = {
#define BAD(name, status, change, needle) {#name, NORMA_ERROR_##status, rmsnorm_backward_##name, needle},
#include "bad_rmsnorm_backward.def"
#undef BAD
};

typedef struct bad_linear_backward {
    const char *name;
    norma_status status;
    void (*change)(norma_rmsnorm_linear_backward_desc *desc, norma_rmsnorm_linear_backward_args *args);
    const char *needle;
} bad_linear_backward;

static const bad_linear_backward bad_linear_backwards[] = {
#define BAD(name, status, change, needle) {#name, NORMA_ERROR_##status, linear_backward_##name, needle},
#include "bad_linear_backward.def"
#undef BAD
};

static int open_context(void **state) {
    fake_reset();
    poison();
    norma_context *context;
    EXPECT_OK(fake_context_create(&context));
    *state = context;
    return 0;
}

static int close_context(void **state) {
    norma_context_destroy(*state);
    fake_expect_nothing_live("at the end");
    return 0;
}

/* A plan is refused when created or when run; nothing may be left of it. */
static norma_status plan_and_run_linear(norma_context *context, const norma_rmsnorm_linear_desc *desc,
                                        const norma_rmsnorm_linear_args *args) {
    norma_plan *plan = (norma_plan *)context;
    norma_status status = norma_rmsnorm_linear_plan_create(context, desc, &plan);
    if (status) {
        assert_null(plan);
        return status;
    }
    status = norma_rmsnorm_linear_plan_run(plan, args);
    norma_plan_destroy(plan);
    return status;
}

static norma_status plan_and_run_rmsnorm(norma_context *context, const norma_rmsnorm_desc *desc,
                                         const norma_rmsnorm_args *args) {
    norma_plan *plan = (norma_plan *)context;
    norma_status status = norma_rmsnorm_plan_create(context, desc, &plan);
    if (status) {
        assert_null(plan);
        return status;
    }
    status = norma_rmsnorm_plan_run(plan, args);
    norma_plan_destroy(plan);
    return status;
}

static norma_status plan_and_run_rmsnorm_backward(norma_context *context, const norma_rmsnorm_backward_desc *desc,
                                                  const norma_rmsnorm_backward_args *args) {
    norma_plan *plan = (norma_plan *)context;
    norma_status status = norma_rmsnorm_backward_plan_create(context, desc, &plan);
    if (status) {
        assert_null(plan);
        return status;
    }
    status = norma_rmsnorm_backward_plan_run(plan, args);
    norma_plan_destroy(plan);
    return status;
}

static norma_status plan_and_run_linear_backward(norma_context *context, const norma_rmsnorm_linear_backward_desc *desc,
                                                 const norma_rmsnorm_linear_backward_args *args) {
    norma_plan *plan = (norma_plan *)context;
    norma_status status = norma_rmsnorm_linear_backward_plan_create(context, desc, &plan);
    if (status) {
        assert_null(plan);
        return status;
    }
    status = norma_rmsnorm_linear_backward_plan_run(plan, args);
    norma_plan_destroy(plan);
    return status;
}

static void bad_linear_input_is_refused(void **state) {
    for (size_t i = 0; i < sizeof bad_linears / sizeof bad_linears[0]; i++) {
        const bad_linear *row = &bad_linears[i];
        norma_rmsnorm_linear_desc desc;
        norma_rmsnorm_linear_args args;
        linear_inputs(&desc, &args);
        row->change(&desc, &args);
        expect_sentence(row->name, norma_rmsnorm_linear(*state, &desc, &args), row->status, row->needle);
        expect_sentence(row->name, plan_and_run_linear(*state, &desc, &args), row->status, row->needle);
        expect_untouched(row->name);
        assert_int_equal(fake.live_launches, 0);
    }
}

static void bad_rmsnorm_input_is_refused(void **state) {
    for (size_t i = 0; i < sizeof bad_rmsnorms / sizeof bad_rmsnorms[0]; i++) {
        const bad_rmsnorm *row = &bad_rmsnorms[i];
        norma_rmsnorm_desc desc;
        norma_rmsnorm_args args;
        rmsnorm_inputs(&desc, &args);
        row->change(&desc, &args);
        expect_sentence(row->name, norma_rmsnorm(*state, &desc, &args), row->status, row->needle);
        expect_sentence(row->name, plan_and_run_rmsnorm(*state, &desc, &args), row->status, row->needle);
        expect_untouched(row->name);
        assert_int_equal(fake.live_launches, 0);
    }
}

static void bad_rmsnorm_backward_input_is_refused(void **state) {
    for (size_t i = 0; i < sizeof bad_rmsnorm_backwards / sizeof bad_rmsnorm_backwards[0]; i++) {
        const bad_rmsnorm_backward *row = &bad_rmsnorm_backwards[i];
        norma_rmsnorm_backward_desc desc;
        norma_rmsnorm_backward_args args;
        rmsnorm_backward_inputs(&desc, &args);
        row->change(&desc, &args);
        expect_sentence(row->name, norma_rmsnorm_backward(*state, &desc, &args), row->status, row->needle);
        expect_sentence(row->name, plan_and_run_rmsnorm_backward(*state, &desc, &args), row->status, row->needle);
        expect_untouched(row->name);
        assert_int_equal(fake.live_launches, 0);
    }
}

static void bad_linear_backward_input_is_refused(void **state) {
    for (size_t i = 0; i < sizeof bad_linear_backwards / sizeof bad_linear_backwards[0]; i++) {
        const bad_linear_backward *row = &bad_linear_backwards[i];
        norma_rmsnorm_linear_backward_desc desc;
        norma_rmsnorm_linear_backward_args args;
        linear_backward_inputs(&desc, &args);
        row->change(&desc, &args);
        expect_sentence(row->name, norma_rmsnorm_linear_backward(*state, &desc, &args), row->status, row->needle);
        expect_sentence(row->name, plan_and_run_linear_backward(*state, &desc, &args), row->status, row->needle);
        expect_untouched(row->name);
        assert_int_equal(fake.live_launches, 0);
    }
}

static void bad_fold_input_is_refused(void **state) {
    for (size_t i = 0; i < sizeof bad_folds / sizeof bad_folds[0]; i++) {
        const bad_fold *row = &bad_folds[i];
        norma_fold_gamma_desc desc;
        norma_fold_gamma_args args;
        fold_inputs(&desc, &args);
        row->change(&desc, &args);
        expect_sentence(row->name, norma_fold_gamma(*state, &desc, &args), row->status, row->needle);
        expect_untouched(row->name);
    }
}

static void null_objects_are_named(void **state) {
    norma_rmsnorm_linear_desc desc;
    norma_rmsnorm_linear_args args;
    linear_inputs(&desc, &args);
    norma_rmsnorm_desc norm_desc;
    norma_rmsnorm_args norm_args;
    rmsnorm_inputs(&norm_desc, &norm_args);
    norma_fold_gamma_desc fold_desc;
    norma_fold_gamma_args fold_args;
    fold_inputs(&fold_desc, &fold_args);
    norma_plan *plan;

    EXPECT_FAILURE(norma_rmsnorm_linear(NULL, &desc, &args), NORMA_ERROR_NULL_POINTER, "context is NULL");
    EXPECT_FAILURE(norma_rmsnorm_linear(*state, NULL, &args), NORMA_ERROR_NULL_POINTER, "desc is NULL");
    EXPECT_FAILURE(norma_rmsnorm_linear(*state, &desc, NULL), NORMA_ERROR_NULL_POINTER, "args is NULL");
    EXPECT_FAILURE(norma_rmsnorm(NULL, &norm_desc, &norm_args), NORMA_ERROR_NULL_POINTER, "context is NULL");
    EXPECT_FAILURE(norma_rmsnorm(*state, NULL, &norm_args), NORMA_ERROR_NULL_POINTER, "desc is NULL");
    EXPECT_FAILURE(norma_rmsnorm(*state, &norm_desc, NULL), NORMA_ERROR_NULL_POINTER, "args is NULL");
    EXPECT_FAILURE(norma_fold_gamma(NULL, &fold_desc, &fold_args), NORMA_ERROR_NULL_POINTER, "context is NULL");
    EXPECT_FAILURE(norma_fold_gamma(*state, NULL, &fold_args), NORMA_ERROR_NULL_POINTER, "desc is NULL");
    EXPECT_FAILURE(norma_fold_gamma(*state, &fold_desc, NULL), NORMA_ERROR_NULL_POINTER, "args is NULL");

    EXPECT_FAILURE(norma_rmsnorm_plan_create(*state, &norm_desc, NULL), NORMA_ERROR_NULL_POINTER, "out_plan is NULL");
    EXPECT_FAILURE(norma_rmsnorm_plan_create(NULL, &norm_desc, &plan), NORMA_ERROR_NULL_POINTER, "context is NULL");
    EXPECT_FAILURE(norma_rmsnorm_plan_create(*state, NULL, &plan), NORMA_ERROR_NULL_POINTER, "desc is NULL");
    EXPECT_FAILURE(norma_rmsnorm_linear_plan_create(*state, &desc, NULL), NORMA_ERROR_NULL_POINTER, "out_plan is NULL");
    EXPECT_FAILURE(norma_rmsnorm_linear_plan_create(NULL, &desc, &plan), NORMA_ERROR_NULL_POINTER, "context is NULL");
    EXPECT_FAILURE(norma_rmsnorm_linear_plan_create(*state, NULL, &plan), NORMA_ERROR_NULL_POINTER, "desc is NULL");
    assert_null(plan);
    EXPECT_FAILURE(norma_rmsnorm_plan_run(NULL, &norm_args), NORMA_ERROR_NULL_POINTER, "plan is NULL");
    EXPECT_FAILURE(norma_rmsnorm_linear_plan_run(NULL, &args), NORMA_ERROR_NULL_POINTER, "plan is NULL");
    EXPECT_FAILURE(norma_plan_get_info(NULL, 1, &(norma_plan_info){.struct_size = sizeof(norma_plan_info)}),
                   NORMA_ERROR_NULL_POINTER, "plan is NULL");

    EXPECT_OK(norma_rmsnorm_plan_create(*state, &norm_desc, &plan));
    EXPECT_FAILURE(norma_rmsnorm_plan_run(plan, NULL), NORMA_ERROR_NULL_POINTER, "args is NULL");
    EXPECT_FAILURE(norma_rmsnorm_linear_plan_run(plan, &args), NORMA_ERROR_PLAN_KIND, "norma_rmsnorm_linear_plan_create");
    EXPECT_FAILURE(norma_plan_get_info(plan, 1, NULL), NORMA_ERROR_NULL_POINTER, "out_info is NULL");
    norma_plan_destroy(plan);
    EXPECT_OK(norma_rmsnorm_linear_plan_create(*state, &desc, &plan));
    EXPECT_FAILURE(norma_rmsnorm_plan_run(plan, &norm_args), NORMA_ERROR_PLAN_KIND, "norma_rmsnorm_plan_create");
    norma_plan_destroy(plan);
    norma_plan_destroy(NULL);
    expect_untouched("null objects");
}

static void null_objects_of_a_backward_are_named(void **state) {
    norma_rmsnorm_backward_desc norm_desc;
    norma_rmsnorm_backward_args norm_args;
    rmsnorm_backward_inputs(&norm_desc, &norm_args);
    norma_rmsnorm_linear_backward_desc desc;
    norma_rmsnorm_linear_backward_args args;
    linear_backward_inputs(&desc, &args);
    norma_plan *plan;
    EXPECT_FAILURE(norma_rmsnorm_backward(NULL, &norm_desc, &norm_args), NORMA_ERROR_NULL_POINTER, "context is NULL");
    EXPECT_FAILURE(norma_rmsnorm_backward(*state, NULL, &norm_args), NORMA_ERROR_NULL_POINTER, "desc is NULL");
    EXPECT_FAILURE(norma_rmsnorm_backward(*state, &norm_desc, NULL), NORMA_ERROR_NULL_POINTER, "args is NULL");
    EXPECT_FAILURE(norma_rmsnorm_linear_backward(NULL, &desc, &args), NORMA_ERROR_NULL_POINTER, "context is NULL");
    EXPECT_FAILURE(norma_rmsnorm_linear_backward(*state, NULL, &args), NORMA_ERROR_NULL_POINTER, "desc is NULL");
    EXPECT_FAILURE(norma_rmsnorm_linear_backward(*state, &desc, NULL), NORMA_ERROR_NULL_POINTER, "args is NULL");
    EXPECT_FAILURE(norma_rmsnorm_backward_plan_create(*state, &norm_desc, NULL), NORMA_ERROR_NULL_POINTER, "out_plan is");
    EXPECT_FAILURE(norma_rmsnorm_backward_plan_create(NULL, &norm_desc, &plan), NORMA_ERROR_NULL_POINTER, "context is");
    EXPECT_FAILURE(norma_rmsnorm_linear_backward_plan_create(*state, &desc, NULL), NORMA_ERROR_NULL_POINTER, "out_plan is");
    EXPECT_FAILURE(norma_rmsnorm_linear_backward_plan_create(NULL, &desc, &plan), NORMA_ERROR_NULL_POINTER, "context is");
    EXPECT_FAILURE(norma_rmsnorm_backward_plan_run(NULL, &norm_args), NORMA_ERROR_NULL_POINTER, "plan is NULL");
    EXPECT_FAILURE(norma_rmsnorm_linear_backward_plan_run(NULL, &args), NORMA_ERROR_NULL_POINTER, "plan is NULL");

    EXPECT_OK(norma_rmsnorm_backward_plan_create(*state, &norm_desc, &plan));
    EXPECT_FAILURE(norma_rmsnorm_backward_plan_run(plan, NULL), NORMA_ERROR_NULL_POINTER, "args is NULL");
    EXPECT_FAILURE(norma_rmsnorm_linear_backward_plan_run(plan, &args), NORMA_ERROR_PLAN_KIND,
                   "norma_rmsnorm_linear_backward_plan_create");
    norma_plan_destroy(plan);
    EXPECT_OK(norma_rmsnorm_linear_backward_plan_create(*state, &desc, &plan));
    EXPECT_FAILURE(norma_rmsnorm_backward_plan_run(plan, &norm_args), NORMA_ERROR_PLAN_KIND,
                   "norma_rmsnorm_backward_plan_create");
    norma_plan_destroy(plan);
    expect_untouched("null objects of a backward");
}

static void backward_of_nothing_succeeds(void **state) {
    norma_rmsnorm_backward_desc norm_desc;
    norma_rmsnorm_backward_args norm_args;
    rmsnorm_backward_inputs(&norm_desc, &norm_args);
    norm_args = norma_rmsnorm_backward_args_init(); /* m = 0, every pointer NULL */
    EXPECT_OK(norma_rmsnorm_backward(*state, &norm_desc, &norm_args));
    rmsnorm_backward_inputs(&norm_desc, &norm_args);
    norm_desc.dx.dtype = norm_desc.dgamma.dtype = NORMA_NONE;
    norm_args.dx = norm_args.dgamma = (norma_buffer){0};
    EXPECT_OK(norma_rmsnorm_backward(*state, &norm_desc, &norm_args));

    norma_rmsnorm_linear_backward_desc desc;
    norma_rmsnorm_linear_backward_args args;
    linear_backward_inputs(&desc, &args);
    args = norma_rmsnorm_linear_backward_args_init();
    EXPECT_OK(norma_rmsnorm_linear_backward(*state, &desc, &args));
    linear_backward_inputs(&desc, &args);
    desc.dx.dtype = desc.dgamma.dtype = NORMA_NONE;
    args.dx = args.dgamma = (norma_buffer){0};
    for (int p = 0; p < 2; p++) {
        desc.part[p].dweight.dtype = desc.part[p].dbias.dtype = NORMA_NONE;
        args.part[p].dweight = args.part[p].dbias = (norma_buffer){0};
    }
    EXPECT_OK(norma_rmsnorm_linear_backward(*state, &desc, &args));
    norma_plan *plan;
    EXPECT_OK(norma_rmsnorm_linear_backward_plan_create(*state, &desc, &plan));
    norma_plan_info info = {.struct_size = sizeof info};
    EXPECT_OK(norma_plan_get_info(plan, 3, &info));
    assert_string_equal(info.kernel, "none");
    norma_plan_destroy(plan);
    expect_untouched("nothing to do");
}

static void norm_gradient_may_lie_in_place(void **state) {
    norma_rmsnorm_backward_desc desc;
    norma_rmsnorm_backward_args args;
    rmsnorm_backward_inputs(&desc, &args);
    args.dx = args.dout;
    EXPECT_OK(norma_rmsnorm_backward(*state, &desc, &args));
    rmsnorm_backward_inputs(&desc, &args);
    args.dx = args.dresidual_out;
    EXPECT_OK(norma_rmsnorm_backward(*state, &desc, &args));
}

static void plan_refuses_more_rows_than_it_was_made_for(void **state) {
    norma_rmsnorm_linear_desc desc;
    norma_rmsnorm_linear_args args;
    linear_inputs(&desc, &args);
    desc.max_rows = 256;
    norma_plan *plan;
    EXPECT_OK(norma_rmsnorm_linear_plan_create(*state, &desc, &plan));
    args.m = 257;
    EXPECT_FAILURE(norma_rmsnorm_linear_plan_run(plan, &args), NORMA_ERROR_ROWS, "args.m is 257, but desc.max_rows is 256");
    norma_plan_info info = {.struct_size = sizeof info};
    EXPECT_OK(norma_plan_get_info(plan, 256, &info));
    EXPECT_FAILURE(norma_plan_get_info(plan, 257, &info), NORMA_ERROR_ROWS, "m is 257");
    EXPECT_FAILURE(norma_plan_get_info(plan, -1, &info), NORMA_ERROR_SIZE, "m is -1");
    info.struct_size = 7;
    EXPECT_FAILURE(norma_plan_get_info(plan, 1, &info), NORMA_ERROR_STRUCT_SIZE, "out_info.struct_size is 7");
    norma_plan_destroy(plan);

    desc.max_rows = 2;
    EXPECT_OK(norma_rmsnorm_linear_plan_create(*state, &desc, &plan));
    args.m = 3;
    EXPECT_FAILURE(norma_rmsnorm_linear_plan_run(plan, &args), NORMA_ERROR_ROWS, "args.m is 3, but desc.max_rows is 2");
    norma_plan_destroy(plan);
    expect_untouched("too many rows");
}

static void no_rows_and_no_columns_succeed(void **state) {
    norma_rmsnorm_linear_desc desc;
    norma_rmsnorm_linear_args args;
    linear_inputs(&desc, &args);
    args = norma_rmsnorm_linear_args_init(); /* m = 0, every pointer NULL */
    EXPECT_OK(norma_rmsnorm_linear(*state, &desc, &args));
    EXPECT_OK(plan_and_run_linear(*state, &desc, &args));
    args.m = -1;
    EXPECT_FAILURE(norma_rmsnorm_linear(*state, &desc, &args), NORMA_ERROR_SIZE, "args.m is -1");

    linear_inputs(&desc, &args);
    desc.rstd.dtype = desc.residual.dtype = desc.residual_out.dtype = NORMA_NONE;
    args.rstd = args.residual = args.residual_out = (norma_buffer){0};
    desc.part[0].n = desc.part[1].n = 0;
    EXPECT_OK(norma_rmsnorm_linear(*state, &desc, &args));
    args.part[0] = args.part[1] = (norma_linear_part_args){{0}, {0}, {0}};
    EXPECT_OK(norma_rmsnorm_linear(*state, &desc, &args));
    EXPECT_OK(plan_and_run_linear(*state, &desc, &args));

    norma_rmsnorm_desc norm_desc;
    norma_rmsnorm_args norm_args;
    rmsnorm_inputs(&norm_desc, &norm_args);
    norm_args = norma_rmsnorm_args_init();
    EXPECT_OK(norma_rmsnorm(*state, &norm_desc, &norm_args));
    EXPECT_OK(plan_and_run_rmsnorm(*state, &norm_desc, &norm_args));

    norma_fold_gamma_desc fold_desc;
    norma_fold_gamma_args fold_args;
    fold_inputs(&fold_desc, &fold_args);
    fold_desc.n = 0;
    EXPECT_OK(norma_fold_gamma(*state, &fold_desc, &fold_args));
    fold_args = norma_fold_gamma_args_init();
    EXPECT_OK(norma_fold_gamma(*state, &fold_desc, &fold_args));
    expect_untouched("nothing to do");
}

static void linear_without_columns_still_writes_its_side_outputs(void **state) {
    norma_rmsnorm_linear_desc desc;
    norma_rmsnorm_linear_args args;
    linear_inputs(&desc, &args);
    desc.part[0].n = desc.part[1].n = 0;
    EXPECT_OK(norma_rmsnorm_linear(*state, &desc, &args));
    assert_int_equal(fake.launched, 1);
    assert_int_equal(fake.launches[0].kernel, NORMA_KERNEL_RMSNORM_ROWS);
    assert_int_equal(fake.launches[0].problem.op, NORMA_OP_RMSNORM);
    assert_int_equal(fake.launches[0].problem.out.layout.dtype, NORMA_NONE);
    assert_int_equal(fake.launches[0].problem.residual_out.layout.dtype, NORMA_F32);
}

static void part_without_columns_is_left_out(void **state) {
    norma_rmsnorm_linear_desc desc;
    norma_rmsnorm_linear_args args;
    linear_inputs(&desc, &args);
    desc.residual.dtype = desc.residual_out.dtype = NORMA_NONE;
    args.residual = args.residual_out = (norma_buffer){0};
    desc.part[0].n = 0;
    EXPECT_OK(norma_rmsnorm_linear(*state, &desc, &args));
    assert_int_equal(fake.launched, 1);
    const norma_problem *problem = &fake.launches[0].problem;
    assert_int_equal(problem->parts, 1);
    assert_int_equal(problem->part[0].index, 1);
    assert_int_equal(problem->part[0].n, 5);
    assert_ptr_equal(problem->part[0].out.buffer.data, args.part[1].out.data);
    args.part[1].out.data = NULL;
    EXPECT_FAILURE(norma_rmsnorm_linear(*state, &desc, &args), NORMA_ERROR_NULL_POINTER, "args.part[1].out.data is NULL");
}

static void defaults_are_filled_in(void **state) {
    norma_rmsnorm_linear_desc desc;
    norma_rmsnorm_linear_args args;
    linear_inputs(&desc, &args);
    desc.parts = 0; /* one */
    desc.part[1].n = 0;
    args.part[1] = (norma_linear_part_args){{0}, {0}, {0}};
    desc.residual.dtype = desc.residual_out.dtype = NORMA_NONE;
    args.residual = args.residual_out = (norma_buffer){0};
    desc.gamma.row_stride = 1234; /* of a vector over columns: means nothing */
    desc.rstd.col_stride = 1234;  /* of a vector over rows: likewise */
    EXPECT_OK(norma_rmsnorm_linear(*state, &desc, &args));
    const norma_problem *problem = &fake.launches[0].problem;
    assert_int_equal(problem->parts, 1);
    assert_int_equal(problem->batch, 1);
    assert_int_equal(problem->m, 3);
    assert_int_equal(problem->x.layout.row_stride, 8);
    assert_int_equal(problem->x.layout.col_stride, 1);
    assert_int_equal(problem->gamma.layout.col_stride, 1);
    assert_int_equal(problem->gamma.layout.row_stride, 8);
    assert_int_equal(problem->rstd.layout.row_stride, 1);
    assert_int_equal(problem->rstd.layout.col_stride, 1);
    assert_int_equal(problem->part[0].weight.layout.row_stride, 4);
    assert_int_equal(problem->part[0].out.layout.row_stride, 4);
}

static void batches_are_flattened_where_they_can_be(void **state) {
    norma_rmsnorm_desc desc;
    norma_rmsnorm_args args;
    rmsnorm_inputs(&desc, &args);
    args.batch = 4;
    EXPECT_OK(norma_rmsnorm(*state, &desc, &args));
    assert_int_equal(fake.launches[0].problem.batch, 1);
    assert_int_equal(fake.launches[0].problem.m, 12);

    desc.out.batch_stride = 25; /* one element more than 3 rows of 8 */
    EXPECT_OK(norma_rmsnorm(*state, &desc, &args));
    const norma_problem *problem = &fake.launches[1].problem;
    assert_int_equal(problem->batch, 4);
    assert_int_equal(problem->m, 3);
    assert_int_equal(problem->out.layout.batch_stride, 25);
    assert_int_equal(problem->x.layout.batch_stride, 24);
    assert_int_equal(problem->rstd.layout.batch_stride, 3);
}

static void in_place_and_interleaved_calls_are_right(void **state) {
    norma_rmsnorm_desc desc;
    norma_rmsnorm_args args;
    rmsnorm_inputs(&desc, &args);
    args.out = args.x;
    args.residual_out = args.residual;
    EXPECT_OK(norma_rmsnorm(*state, &desc, &args));
    rmsnorm_inputs(&desc, &args);
    args.residual_out = args.x;
    EXPECT_OK(norma_rmsnorm(*state, &desc, &args));
    rmsnorm_inputs(&desc, &args);
    args.residual = args.x; /* inputs may overlap as they like */
    args.gamma = args.x;
    EXPECT_OK(norma_rmsnorm(*state, &desc, &args));

    /* x, out 0 and out 1 as column slices of one array with rows of 20. */
    norma_rmsnorm_linear_desc linear_desc;
    norma_rmsnorm_linear_args linear_args;
    linear_inputs(&linear_desc, &linear_args);
    linear_desc.x.row_stride = linear_desc.part[0].out.row_stride = linear_desc.part[1].out.row_stride = 20;
    linear_args.part[0].out = linear_args.part[1].out = linear_args.x;
    linear_args.part[0].out.offset_bytes += 8 * sizeof(float);
    linear_args.part[1].out.offset_bytes += 12 * sizeof(float);
    EXPECT_OK(norma_rmsnorm_linear(*state, &linear_desc, &linear_args));
    linear_args.part[1].out.offset_bytes -= sizeof(float);
    EXPECT_FAILURE(norma_rmsnorm_linear(*state, &linear_desc, &linear_args), NORMA_ERROR_ALIAS, "args.part[0].out at 0x");
    linear_inputs(&linear_desc, &linear_args);
    linear_args.residual_out = linear_args.x;
    EXPECT_OK(norma_rmsnorm_linear(*state, &linear_desc, &linear_args));

    norma_fold_gamma_desc fold_desc;
    norma_fold_gamma_args fold_args;
    fold_inputs(&fold_desc, &fold_args);
    fold_args.out = fold_args.weight;
    EXPECT_OK(norma_fold_gamma(*state, &fold_desc, &fold_args));
}

static void inputs_may_repeat_and_be_read_with_any_stride(void **state) {
    norma_rmsnorm_linear_desc desc;
    norma_rmsnorm_linear_args args;
    linear_inputs(&desc, &args);
    desc.x.row_stride = 1; /* rows that overlap: a sliding window, which only reads */
    desc.part[0].weight = norma_layout_transposed(NORMA_F32, 8);
    desc.part[1].weight = norma_layout_strided(NORMA_F32, 3, 2);
    args.part[1].weight = args.part[0].weight;
    EXPECT_OK(norma_rmsnorm_linear(*state, &desc, &args));
}

static void stride_of_a_single_row_or_column_may_be_anything(void **state) {
    norma_rmsnorm_desc desc;
    norma_rmsnorm_args args;
    rmsnorm_inputs(&desc, &args);
    args.m = 1;
    args.out = args.x;
    desc.x.row_stride = desc.x.batch_stride = desc.residual_out.row_stride = INT64_MAX;
    desc.out.row_stride = desc.out.batch_stride = INT64_MAX - 1; /* still the same elements as x */
    EXPECT_OK(norma_rmsnorm(*state, &desc, &args));
    desc.k = 1;
    desc.x.col_stride = desc.residual_out.col_stride = INT64_MAX;
    EXPECT_OK(norma_rmsnorm(*state, &desc, &args));
    args.m = 2;
    EXPECT_FAILURE(norma_rmsnorm(*state, &desc, &args), NORMA_ERROR_OVERFLOW, "x spans more than 2^63 - 1 bytes");
}

static void program_with_an_older_header_keeps_working(void **state) {
    /* Today's sizes are those of the first version, short of padding at the end. */
    norma_rmsnorm_desc desc;
    norma_rmsnorm_args args;
    rmsnorm_inputs(&desc, &args);
    assert_int_equal(desc.struct_size, offsetof(norma_rmsnorm_desc, out) + sizeof desc.out);
    assert_int_equal(args.struct_size, offsetof(norma_rmsnorm_args, out) + sizeof args.out);
    EXPECT_OK(norma_rmsnorm(*state, &desc, &args));
}

static void opaque_buffers_are_compared_by_handle(void **state) {
    norma_context_destroy(*state);
    fake.opaque_buffers = true;
    norma_context *context;
    EXPECT_OK(fake_context_create(&context));
    *state = context;

    /* Neighbouring handles: as addresses, these tensors would overlap and be misaligned. */
    norma_rmsnorm_desc desc = norma_rmsnorm_desc_init();
    desc.k = 8;
    desc.x.dtype = desc.out.dtype = NORMA_F32;
    norma_rmsnorm_args args = norma_rmsnorm_args_init();
    args.m = 3;
    args.x = (norma_buffer){&memory[0][1], 0};
    args.out = (norma_buffer){&memory[0][2], 0};
    EXPECT_OK(norma_rmsnorm(context, &desc, &args));
    norma_plan *plan;
    EXPECT_OK(norma_rmsnorm_plan_create(context, &desc, &plan));
    EXPECT_OK(norma_rmsnorm_plan_run(plan, &args));
    args.out = (norma_buffer){&memory[0][1], 4};
    EXPECT_FAILURE(norma_rmsnorm_plan_run(plan, &args), NORMA_ERROR_ALIAS, "overlaps args.x");
    args.out = (norma_buffer){&memory[0][1], 98};
    EXPECT_FAILURE(norma_rmsnorm_plan_run(plan, &args), NORMA_ERROR_ALIGNMENT, "args.out begins at 0x");
    args.out = (norma_buffer){&memory[0][1], 96};
    EXPECT_OK(norma_rmsnorm_plan_run(plan, &args));
    norma_plan_destroy(plan);
}

/* Operations without a public function come here as problems. */
static void internal_problems_are_checked_too(void **state) {
    (void)state;
    norma_problem product = {.op = NORMA_OP_LINEAR, .batch = 1, .m = 3, .k = 8, .parts = 1, .desc_parts = 1};
    product.x = (norma_tensor){region(0), {NORMA_F32, 8, 1, 0}};
    product.part[0].n = 4;
    product.part[0].weight = (norma_tensor){region(1), {NORMA_F32, 4, 1, 0}};
    product.part[0].out = (norma_tensor){region(2), {NORMA_F32, 4, 1, 0}};
    EXPECT_OK(norma_problem_check(&product));
    product.part[0].out.buffer = product.x.buffer;
    EXPECT_FAILURE(norma_problem_check(&product), NORMA_ERROR_ALIAS, "args.part[0].out at 0x");

    norma_problem stream = {.op = NORMA_OP_STREAM_COPY, .batch = 1, .m = 3, .k = 8};
    stream.x = (norma_tensor){region(0), {NORMA_F32, 8, 1, 0}};
    stream.out = (norma_tensor){region(1), {NORMA_F32, 8, 1, 0}};
    EXPECT_OK(norma_problem_check(&stream));
    stream.out.layout.row_stride = 4;
    EXPECT_FAILURE(norma_problem_check(&stream), NORMA_ERROR_SELF_OVERLAP, "out overlaps itself");
    stream.op = NORMA_OP_STREAM_READ;
    EXPECT_OK(norma_problem_check(&stream));
    stream.out.buffer = stream.x.buffer;
    EXPECT_FAILURE(norma_problem_check(&stream), NORMA_ERROR_ALIAS, "overlaps args.x");
}

static void internal_runs_are_held_to_the_plans_rows(void **state) {
    norma_rmsnorm_desc desc;
    norma_rmsnorm_args args;
    rmsnorm_inputs(&desc, &args);
    norma_problem problem;
    EXPECT_OK(norma_problem_from_rmsnorm(&desc, &problem));
    norma_plan *plan;
    EXPECT_OK(norma_plan_create(*state, &problem, 2, NULL, &plan));
    EXPECT_OK(norma_problem_bind_rmsnorm(&problem, &args));
    EXPECT_FAILURE(norma_plan_run(plan, &problem), NORMA_ERROR_ROWS,
                   "3 rows were given, but the plan was made for at most 2");
    norma_plan_destroy(plan);
    expect_untouched("too many rows");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(bad_linear_input_is_refused, open_context, close_context),
        cmocka_unit_test_setup_teardown(bad_rmsnorm_input_is_refused, open_context, close_context),
        cmocka_unit_test_setup_teardown(bad_fold_input_is_refused, open_context, close_context),
        cmocka_unit_test_setup_teardown(bad_rmsnorm_backward_input_is_refused, open_context, close_context),
        cmocka_unit_test_setup_teardown(bad_linear_backward_input_is_refused, open_context, close_context),
        cmocka_unit_test_setup_teardown(null_objects_are_named, open_context, close_context),
        cmocka_unit_test_setup_teardown(null_objects_of_a_backward_are_named, open_context, close_context),
        cmocka_unit_test_setup_teardown(backward_of_nothing_succeeds, open_context, close_context),
        cmocka_unit_test_setup_teardown(norm_gradient_may_lie_in_place, open_context, close_context),
        cmocka_unit_test_setup_teardown(plan_refuses_more_rows_than_it_was_made_for, open_context, close_context),
        cmocka_unit_test_setup_teardown(no_rows_and_no_columns_succeed, open_context, close_context),
        cmocka_unit_test_setup_teardown(linear_without_columns_still_writes_its_side_outputs, open_context, close_context),
        cmocka_unit_test_setup_teardown(part_without_columns_is_left_out, open_context, close_context),
        cmocka_unit_test_setup_teardown(defaults_are_filled_in, open_context, close_context),
        cmocka_unit_test_setup_teardown(batches_are_flattened_where_they_can_be, open_context, close_context),
        cmocka_unit_test_setup_teardown(in_place_and_interleaved_calls_are_right, open_context, close_context),
        cmocka_unit_test_setup_teardown(inputs_may_repeat_and_be_read_with_any_stride, open_context, close_context),
        cmocka_unit_test_setup_teardown(stride_of_a_single_row_or_column_may_be_anything, open_context, close_context),
        cmocka_unit_test_setup_teardown(program_with_an_older_header_keeps_working, open_context, close_context),
        cmocka_unit_test_setup_teardown(internal_problems_are_checked_too, open_context, close_context),
        cmocka_unit_test_setup_teardown(internal_runs_are_held_to_the_plans_rows, open_context, close_context),
        cmocka_unit_test_setup_teardown(opaque_buffers_are_compared_by_handle, open_context, close_context),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
