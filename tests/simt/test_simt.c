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

static float out[256];

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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
