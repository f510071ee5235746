/* Devices: finding, describing, opening and closing them. A device works in the driver's primary context, so addresses and
 * streams of everything else in the process work unchanged, and every slot leaves the thread's current context as it was. */
#include "device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The driver, initialised; NULL with the reason in `why`. */
static const gpu_driver *ready_driver(const gpu_platform *platform, int *out_devices, char *why, size_t why_bytes) {
    const gpu_driver *driver = platform->driver(why, why_bytes);
    if (!driver) return NULL;
    *out_devices = 0;
    int result = driver->init(0);
    if (result == GPU_SUCCESS) result = driver->device_count(out_devices);
    if (result == GPU_SUCCESS && *out_devices > 0) return driver;
    const char *text = NULL;
    if (result == GPU_SUCCESS || result == GPU_ERROR_NO_DEVICE || result == GPU_ERROR_INVALID_DEVICE)
        snprintf(why, why_bytes, "the driver finds no %s device", platform->maker);
    else if (driver->error_string(result, &text) == GPU_SUCCESS && text)
        snprintf(why, why_bytes, "the %s driver does not start: %s (%d)", platform->maker, text, result);
    else
        snprintf(why, why_bytes, "the %s driver does not start: error %d", platform->maker, result);
    return NULL;
}

static norma_status fill_info(const gpu_platform *platform, const gpu_driver *driver, int index, int ordinal, int *out_arch,
                              norma_device_info *out_info) {
    int units;
    size_t memory_bytes;
    norma_status status = GPU_CALL(driver, device_name, out_info->name, (int)sizeof out_info->name, ordinal);
    if (!status) status = GPU_CALL(driver, device_attribute, &units, platform->attributes[GPU_ATTRIBUTE_UNITS], ordinal);
    if (!status) status = GPU_CALL(driver, device_memory, &memory_bytes, ordinal);
    if (!status) status = platform->arch(driver, ordinal, out_arch, out_info->arch, sizeof out_info->arch);
    if (status) return status;
    out_info->backend = platform->backend->name;
    out_info->index = index;
    out_info->compute_units = units;
    out_info->memory_bytes = memory_bytes;
    return NORMA_OK;
}

/* Whether the first device is of a chip that the library has no code for. Opening it says more. */
static void add_lack_of_code(const gpu_platform *platform, const gpu_driver *driver, int ordinal,
                             norma_backend_info *out_info) {
    char arch_name[32], sentence[1024];
    int arch;
    snprintf(sentence, sizeof sentence, "%s", norma_last_error()); /* which a probe keeps */
    const norma_status status = platform->arch(driver, ordinal, &arch, arch_name, sizeof arch_name);
    norma_fail(status, "%s", sentence);
    const size_t used = strlen(out_info->detail);
    if (!status && arch < platform->oldest_arch)
        snprintf(out_info->detail + used, sizeof out_info->detail - used, "; %s is a chip that this library has no code for",
                 arch_name);
}

void norma_gpu_probe(const gpu_platform *platform, norma_backend_info *out_info) {
    out_info->built = 1;
    out_info->devices = 0;
    int devices;
    const gpu_driver *driver = ready_driver(platform, &devices, out_info->detail, sizeof out_info->detail);
    if (!driver) return;

    char version[32], name[128], others[32] = "";
    int ordinal = 0;
    platform->version(driver, version, sizeof version);
    if (driver->device_get(&ordinal, 0) || driver->device_name(name, (int)sizeof name, ordinal))
        snprintf(name, sizeof name, "a device without a name");
    out_info->devices = devices;
    if (devices > 1) snprintf(others, sizeof others, " and %d more", devices - 1);
    snprintf(out_info->detail, sizeof out_info->detail, "%s%s, driver for %s", name, others, version);
    add_lack_of_code(platform, driver, ordinal, out_info);
}

/* The driver and the handle of device `index`. */
static norma_status find_device(const gpu_platform *platform, int index, const gpu_driver **out_driver, int *out_ordinal) {
    char why[256];
    int devices;
    const gpu_driver *driver = ready_driver(platform, &devices, why, sizeof why);
    if (!driver) return norma_fail(NORMA_ERROR_NO_DEVICE, "backend %s: %s", platform->backend->name, why);
    if (index < 0 || index >= devices)
        return norma_fail(NORMA_ERROR_DEVICE_INDEX, "device index %d: backend %s has devices 0 to %d", index,
                          platform->backend->name, devices - 1);
    *out_driver = driver;
    return GPU_CALL(driver, device_get, out_ordinal, index);
}

norma_status norma_gpu_describe(const gpu_platform *platform, int index, norma_device_info *out_info) {
    const gpu_driver *driver;
    int ordinal, arch;
    const norma_status status = find_device(platform, index, &driver, &ordinal);
    return status ? status : fill_info(platform, driver, index, ordinal, &arch, out_info);
}

static norma_status read_limits(gpu_device *device, const norma_device_info *info) {
    const gpu_platform *platform = device->platform;
    int value[GPU_ATTRIBUTE_COUNT];
    for (int i = 0; i < GPU_ATTRIBUTE_COUNT; i++) {
        const norma_status status =
            GPU_CALL(device->driver, device_attribute, &value[i], platform->attributes[i], device->ordinal);
        if (status) return status;
    }
    device->reads_host_memory = value[GPU_ATTRIBUTE_READS_HOST_MEMORY] != 0;
    device->base.limits = (norma_limits){
        .target = platform->target,
        .units = value[GPU_ATTRIBUTE_UNITS],
        .lanes = value[GPU_ATTRIBUTE_WAVE],
        .max_threads = value[GPU_ATTRIBUTE_BLOCK_THREADS],
        /* HIP counts the threads of a launch in 32 bits, and says so in its documentation alone. */
        .grid_threads = platform->target == NORMA_TARGET_CUDA ? INT64_MAX : UINT32_MAX,
        .shared_bytes = value[GPU_ATTRIBUTE_BLOCK_SHARED_BYTES],
        .cache_bytes = value[GPU_ATTRIBUTE_CACHE_BYTES],
        .memory_bytes = (int64_t)info->memory_bytes,
        .wgmma = platform->target == NORMA_TARGET_CUDA && device->arch == 90 && device->driver->tensor_map_encode,
    };
    return NORMA_OK;
}

norma_status norma_gpu_open(const gpu_platform *platform, const norma_open_desc *desc, norma_device **out_device) {
    const char *platform_name = platform->backend->name;
    if (desc->native_context || desc->native_device)
        return norma_fail(NORMA_ERROR_OPTION, "desc.%s is given, but backend %s works in the driver's primary context",
                          desc->native_context ? "native_context" : "native_device", platform_name);
    const gpu_driver *driver;
    int ordinal;
    norma_status status = find_device(platform, desc->index, &driver, &ordinal);
    if (status) return status;

    gpu_device *device = calloc(1, sizeof *device);
    if (!device) return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory for a device");
    device->base.backend = platform->backend;
    device->base.index = desc->index;
    device->base.log = desc->log;
    device->platform = platform;
    device->driver = driver;
    device->ordinal = ordinal;
    device->stream = desc->stream;

    norma_device_info info;
    status = fill_info(platform, driver, desc->index, ordinal, &device->arch, &info);
    if (!status) status = read_limits(device, &info);
    if (!status && device->arch < platform->oldest_arch)
        status = norma_fail(NORMA_ERROR_NO_DEVICE, "device %d of backend %s, %s, is %s: this library has no code for it",
                            desc->index, platform_name, info.name, info.arch);
    if (!status) status = GPU_CALL(driver, primary_retain, &device->context, ordinal);
    if (status) {
        free(device);
        return status;
    }
    *out_device = &device->base;
    return NORMA_OK;
}

void norma_gpu_close(norma_device *base) {
    gpu_device *device = (gpu_device *)base;
    const gpu_driver *driver = device->driver;
    void *previous;
    /* Results are not looked at: after a device fault every call fails, and there is nobody left to tell. */
    const bool entered = norma_gpu_enter(device, &previous) == NORMA_OK;
    driver->stream_sync(device->stream);
    for (int kernel = 0; kernel < NORMA_KERNEL_COUNT; kernel++) {
        const gpu_operation *operation = norma_gpu_operation_for(device->platform, (norma_kernel)kernel);
        if (operation && operation->close) operation->close(device);
    }
    norma_gpu_words_free(device);
    norma_gpu_unload(device);
    if (device->own_stream) driver->stream_destroy(device->own_stream);
    if (entered) norma_gpu_leave(device, previous);
    driver->primary_release(device->ordinal);
    free(device);
}

norma_status norma_gpu_sync(norma_device *base) {
    gpu_device *device = (gpu_device *)base;
    void *previous;
    norma_status status = norma_gpu_enter(device, &previous);
    if (status) return status;
    status = GPU_CALL(device->driver, stream_sync, device->stream);
    norma_gpu_leave(device, previous);
    return status;
}

void norma_gpu_versions(norma_device *base, char *text, size_t text_bytes) {
    gpu_device *device = (gpu_device *)base;
    const gpu_operation *blas = device->platform->linear_blas;
    void *previous;
    device->platform->version(device->driver, text, text_bytes);
    if (!blas || !blas->version || norma_gpu_enter(device, &previous) != NORMA_OK) return;
    const size_t used = strlen(text);
    blas->version(device, text + used, text_bytes - used);
    norma_gpu_leave(device, previous);
}

/* A driver that cannot tell fails, as it does for the default stream while another stream that waits for it is captured. */
bool norma_gpu_capturing(norma_device *base) {
    gpu_device *device = (gpu_device *)base;
    int capture = GPU_CAPTURE_NONE;
    void *previous;
    if (!device->driver->capture_status) return false;
    if (norma_gpu_enter(device, &previous) != NORMA_OK) return true;
    const int result = device->driver->capture_status(device->stream, &capture);
    norma_gpu_leave(device, previous);
    return result != GPU_SUCCESS || capture != GPU_CAPTURE_NONE;
}

norma_status norma_gpu_enter(gpu_device *device, void **out_previous) {
    const norma_status status = GPU_CALL(device->driver, context_get, out_previous);
    if (status || *out_previous == device->context) return status;
    return GPU_CALL(device->driver, context_set, device->context);
}

void norma_gpu_leave(gpu_device *device, void *previous) {
    if (previous != device->context) device->driver->context_set(previous);
}

int norma_gpu_relax(gpu_device *device) {
    int mode = GPU_CAPTURE_RELAXED;
    if (device->driver->capture_mode && device->driver->capture_mode(&mode) == GPU_SUCCESS) return mode;
    return GPU_CAPTURE_RELAXED;
}

void norma_gpu_strict(gpu_device *device, int mode) {
    if (device->driver->capture_mode) device->driver->capture_mode(&mode);
}

norma_status norma_gpu_own_stream(gpu_device *device, void **out_stream) {
    norma_status status = NORMA_OK;
    if (!device->own_stream) status = GPU_CALL(device->driver, stream_create, &device->own_stream, GPU_STREAM_NON_BLOCKING);
    *out_stream = device->own_stream;
    return status;
}
