/* Scalar conversions: exhaustive from the half types, and to them against a search over all their values in fp64. */
#include "dtype.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "expect.h"
#include "harness/random.h"

#define RANDOM_VALUES 2000000

/* The finite values from 0 up, by bits: both formats are monotonic in them. */
typedef struct format {
    norma_dtype dtype;
    int exponent_bits, mantissa_bits;
    uint16_t infinity;
} format;

static const format formats[] = {{NORMA_F16, 5, 10, 0x7c00}, {NORMA_BF16, 8, 7, 0x7f80}};

/* A half's value from its fields, by the definition of binary floating point. */
static double value_of(const format *f, uint16_t bits) {
    const int exponent = (bits >> f->mantissa_bits) & ((1 << f->exponent_bits) - 1);
    const int mantissa = bits & ((1 << f->mantissa_bits) - 1);
    const int bias = (1 << (f->exponent_bits - 1)) - 1;
    const double sign = bits & 0x8000 ? -1 : 1;
    if (exponent == (1 << f->exponent_bits) - 1) return mantissa ? (double)NAN : sign * (double)INFINITY;
    if (exponent == 0) return sign * ldexp(mantissa, 1 - bias - f->mantissa_bits);
    return sign * ldexp(mantissa + (1 << f->mantissa_bits), exponent - bias - f->mantissa_bits);
}

/* Round to nearest even: the greatest value not above |x|, or its neighbour. */
static uint16_t nearest(const format *f, float x) {
    const uint16_t sign = signbit(x) ? 0x8000 : 0;
    const double magnitude = fabs((double)x);
    int low = 0;
    int high = f->infinity - 1;
    while (low < high) {
        const int middle = (low + high + 1) / 2;
        if (value_of(f, (uint16_t)middle) <= magnitude)
            low = middle;
        else
            high = middle - 1;
    }
    const double below = value_of(f, (uint16_t)low);
    /* Past the largest value, infinity stands where the next one would be. */
    const double step =
        low == f->infinity - 1 ? below - value_of(f, (uint16_t)(low - 1)) : value_of(f, (uint16_t)(low + 1)) - below;
    const double excess = magnitude - below;
    const bool up = excess > step / 2 || (excess == step / 2 && (low & 1));
    return (uint16_t)(sign | (low + up));
}

static float read_back(const format *f, uint16_t half) {
    return f->dtype == NORMA_F16 ? norma_f16_to_f32(half) : norma_bf16_to_f32(half);
}

static uint16_t convert(const format *f, float x) {
    return f->dtype == NORMA_F16 ? norma_f16_from_f32(x) : norma_bf16_from_f32(x);
}

static void every_half_reads_as_its_fields_say(void **state) {
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        const format *f = &formats[i];
        for (uint32_t bits = 0; bits <= 0xffff; bits++) {
            const uint16_t half = (uint16_t)bits;
            const double value = (double)read_back(f, half);
            const double wanted = value_of(f, half);
            if (isnan(wanted) ? !isnan(value) : value != wanted || signbit(value) != signbit(wanted))
                fail_msg("%s 0x%04x reads %a, not %a", norma_dtype_name(f->dtype), bits, value, wanted);
        }
    }
}

static void every_half_survives_a_round_trip(void **state) {
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        const format *f = &formats[i];
        for (uint32_t bits = 0; bits <= 0xffff; bits++) {
            const uint16_t half = (uint16_t)bits;
            const float value = read_back(f, half);
            const uint16_t back = convert(f, value);
            if (isnan(value)) {
                assert_true(isnan(read_back(f, back)));
                assert_int_equal(back & 0x8000, half & 0x8000);
            } else if (back != half) {
                fail_msg("%s 0x%04x comes back as 0x%04x", norma_dtype_name(f->dtype), bits, back);
            }
        }
    }
}

static void expect_nearest(const format *f, float x) {
    if (isnan(x)) return;
    const uint16_t wanted = nearest(f, x);
    const uint16_t got = convert(f, x);
    if (got != wanted) fail_msg("%s of %a is 0x%04x, not 0x%04x", norma_dtype_name(f->dtype), (double)x, got, wanted);
}

static void ties_and_their_neighbours_round_to_nearest_even(void **state) {
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        const format *f = &formats[i];
        for (uint32_t bits = 0; bits < f->infinity; bits++) {
            /* Half way to the next value, which past the largest one is where infinity begins. */
            const double step = bits + 1 < f->infinity ? value_of(f, (uint16_t)(bits + 1)) - value_of(f, (uint16_t)bits)
                                                       : value_of(f, (uint16_t)bits) - value_of(f, (uint16_t)(bits - 1));
            const float tie = (float)(value_of(f, (uint16_t)bits) + step / 2);
            for (int sign = -1; sign <= 1; sign += 2) {
                expect_nearest(f, (float)sign * tie);
                expect_nearest(f, (float)sign * nextafterf(tie, 0));
                expect_nearest(f, (float)sign * nextafterf(tie, INFINITY));
            }
        }
    }
}

static void random_bit_patterns_round_to_nearest_even(void **state) {
    (void)state;
    const uint64_t seed = 1;
    for (size_t i = 0; i < 2; i++)
        for (uint64_t n = 0; n < RANDOM_VALUES / 2; n++)
            expect_nearest(&formats[i], norma_f32_from_bits((uint32_t)test_bits(seed, i, n)));
}

static void nan_and_infinity_stay(void **state) {
    (void)state;
    static const uint32_t nans[] = {0x7f800001, 0x7fc00000, 0x7fffffff, 0xff800001, 0xffffffff, 0x7f801000};
    for (size_t i = 0; i < 2; i++) {
        const format *f = &formats[i];
        for (size_t n = 0; n < sizeof nans / sizeof nans[0]; n++)
            assert_true(isnan(value_of(f, convert(f, norma_f32_from_bits(nans[n])))));
        assert_int_equal(convert(f, INFINITY), f->infinity);
        assert_int_equal(convert(f, -INFINITY), f->infinity | 0x8000);
        assert_int_equal(convert(f, -0.0F), 0x8000);
    }
    assert_int_equal(norma_f16_from_f32(65519.996F), 0x7bff);
    assert_int_equal(norma_f16_from_f32(65520.0F), 0x7c00);
}

static void arrays_are_read_and_written_by_dtype(void **state) {
    (void)state;
    static const norma_dtype dtypes[] = {NORMA_F32, NORMA_F16, NORMA_BF16};
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++) {
        float array[3] = {0};
        norma_store(array, dtypes[i], 1, 1.5F);
        assert_true(norma_load(array, dtypes[i], 0) == 0);
        assert_true(norma_load(array, dtypes[i], 1) == 1.5F);
        assert_true(norma_load(array, dtypes[i], 2) == 0);
    }
}

static void fp32_is_left_alone(void **state) {
    (void)state;
    float value = 0;
    norma_store(&value, NORMA_F32, 0, 0x1.234568p-140F);
    assert_true(value == 0x1.234568p-140F);
    assert_true(norma_load(&value, NORMA_F32, 0) == value);
    assert_true(norma_round(NORMA_F32, value) == value);
    assert_true(norma_round(NORMA_BF16, 1 + 0x1p-8F) == 1);
    assert_true(norma_round(NORMA_F16, 1 + 0x1.8p-11F) == 1 + 0x1p-10F);
}

static void properties_of_dtypes(void **state) {
    (void)state;
    static const struct {
        norma_dtype dtype;
        bool valid;
        size_t bytes;
        const char *name;
    } rows[] = {{NORMA_NONE, false, 0, "none"},
                {NORMA_F32, true, 4, "f32"},
                {NORMA_F16, true, 2, "f16"},
                {NORMA_BF16, true, 2, "bf16"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(norma_dtype_valid(rows[i].dtype), rows[i].valid);
        assert_int_equal(norma_dtype_bytes(rows[i].dtype), rows[i].bytes);
        assert_string_equal(norma_dtype_name(rows[i].dtype), rows[i].name);
    }
    assert_false(norma_dtype_valid((norma_dtype)4));
    assert_string_equal(norma_dtype_name((norma_dtype)4), "unknown");
    for (size_t i = 0; i < 2; i++)
        assert_true(norma_dtype_unit(formats[i].dtype) == ldexp(1, -1 - formats[i].mantissa_bits));
    assert_true(norma_dtype_unit(NORMA_F32) == 0x1p-24);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_half_reads_as_its_fields_say),
        cmocka_unit_test(every_half_survives_a_round_trip),
        cmocka_unit_test(ties_and_their_neighbours_round_to_nearest_even),
        cmocka_unit_test(random_bit_patterns_round_to_nearest_even),
        cmocka_unit_test(nan_and_infinity_stay),
        cmocka_unit_test(arrays_are_read_and_written_by_dtype),
        cmocka_unit_test(fp32_is_left_alone),
        cmocka_unit_test(properties_of_dtypes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
