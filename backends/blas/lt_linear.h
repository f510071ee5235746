/* NORMA_OP_LINEAR by cuBLASLt or hipBLASLt, found at run time: the functions of a gpu_operation for the kernel
 * "linear_blas", but that two of them are told whose library to open. */
#ifndef NORMA_BLAS_LT_LINEAR_H
#define NORMA_BLAS_LT_LINEAR_H

#include "../gpu/gpu.h"
#include "lt_vendor.h"

norma_status norma_lt_prepare(const lt_vendor *vendor, gpu_device *device, norma_launch *launch);
norma_status norma_lt_launch(gpu_device *device, const norma_launch *launch);
void norma_lt_discard(gpu_device *device, norma_launch *launch);
void norma_lt_close(gpu_device *device);

/* Appends ", cuBLASLt 130000", if there is such a library. */
void norma_lt_version(const lt_vendor *vendor, gpu_device *device, char *text, size_t text_bytes);

#endif
