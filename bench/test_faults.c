/* A bench that cannot fail proves nothing: a backend that computes on the CPU and then spoils the result in one way or
 * another must be found out, and its row must be reported as failed and never timed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "backend_list.h"
#include "dtype.h"
#include "front/context.h"
#include "run.h"

typedef enum fault { FAULT_NONE, FAULT_WRONG_VALUE, FAULT_UNWRITTEN, FAULT_NAN, FAULT_BESIDE, FAULT_REFUSED } fault;

static fault fault_in_use;
static norma_kernel spoiled_kernel;

static void spoil(const norma_problem *problem) {
    const bool norm = problem->op == NORMA_OP_RMSNORM;
    const norma_part *part = norm ? NULL : &problem->part[problem->parts - 1];
    const norma_tensor *out = norm ? &problem->out : &part->out;
    const int64_t columns = norm ? problem->k : part->n;
    const int64_t last = problem->m * columns - 1;
    char *data = (char *)out->buffer.data + out->buffer.offset_bytes;
    const norma_dtype dtype = out->layout.dtype;
    const float value = norma_load(data, dtype, last);
    switch (fault_in_use) {
    case FAULT_WRONG_VALUE: norma_store(data, dtype, last, value * 1.25F + 1); break;
    case FAULT_UNWRITTEN: memset(data + (size_t)last * norma_dtype_bytes(dtype), 0xff, norma_dtype_bytes(dtype)); break;
    case FAULT_NAN: norma_store(data, dtype, 0, NAN); break;
    case FAULT_BESIDE: norma_store(data, dtype, last + 1, value); break;
    case FAULT_NONE:
    case FAULT_REFUSED: break;
    }
}

static norma_status faulty_launch(norma_device *device, const norma_launch *launch) {
    if (launch->kernel == spoiled_kernel && fault_in_use == FAULT_REFUSED)
        return norma_fail(NORMA_ERROR_DEVICE, "the device gave up");
    const norma_status status = norma_backend_cpu.launch(device, launch);
    if (status == NORMA_OK && launch->kernel == spoiled_kernel) spoil(launch->problem);
    return status;
}

static norma_backend faulty;

static norma_status faulty_open(const norma_open_desc *desc, norma_device **out_device) {
    const norma_status status = norma_backend_cpu.open(desc, out_device);
    if (status == NORMA_OK) (*out_device)->backend = &faulty;
    return status;
}

/* Runs one small row twice with a fault in one kernel; the rows' jsonl goes to `line`. */
static bench_outcome run_with(fault fault, norma_kernel kernel, bench_shape shape, char line[16384]) {
    faulty = norma_backend_cpu;
    faulty.open = faulty_open;
    faulty.launch = faulty_launch;
    fault_in_use = fault;
    spoiled_kernel = kernel;

    norma_open_desc desc = {.threads = 1};
    assert_int_equal(norma_logger_init(&desc.log, NORMA_LOG_DEFAULT, NULL, NULL), NORMA_OK);
    norma_context *context;
    assert_int_equal(norma_context_create_on(&faulty, &desc, &context), NORMA_OK);

    FILE *file = tmpfile();
    assert_non_null(file);
    bench_report report = {.sinks = {{.file = file, .format = BENCH_FORMAT_JSONL}}, .count = 1};
    bench_shape shapes[] = {shape, shape};
    const bench_options options = {.shapes = shapes,
                                   .shape_count = 2,
                                   .dtypes = 1u << NORMA_F32,
                                   .seconds_per_row = 0.01,
                                   .seed = 1,
                                   .memory_bytes = 64 << 20};
    bench_outcome outcome = {0};
    assert_int_equal(bench_run(context, &options, &report, &outcome), NORMA_OK);
    rewind(file);
    line[fread(line, 1, 16383, file)] = '\0';
    fclose(file);
    norma_context_destroy(context);
    return outcome;
}

static const bench_shape norm = {9, 100, {0, {0}}};
static const bench_shape linear = {1, 100, {1, {50}}};
static const bench_shape parts = {3, 100, {3, {20, 7, 23}}};

static void expect_failed(fault fault, norma_kernel kernel, bench_shape shape, const char *note) {
    char line[16384];
    const bench_outcome outcome = run_with(fault, kernel, shape, line);
    assert_int_equal(outcome.measured, 0);
    assert_int_equal(outcome.failed, 2);
    assert_non_null(strstr(line, "\"median_us\": null"));
    assert_null(strstr(line, "\"verified\": true"));
    if (!strstr(line, note)) fail_msg("the row does not say \"%s\": %s", note, line);
}

static void sound_rows_are_measured(void **state) {
    (void)state;
    char line[16384];
    assert_int_equal(run_with(FAULT_NONE, NORMA_KERNEL_RMSNORM_ROWS, norm, line).measured, 2);
    assert_non_null(strstr(line, "\"verified\": true"));
    assert_int_equal(run_with(FAULT_NONE, NORMA_KERNEL_RMSNORM_LINEAR_SKINNY, linear, line).measured, 2);
    assert_non_null(strstr(line, "\"kernel\": \"rmsnorm_linear_skinny\""));
    assert_int_equal(run_with(FAULT_NONE, NORMA_KERNEL_RMSNORM_LINEAR_SKINNY, parts, line).measured, 2);
    assert_non_null(strstr(line, "\"parts\": \"20+7+23\""));
}

static void wrong_value_fails_the_row(void **state) {
    (void)state;
    expect_failed(FAULT_WRONG_VALUE, NORMA_KERNEL_RMSNORM_ROWS, norm, "out[8,99] is ");
    expect_failed(FAULT_WRONG_VALUE, NORMA_KERNEL_RMSNORM_LINEAR_SKINNY, linear, "out[0,49] is ");
    expect_failed(FAULT_WRONG_VALUE, NORMA_KERNEL_RMSNORM_LINEAR_SKINNY, parts, "part[2].out[2,22] is ");
}

static void unwritten_element_fails_the_row(void **state) {
    (void)state;
    expect_failed(FAULT_UNWRITTEN, NORMA_KERNEL_RMSNORM_ROWS, norm, "out[8,99] was not written or is NaN");
    expect_failed(FAULT_NAN, NORMA_KERNEL_RMSNORM_LINEAR_SKINNY, linear, "out[0,0] was not written or is NaN");
    expect_failed(FAULT_UNWRITTEN, NORMA_KERNEL_RMSNORM_LINEAR_SKINNY, parts, "part[2].out[2,22] was not written or is NaN");
}

static void write_beside_the_output_fails_the_row(void **state) {
    (void)state;
    expect_failed(FAULT_BESIDE, NORMA_KERNEL_RMSNORM_ROWS, norm, "memory beside the output was written");
    expect_failed(FAULT_BESIDE, NORMA_KERNEL_RMSNORM_LINEAR_SKINNY, linear, "memory beside the output was written");
}

static void device_error_fails_the_row(void **state) {
    (void)state;
    expect_failed(FAULT_REFUSED, NORMA_KERNEL_RMSNORM_ROWS, norm, "the device gave up");
}

static void wrong_peer_is_left_out_and_the_row_is_measured(void **state) {
    (void)state;
    char line[16384];
    const bench_outcome outcome = run_with(FAULT_WRONG_VALUE, NORMA_KERNEL_RMSNORM_ROWS, linear, line);
    assert_int_equal(outcome.measured, 2);
    assert_non_null(strstr(line, "\"norm_us\": null"));
    assert_non_null(strstr(line, "norm: out[0,99] is "));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sound_rows_are_measured),         cmocka_unit_test(wrong_value_fails_the_row),
        cmocka_unit_test(unwritten_element_fails_the_row), cmocka_unit_test(write_beside_the_output_fails_the_row),
        cmocka_unit_test(device_error_fails_the_row),      cmocka_unit_test(wrong_peer_is_left_out_and_the_row_is_measured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
