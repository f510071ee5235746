/* When kernels of NVIDIA's own instructions serve a problem, and whether such a kernel works on this device. */
#ifndef NORMA_OPENCL_MATRIX_H
#define NORMA_OPENCL_MATRIX_H

#include "opencl.h"

/* The one dtype of x and all weights, if the device may have matrix units for it, or asynchronous copies; else NORMA_NONE.
 */
norma_dtype norma_opencl_matrix_dtype(const opencl_device *device, const norma_problem *problem);

/* Whether W is contiguous along K, or taken so; else along N. */
bool norma_opencl_matrix_along_k(const norma_problem *problem);

/* Whether x and the weights lie in aligned chunks of 16 bytes. */
bool norma_opencl_matrix_suits(const norma_problem *problem);

/* What x needs before such a kernel multiplies it, of params.clh: nothing; FORM_SQUARE, rstd for the sums; FORM_EXACT, y. */
int norma_opencl_matrix_form(const norma_problem *problem);

/* Enqueues the kernel under test on a problem. */
typedef norma_status (*opencl_matrix_launch)(opencl_device *device, const void *user, const norma_problem *problem);

/* Computes a small problem of the form of `problem` and compares every bit. */
bool norma_opencl_matrix_works(opencl_device *device, const norma_problem *problem, bool along_k,
                               opencl_matrix_launch launch, const void *user);

/* Whether such a kernel adds up K in pieces, because an fp32 output would show how matrix units round. */
bool norma_opencl_matrix_folds(const norma_problem *problem);

/* No kernel of this device uses the matrix units of the tile row's target from now on; says why in the log, and refuses. */
norma_status norma_opencl_matrix_give_up(opencl_device *device, const norma_tile *tile);

#endif
