/* A backend without a device: host memory, kernels that do nothing or that the reference computes and that take the time
 * they are told to, every call counted, and any call made to fail. What it hands out and gets back is counted, so that a
 * test can ask what has leaked. */
#ifndef NORMA_TESTS_UNIT_FAKE_BACKEND_H
#define NORMA_TESTS_UNIT_FAKE_BACKEND_H

#include "front/context.h"

#define FAKE_MAX_LAUNCHES 64

typedef struct fake_launch {
    norma_kernel kernel;
    const norma_tile *tile;
    norma_problem problem;
    norma_buffer workspace;
    size_t workspace_bytes;
} fake_launch;

typedef struct fake_state {
    /* Set by the test. */
    int fail_at;           /* the call that fails, counted from 1; 0: none */
    const char *fail_only; /* count calls of this name alone; NULL: all */
    norma_status fail_status;
    bool refuse[NORMA_KERNEL_COUNT]; /* prepare() says NORMA_ERROR_UNSUPPORTED */
    bool refuse_residual;            /* prepare() of a Linear's kernels does, so that a launch must add it first */
    size_t workspace_bytes[NORMA_KERNEL_COUNT];
    int64_t max_rows[NORMA_KERNEL_COUNT]; /* that prepare() asks for; 0: any */
    bool compute;                         /* launches run the reference */
    double us[NORMA_KERNEL_COUNT];        /* that a launch takes for one row */
    bool capturing;                       /* what capturing() says */
    const char *versions;                 /* what versions() says; NULL: nothing */
    int64_t memory_bytes;                 /* of the next device */
    int64_t cache_bytes;
    bool opaque_buffers; /* of the next device */
    int devices;         /* that probe() finds */

    /* Seen by the test. */
    int calls;          /* that could have failed */
    const char *failed; /* the one that was made to fail */
    int live_devices, live_buffers, live_launches, live_recordings;
    size_t largest_alloc_bytes;
    int prepared, launched, synchronized, replayed;
    int64_t most_rows[NORMA_KERNEL_COUNT]; /* of a launch */
    double clock_us;                       /* over all launches */
    fake_launch launches[FAKE_MAX_LAUNCHES];
    fake_launch preparations[FAKE_MAX_LAUNCHES];
} fake_state;

extern fake_state fake;
extern const norma_backend fake_backend;

/* Forgets everything; one device, nothing fails. */
void fake_reset(void);

/* A context on the fake device. */
norma_status fake_context_create(norma_context **out_context);

/* cmocka's setup and teardown: forgets everything, what the environment says of kernels too, and opens a context; and
 * expects nothing to be left of it. */
int fake_begin(void **state);
int fake_end(void **state);

#define FAKE_TEST(test) cmocka_unit_test_setup_teardown(test, fake_begin, fake_end)

/* Fails the test if anything that was handed out is still out. */
void fake_expect_nothing_live(const char *label);

#endif
