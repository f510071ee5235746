/* NORMA_OP_LINEAR by AMD's libraries, found at run time: the kernel "linear_blas" of the HIP backend. */
#ifndef NORMA_BLAS_AMD_LINEAR_H
#define NORMA_BLAS_AMD_LINEAR_H

#include "../gpu/gpu.h"

extern const gpu_operation norma_amd_linear;

#endif
