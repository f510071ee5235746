/* NORMA_OP_LINEAR by AMD's rocBLAS, found at run time: the kernel "linear_blas" of the HIP backend. */
#ifndef NORMA_BLAS_ROCBLAS_H
#define NORMA_BLAS_ROCBLAS_H

#include "../gpu/gpu.h"

extern const gpu_operation rocblas_linear;

#endif
