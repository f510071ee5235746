/* The cases of tests/cases/rmsnorm_backward.def on every variant. An argument names the class to run. */
#include "harness/case_names.h"
#include "harness/suite.h"

static const test_case cases[] = {
#define NORMA_CASE(id, class, ...) {.name = #id, .kind = CLASS_##class, .op = NORMA_OP_RMSNORM_BACKWARD, __VA_ARGS__},
#include "cases/rmsnorm_backward.def"
#undef NORMA_CASE
};

int main(int argc, char **argv) {
    return test_suite_run("rmsnorm_backward", cases, sizeof cases / sizeof cases[0], argc > 1 ? argv[1] : NULL);
}
