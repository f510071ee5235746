/* The emulator itself: right kernels give right results, and each kind of fault is reported, not hung on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "faulty.h"
#include "simt_launch.h"

static float out[512];

static const char *launch(const char *name, unsigned blocks, unsigned threads, unsigned shared_bytes, const float *in) {
    const simt_kernel *kernel = simt_find(name);
    assert_non_null(kernel);
    assert_int_equal(simt_params_bytes(kernel), sizeof(simt_params));
    const unsigned grid[3] = {blocks, 1, 1};
    const simt_params params = {.in = in, .out = out};
    return simt_launch(kernel, grid, threads, shared_bytes, &params);
}

static void expect_report(const char *name, const char *part) {
    const char *sentence = launch(name, 1, 64, 256, out);
    if (!sentence) fail_msg("%s: nothing was reported", name);
    if (!strstr(sentence, part)) fail_msg("%s: \"%s\" lacks \"%s\"", name, sentence, part);
}

static void a_right_kernel_runs(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_null(launch("simt_right", 2, 64, 8, NULL));
        for (int t = 0; t < 64; t++) assert_true(out[t] == 64 * 65 / 2);
    }
}

static void a_missing_barrier_shows_as_nan(void **state) {
    (void)state;
    assert_null(launch("simt_missing_barrier", 2, 64, 256, NULL));
    int rising = 0, falling = 0;
    for (int t = 0; t < 64; t++) {
        rising += isnan(out[t]) != 0;
        falling += isnan(out[64 + t]) != 0;
        assert_true(isnan(out[t]) || isnan(out[64 + t])); /* what one order hides the other shows */
    }
    assert_int_equal(rising, 32);
    assert_int_equal(falling, 32);
}

static void a_returned_thread_leaves_a_barrier_waiting(void **state) {
    (void)state;
    expect_report("simt_early_return", "63 threads wait at a barrier");
}

static void a_wave_at_two_places_is_reported(void **state) {
    (void)state;
    expect_report("simt_split_wave", "others of its wave are at");
}

static void a_shuffle_that_half_a_wave_reaches_is_reported(void **state) {
    (void)state;
    expect_report("simt_half_shuffle", "32 at wave_xor");
}

static void barriers_of_different_counts_are_reported(void **state) {
    (void)state;
    expect_report("simt_barrier_count", "expects");
}

static void reading_past_shared_memory_is_reported(void **state) {
    (void)state;
    expect_report("simt_past_shared", "out of bounds");
}

static void misaligned_access_is_reported(void **state) {
    (void)state;
    expect_report("simt_misaligned", "misaligned");
}

static void a_block_of_the_wrong_size_is_reported(void **state) {
    (void)state;
    assert_non_null(strstr(launch("simt_right", 1, 96, 8, NULL), "launched with 96 threads"));
    assert_non_null(strstr(launch("simt_right", 1, 48, 8, NULL), "launched with 48 threads"));
    assert_null(simt_find("simt_unheard_of"));
}

static void a_fault_leaves_the_next_launch_alone(void **state) {
    (void)state;
    expect_report("simt_early_return", "wait at a barrier");
    a_right_kernel_runs(state);
}

static void a_copy_is_there_after_the_wait(void **state) {
    (void)state;
    static const float in[4] __attribute__((aligned(16))) = {1, 2, 3, 4};
    assert_null(launch("simt_copy", 1, 64, 1024, in));
    for (int t = 0; t < 64; t++) {
        assert_true(isnan(out[3 * t]));
        assert_true(out[3 * t + 1] == 3);
        assert_true(out[3 * t + 2] == 0); /* past the 12 bytes that were asked for */
    }
}

static void matrix_steps_multiply(void **state) {
    (void)state;
    float in[256 + 128];
    for (int i = 0; i < 256; i++) in[i] = (float)(i * 7 % 13 - 6);
    for (int transposed = 0; transposed < 2; transposed++) {
        for (int k = 0; k < 16; k++)
            for (int n = 0; n < 8; n++) in[256 + (transposed ? k * 8 + n : n * 16 + k)] = (float)((k * 5 + n * 3) % 11 - 5);
        assert_null(launch(transposed ? "simt_multiply_transposed" : "simt_multiply", 1, 32, 1024, in));
        for (int m = 0; m < 16; m++)
            for (int n = 0; n < 8; n++) {
                float sum = 0;
                for (int k = 0; k < 16; k++) sum += in[m * 16 + k] * (float)((k * 5 + n * 3) % 11 - 5);
                assert_true(out[m * 8 + n] == sum);
            }
    }
}

/* A row of x times a column of ones, but for the column's first value: where the units of compute capability 8 and 9 cut.
 * To nearest the first four would be 1, 1, 1 + 2^-22 and -1 - 2^-22. */
static void matrix_steps_cut(void **state) {
    (void)state;
    static const struct {
        float x[16], w, ampere, hopper;
    } rows[] = {
        {{1, -0x1p-25F}, 1, 1, 1 - 0x1p-24F},                 /* a bit more is kept for the sum */
        {{1, -0x1p-26F}, 1, 1, 1},                            /* and none beyond */
        {{1, 0x1.8p-23F}, 1, 1 + 0x1p-23F, 1 + 0x1p-23F},     /* the sum is cut */
        {{-1, -0x1.8p-23F}, 1, -1 - 0x1p-23F, -1 - 0x1p-23F}, /* toward zero */
        {{1, 0x1p-24F, 0x1p-24F}, 1, 1 + 0x1p-23F, 1 + 0x1p-23F},
        {{1, [7] = 0x1p-24F, [8] = 0x1p-24F}, 1, 1, 1 + 0x1p-23F},     /* steps of 8 and of 16 */
        {{1.5F, -0x1p-24F}, 1.5F, 2.25F - 0x1p-22F, 2.25F - 0x1p-22F}, /* a product of 2.25 has its factors' exponents */
        {{0x1p-60F, -0x1p-70F}, 0x1p-80F, -0x1p-70F, -0x1p-70F},
        {{0x1p127F, 0x1p127F, 0x1p127F}, 1, INFINITY, INFINITY},
        {{INFINITY, 1}, 1, INFINITY, INFINITY},
    };
    for (int units = SIMT_AMPERE; units <= SIMT_HOPPER; units++) {
        simt_set_units((simt_units)units);
        for (size_t row = 0; row < sizeof rows / sizeof *rows; row++) {
            float in[256 + 128] = {0};
            memcpy(in, rows[row].x, sizeof rows[row].x);
            for (int k = 0; k < 16; k++) in[256 + k] = k == 0 ? rows[row].w : 1;
            assert_null(launch("simt_multiply", 1, 32, 1024, in));
            const float want = units == SIMT_AMPERE ? rows[row].ampere : rows[row].hopper;
            if (out[0] != want) fail_msg("row %zu, units %d: %a, should be %a", row, units, (double)out[0], (double)want);
        }
    }
    simt_set_units(SIMT_AMPERE);
}

static void a_phase_ends_when_all_have_come(void **state) {
    (void)state;
    assert_null(launch("simt_phase", 2, 64, 256, NULL));
    for (int t = 0; t < 64; t++) assert_true(out[t] == 3);
    expect_report("simt_endless_phase", "64 for a phase");
}

static void a_warpgroups_product_is_there_after_the_wait(void **state) {
    (void)state;
    static float in[2 * 64 * 16];
    for (int i = 0; i < 2 * 64 * 16; i++) in[i] = (float)(i * 7 % 23 - 11);
    assert_null(launch("simt_warpgroup", 1, 128, 16384, in));
    for (int t = 0; t < 128; t++) {
        const int row = t / 32 * 16 + t % 32 / 4, col = t % 4 * 2;
        float first = 0, last = 0;
        for (int k = 0; k < 16; k++) {
            first += 2 * in[row * 16 + k] * in[(64 + col) * 16 + k];
            last += 2 * in[(row + 8) * 16 + k] * in[(64 + 57 + col) * 16 + k];
        }
        assert_true(out[4 * t] == -1 && out[4 * t + 1] == -1);
        assert_true(out[4 * t + 2] == first && out[4 * t + 3] == last);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_right_kernel_runs),
        cmocka_unit_test(a_missing_barrier_shows_as_nan),
        cmocka_unit_test(a_returned_thread_leaves_a_barrier_waiting),
        cmocka_unit_test(a_wave_at_two_places_is_reported),
        cmocka_unit_test(a_shuffle_that_half_a_wave_reaches_is_reported),
        cmocka_unit_test(barriers_of_different_counts_are_reported),
        cmocka_unit_test(reading_past_shared_memory_is_reported),
        cmocka_unit_test(misaligned_access_is_reported),
        cmocka_unit_test(a_block_of_the_wrong_size_is_reported),
        cmocka_unit_test(a_fault_leaves_the_next_launch_alone),
        cmocka_unit_test(a_copy_is_there_after_the_wait),
        cmocka_unit_test(matrix_steps_multiply),
        cmocka_unit_test(matrix_steps_cut),
        cmocka_unit_test(a_phase_ends_when_all_have_come),
        cmocka_unit_test(a_warpgroups_product_is_there_after_the_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
