/* When NVIDIA's matrix units serve a problem, and whether a kernel that uses them works on this device. */
#ifndef NORMA_OPENCL_MATRIX_H
#define NORMA_OPENCL_MATRIX_H

#include "opencl.h"

/* The one half dtype of x and all weights, if the device may have matrix units for it; else NORMA_NONE. */
norma_dtype norma_opencl_matrix_dtype(const opencl_device *device, const norma_problem *problem);

/* Whether x and the weights, K or N being contiguous, lie in aligned chunks of 16 bytes. */
bool norma_opencl_matrix_suits(const norma_problem *problem, bool along_k);

/* What such a kernel does to x, of params.clh. */
int norma_opencl_matrix_form(const norma_problem *problem);

/* Enqueues the kernel under test on a problem. */
typedef norma_status (*opencl_matrix_launch)(opencl_device *device, const void *user, const norma_problem *problem);

/* Computes a small problem of the form of `problem` and compares every bit. */
bool norma_opencl_matrix_works(opencl_device *device, const norma_problem *problem, bool along_k,
                               opencl_matrix_launch launch, const void *user);

/* No kernel of this device uses matrix units from now on; says why in the log, and refuses. */
norma_status norma_opencl_matrix_give_up(opencl_device *device, const char *name);

#endif
