/* A GPU driver without a GPU: every function of gpu_driver in host memory. Kernels are names; launches are kept, not run.
 * Every call can be made to fail, and what is handed out and not given back is counted. */
#ifndef NORMA_TESTS_UNIT_GPU_FAKE_DRIVER_H
#define NORMA_TESTS_UNIT_GPU_FAKE_DRIVER_H

#include "front/context.h"
#include "gpu/device.h"

#define FAKE_GPU_MAX_LAUNCHES 64

typedef struct fake_gpu_launch {
    char function[96];
    unsigned grid[3], block[3];
    unsigned shared_bytes, cluster;
    bool overlap;
    void *stream;
    norma_linear_params linear; /* of the kernels that take these */
    norma_rows_params rows;
    norma_rows_backward_params backward;
    norma_sums_params sums;
    norma_hopper_params hopper;
    norma_split_params split;
    norma_split_linear_params split_linear;
    norma_narrow_params narrow;
} fake_gpu_launch;

typedef struct fake_gpu_state {
    /* Set by the test. */
    int fail_at;      /* the call that fails, counted from 1; 0: none */
    int fail_result;  /* what it answers */
    bool fail_sticky; /* and every later one, as after a device fault */
    int devices;
    int arch;
    bool reads_host_memory;
    float elapsed_ms;        /* between any two events */
    const char *no_driver;   /* platform.driver() finds none and gives this reason */
    const char *no_function; /* modules lack functions whose name contains this */
    void *capturing;         /* stream; set by the test for a capture of the caller's own, which is not a relaxed one */

    /* Seen by the test. */
    int calls; /* that could have failed */
    gpu_function_id failed;
    int live_contexts, live_modules, live_blocks, live_streams, live_events, live_graphs, live_execs;
    void *current; /* context */
    int capture_mode;
    int launched;
    fake_gpu_launch launches[FAKE_GPU_MAX_LAUNCHES];
    int graph_launches;
    bool capture_relaxed; /* the capture is one of record() */
    bool capture_broken;  /* by a call that no captured stream allows, or that this thread was not allowed */
    int address_queries;
    int shared_limit; /* of dynamic shared memory, last set for a function */
} fake_gpu_state;

extern fake_gpu_state fake_gpu;
extern const gpu_driver fake_gpu_driver;
extern gpu_platform fake_gpu_platform;
extern const norma_backend fake_gpu_backend;

/* Forgets everything; one device of sm_90, nothing fails. */
void fake_gpu_reset(void);

/* A context on the fake device, in the order of `stream`. */
norma_status fake_gpu_context(void *stream, norma_context **out_context);

/* Whether an address lies in memory that was allocated and is not freed. */
bool fake_gpu_holds(const void *data);

/* Fails the test if anything is still out, or if the thread's context is not the one it had. */
void fake_gpu_expect_clean(const char *label, const void *callers_context);

#endif
