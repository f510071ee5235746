/* AMD's rocBLAS as an operation for the kernel "linear_blas"; amd_linear.h has the one that the HIP backend uses. */
#ifndef NORMA_BLAS_ROCBLAS_H
#define NORMA_BLAS_ROCBLAS_H

#include "../gpu/gpu.h"

extern const gpu_operation norma_rocblas_linear;

#endif
