/* The CUDA driver: libcuda.so.1, opened at run time. cuGetProcAddress gives each function in the version of its interface
 * that is named here; drivers from before it (CUDA 11.3) export the same functions under versioned names. */
#include "driver.h"

#include <dlfcn.h>

static const gpu_symbol symbols[GPU_FUNCTION_COUNT] = {
    [GPU_FN_init] = {"cuInit", 2000, NULL},
    [GPU_FN_version] = {"cuDriverGetVersion", 2020, NULL},
    [GPU_FN_error_name] = {"cuGetErrorName", 6000, NULL},
    [GPU_FN_error_string] = {"cuGetErrorString", 6000, NULL},
    [GPU_FN_device_count] = {"cuDeviceGetCount", 2000, NULL},
    [GPU_FN_device_get] = {"cuDeviceGet", 2000, NULL},
    [GPU_FN_device_name] = {"cuDeviceGetName", 2000, NULL},
    [GPU_FN_device_memory] = {"cuDeviceTotalMem", 3020, "cuDeviceTotalMem_v2"},
    [GPU_FN_device_attribute] = {"cuDeviceGetAttribute", 2000, NULL},
    [GPU_FN_primary_retain] = {"cuDevicePrimaryCtxRetain", 7000, NULL},
    [GPU_FN_primary_release] = {"cuDevicePrimaryCtxRelease", 11000, "cuDevicePrimaryCtxRelease_v2"},
    [GPU_FN_context_get] = {"cuCtxGetCurrent", 4000, NULL},
    [GPU_FN_context_set] = {"cuCtxSetCurrent", 4000, NULL},
    [GPU_FN_module_load] = {"cuModuleLoadData", 2000, NULL},
    [GPU_FN_module_unload] = {"cuModuleUnload", 2000, NULL},
    [GPU_FN_module_function] = {"cuModuleGetFunction", 2000, NULL},
    [GPU_FN_function_get] = {"cuFuncGetAttribute", 2020, NULL},
    [GPU_FN_function_set] = {"cuFuncSetAttribute", 9000, NULL},
    [GPU_FN_memory_alloc] = {"cuMemAlloc", 3020, "cuMemAlloc_v2"},
    [GPU_FN_memory_free] = {"cuMemFree", 3020, "cuMemFree_v2"},
    [GPU_FN_copy_to_device] = {"cuMemcpyHtoDAsync", 3020, "cuMemcpyHtoDAsync_v2"},
    [GPU_FN_copy_to_host] = {"cuMemcpyDtoHAsync", 3020, "cuMemcpyDtoHAsync_v2"},
    [GPU_FN_copy_on_device] = {"cuMemcpyDtoDAsync", 3020, "cuMemcpyDtoDAsync_v2"},
    [GPU_FN_pointer_attribute] = {"cuPointerGetAttribute", 4000, NULL},
    [GPU_FN_stream_create] = {"cuStreamCreate", 2000, NULL},
    [GPU_FN_stream_destroy] = {"cuStreamDestroy", 4000, "cuStreamDestroy_v2"},
    [GPU_FN_stream_sync] = {"cuStreamSynchronize", 2000, NULL},
    [GPU_FN_event_create] = {"cuEventCreate", 2000, NULL},
    [GPU_FN_event_destroy] = {"cuEventDestroy", 4000, "cuEventDestroy_v2"},
    [GPU_FN_event_record] = {"cuEventRecord", 2000, NULL},
    [GPU_FN_event_sync] = {"cuEventSynchronize", 2000, NULL},
    [GPU_FN_event_elapsed] = {"cuEventElapsedTime", 2000, NULL},
    [GPU_FN_capture_begin] = {"cuStreamBeginCapture", 10010, "cuStreamBeginCapture_v2"},
    [GPU_FN_capture_end] = {"cuStreamEndCapture", 10000, NULL},
    [GPU_FN_capture_status] = {"cuStreamIsCapturing", 10000, NULL},
    [GPU_FN_capture_mode] = {"cuThreadExchangeStreamCaptureMode", 10010, NULL},
    [GPU_FN_graph_destroy] = {"cuGraphDestroy", 10000, NULL},
    [GPU_FN_graph_instantiate] = {"cuGraphInstantiateWithFlags", 11040, NULL},
    [GPU_FN_graph_exec_destroy] = {"cuGraphExecDestroy", 10000, NULL},
    [GPU_FN_graph_launch] = {"cuGraphLaunch", 10000, NULL},
    [GPU_FN_launch] = {"cuLaunchKernel", 4000, NULL},
    [GPU_FN_launch_extended] = {"cuLaunchKernelEx", 11060, NULL},
    [GPU_FN_tensor_map_encode] = {"cuTensorMapEncodeTiled", 12000, NULL},
};

typedef int (*get_proc_address_fn)(const char *name, void **out_address, int version, uint64_t flags, int *out_found);
typedef int (*get_proc_address_v1_fn)(const char *name, void **out_address, int version, uint64_t flags);

/* dlsym() gives functions as data pointers. */
#define FUNCTION_FROM(type, address) \
    (((union {                       \
         void *from;                 \
         type to;                    \
     }){.from = (address)})          \
         .to)

static void *resolve(void *library, const gpu_symbol *symbol) {
    void *const v2 = dlsym(library, "cuGetProcAddress_v2");
    void *const v1 = dlsym(library, "cuGetProcAddress");
    void *address = NULL;
    int found;
    if (v2 && FUNCTION_FROM(get_proc_address_fn, v2)(symbol->name, &address, symbol->version, 0, &found) == 0 && address)
        return address;
    if (!v2 && v1 && FUNCTION_FROM(get_proc_address_v1_fn, v1)(symbol->name, &address, symbol->version, 0) == 0 && address)
        return address;
    return dlsym(library, symbol->exported ? symbol->exported : symbol->name);
}

const gpu_driver *norma_cuda_driver(char *why, size_t why_bytes) {
    static const char *const sonames[] = {"libcuda.so.1", NULL};
    static gpu_driver_library library = {.sonames = sonames, .symbols = symbols, .resolve = resolve};
    return norma_gpu_driver_get(&library, why, why_bytes);
}
