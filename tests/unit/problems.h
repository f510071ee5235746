/* Problems made by hand, at addresses that nothing follows, for tests of pure functions. */
#ifndef NORMA_TESTS_UNIT_PROBLEMS_H
#define NORMA_TESTS_UNIT_PROBLEMS_H

#include "problem.h"

static inline norma_tensor tensor(norma_dtype dtype, uintptr_t address, int64_t row_stride) {
    norma_tensor made = {.buffer = {(void *)address, 0}, .layout = {dtype, row_stride, 1, 0}};
    return made;
}

static inline norma_problem linear_problem(norma_dtype x, norma_dtype weight, int64_t k, int64_t n) {
    norma_problem problem = {
        .op = NORMA_OP_RMSNORM_LINEAR, .eps = 1, .batch = 1, .m = 1, .k = k, .parts = 1, .desc_parts = 1};
    problem.x = tensor(x, 0x1000, k);
    problem.gamma = tensor(x, 0x2000, k);
    problem.rstd = tensor(NORMA_F32, 0x3000, 1);
    problem.part[0].n = n;
    problem.part[0].weight = tensor(weight, 0x4000, n);
    problem.part[0].out = tensor(x, 0x5000, n);
    return problem;
}

static inline void add_residual(norma_problem *problem, norma_dtype dtype, bool residual_out) {
    problem->residual = tensor(dtype, 0x6000, problem->k);
    if (residual_out) problem->residual_out = tensor(dtype, 0x7000, problem->k + 2);
}

#endif
