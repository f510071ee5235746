/* Models' own arithmetic (emulate.h), after the sources of the transformers library. */
#include "harness/emulate.h"

#include <math.h>

#include "cpu/reference.h"

float test_round(norma_dtype dtype, float value) {
    return (float)norma_round_double(dtype, (double)value);
}

float test_model_norm(norma_contract contract, norma_dtype h_dtype, float h, float rstd, float gamma) {
    float hidden_states = h;
    hidden_states = hidden_states * rstd;
    if (contract == NORMA_ROUND_TWICE) hidden_states = test_round(h_dtype, hidden_states);
    hidden_states = gamma * hidden_states;
    return hidden_states;
}

static float pairwise_squares(const float *h, int64_t k) {
    if (k > 8) return pairwise_squares(h, k / 2) + pairwise_squares(h + k / 2, k - k / 2);
    float sum = 0;
    for (int64_t i = 0; i < k; i++) sum += h[i] * h[i];
    return sum;
}

float test_model_rstd(const float *h, int64_t k, float eps) {
    const float variance = pairwise_squares(h, k) / (float)k;
    return 1 / sqrtf(variance + eps);
}
