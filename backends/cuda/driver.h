/* The process's table of CUDA driver functions, and the numbers that are CUDA's alone. */
#ifndef NORMA_CUDA_DRIVER_H
#define NORMA_CUDA_DRIVER_H

#include "../gpu/driver.h"

/* CUdevice_attribute. */
enum {
    CUDA_ATTRIBUTE_BLOCK_THREADS = 1,
    CUDA_ATTRIBUTE_WARP_SIZE = 10,
    CUDA_ATTRIBUTE_MULTIPROCESSORS = 16,
    CUDA_ATTRIBUTE_L2_BYTES = 38,
    CUDA_ATTRIBUTE_MAJOR = 75,
    CUDA_ATTRIBUTE_MINOR = 76,
    CUDA_ATTRIBUTE_PAGEABLE_ACCESS = 88,
    CUDA_ATTRIBUTE_BLOCK_SHARED_BYTES = 97
};

/* Loads the driver on first use; NULL, with the reason in `why`, if there is none. */
const gpu_driver *norma_cuda_driver(char *why, size_t why_bytes);

#endif
