/* Verification: results against the fp64 reference, over all elements of a small result and over random ones of a large one,
 * from outputs that held NaN before. The bound is the library's own (cpu/reference.h), the same for every backend. */
#ifndef NORMA_BENCH_VERIFY_H
#define NORMA_BENCH_VERIFY_H

#include "contender.h"

/* Outputs are filled with this byte beforehand: a NaN in every dtype. */
#define BENCH_POISON 0xff

/* What the check of one contender found. */
typedef struct bench_verdict {
    bool passed;
    int64_t checked;
    double max_err;     /* largest error against the contender's own contract, or the worst one past its bound */
    double err_bound;   /* the bound at that element */
    double case_err;    /* largest error against the case's contract: comparable between contenders; NAN if of other shape */
    double estimate_us; /* how long a run takes */
    char what[256];     /* if not passed: what is wrong */
} bench_verdict;

/* The operands of set 0 on the host, and what they should give. */
typedef struct bench_judge bench_judge;

/* Downloads what `which` reads and computes the reference for norma's own problem. NULL with a status on failure. */
norma_status bench_judge_create(const bench_case *which, const bench_contender *norma, bench_judge **out_judge);
void bench_judge_destroy(bench_judge *judge);

/* Runs a contender once on set 0 and checks what it wrote. Errors: those of the run; a wrong result is no error. */
norma_status bench_judge_check(bench_judge *judge, bench_contender *contender, bench_verdict *out_verdict);

#endif
