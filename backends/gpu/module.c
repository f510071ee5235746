/* Device code: one module per kernel file, loaded when the first of its kernels is asked for, and the kernels found in them.
 * Both belong to the open device, so two contexts never touch each other's functions. */
#include "device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct gpu_function {
    char name[96];
    void *handle;
};

/* The image whose stem the kernel's name begins with, the longest if there are several. */
static int image_of(const gpu_platform *platform, const char *kernel) {
    int found = -1;
    size_t longest = 0;
    for (int i = 0; platform->images[i].stem; i++) {
        const size_t length = strlen(platform->images[i].stem);
        if (length <= longest || strncmp(kernel, platform->images[i].stem, length) != 0) continue;
        longest = length;
        found = i;
    }
    return found;
}

static norma_status load_module(gpu_device *device, int image) {
    if (device->modules[image]) return NORMA_OK;
    const gpu_driver *driver = device->driver;
    void *module = NULL;
    const int result = driver->module_load(&module, device->platform->images[image].data);
    if (result == GPU_ERROR_NO_BINARY || result == GPU_ERROR_INVALID_IMAGE || result == GPU_ERROR_PTX_VERSION) {
        char version[32];
        device->platform->version(driver, version, sizeof version);
        return norma_fail(NORMA_ERROR_DEVICE,
                          "the driver, which is for %s, has no use for this library's code for %s on device %d (error %d)",
                          version, device->platform->images[image].stem, device->base.index, result);
    }
    const norma_status status = norma_gpu_check(driver, result, GPU_FN_module_load);
    if (!status) device->modules[image] = module;
    return status;
}

/* Raises a kernel's limit of dynamic shared memory to at least `bytes`; where there is no such limit, nothing is needed. */
static norma_status allow_shared(const gpu_driver *driver, void *function, unsigned bytes) {
    if (!driver->function_get || !driver->function_set) return NORMA_OK;
    int limit = 0;
    const norma_status status = GPU_CALL(driver, function_get, &limit, GPU_FUNCTION_DYNAMIC_SHARED_LIMIT, function);
    if (status || (unsigned)limit >= bytes) return status;
    return GPU_CALL(driver, function_set, function, GPU_FUNCTION_DYNAMIC_SHARED_LIMIT, (int)bytes);
}

static norma_status look_up(gpu_device *device, const char *name, void **out_handle) {
    for (int i = 0; i < device->function_count; i++) {
        if (strcmp(device->functions[i].name, name) != 0) continue;
        *out_handle = device->functions[i].handle;
        return NORMA_OK;
    }
    const int image = image_of(device->platform, name);
    struct gpu_function found;
    if (image < 0 || strlen(name) >= sizeof found.name)
        return norma_fail(NORMA_ERROR_UNSUPPORTED, "backend %s has no kernel %s", device->base.backend->name, name);
    norma_status status = load_module(device, image);
    if (status) return status;
    const int result = device->driver->module_function(&found.handle, device->modules[image], name);
    if (result == GPU_ERROR_NOT_FOUND)
        return norma_fail(NORMA_ERROR_UNSUPPORTED, "backend %s has no kernel %s", device->base.backend->name, name);
    status = norma_gpu_check(device->driver, result, GPU_FN_module_function);
    if (status) return status;

    struct gpu_function *functions =
        realloc(device->functions, (size_t)(device->function_count + 1) * sizeof *device->functions);
    if (!functions) return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory for kernel %s", name);
    snprintf(found.name, sizeof found.name, "%s", name);
    functions[device->function_count++] = found;
    device->functions = functions;
    *out_handle = found.handle;
    return NORMA_OK;
}

norma_status norma_gpu_find(gpu_device *device, const char *name, unsigned shared_bytes, void **out_function) {
    const norma_status status = look_up(device, name, out_function);
    return status ? status : allow_shared(device->driver, *out_function, shared_bytes);
}

const char *norma_gpu_function_name(const gpu_device *device, const void *function) {
    for (int i = 0; i < device->function_count; i++)
        if (device->functions[i].handle == function) return device->functions[i].name;
    return "unnamed";
}

void norma_gpu_unload(gpu_device *device) {
    for (int i = 0; i < GPU_MAX_IMAGES; i++)
        if (device->modules[i]) device->driver->module_unload(device->modules[i]);
    free(device->functions);
    device->functions = NULL;
    device->function_count = 0;
}
