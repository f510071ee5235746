/* A stand-in for libamdhip64 on machines without an AMD GPU: every function that backends/hip asks for, in host memory. It
 * reads the library's bundles and code objects as the runtime does. Kernels are kept by name and arguments; where the
 * environment names an emulator, they are run by it too (emulator.c).
 *
 * A test takes hold of it through stand_in_control(), which the library exports beside HIP's functions. */
#ifndef NORMA_TESTS_HIP_STAND_IN_H
#define NORMA_TESTS_HIP_STAND_IN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STAND_IN_MAX_LAUNCHES 64

typedef struct stand_in_launch {
    char function[96];
    unsigned grid[3], block[3];
    unsigned shared_bytes;
    void *stream;
    unsigned char params[1024];
    size_t params_bytes;
} stand_in_launch;

typedef struct stand_in_state {
    /* Set by the test. */
    int fail_at;      /* the call that fails, counted from 1; 0: none */
    int fail_result;  /* what it answers */
    bool fail_sticky; /* and every later one, as after a device fault */
    int devices;
    char arch[32]; /* of every device, with its modes: "gfx942:sramecc+:xnack-" */

    /* Seen by the test. */
    int calls; /* that could have failed */
    const char *failed;
    int current; /* device of the thread */
    int live_modules, live_blocks, live_streams, live_events, live_graphs, live_execs;
    int launched, graph_launches;
    stand_in_launch launches[STAND_IN_MAX_LAUNCHES];
} stand_in_state;

/* The state; NORMA_STAND_IN_ARCH in the environment sets `arch` when the library is loaded. */
typedef stand_in_state *(*stand_in_control_fn)(void);

/* Forgets everything but the architecture: one device, nothing fails. */
typedef void (*stand_in_reset_fn)(void);

#endif
