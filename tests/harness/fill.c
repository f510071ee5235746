/* Fills a trial's inputs. Every value is drawn by its logical place, so that trials which differ in layout, in the number of
 * rows or in what is present agree wherever they overlap. */
#include "cpu/reference.h"
#include "dtype.h"
#include "harness/place.h"
#include "harness/random.h"

static float signed_by(uint64_t bits, float value) {
    return bits & 1 ? -value : value;
}

/* A subnormal value of the dtype. */
static float subnormal(norma_dtype dtype, uint64_t bits) {
    const float share = test_uniform(bits);
    switch (dtype) {
    case NORMA_F16: return signed_by(bits, truncf(1 + 1022 * share) * 0x1p-24F);
    case NORMA_BF16: return signed_by(bits, truncf(1 + 126 * share) * 0x1p-133F);
    case NORMA_F32:
    case NORMA_NONE: break;
    }
    return signed_by(bits, truncf(1 + 8388606 * share) * 0x1p-149F);
}

static float x_value(const test_trial *trial, const test_tensor *tensor, int64_t row, int64_t col) {
    const test_case *test = &trial->test;
    const bool residual = tensor->role == ROLE_RESIDUAL;
    const uint64_t index = (uint64_t)(row * tensor->cols + col);
    const uint64_t bits = test_bits(trial->seed, tensor->role, index);
    const norma_dtype dtype = tensor->layout.dtype;
    switch (test->data) {
    case DATA_NORMAL: break;
    case DATA_INTEGER: {
        /* x and residual have one sign, and together make +-2. */
        const float value = signed_by(test_bits(trial->seed, ROLE_X, index) >> 7, 1);
        return test->residual == NORMA_NONE ? 2 * value : value;
    }
    case DATA_ZERO: return row % 2 ? test_normal(bits) : 0;
    case DATA_SPIKE: {
        const uint64_t place = test_bits(trial->seed, 100, (uint64_t)row) % (uint64_t)tensor->cols;
        return (uint64_t)col == place && !residual ? 1000 : 1e-3F * test_normal(bits);
    }
    case DATA_TINY: return subnormal(dtype, bits);
    case DATA_HUGE:
        if (dtype != NORMA_F16) return 1e16F * test_normal(bits);
        return residual ? 100 * test_normal(bits) : signed_by(bits, 4e4F + 2e4F * test_uniform(bits));
    }
    return test_normal(bits);
}

static float small_integer(uint64_t bits, int low, int high) {
    return (float)(low + (int)(bits % (uint64_t)(high - low + 1)));
}

static float value_of(const test_trial *trial, const test_tensor *tensor, int part, int64_t row, int64_t col) {
    const test_case *test = &trial->test;
    const bool backward = test_case_is_backward(test);
    if (tensor->role == ROLE_X || (tensor->role == ROLE_RESIDUAL && !backward)) return x_value(trial, tensor, row, col);
    const uint64_t stream = (uint64_t)tensor->role + (uint64_t)(ROLE_COUNT * part);
    const uint64_t bits = test_bits(trial->seed, stream, (uint64_t)(row * tensor->cols + col));
    const bool integer = test->data == DATA_INTEGER;
    switch (tensor->role) {
    case ROLE_GAMMA: return integer ? small_integer(bits, 1, 3) - test->offset : 1 - test->offset + 0.2F * test_normal(bits);
    case ROLE_WEIGHT: return integer ? small_integer(bits, -3, 3) : test_normal(bits) / sqrtf((float)test->k);
    case ROLE_BIAS: return integer ? small_integer(bits, -8, 8) : test_normal(bits);
    case ROLE_RESIDUAL:
    case ROLE_OUT:
    case ROLE_DGAMMA:
    case ROLE_DWEIGHT:
    case ROLE_DBIAS: return integer ? small_integer(bits, -2, 2) : test_normal(bits);
    default: return 0;
    }
}

/* The rstd that a backward is given. */
static void fill_rstd(test_trial *trial) {
    const test_tensor *tensor = &trial->tensor[SLOT_RSTD];
    const norma_problem problem = test_trial_problem(trial);
    for (int64_t row = 0; row < tensor->batch * tensor->rows; row++) {
        double rstd;
        norma_reference_row(&problem, row, NULL, NULL, &rstd);
        test_trial_set(trial, SLOT_RSTD, row, 0, (float)rstd);
    }
}

/* Outputs that are added to what they hold. */
static bool accumulates(const test_case *test, test_role role) {
    const uint64_t flag = role == ROLE_DGAMMA    ? NORMA_ACCUMULATE_DGAMMA
                          : role == ROLE_DWEIGHT ? NORMA_ACCUMULATE_DWEIGHT
                          : role == ROLE_DBIAS   ? NORMA_ACCUMULATE_DBIAS
                                                 : 0;
    return (test->flags & flag) != 0;
}

/* Within its kind of tensor. */
static int part_of(int slot) {
    static const int firsts[] = {SLOT_DBIAS, SLOT_DWEIGHT, SLOT_OUT, SLOT_BIAS, SLOT_WEIGHT};
    if (slot == SLOT_DX || slot == SLOT_DGAMMA || slot == SLOT_OUT) return 0;
    for (size_t i = 0; i < sizeof firsts / sizeof firsts[0]; i++)
        if (slot >= firsts[i]) return slot - firsts[i];
    return 0;
}

void test_trial_fill(test_trial *trial) {
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        const test_tensor *tensor = &trial->tensor[slot];
        if (tensor->layout.dtype == NORMA_NONE || (tensor->output && !accumulates(&trial->test, tensor->role))) continue;
        if (slot == SLOT_RSTD) {
            fill_rstd(trial);
            continue;
        }
        const int part = part_of(slot);
        for (int64_t row = 0; row < tensor->batch * tensor->rows; row++)
            for (int64_t col = 0; col < tensor->cols; col++)
                test_trial_set(trial, slot, row, col, value_of(trial, tensor, part, row, col));
    }
}
