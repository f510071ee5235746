/* NORMA_FP32_TENSOR: the cases of rmsnorm_linear.def in fp32, and those of fp32_tensor.def, with the permission and by the
 * bounds of strict fp32. Where a device has no such matrix units, it must change nothing. An argument names the class. */
#include "harness/case_names.h"
#include "harness/suite.h"

static test_case cases[] = {
#define NORMA_CASE(id, class, ...) {.name = #id, .kind = CLASS_##class, .op = NORMA_OP_RMSNORM_LINEAR, __VA_ARGS__},
#include "cases/fp32_tensor.def"
#include "cases/rmsnorm_linear.def"
#undef NORMA_CASE
};

/* The case in fp32; false if x or W is of another dtype. */
static bool settle(test_case *test) {
    for (int role = 0; role < ROLE_DTYPES; role++)
        if (test->dtype[role] == DTYPE_SAME) test->dtype[role] = NORMA_F32;
    test->flags |= NORMA_FP32_TENSOR;
    return test->x == NORMA_F32 && test->weight == NORMA_F32;
}

int main(int argc, char **argv) {
    size_t count = 0;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (settle(&cases[i])) cases[count++] = cases[i];
    return test_suite_run("fp32_tensor", cases, count, argc > 1 ? argv[1] : NULL);
}
