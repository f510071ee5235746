/* What is cuBLASLt's own among the libraries of lt_vendor.h. That it rounds before it adds a bias was seen with
 * cuBLASLt 13.0 on an H200. */
#include "cublaslt.h"

static size_t version(const lt_api *api, void *handle) {
    (void)handle;
    return ((size_t(*)(void))api->version)();
}

static const char *status_name(const lt_api *api, int status) {
    return api->status_name ? ((const char *(*)(int))api->status_name)(status) : "a status";
}

static lt_libraries libraries;

const lt_vendor norma_cublaslt_vendor = {
    .name = "cuBLASLt",
    .prefix = "cublasLt",
    .sonames = {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so.11"},
    .numbers =
        {
#define NUMBER(ours, theirs) [ours] = (theirs),
            CUBLASLT_NUMBERS(NUMBER)
#undef NUMBER
        },
    .algorithm_bytes = CUBLASLT_ALGORITHM_BYTES,
    .rounds_before_bias = true,
    .version = version,
    .status_name = status_name,
    .libraries = &libraries,
};

static norma_status prepare(gpu_device *device, norma_launch *launch) {
    return norma_lt_prepare(&norma_cublaslt_vendor, device, launch);
}

static void append_version(gpu_device *device, char *text, size_t text_bytes) {
    norma_lt_version(&norma_cublaslt_vendor, device, text, text_bytes);
}

const gpu_operation norma_cublaslt_linear = {
    .kernel = NORMA_KERNEL_LINEAR_BLAS,
    .prepare = prepare,
    .launch = norma_lt_launch,
    .discard = norma_lt_discard,
    .close = norma_lt_close,
    .version = append_version,
};
