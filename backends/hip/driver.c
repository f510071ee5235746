/* The HIP runtime: libamdhip64, opened at run time. Its functions are CUDA's driver functions by other names but for these:
 *
 *   - names and descriptions of errors are returned and not written;
 *   - a thread has a current device in place of a context. Here a context is a device's number plus one, as 0 is none;
 *   - kernels have no limit of dynamic shared memory to raise, and there are no clusters or overlapping launches.
 *
 * hipDeviceProp_t, whose layout changed with ROCm 6, is only searched for the one text that nothing else tells. */
#include "driver.h"

#include <ctype.h>
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "../front/status.h"

static const gpu_symbol symbols[GPU_FUNCTION_COUNT] = {
    [GPU_FN_init] = {"hipInit", 0, NULL},
    [GPU_FN_version] = {"hipRuntimeGetVersion", 0, NULL},
    [GPU_FN_error_name] = {"hipGetErrorName", 0, NULL},
    [GPU_FN_error_string] = {"hipGetErrorString", 0, NULL},
    [GPU_FN_device_count] = {"hipGetDeviceCount", 0, NULL},
    [GPU_FN_device_get] = {"hipDeviceGet", 0, NULL},
    [GPU_FN_device_name] = {"hipDeviceGetName", 0, NULL},
    [GPU_FN_device_memory] = {"hipDeviceTotalMem", 0, NULL},
    [GPU_FN_device_attribute] = {"hipDeviceGetAttribute", 0, NULL},
    [GPU_FN_primary_retain] = {"hipSetDevice", 0, NULL},
    [GPU_FN_primary_release] = {"hipSetDevice", 0, NULL},
    [GPU_FN_context_get] = {"hipGetDevice", 0, NULL},
    [GPU_FN_context_set] = {"hipSetDevice", 0, NULL},
    [GPU_FN_module_load] = {"hipModuleLoadData", 0, NULL},
    [GPU_FN_module_unload] = {"hipModuleUnload", 0, NULL},
    [GPU_FN_module_function] = {"hipModuleGetFunction", 0, NULL},
    [GPU_FN_memory_alloc] = {"hipMalloc", 0, NULL},
    [GPU_FN_memory_free] = {"hipFree", 0, NULL},
    [GPU_FN_copy_to_device] = {"hipMemcpyHtoDAsync", 0, NULL},
    [GPU_FN_copy_to_host] = {"hipMemcpyDtoHAsync", 0, NULL},
    [GPU_FN_copy_on_device] = {"hipMemcpyDtoDAsync", 0, NULL},
    [GPU_FN_pointer_attribute] = {"hipPointerGetAttribute", 0, NULL},
    [GPU_FN_stream_create] = {"hipStreamCreateWithFlags", 0, NULL},
    [GPU_FN_stream_destroy] = {"hipStreamDestroy", 0, NULL},
    [GPU_FN_stream_sync] = {"hipStreamSynchronize", 0, NULL},
    [GPU_FN_event_create] = {"hipEventCreateWithFlags", 0, NULL},
    [GPU_FN_event_destroy] = {"hipEventDestroy", 0, NULL},
    [GPU_FN_event_record] = {"hipEventRecord", 0, NULL},
    [GPU_FN_event_sync] = {"hipEventSynchronize", 0, NULL},
    [GPU_FN_event_elapsed] = {"hipEventElapsedTime", 0, NULL},
    [GPU_FN_capture_begin] = {"hipStreamBeginCapture", 0, NULL},
    [GPU_FN_capture_end] = {"hipStreamEndCapture", 0, NULL},
    [GPU_FN_capture_status] = {"hipStreamIsCapturing", 0, NULL},
    [GPU_FN_capture_mode] = {"hipThreadExchangeStreamCaptureMode", 0, NULL},
    [GPU_FN_graph_destroy] = {"hipGraphDestroy", 0, NULL},
    [GPU_FN_graph_instantiate] = {"hipGraphInstantiateWithFlags", 0, NULL},
    [GPU_FN_graph_exec_destroy] = {"hipGraphExecDestroy", 0, NULL},
    [GPU_FN_graph_launch] = {"hipGraphLaunch", 0, NULL},
    [GPU_FN_launch] = {"hipModuleLaunchKernel", 0, NULL},
};

/* What the functions below call: what the table had in their place, and the properties. */
static struct {
    const char *(*error_name)(int result);
    const char *(*error_string)(int result);
    int (*device_get)(int *out_device);
    int (*device_set)(int device);
    int (*properties)(void *out_properties, int device);
} native;

static int error_name(int result, const char **out_text) {
    *out_text = native.error_name(result);
    return GPU_SUCCESS;
}

static int error_string(int result, const char **out_text) {
    *out_text = native.error_string(result);
    return GPU_SUCCESS;
}

static void *context_of(int device) {
    return (void *)(uintptr_t)(device + 1);
}

/* The runtime makes a device's context when it is first used, and keeps it. */
static int primary_retain(void **out_context, int device) {
    *out_context = context_of(device);
    return GPU_SUCCESS;
}

static int primary_release(int device) {
    (void)device;
    return GPU_SUCCESS;
}

static int context_get(void **out_context) {
    int device = 0;
    const int result = native.device_get(&device);
    *out_context = context_of(device);
    return result;
}

static int context_set(void *context) {
    return native.device_set((int)(uintptr_t)context - 1);
}

static void *resolve(void *opened, const gpu_symbol *symbol) {
    static const char *const versions[] = {"hipGetDevicePropertiesR0600", "hipGetDeviceProperties"};
    for (size_t i = 0; !native.properties && i < sizeof versions / sizeof *versions; i++) {
        void *const address = dlsym(opened, versions[i]);
        memcpy(&native.properties, &address, sizeof address);
    }
    return symbol->name ? dlsym(opened, symbol->name) : NULL;
}

/* Keeps the table's native function `member` as `kept`, and puts the function of the same name here in its place. */
#define ADAPT(kept, member)                                        \
    do {                                                           \
        memcpy(&native.kept, &driver->member, sizeof native.kept); \
        driver->member = member;                                   \
    } while (0)

static const char *adapt(gpu_driver *driver) {
    if (!native.properties) return "hipGetDeviceProperties";
    ADAPT(error_name, error_name);
    ADAPT(error_string, error_string);
    ADAPT(device_get, context_get);
    ADAPT(device_set, context_set);
    driver->primary_retain = primary_retain;
    driver->primary_release = primary_release;
    return NULL;
}

static const char *const sonames[] = {"libamdhip64.so.7", "libamdhip64.so.6", "libamdhip64.so.5", NULL};
static gpu_driver_library library = {.sonames = sonames, .symbols = symbols, .resolve = resolve, .adapt = adapt};

const gpu_driver *norma_hip_driver(char *why, size_t why_bytes) {
    return norma_gpu_driver_get(&library, why, why_bytes);
}

enum {
    NAME_BYTES = 256,
    PROPERTIES_BYTES = 8192
}; /* of hipDeviceProp_t, which begins with the name; and more than it has */

norma_status norma_hip_arch_name(int ordinal, char *name, size_t name_bytes) {
    static const char prefix[] = "gfx";
    char properties[PROPERTIES_BYTES];
    memset(properties, 0, sizeof properties);
    const int result = native.properties(properties, ordinal);
    if (result != GPU_SUCCESS) return norma_gpu_check_call(&library.driver, result, "hipGetDeviceProperties");
    const char *const from = memmem(properties + NAME_BYTES, sizeof properties - NAME_BYTES, prefix, strlen(prefix));
    if (!from) return norma_fail(NORMA_ERROR_DEVICE, "the driver does not say which chip device %d is", ordinal);
    size_t length = 0; /* a mode may follow, as in gfx942:sramecc+:xnack- */
    while (length + 1 < name_bytes && isalnum((unsigned char)from[length])) length++;
    snprintf(name, name_bytes, "%.*s", (int)length, from);
    return NORMA_OK;
}
