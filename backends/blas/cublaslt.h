/* NORMA_OP_LINEAR by NVIDIA's cuBLASLt, found at run time: the kernel "linear_blas" of the CUDA backend. */
#ifndef NORMA_BLAS_CUBLASLT_H
#define NORMA_BLAS_CUBLASLT_H

#include "../gpu/gpu.h"

extern const gpu_operation cublaslt_linear;

#endif
