/* The one place where a driver's results become statuses and sentences. */
#include "../front/status.h"
#include "driver.h"

/* Faults after which a context answers nothing but the same error: the numbers are CUDA's, and HIP's are the same. */
static bool means_lost(int result) {
    static const int faults[] = {
        4,   /* deinitialized */
        214, /* uncorrectable ECC error */
        220, /* uncorrectable NVLink error */
        226, /* contained memory error */
        700, /* illegal address */
        702, /* launch timeout */
        709, /* context is destroyed */
        710, /* assert */
        714, /* hardware stack error */
        715, /* illegal instruction */
        716, /* misaligned address */
        717, /* invalid address space */
        718, /* invalid program counter */
        719, /* launch failed */
        721, /* tensor memory leak */
        810, /* the MPS client was terminated */
        911, /* external device fault */
    };
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        if (faults[i] == result) return true;
    return false;
}

norma_status norma_gpu_check_call(const gpu_driver *driver, int result, const char *call) {
    if (result == GPU_SUCCESS) return NORMA_OK;
    const char *name = NULL, *text = NULL;
    if (driver->error_name(result, &name) != GPU_SUCCESS || !name) name = "unknown error";
    if (driver->error_string(result, &text) != GPU_SUCCESS || !text) text = "no description";
    const norma_status status = means_lost(result)                  ? NORMA_ERROR_DEVICE_LOST
                                : result == GPU_ERROR_OUT_OF_MEMORY ? NORMA_ERROR_OUT_OF_MEMORY
                                                                    : NORMA_ERROR_DEVICE;
    return norma_fail(status, "%s failed with %s (%d): %s", call, name, result, text);
}

norma_status norma_gpu_check(const gpu_driver *driver, int result, gpu_function_id function) {
    return norma_gpu_check_call(driver, result, driver->symbols[function].name);
}
