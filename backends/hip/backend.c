/* The HIP backend: the shared host code of backends/gpu with HIP's names, numbers, device code and vendor libraries. */
#include <limits.h>
#include <stdio.h>

#include "../backend_list.h"
#include "../blas/amd_linear.h"
#include "../gpu/device.h"
#include "driver.h"
#include "images.h"

/* There is code for a chip or there is not; chips have no order. */
static norma_status arch(const gpu_driver *driver, int ordinal, int *out_arch, char *name, size_t name_bytes) {
    (void)driver;
    const norma_status status = norma_hip_arch_name(ordinal, name, name_bytes);
    if (!status) *out_arch = norma_hip_images_have(name) ? 1 : 0;
    return status;
}

static void version(const gpu_driver *driver, char *text, size_t text_bytes) {
    int number = 0;
    if (driver->version(&number) != GPU_SUCCESS) number = 0;
    snprintf(text, text_bytes, "HIP %d.%d", number / 10000000, number / 100000 % 100);
}

static const gpu_platform platform = {
    .backend = &norma_backend_hip,
    .maker = "AMD",
    .target = NORMA_TARGET_HIP,
    .oldest_arch = 1,
    .extended_arch = INT_MAX,
    .attributes =
        {
            [GPU_ATTRIBUTE_UNITS] = HIP_ATTRIBUTE_MULTIPROCESSORS,
            [GPU_ATTRIBUTE_WAVE] = HIP_ATTRIBUTE_WARP_SIZE,
            [GPU_ATTRIBUTE_BLOCK_THREADS] = HIP_ATTRIBUTE_BLOCK_THREADS,
            [GPU_ATTRIBUTE_BLOCK_SHARED_BYTES] = HIP_ATTRIBUTE_BLOCK_SHARED_BYTES,
            [GPU_ATTRIBUTE_CACHE_BYTES] = HIP_ATTRIBUTE_L2_BYTES,
            [GPU_ATTRIBUTE_READS_HOST_MEMORY] = HIP_ATTRIBUTE_PAGEABLE_ACCESS,
        },
    .images = norma_hip_images,
    .linear_skinny = &norma_gpu_rmsnorm_linear_skinny_units,
    .linear_blas = &norma_amd_linear,
    .driver = norma_hip_driver,
    .arch = arch,
    .version = version,
};

GPU_BACKEND(hip);
