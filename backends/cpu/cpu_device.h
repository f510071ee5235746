/* The CPU as an open device, and what a kernel of it is. */
#ifndef NORMA_CPU_DEVICE_H
#define NORMA_CPU_DEVICE_H

#include "../backend_list.h"
#include "simd.h"
#include "threads.h"

typedef struct norma_cpu_device {
    norma_device base;
    const simd_table *simd;
    norma_threads *threads;
    char *scratch; /* of one launch at a time; grown by prepare(), so that launches allocate nothing */
    size_t scratch_bytes;
} norma_cpu_device;

/* A launch as its kernel sees it. */
typedef struct norma_cpu_launch {
    const simd_table *simd;
    norma_threads *threads;
    const norma_problem *problem;
    const norma_tile *tile;
    char *scratch;
} norma_cpu_launch;

typedef struct norma_cpu_kernel {
    /* NORMA_OK, or NORMA_ERROR_UNSUPPORTED with a sentence. */
    norma_status (*check)(const norma_cpu_launch *launch);

    /* What the launch needs, for any number of rows up to the problem's. NULL: nothing. */
    size_t (*scratch_bytes)(const norma_cpu_launch *launch);

    norma_status (*run)(const norma_cpu_launch *launch);
} norma_cpu_kernel;

extern const norma_cpu_kernel norma_cpu_rmsnorm_rows, norma_cpu_rmsnorm_linear_skinny, norma_cpu_rmsnorm_linear_tiled,
    norma_cpu_linear_blas, norma_cpu_fold_gamma, norma_cpu_rmsnorm_rows_backward, norma_cpu_column_sums, norma_cpu_stream;

/* Makes an open CPU device use another instruction set for the plans made from now on, so that tests reach each one that the
 * machine has. False if the build or the processor lacks it. */
bool norma_cpu_force_target(norma_device *device, norma_target target);

/* Hands out a scratch buffer piece by piece. With base NULL it only counts. */
typedef struct norma_scratch {
    char *base;
    size_t bytes; /* SIZE_MAX once it has passed every possible size */
} norma_scratch;

/* Room for rows x padded(values) floats. */
float *norma_scratch_take(norma_scratch *scratch, int64_t rows, int64_t values);

#endif
