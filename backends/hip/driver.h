/* The process's table of HIP functions, and what is HIP's alone. */
#ifndef NORMA_HIP_DRIVER_H
#define NORMA_HIP_DRIVER_H

#include "../gpu/driver.h"

/* hipDeviceAttribute_t, in which these numbers have been the same since ROCm 5. */
enum {
    HIP_ATTRIBUTE_L2_BYTES = 19,
    HIP_ATTRIBUTE_BLOCK_THREADS = 56,
    HIP_ATTRIBUTE_MULTIPROCESSORS = 63,
    HIP_ATTRIBUTE_PAGEABLE_ACCESS = 65,
    HIP_ATTRIBUTE_BLOCK_SHARED_BYTES = 74,
    HIP_ATTRIBUTE_WARP_SIZE = 87
};

/* Loads the runtime on first use; NULL, with the reason in `why`, if there is none. */
const gpu_driver *norma_hip_driver(char *why, size_t why_bytes);

/* The chip of a device, such as "gfx942", without its modes. Only with a loaded driver. */
norma_status norma_hip_arch_name(int ordinal, char *name, size_t name_bytes);

#endif
