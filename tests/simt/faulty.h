/* Arguments of the kernels in faulty.cu. */
#ifndef NORMA_TESTS_SIMT_FAULTY_H
#define NORMA_TESTS_SIMT_FAULTY_H

typedef struct simt_params {
    const float *in;
    float *out;
} simt_params;

#endif
