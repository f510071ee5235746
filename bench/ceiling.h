/* What the device can do at most, measured before the rows: bandwidth of streaming, and the rate of a large product. */
#ifndef NORMA_BENCH_CEILING_H
#define NORMA_BENCH_CEILING_H

#include "operands.h"

typedef struct bench_ceiling {
    double read_gbps, copy_gbps;      /* GB/s, copy counting both directions; NAN if the backend cannot say */
    double tflops[NORMA_BF16 + 1];    /* of the vendor's product, by dtype; NAN if there is none */
    char product[NORMA_BF16 + 1][64]; /* what gave it: "linear_blas bf16"; "" before it is measured */
} bench_ceiling;

void bench_ceiling_clear(bench_ceiling *ceiling);

/* Measures streaming, once per device, in about `seconds` or less. Errors: those of the runs. */
norma_status bench_ceiling_stream(bench_ceiling *ceiling, bench_operands *operands, double seconds);

/* Measures the vendor's product of a dtype, once. Where there is none, fp32's stands in, as kernels that lack half
 * arithmetic multiply in fp32. Errors: those of the runs. */
norma_status bench_ceiling_product(bench_ceiling *ceiling, bench_operands *operands, norma_dtype dtype, double seconds);

#endif
