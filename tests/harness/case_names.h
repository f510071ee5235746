/* Short names for the rows of case tables. */
#ifndef NORMA_TESTS_CASE_NAMES_H
#define NORMA_TESTS_CASE_NAMES_H

#include "harness/case.h"

#define F32      NORMA_F32
#define F16      NORMA_F16
#define BF16     NORMA_BF16
#define SAME     DTYPE_SAME
#define EVERY    CONTRACT_EVERY
#define DEFERRED NORMA_ROUND_DEFERRED
#define TWICE    NORMA_ROUND_TWICE
#define ONCE     NORMA_ROUND_ONCE

/* What most rows have in common. */
#define NORM             .x = SAME, .gamma = SAME, .out = SAME, .contract = EVERY, .rstd = true
#define NORM_RESIDUAL    NORM, .residual = SAME, .residual_out = true
#define LINEAR           NORM, .weight = SAME, .bias = SAME
#define LINEAR_RESIDUAL  LINEAR, .residual = SAME, .residual_out = true
#define FOLD             .x = SAME, .gamma = SAME, .weight = SAME, .out = SAME
#define NORM_GRADIENTS   .x = SAME, .gamma = SAME, .out = SAME, .dx = SAME, .dgamma = SAME
#define LINEAR_GRADIENTS NORM_GRADIENTS, .weight = SAME, .dweight = SAME, .dbias = SAME, .contract = EVERY
#define ACCUMULATE       NORMA_ACCUMULATE_DGAMMA | NORMA_ACCUMULATE_DWEIGHT | NORMA_ACCUMULATE_DBIAS

#endif
