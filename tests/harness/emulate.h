/* The exact contracts as models write them, in fp32 step by step, and independent of the reference and of every kernel: it
 * shares only the conversion of a finished value, norma_round_double, which tests/ops/test_harness.c checks on every half.
 */
#ifndef NORMA_TESTS_EMULATE_H
#define NORMA_TESTS_EMULATE_H

#include "problem.h"

/* v rounded to dtype. */
float test_round(norma_dtype dtype, float value);

/* One value of the row that enters the last rounding of a norm: transformers' LlamaRMSNorm (TWICE) or Olmo2RMSNorm and
 * GemmaRMSNorm (ONCE), with the rstd given. gamma has its offset added. */
float test_model_norm(norma_contract contract, norma_dtype h_dtype, float h, float rstd, float gamma);

/* rsqrt(mean(h^2) + eps) as torch computes it on fp32: a pairwise sum. */
float test_model_rstd(const float *h, int64_t k, float eps);

#endif
