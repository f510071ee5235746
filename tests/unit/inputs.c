/* Inputs (inputs.h). */
#include "inputs.h"

#include "expect.h"
#include "fake_backend.h"

_Alignas(64) unsigned char input_memory[INPUT_REGIONS][INPUT_REGION_BYTES];

norma_buffer input_region(int index) {
    return (norma_buffer){input_memory[index], 64};
}

void inputs_expect_untouched(const char *label) {
    const unsigned char *bytes = input_memory[0];
    for (size_t i = 0; i < sizeof input_memory; i++)
        if (bytes[i] != 0x5a) fail_msg("%s: byte %zu was written", label, i);
    if (fake.launched) fail_msg("%s: %d launches", label, fake.launched);
}

void linear_inputs(norma_rmsnorm_linear_desc *desc, norma_rmsnorm_linear_args *args) {
    *desc = norma_rmsnorm_linear_desc_init();
    desc->k = 8;
    desc->parts = 2;
    desc->x.dtype = desc->gamma.dtype = desc->residual.dtype = desc->residual_out.dtype = desc->rstd.dtype = NORMA_F32;
    *args = norma_rmsnorm_linear_args_init();
    args->m = 3;
    args->x = input_region(0);
    args->gamma = input_region(1);
    args->residual = input_region(2);
    args->residual_out = input_region(3);
    args->rstd = input_region(4);
    for (int p = 0; p < 2; p++) {
        desc->part[p].n = 4 + p;
        desc->part[p].weight.dtype = desc->part[p].bias.dtype = desc->part[p].out.dtype = NORMA_F32;
        args->part[p].weight = input_region(5 + 3 * p);
        args->part[p].bias = input_region(6 + 3 * p);
        args->part[p].out = input_region(7 + 3 * p);
    }
}

void rmsnorm_inputs(norma_rmsnorm_desc *desc, norma_rmsnorm_args *args) {
    *desc = norma_rmsnorm_desc_init();
    desc->k = 8;
    desc->x.dtype = desc->gamma.dtype = desc->residual.dtype = desc->residual_out.dtype = desc->rstd.dtype =
        desc->out.dtype = NORMA_F32;
    *args = norma_rmsnorm_args_init();
    args->m = 3;
    args->x = input_region(0);
    args->gamma = input_region(1);
    args->residual = input_region(2);
    args->residual_out = input_region(3);
    args->rstd = input_region(4);
    args->out = input_region(5);
}

void fold_inputs(norma_fold_gamma_desc *desc, norma_fold_gamma_args *args) {
    *desc = norma_fold_gamma_desc_init();
    desc->k = 8;
    desc->n = 5;
    desc->gamma.dtype = desc->weight.dtype = desc->out.dtype = NORMA_F32;
    *args = norma_fold_gamma_args_init();
    args->gamma = input_region(0);
    args->weight = input_region(1);
    args->out = input_region(2);
}

void rmsnorm_backward_inputs(norma_rmsnorm_backward_desc *desc, norma_rmsnorm_backward_args *args) {
    *desc = norma_rmsnorm_backward_desc_init();
    desc->k = 8;
    desc->x.dtype = desc->rstd.dtype = desc->gamma.dtype = desc->dout.dtype = desc->dresidual_out.dtype = desc->dx.dtype =
        desc->dgamma.dtype = NORMA_F32;
    *args = norma_rmsnorm_backward_args_init();
    args->m = 3;
    args->x = input_region(0);
    args->rstd = input_region(1);
    args->gamma = input_region(2);
    args->dout = input_region(3);
    args->dresidual_out = input_region(4);
    args->dx = input_region(5);
    args->dgamma = input_region(6);
}

void linear_backward_inputs(norma_rmsnorm_linear_backward_desc *desc, norma_rmsnorm_linear_backward_args *args) {
    *desc = norma_rmsnorm_linear_backward_desc_init();
    desc->k = 8;
    desc->parts = 2;
    desc->x.dtype = desc->rstd.dtype = desc->gamma.dtype = desc->dresidual_out.dtype = desc->dx.dtype = desc->dgamma.dtype =
        NORMA_F32;
    *args = norma_rmsnorm_linear_backward_args_init();
    args->m = 3;
    args->x = input_region(0);
    args->rstd = input_region(1);
    args->gamma = input_region(2);
    args->dresidual_out = input_region(3);
    args->dx = input_region(4);
    args->dgamma = input_region(5);
    for (int p = 0; p < 2; p++) {
        desc->part[p].n = 4 + p;
        desc->part[p].weight.dtype = desc->part[p].dout.dtype = desc->part[p].dweight.dtype = desc->part[p].dbias.dtype =
            NORMA_F32;
        args->part[p].weight = input_region(6 + 4 * p);
        args->part[p].dout = input_region(7 + 4 * p);
        args->part[p].dweight = input_region(8 + 4 * p);
        args->part[p].dbias = input_region(9 + 4 * p);
    }
}

/* ---- Operations ---- */

#define CALLED(member, function)                                                                                \
    static void member##_fill(input_desc *desc, input_args *args) {                                             \
        member##_inputs(&desc->member, &args->member);                                                          \
    }                                                                                                           \
    static norma_status member##_call(norma_context *context, const input_desc *desc, const input_args *args) { \
        return function(context, desc ? &desc->member : NULL, args ? &args->member : NULL);                     \
    }
#define PLANNED(member, function)                                                                                \
    CALLED(member, function)                                                                                     \
    static norma_status member##_create(norma_context *context, const input_desc *desc, norma_plan **out_plan) { \
        return function##_plan_create(context, desc ? &desc->member : NULL, out_plan);                           \
    }                                                                                                            \
    static norma_status member##_run(norma_plan *plan, const input_args *args) {                                 \
        return function##_plan_run(plan, args ? &args->member : NULL);                                           \
    }

PLANNED(rmsnorm, norma_rmsnorm)
PLANNED(linear, norma_rmsnorm_linear)
PLANNED(rmsnorm_backward, norma_rmsnorm_backward)
PLANNED(linear_backward, norma_rmsnorm_linear_backward)
CALLED(fold, norma_fold_gamma)

const input_operation input_operations[INPUT_OPERATIONS] = {
    [INPUT_RMSNORM] = {"norma_rmsnorm", rmsnorm_fill, rmsnorm_call, rmsnorm_create, rmsnorm_run},
    [INPUT_LINEAR] = {"norma_rmsnorm_linear", linear_fill, linear_call, linear_create, linear_run},
    [INPUT_RMSNORM_BACKWARD] = {"norma_rmsnorm_backward", rmsnorm_backward_fill, rmsnorm_backward_call,
                                rmsnorm_backward_create, rmsnorm_backward_run},
    [INPUT_LINEAR_BACKWARD] = {"norma_rmsnorm_linear_backward", linear_backward_fill, linear_backward_call,
                               linear_backward_create, linear_backward_run},
    [INPUT_FOLD] = {"norma_fold_gamma", fold_fill, fold_call, NULL, NULL},
};

norma_status inputs_plan_and_run(const input_operation *operation, norma_context *context, const input_desc *desc,
                                 const input_args *args) {
    norma_plan *plan = (norma_plan *)context;
    norma_status status = operation->create(context, desc, &plan);
    if (status) {
        assert_null(plan);
        return status;
    }
    status = operation->run(plan, args);
    norma_plan_destroy(plan);
    return status;
}

int inputs_open(void **state) {
    memset(input_memory, 0x5a, sizeof input_memory);
    return fake_begin(state);
}
