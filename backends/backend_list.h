/* The list of backends, once, in order of preference. It declares them, registers them (front/select.c), and where a backend
 * is not in this build it supplies the sentence that says how to get it. The build defines NORMA_WITH_<NAME> to 0 or 1. */
#ifndef NORMA_BACKEND_LIST_H
#define NORMA_BACKEND_LIST_H

#include "backend.h"

/* X(name, built, how to get it) */
#define NORMA_BACKEND_LIST(X)                                                              \
    X(cuda, NORMA_WITH_CUDA, "configure with -DNORMA_CUDA=ON on a machine that has nvcc")  \
    X(hip, NORMA_WITH_HIP, "configure with -DNORMA_HIP=ON on a machine that has clang 19") \
    X(opencl, NORMA_WITH_OPENCL, "configure with -DNORMA_OPENCL=ON where CL/cl.h is")      \
    X(cpu, 1, "always built")

#define NORMA_BACKEND_DECLARE(name, built, how) extern const norma_backend norma_backend_##name;
NORMA_BACKEND_LIST(NORMA_BACKEND_DECLARE)
#undef NORMA_BACKEND_DECLARE

#endif
