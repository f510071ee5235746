/* hipBLASLt where it is there and takes the product, else rocBLAS. Of the two only hipBLASLt keeps something in
 * launch->native, which so tells whose a prepared launch is. */
#include "amd_linear.h"

#include "hipblaslt.h"
#include "rocblas.h"

static norma_status prepare(gpu_device *device, norma_launch *launch) {
    const norma_status status = norma_hipblaslt_linear.prepare(device, launch);
    if (status != NORMA_ERROR_UNSUPPORTED) return status;
    if (launch->native) norma_hipblaslt_linear.discard(device, launch);
    launch->native = NULL;
    launch->workspace_bytes = 0;
    return norma_rocblas_linear.prepare(device, launch);
}

static norma_status launch(gpu_device *device, const norma_launch *prepared) {
    return (prepared->native ? &norma_hipblaslt_linear : &norma_rocblas_linear)->launch(device, prepared);
}

static void close_both(gpu_device *device) {
    norma_hipblaslt_linear.close(device);
    norma_rocblas_linear.close(device);
}

static void append_versions(gpu_device *device, char *text, size_t text_bytes) {
    norma_hipblaslt_linear.version(device, text, text_bytes);
    norma_rocblas_linear.version(device, text, text_bytes);
}

const gpu_operation norma_amd_linear = {
    .kernel = NORMA_KERNEL_LINEAR_BLAS,
    .prepare = prepare,
    .launch = launch,
    .discard = norma_lt_discard,
    .close = close_both,
    .version = append_versions,
};
