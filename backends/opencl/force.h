/* A way in for the tests; it needs no OpenCL header. */
#ifndef NORMA_OPENCL_FORCE_H
#define NORMA_OPENCL_FORCE_H

#include "../backend.h"

/* Uses the kernels of another shape of device, NORMA_TARGET_OPENCL_CPU or _GPU. False if there is no such shape. */
bool norma_opencl_force_target(norma_device *base, norma_target target);

#endif
