/* NaN and infinities on their way through a contract's roundings: a NaN of whatever payload, in x, in gamma or in W of
 * whatever dtype, ends as NaN in every output that it has to do with, and in no other; an infinite gamma ends as infinities
 * of the right sign. Kernels that round by integer arithmetic may carry out of a NaN's bits. The judge decides. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "dtype.h"
#include "harness/case_names.h"
#include "harness/place.h"
#include "harness/suite.h"

/* Shapes for each of the kernels: a multiple of eight in either layout of W, few rows, and what is read by elements. */
static const test_case shapes[] = {
    {.name = "norm", .op = NORMA_OP_RMSNORM, .m = 3, .k = 72},
    {.name = "rows", .op = NORMA_OP_RMSNORM_LINEAR, .m = 18, .k = 72, .n = {24}, .arranged = {[ROLE_WEIGHT] = COLUMNS}},
    {.name = "columns", .op = NORMA_OP_RMSNORM_LINEAR, .m = 18, .k = 72, .n = {24}},
    {.name = "few rows", .op = NORMA_OP_RMSNORM_LINEAR, .m = 3, .k = 64, .n = {24}, .arranged = {[ROLE_WEIGHT] = COLUMNS}},
    {.name = "few rows, N contiguous", .op = NORMA_OP_RMSNORM_LINEAR, .m = 3, .k = 64, .n = {24}},
    {.name = "ragged", .op = NORMA_OP_RMSNORM_LINEAR, .m = 18, .k = 37, .n = {9}}};

/* Quiet and signalling, of either sign, with the payload in the lowest bits alone, in all, and on both sides of where a half
 * is cut off. */
static const uint32_t nans_f32[] = {0x7fc00000, 0x7fffffff, 0xffffffff, 0x7f800001,
                                    0xff800001, 0x7f80ffff, 0x7fbf8000, 0x7fff8000};
static const uint32_t nans_f16[] = {0x7e00, 0x7fff, 0xffff, 0x7c01, 0xfc01};
static const uint32_t nans_bf16[] = {0x7fc0, 0x7fff, 0xffff, 0x7f81, 0xff81};

enum { MOST_NANS = sizeof nans_f32 / sizeof nans_f32[0], HALF_NANS = sizeof nans_f16 / sizeof nans_f16[0] };

static size_t nan_count(norma_dtype dtype) {
    return dtype == NORMA_F32 ? MOST_NANS : HALF_NANS;
}

static uint32_t nan_at(norma_dtype dtype, size_t i) {
    return dtype == NORMA_F32 ? nans_f32[i] : dtype == NORMA_F16 ? nans_f16[i] : nans_bf16[i];
}

/* An input's bits, which no conversion is to touch. */
static void set_bits(test_trial *trial, int slot, int64_t row, int64_t col, uint32_t bits) {
    const test_tensor *tensor = &trial->tensor[slot];
    unsigned char *const at = trial->arena[tensor->arena].before + test_tensor_at(tensor, row, col);
    const uint16_t half = (uint16_t)bits;
    if (tensor->layout.dtype == NORMA_F32)
        memcpy(at, &bits, sizeof bits);
    else
        memcpy(at, &half, sizeof half);
}

static const char *name_of(int slot) {
    return slot == SLOT_X ? "x" : slot == SLOT_GAMMA ? "gamma" : "W";
}

static void try_one(const test_case *test, test_variant *variant, int slot, size_t i, float instead) {
    test_trial *trial = test_trial_create(test, test_seed_for(test->name), false);
    const int64_t row = slot == SLOT_X ? test->m / 2 : slot == SLOT_WEIGHT ? test->k / 2 : 0;
    const int64_t col = (int64_t)(i * 11 + 3) % trial->tensor[slot].cols;
    const norma_dtype dtype = trial->tensor[slot].layout.dtype;
    char what[96];
    if (isnan(instead)) {
        set_bits(trial, slot, row, col, nan_at(dtype, i));
        snprintf(what, sizeof what, "%s with NaN 0x%" PRIx32, name_of(slot), nan_at(dtype, i));
    } else {
        test_trial_set(trial, slot, row, col, instead);
        snprintf(what, sizeof what, "%s with %g", name_of(slot), (double)instead);
    }
    test_compute(trial, variant, what);
    test_trial_destroy(trial);
}

static void try_case(const test_case *test, test_variant *variant) {
    const int slots[] = {SLOT_X, SLOT_GAMMA, SLOT_WEIGHT};
    for (int s = 0; s < (test->op == NORMA_OP_RMSNORM ? 2 : 3); s++) {
        const size_t nans = nan_count(slots[s] == SLOT_X ? test->x : slots[s] == SLOT_GAMMA ? test->gamma : test->weight);
        for (size_t i = 0; i < nans; i++) try_one(test, variant, slots[s], i, NAN);
        try_one(test, variant, slots[s], nans, INFINITY);
        try_one(test, variant, slots[s], nans + 1, -INFINITY);
    }
}

static void try_everywhere(norma_dtype dtype, norma_contract contract, uint64_t flags) {
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
        for (int gamma = NORMA_F32; gamma <= NORMA_BF16; gamma++) {
            test_case test = shapes[s];
            test.x = test.out = dtype;
            if (test.op == NORMA_OP_RMSNORM_LINEAR) test.weight = dtype;
            test.gamma = (norma_dtype)gamma;
            test.contract = contract;
            if (test.op == NORMA_OP_RMSNORM_LINEAR) test.flags = flags;
            for (int v = 0; v < test_variant_count(); v++)
                if (test_variant_concerns(test_variant_at(v), test.op)) try_case(&test, test_variant_at(v));
        }
}

static void bf16_deferred(void **state) {
    (void)state;
    try_everywhere(NORMA_BF16, NORMA_ROUND_DEFERRED, 0);
}

static void bf16_twice(void **state) {
    (void)state;
    try_everywhere(NORMA_BF16, NORMA_ROUND_TWICE, 0);
}

static void bf16_once(void **state) {
    (void)state;
    try_everywhere(NORMA_BF16, NORMA_ROUND_ONCE, 0);
}

static void f16_deferred(void **state) {
    (void)state;
    try_everywhere(NORMA_F16, NORMA_ROUND_DEFERRED, 0);
}

static void f16_twice(void **state) {
    (void)state;
    try_everywhere(NORMA_F16, NORMA_ROUND_TWICE, 0);
}

/* Parts of what is not finite are no numbers. */
static void f32_in_two_parts(void **state) {
    (void)state;
    try_everywhere(NORMA_F32, NORMA_ROUND_ONCE, NORMA_FP32_TENSOR);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bf16_deferred), cmocka_unit_test(bf16_twice), cmocka_unit_test(bf16_once),
        cmocka_unit_test(f16_deferred),  cmocka_unit_test(f16_twice),  cmocka_unit_test(f32_in_two_parts),
    };
    return test_group_run("specials", tests, sizeof tests / sizeof tests[0]);
}
