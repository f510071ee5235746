/* Right inputs for every operation, which tests then make wrong or unusual: two parts, all optional tensors, each tensor in
 * a region of its own; and the operations behind one interface. */
#ifndef NORMA_TESTS_UNIT_INPUTS_H
#define NORMA_TESTS_UNIT_INPUTS_H

#include "norma/norma.h"

#define INPUT_REGIONS      14
#define INPUT_REGION_BYTES 4096

/* Each large enough for any of the changes that reaches memory. */
extern unsigned char input_memory[INPUT_REGIONS][INPUT_REGION_BYTES];

norma_buffer input_region(int index);

/* Fails the test if a byte of the memory was written, or anything launched, since the context was opened. */
void inputs_expect_untouched(const char *label);

void rmsnorm_inputs(norma_rmsnorm_desc *desc, norma_rmsnorm_args *args);
void linear_inputs(norma_rmsnorm_linear_desc *desc, norma_rmsnorm_linear_args *args);
void rmsnorm_backward_inputs(norma_rmsnorm_backward_desc *desc, norma_rmsnorm_backward_args *args);
void linear_backward_inputs(norma_rmsnorm_linear_backward_desc *desc, norma_rmsnorm_linear_backward_args *args);
void fold_inputs(norma_fold_gamma_desc *desc, norma_fold_gamma_args *args);

typedef union input_desc {
    norma_rmsnorm_desc rmsnorm;
    norma_rmsnorm_linear_desc linear;
    norma_rmsnorm_backward_desc rmsnorm_backward;
    norma_rmsnorm_linear_backward_desc linear_backward;
    norma_fold_gamma_desc fold;
} input_desc;

typedef union input_args {
    norma_rmsnorm_args rmsnorm;
    norma_rmsnorm_linear_args linear;
    norma_rmsnorm_backward_args rmsnorm_backward;
    norma_rmsnorm_linear_backward_args linear_backward;
    norma_fold_gamma_args fold;
} input_args;

typedef struct input_operation {
    const char *name;
    void (*fill)(input_desc *desc, input_args *args);
    norma_status (*call)(norma_context *context, const input_desc *desc, const input_args *args);
    norma_status (*create)(norma_context *context, const input_desc *desc, norma_plan **out_plan); /* NULL: no plans */
    norma_status (*run)(norma_plan *plan, const input_args *args);
} input_operation;

enum { INPUT_RMSNORM, INPUT_LINEAR, INPUT_RMSNORM_BACKWARD, INPUT_LINEAR_BACKWARD, INPUT_FOLD, INPUT_OPERATIONS };

extern const input_operation input_operations[INPUT_OPERATIONS];

/* A plan is refused when created or when run; nothing may be left of it. */
norma_status inputs_plan_and_run(const input_operation *operation, norma_context *context, const input_desc *desc,
                                 const input_args *args);

/* cmocka's setup: a context on the fake device, the memory poisoned. */
int inputs_open(void **state);

#define INPUT_TEST(test) cmocka_unit_test_setup_teardown(test, inputs_open, fake_end)

#endif
