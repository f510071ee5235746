/* Every pointer in turn moved by 2, 4 and 8 bytes off the alignment of allocations, for both operations and every dtype. */
#include <stdio.h>

#include "dtype.h"
#include "harness/case_names.h"
#include "harness/suite.h"

static const test_case bases[] = {{.op = NORMA_OP_RMSNORM,
                                   .m = 5,
                                   .k = 48,
                                   .x = SAME,
                                   .gamma = SAME,
                                   .residual = SAME,
                                   .residual_out = true,
                                   .out = SAME,
                                   .rstd = true},
                                  {.op = NORMA_OP_RMSNORM_LINEAR,
                                   .m = 5,
                                   .k = 48,
                                   .n = {32, 16},
                                   .x = SAME,
                                   .gamma = SAME,
                                   .residual = SAME,
                                   .residual_out = true,
                                   .weight = SAME,
                                   .bias = SAME,
                                   .out = SAME,
                                   .rstd = true},
                                  {.op = NORMA_OP_RMSNORM_LINEAR,
                                   .m = 13,
                                   .k = 64,
                                   .n = {32},
                                   .arranged = {[ROLE_WEIGHT] = COLUMNS},
                                   .x = SAME,
                                   .gamma = SAME,
                                   .weight = SAME,
                                   .bias = SAME,
                                   .out = SAME}};

enum { BASES = sizeof bases / sizeof bases[0], SHIFTS = 3, DTYPES = 3, MOST = BASES * ROLE_COUNT * SHIFTS * DTYPES };

static bool has(const test_case *test, int role) {
    if (role == ROLE_RSTD) return test->rstd;
    if (role == ROLE_RESIDUAL_OUT) return test->residual_out;
    return test->dtype[role] != NORMA_NONE;
}

int main(void) {
    static const char *const roles[ROLE_COUNT] = {[ROLE_X] = "x",
                                                  [ROLE_GAMMA] = "gamma",
                                                  [ROLE_RESIDUAL] = "residual",
                                                  [ROLE_WEIGHT] = "weight",
                                                  [ROLE_BIAS] = "bias",
                                                  [ROLE_OUT] = "out",
                                                  [ROLE_DX] = "dx",
                                                  [ROLE_DGAMMA] = "dgamma",
                                                  [ROLE_DWEIGHT] = "dweight",
                                                  [ROLE_DBIAS] = "dbias",
                                                  [ROLE_RESIDUAL_OUT] = "residual_out",
                                                  [ROLE_RSTD] = "rstd"};
    static const int shifts[SHIFTS] = {2, 4, 8};
    static test_case cases[MOST];
    static char names[MOST][64];
    size_t count = 0;
    for (int base = 0; base < BASES; base++)
        for (int role = 0; role < ROLE_COUNT; role++)
            for (int s = 0; s < SHIFTS; s++)
                for (int dtype = NORMA_F32; dtype <= NORMA_BF16; dtype++) {
                    const size_t size = role == ROLE_RSTD ? 4 : norma_dtype_bytes((norma_dtype)dtype);
                    if (!has(&bases[base], role) || (size_t)shifts[s] % size != 0) continue;
                    test_case *test = &cases[count];
                    *test = bases[base];
                    for (int i = 0; i <= ROLE_OUT; i++)
                        if (test->dtype[i] == SAME) test->dtype[i] = (norma_dtype)dtype;
                    test->shift_bytes[role] = shifts[s];
                    test->contract = EVERY;
                    snprintf(names[count], sizeof names[count], "%s %d: %s moved by %d bytes, %s",
                             test->op == NORMA_OP_RMSNORM ? "norm" : "linear", base, roles[role], shifts[s],
                             norma_dtype_name((norma_dtype)dtype));
                    test->name = names[count++];
                }
    return test_suite_run("alignment", cases, count, NULL);
}
