/* Judging, between its files: judge.c has the forward operations, judge_gradients.c the backward ones. */
#ifndef NORMA_TESTS_JUDGING_H
#define NORMA_TESTS_JUDGING_H

#include "harness/trial.h"

/* Multiplications of the reference per trial; above that, rows and columns are sampled. A sanitized build looks for faults
 * of memory and races, and leaves full judgement to the others. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { BUDGET = 100000, SAMPLED_COLUMNS = 40 };
#else
enum { BUDGET = 1500000, SAMPLED_COLUMNS = 40 };
#endif

typedef struct judging {
    const test_trial *trial;
    norma_problem problem;
    norma_problem product; /* the same as a plain product, for what remains when y is known */
    bool rstd_known;       /* an exact contract, and rstd was written */
    int64_t row;
    double *h, *y;
    float *gamma;
    double squares; /* of error / magnitude, beyond the last rounding */
    int64_t products;
    test_verdict verdict;
} judging;

/* The first rejection is the verdict's. */
void test_reject(judging *j, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Rejects what lies further from `want` than `bound`. */
void test_compare(judging *j, const char *what, int64_t col, norma_dtype dtype, float got, double want, double bound);

/* The power of two just beyond the dtype's range stands for infinity. */
double test_bring_in(norma_dtype dtype, double value);

/* Half the spacing of the dtype. */
double test_last_rounding(const judging *j, norma_dtype dtype, double value);

/* Index `i` of `count` samples among `total`: all of them, or the ends and some between. */
int64_t test_sample(const judging *j, int64_t i, int64_t count, int64_t total);

void test_judge_gradients(judging *j);

#endif
