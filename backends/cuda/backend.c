/* The CUDA backend: the shared host code of backends/gpu with CUDA's names, numbers, device code and vendor library. */
#include <stdio.h>

#include "../backend_list.h"
#include "../blas/cublaslt.h"
#include "../gpu/device.h"
#include "driver.h"
#include "images.h"

static norma_status arch(const gpu_driver *driver, int ordinal, int *out_arch, char *name, size_t name_bytes) {
    int major, minor;
    norma_status status = GPU_CALL(driver, device_attribute, &major, CUDA_ATTRIBUTE_MAJOR, ordinal);
    if (!status) status = GPU_CALL(driver, device_attribute, &minor, CUDA_ATTRIBUTE_MINOR, ordinal);
    if (status) return status;
    *out_arch = 10 * major + minor;
    snprintf(name, name_bytes, "sm_%d", *out_arch);
    return NORMA_OK;
}

static void version(const gpu_driver *driver, char *text, size_t text_bytes) {
    int number = 0;
    if (driver->version(&number) != GPU_SUCCESS) number = 0;
    snprintf(text, text_bytes, "CUDA %d.%d", number / 1000, number % 1000 / 10);
}

static const gpu_platform platform = {
    .backend = &norma_backend_cuda,
    .maker = "NVIDIA",
    .target = NORMA_TARGET_CUDA,
    .oldest_arch = 80,
    .extended_arch = 90,
    .attributes =
        {
            [GPU_ATTRIBUTE_UNITS] = CUDA_ATTRIBUTE_MULTIPROCESSORS,
            [GPU_ATTRIBUTE_WAVE] = CUDA_ATTRIBUTE_WARP_SIZE,
            [GPU_ATTRIBUTE_BLOCK_THREADS] = CUDA_ATTRIBUTE_BLOCK_THREADS,
            [GPU_ATTRIBUTE_BLOCK_SHARED_BYTES] = CUDA_ATTRIBUTE_BLOCK_SHARED_BYTES,
            [GPU_ATTRIBUTE_CACHE_BYTES] = CUDA_ATTRIBUTE_L2_BYTES,
            [GPU_ATTRIBUTE_READS_HOST_MEMORY] = CUDA_ATTRIBUTE_PAGEABLE_ACCESS,
        },
    .images = norma_cuda_images,
    .linear_skinny = &norma_gpu_rmsnorm_linear_skinny,
    .linear_blas = &norma_cublaslt_linear,
    .driver = norma_cuda_driver,
    .arch = arch,
    .version = version,
};

GPU_BACKEND(cuda);
