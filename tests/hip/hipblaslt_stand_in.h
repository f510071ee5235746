/* What a test sets for the stand-in of libhipblaslt, and sees of it: hipblaslt_stand_in_control() gives the state. */
#ifndef NORMA_TESTS_HIP_HIPBLASLT_STAND_IN_H
#define NORMA_TESTS_HIP_HIPBLASLT_STAND_IN_H

#include <stdbool.h>
#include <stddef.h>

typedef struct hipblaslt_stand_in_state {
    /* Set by the test. */
    int fail_at;     /* the call that fails, counted from 1; 0: none */
    int fail_status; /* what it answers */
    int version;     /* 0: one that is new enough */
    bool finds_nothing;
    bool refuses_batches;
    size_t workspace_bytes; /* that each algorithm needs */

    /* Seen by the test. */
    int calls; /* that could have failed */
    const char *failed;
    int live; /* objects */
    int searches, multiplications;
    int algorithm; /* of the last multiplication: 0, the first that was found, and on */
    int batch;     /* of the last multiplication */
} hipblaslt_stand_in_state;

typedef hipblaslt_stand_in_state *(*hipblaslt_stand_in_control_fn)(void);

#endif
