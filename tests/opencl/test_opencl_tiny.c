/* A few cases of every kernel, small enough for an interpreter that watches each access, and for slow compilers. */
#include "harness/case_names.h"
#include "harness/suite.h"

static const test_case cases[] = {
    {.name = "norm", .op = NORMA_OP_RMSNORM, .m = 3, .k = 37, .x = F32, .gamma = F32, .out = F32, .rstd = true},
    {.name = "norm_residual",
     .op = NORMA_OP_RMSNORM,
     .batch = 2,
     .m = 2,
     .k = 18,
     .x = BF16,
     .residual = BF16,
     .residual_out = true,
     .gamma = F32,
     .out = BF16,
     .contract = TWICE,
     .all = PADDED},
    {.name = "few_rows",
     .op = NORMA_OP_RMSNORM_LINEAR,
     .m = 3,
     .k = 17,
     .n = {5, 2},
     .x = BF16,
     .gamma = BF16,
     .weight = BF16,
     .bias = F32,
     .out = BF16,
     .rstd = true,
     .arranged = {[ROLE_WEIGHT] = COLUMNS}},
    {.name = "rows_and_a_residual",
     .op = NORMA_OP_RMSNORM_LINEAR,
     .m = 17,
     .k = 9,
     .n = {35},
     .x = F16,
     .residual = F16,
     .residual_out = true,
     .gamma = F16,
     .weight = F16,
     .out = F16,
     .contract = ONCE},
    {.name = "fold", .op = NORMA_OP_FOLD_GAMMA, .k = 7, .n = {5}, .x = F32, .gamma = F32, .weight = F32, .out = F16},
};

int main(void) {
    return test_suite_run("opencl tiny", cases, sizeof cases / sizeof *cases, NULL);
}
