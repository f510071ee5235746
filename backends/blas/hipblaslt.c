/* What is hipBLASLt's own among the libraries of lt_vendor.h. It lets a search ask for neither alignments nor reductions,
 * and cannot say whether an algorithm serves another shape. The numbers are those of its public header since hipBLASLt 0.7
 * (ROCm 6.1); libraries before that number dtypes and ways of summing otherwise. Checked against a stand-in only: it has not
 * been run on AMD hardware. */
#include "hipblaslt.h"

static size_t version(const lt_api *api, void *handle) {
    int number = 0;
    const int status = ((int (*)(void *, int *))api->version)(handle, &number);
    return status == LT_SUCCESS && number > 0 ? (size_t)number : 0;
}

static const char *status_name(const lt_api *api, int status) {
    static const char *const names[] = {"success",       "not initialized",  "allocation failed",   "invalid value",
                                        "mapping error", "execution failed", "internal error",      "not supported",
                                        "arch mismatch", "no handle",        "invalid enumeration", "unknown error"};
    (void)api;
    return status >= 0 && (size_t)status < sizeof names / sizeof *names ? names[status] : "a status";
}

static lt_libraries libraries;

static const lt_vendor hipblaslt = {
    .name = "hipBLASLt",
    .prefix = "hipblasLt",
    .sonames = {"libhipblaslt.so.1", "libhipblaslt.so.0"},
    .oldest_version = 700, /* 100000 * major + 100 * minor + patch */
    .numbers =
        {
            [LT_ALLOC_FAILED] = 2,
            [LT_INVALID_VALUE] = 3,
            [LT_ARCH_MISMATCH] = 8,
            [LT_INTERNAL_ERROR] = 6,
            [LT_NOT_SUPPORTED] = 7,
            [LT_F32] = 0,
            [LT_F16] = 2,
            [LT_BF16] = 14,
            [LT_COMPUTE_F32] = 2,
            [LT_OPERATION_TRANSPOSE_A] = 0,
            [LT_OPERATION_TRANSPOSE_B] = 1,
            [LT_OPERATION_EPILOGUE] = 2,
            [LT_OPERATION_BIAS] = 3,
            [LT_MATRIX_ROWS] = 4,
            [LT_MATRIX_COLS] = 5,
            [LT_MATRIX_BATCH] = 0,
            [LT_MATRIX_BATCH_STRIDE] = 1,
            [LT_SEARCH_WORKSPACE_BYTES] = 1,
            [LT_SEARCH_REDUCTIONS] = LT_ABSENT,
            [LT_SEARCH_ALIGNMENT_A] = LT_ABSENT,
            [LT_SEARCH_ALIGNMENT_B] = LT_ABSENT,
            [LT_SEARCH_ALIGNMENT_C] = LT_ABSENT,
            [LT_SEARCH_ALIGNMENT_D] = LT_ABSENT,
            [LT_TRANSPOSED] = 112,
            [LT_EPILOGUE_BIAS] = 4,
            [LT_REDUCE_IN_COMPUTE_TYPE] = LT_ABSENT,
        },
    .algorithm_bytes = 24,
    .version = version,
    .status_name = status_name,
    .libraries = &libraries,
};

static norma_status prepare(gpu_device *device, norma_launch *launch) {
    return norma_lt_prepare(&hipblaslt, device, launch);
}

static void append_version(gpu_device *device, char *text, size_t text_bytes) {
    norma_lt_version(&hipblaslt, device, text, text_bytes);
}

const gpu_operation norma_hipblaslt_linear = {
    .kernel = NORMA_KERNEL_LINEAR_BLAS,
    .prepare = prepare,
    .launch = norma_lt_launch,
    .discard = norma_lt_discard,
    .close = norma_lt_close,
    .version = append_version,
};
