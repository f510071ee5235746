/* What a test sets for the stand-in of librocblas, and sees of it: rocblas_stand_in_control() gives the state. */
#ifndef NORMA_TESTS_HIP_ROCBLAS_STAND_IN_H
#define NORMA_TESTS_HIP_ROCBLAS_STAND_IN_H

typedef struct rocblas_stand_in_state {
    int create_status, multiply_status;
    int live_handles, multiplications, atomics;
    int a_dtype, d_dtype; /* of the last multiplication */
    void *stream;
} rocblas_stand_in_state;

typedef rocblas_stand_in_state *(*rocblas_stand_in_control_fn)(void);

#endif
