/* The rows to run: suites.def and --shape, expanded by the command line. */
#ifndef NORMA_BENCH_SUITE_H
#define NORMA_BENCH_SUITE_H

#include "options.h"
#include "problem.h"

/* One row to run. */
typedef struct bench_case {
    const char *suite, *label;
    norma_op op; /* NORMA_OP_RMSNORM, NORMA_OP_RMSNORM_LINEAR, or the backward of either */
    norma_dtype dtype;
    norma_contract contract;
    bool folded;
    int64_t m, k, n; /* n: over all parts; 0 for a norm alone */
    bench_parts parts;
    bool weights_static, batch_invariant, timed, fp32_tensor;
} bench_case;

/* Fills *out_cases, which the caller frees, grouped by dtype and otherwise in the table's order. Returns how many, or -1 if
 * memory ran out. */
int bench_suite_expand(const bench_options *options, bench_scale scale, bench_case **out_cases);

const char *bench_op_name(norma_op op);

static inline bool bench_case_is_backward(const bench_case *which) {
    return which->op == NORMA_OP_RMSNORM_BACKWARD || which->op == NORMA_OP_RMSNORM_LINEAR_BACKWARD;
}

/* "4096+1024+1024"; empty without parts. */
void bench_parts_name(const bench_parts *parts, char *out_text, size_t bytes);

/* Bytes of all operands of a case, each once, and its operations. */
double bench_case_bytes(const bench_case *which);
double bench_case_operations(const bench_case *which);

#endif
