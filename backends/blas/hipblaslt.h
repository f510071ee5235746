/* AMD's hipBLASLt as an operation for the kernel "linear_blas"; amd_linear.h has the one that the HIP backend uses. */
#ifndef NORMA_BLAS_HIPBLASLT_H
#define NORMA_BLAS_HIPBLASLT_H

#include "lt_linear.h"

extern const gpu_operation norma_hipblaslt_linear;

#endif
