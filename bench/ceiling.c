/* Measuring the device's ceilings. The product doubles in size until one takes long enough to be at full speed. */
#include "ceiling.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "dtype.h"
#include "interrupt.h"
#include "measure.h"

#define STREAM_COLUMNS    INT64_C(4096)
#define STREAM_MIN_BYTES  (INT64_C(64) << 20)
#define STREAM_MAX_BYTES  (INT64_C(1) << 30)
#define STREAM_SECONDS    0.25
#define PRODUCT_SECONDS   0.1
#define PRODUCT_SMALLEST  1024
#define PRODUCT_LARGEST   8192
#define PRODUCT_ENOUGH_US 5000.0

void bench_ceiling_clear(bench_ceiling *ceiling) {
    *ceiling = (bench_ceiling){.read_gbps = NAN, .copy_gbps = NAN};
    for (int dtype = 0; dtype <= NORMA_BF16; dtype++) ceiling->tflops[dtype] = NAN;
}

/* The time of one contender alone, at its 20th percentile because a ceiling is what the device can do undisturbed; NAN if
 * the device has no such contender. */
static norma_status time_alone(bench_role role, bench_contender *contender, const bench_operands *operands, double seconds,
                               double *out_us) {
    bench_contender alone[BENCH_ROLE_COUNT] = {0};
    bench_timing timing;
    *out_us = NAN;
    if (!contender->plan) return NORMA_OK;
    alone[role] = *contender;
    const norma_status status = bench_measure(alone, operands, seconds, 1e6, &timing);
    *out_us = bench_percentile(timing.of[role].us, timing.samples, 20);
    bench_timing_free(&timing);
    return status;
}

static norma_status time_stream(bench_operands *operands, const bench_case *which, double seconds, double *out_us) {
    bench_contender contender;
    norma_status status = bench_operands_lay_out(operands, which, false);
    if (status != NORMA_OK) return status;
    status = bench_contender_create(&contender, BENCH_STREAM, which, operands, NULL);
    if (status == NORMA_OK) status = time_alone(BENCH_STREAM, &contender, operands, fmin(seconds, STREAM_SECONDS), out_us);
    bench_contender_destroy(&contender);
    return status;
}

norma_status bench_ceiling_stream(bench_ceiling *ceiling, bench_operands *operands, double seconds) {
    int64_t bytes = operands->context->device->limits.cache_bytes;
    const int64_t fits = (int64_t)(operands->limit_bytes / 8);
    if (bytes < STREAM_MIN_BYTES) bytes = STREAM_MIN_BYTES;
    if (bytes > STREAM_MAX_BYTES) bytes = STREAM_MAX_BYTES;
    if (bytes > fits) bytes = fits;
    const int64_t rows = bytes / (STREAM_COLUMNS * 4) + 1;
    const bench_case copy = {.op = NORMA_OP_RMSNORM, .dtype = NORMA_F32, .folded = true, .m = rows, .k = STREAM_COLUMNS};
    const bench_case read = {.op = NORMA_OP_RMSNORM_LINEAR,
                             .dtype = NORMA_F32,
                             .folded = true,
                             .m = 1,
                             .k = STREAM_COLUMNS,
                             .n = rows,
                             .parts = {1, {rows}}};
    const double tensor_bytes = (double)(rows * STREAM_COLUMNS * 4);
    double us;
    norma_status status = time_stream(operands, &copy, seconds, &us);
    if (status != NORMA_OK) return status;
    ceiling->copy_gbps = 2e-3 * tensor_bytes / us;
    status = time_stream(operands, &read, seconds, &us);
    ceiling->read_gbps = 1e-3 * tensor_bytes / us;
    return status;
}

static norma_status time_product(bench_operands *operands, const bench_case *which, double seconds, double *out_us) {
    bench_contender contender;
    *out_us = NAN;
    norma_status status = bench_operands_lay_out(operands, which, true);
    if (status != NORMA_OK) return status;
    status = bench_contender_create(&contender, BENCH_GEMM, which, operands, NULL);
    if (status == NORMA_OK) status = time_alone(BENCH_GEMM, &contender, operands, fmin(seconds, PRODUCT_SECONDS), out_us);
    bench_contender_destroy(&contender);
    return status;
}

static norma_status measure_product(bench_operands *operands, norma_dtype dtype, double seconds, double *out_tflops) {
    *out_tflops = NAN;
    for (int64_t size = PRODUCT_SMALLEST; size <= PRODUCT_LARGEST && !bench_interrupted(); size *= 2) {
        const bench_case which = {.op = NORMA_OP_RMSNORM_LINEAR,
                                  .dtype = dtype,
                                  .folded = true,
                                  .m = size,
                                  .k = size,
                                  .n = size,
                                  .parts = {1, {size}}};
        double us;
        const norma_status status = time_product(operands, &which, seconds, &us);
        if (status == NORMA_ERROR_OUT_OF_MEMORY) break;
        if (status != NORMA_OK) return status;
        *out_tflops = fmax(*out_tflops, 1e-6 * bench_case_operations(&which) / us);
        if (!(us < PRODUCT_ENOUGH_US)) break;
    }
    return NORMA_OK;
}

norma_status bench_ceiling_product(bench_ceiling *ceiling, bench_operands *operands, norma_dtype dtype, double seconds) {
    char *product = ceiling->product[dtype];
    double *tflops = &ceiling->tflops[dtype];
    if (product[0]) return NORMA_OK;
    norma_status status = measure_product(operands, dtype, seconds, tflops);
    snprintf(product, sizeof ceiling->product[dtype], "%s %s", norma_kernel_name(NORMA_KERNEL_LINEAR_BLAS),
             norma_dtype_name(dtype));
    if (status != NORMA_OK || isfinite(*tflops) || dtype == NORMA_F32) return status;
    status = bench_ceiling_product(ceiling, operands, NORMA_F32, seconds);
    *tflops = ceiling->tflops[NORMA_F32];
    memcpy(product, ceiling->product[NORMA_F32], sizeof ceiling->product[dtype]);
    return status;
}
