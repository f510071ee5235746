/* Opening and closing a device: on a context and queue of its own, or on the caller's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../backend_list.h"
#include "force.h"
#include "opencl.h"

/* Of cl_nv_device_attribute_query. */
enum { COMPUTE_CAPABILITY_MAJOR = 0x4000, COMPUTE_CAPABILITY_MINOR = 0x4001 };

/* No smaller than the last-level cache of any NVIDIA device so far. */
#define NVIDIA_CACHE_BYTES ((cl_ulong)128 << 20)

void norma_opencl_probe(norma_backend_info *out_info) {
    const opencl_api *api;
    opencl_place places[OPENCL_MAX_PLACES];
    norma_device_info first;
    out_info->built = 1;
    out_info->devices = norma_opencl_list(&api, places, out_info->detail, sizeof out_info->detail);
    if (out_info->devices == 0) return;
    if (norma_opencl_describe_place(api, &places[0], &first))
        snprintf(first.name, sizeof first.name, "a device without a name");
    if (out_info->devices == 1)
        snprintf(out_info->detail, sizeof out_info->detail, "%s", first.name);
    else
        snprintf(out_info->detail, sizeof out_info->detail, "%s and %d more", first.name, out_info->devices - 1);
}

static norma_status find_place(int index, const opencl_api **out_api, opencl_place *out_place) {
    opencl_place places[OPENCL_MAX_PLACES];
    char why[256];
    const int count = norma_opencl_list(out_api, places, why, sizeof why);
    if (count == 0) return norma_fail(NORMA_ERROR_NO_DEVICE, "backend opencl: %s", why);
    if (index < 0 || index >= count)
        return norma_fail(NORMA_ERROR_DEVICE_INDEX, "device index %d: backend opencl has devices 0 to %d", index, count - 1);
    *out_place = places[index];
    return NORMA_OK;
}

norma_status norma_opencl_describe(int index, norma_device_info *out_info) {
    const opencl_api *api;
    opencl_place place;
    const norma_status status = find_place(index, &api, &place);
    if (status) return status;
    out_info->backend = norma_backend_opencl.name;
    out_info->index = index;
    return norma_opencl_describe_place(api, &place, out_info);
}

bool norma_opencl_yields(int index) {
    const opencl_api *api;
    opencl_place place;
    cl_device_type type = 0;
    if (find_place(index, &api, &place)) return false;
    return api->GetDeviceInfo(place.id, CL_DEVICE_TYPE, sizeof type, &type, NULL) == CL_SUCCESS &&
           (type & CL_DEVICE_TYPE_CPU) != 0;
}

static norma_status read_info(const opencl_device *device, cl_device_info what, size_t bytes, void *out_value) {
    return OPENCL_CALL(device->api, GetDeviceInfo, device->place.id, what, bytes, out_value, NULL);
}

static norma_status read_limits(opencl_device *device) {
    cl_device_type type = 0;
    cl_uint units = 0, lanes = 1;
    cl_ulong local_bytes = 0, cache_bytes = 0, memory_bytes = 0;
    size_t threads = 0;
    cl_device_fp_config config = 0;
    norma_status status = read_info(device, CL_DEVICE_TYPE, sizeof type, &type);
    if (!status) status = read_info(device, CL_DEVICE_MAX_COMPUTE_UNITS, sizeof units, &units);
    if (!status) status = read_info(device, CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT, sizeof lanes, &lanes);
    if (!status) status = read_info(device, CL_DEVICE_LOCAL_MEM_SIZE, sizeof local_bytes, &local_bytes);
    if (!status) status = read_info(device, CL_DEVICE_GLOBAL_MEM_CACHE_SIZE, sizeof cache_bytes, &cache_bytes);
    if (!status) status = read_info(device, CL_DEVICE_GLOBAL_MEM_SIZE, sizeof memory_bytes, &memory_bytes);
    if (!status) status = read_info(device, CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof threads, &threads);
    if (!status) status = read_info(device, CL_DEVICE_SINGLE_FP_CONFIG, sizeof config, &config);
    if (status) return status;
    device->is_cpu = (type & CL_DEVICE_TYPE_CPU) != 0;
    device->single_values = device->is_cpu && !(type & CL_DEVICE_TYPE_GPU) && lanes <= 1;
    device->rounds_divide = (config & CL_FP_CORRECTLY_ROUNDED_DIVIDE_SQRT) != 0;
    /* NVIDIA's driver counts the caches of its units, not the one behind them, of which it tells nothing. */
    if (device->is_nvidia && cache_bytes < NVIDIA_CACHE_BYTES) cache_bytes = NVIDIA_CACHE_BYTES;
    device->base.limits = (norma_limits){
        /* Some compilers for CPUs make work-items, not vectors, into lanes, and then want what a GPU wants. */
        .target = device->is_cpu && lanes > 1 ? NORMA_TARGET_OPENCL_CPU : NORMA_TARGET_OPENCL_GPU,
        .units = (int)units,
        .lanes = (int)lanes,
        .max_threads = threads > INT32_MAX ? INT32_MAX : (int)threads,
        .shared_bytes = (int64_t)local_bytes,
        .cache_bytes = (int64_t)cache_bytes,
        .memory_bytes = (int64_t)memory_bytes,
        .opaque_buffers = true,
    };
    return NORMA_OK;
}

/* A driver that does not know the question leaves the device what it is without an answer. */
static void read_capability(opencl_device *device) {
    cl_uint major = 0, minor = 0;
    if (!device->is_nvidia) return;
    if (device->api->GetDeviceInfo(device->place.id, COMPUTE_CAPABILITY_MAJOR, sizeof major, &major, NULL) == CL_SUCCESS &&
        device->api->GetDeviceInfo(device->place.id, COMPUTE_CAPABILITY_MINOR, sizeof minor, &minor, NULL) == CL_SUCCESS)
        device->capability = (int)(major * 10 + minor);
}

static norma_status read_platform(opencl_device *device) {
    char name[256] = "";
    const norma_status status =
        OPENCL_CALL(device->api, GetPlatformInfo, device->place.platform, CL_PLATFORM_NAME, sizeof name, name, NULL);
    device->has_own_cache = strcmp(name, "Portable Computing Language") == 0;
    return status;
}

/* Names the device and everything that its compiler could depend on. */
static norma_status identify(opencl_device *device) {
    static const cl_device_info parts[] = {CL_DEVICE_VENDOR, CL_DEVICE_NAME, CL_DEVICE_VERSION, CL_DRIVER_VERSION};
    size_t used = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char text[1024] = "";
        const norma_status status = read_info(device, parts[i], sizeof text, text);
        if (status) return status;
        if (parts[i] == CL_DEVICE_VENDOR) device->is_nvidia = strstr(text, "NVIDIA") != NULL;
        used += (size_t)snprintf(device->identity + used, sizeof device->identity - used, "%s\n", text);
        if (used >= sizeof device->identity) used = sizeof device->identity - 1;
    }
    return NORMA_OK;
}

/* What the caller's queue belongs to. */
static norma_status read_queue(const opencl_api *api, const norma_open_desc *desc, cl_context *out_context,
                               cl_device_id *out_id) {
    const cl_command_queue queue = desc->stream;
    cl_command_queue_properties properties = 0;
    norma_status status =
        OPENCL_CALL(api, GetCommandQueueInfo, queue, CL_QUEUE_CONTEXT, sizeof *out_context, out_context, NULL);
    if (!status) status = OPENCL_CALL(api, GetCommandQueueInfo, queue, CL_QUEUE_DEVICE, sizeof *out_id, out_id, NULL);
    if (!status)
        status = OPENCL_CALL(api, GetCommandQueueInfo, queue, CL_QUEUE_PROPERTIES, sizeof properties, &properties, NULL);
    if (status) return norma_fail(NORMA_ERROR_OPTION, "desc.stream is no queue of this OpenCL: %s", norma_last_error());
    if (properties & CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE)
        return norma_fail(NORMA_ERROR_OPTION, "desc.stream is an out-of-order queue; norma needs one that keeps the order");
    if (desc->native_context && desc->native_context != (void *)*out_context)
        return norma_fail(NORMA_ERROR_OPTION, "desc.stream is a queue of another context than desc.native_context");
    if (desc->native_device && desc->native_device != (void *)*out_id)
        return norma_fail(NORMA_ERROR_OPTION, "desc.stream is a queue of another device than desc.native_device");
    return NORMA_OK;
}

static norma_status place_of(cl_device_id id, int *out_index, opencl_place *out_place) {
    const opencl_api *api;
    opencl_place places[OPENCL_MAX_PLACES];
    char why[256];
    const int count = norma_opencl_list(&api, places, why, sizeof why);
    for (int i = 0; i < count; i++) {
        if (places[i].id != id) continue;
        *out_index = i;
        *out_place = places[i];
        return NORMA_OK;
    }
    return norma_fail(NORMA_ERROR_OPTION, "desc.native_device is %p; it is none of the %d devices of backend opencl",
                      (void *)id, count);
}

/* The caller's handles, or none of them; a context goes with a device. */
static norma_status take_native(opencl_device *device, const norma_open_desc *desc) {
    cl_context context = desc->native_context;
    cl_device_id id = desc->native_device;
    if (!desc->stream && (context != NULL) != (id != NULL))
        return norma_fail(NORMA_ERROR_OPTION, "desc.%s is NULL; native_context and native_device go together",
                          context ? "native_device" : "native_context");
    norma_status status = desc->stream ? read_queue(device->api, desc, &context, &id) : NORMA_OK;
    if (!status) status = place_of(id, &device->base.index, &device->place);
    if (!status) status = OPENCL_CALL(device->api, RetainContext, context);
    if (status) return status;
    device->context = context;
    if (!desc->stream) return NORMA_OK;
    status = OPENCL_CALL(device->api, RetainCommandQueue, desc->stream);
    if (!status) device->queue = desc->stream;
    return status;
}

static norma_status make_context(opencl_device *device) {
    const cl_context_properties properties[] = {CL_CONTEXT_PLATFORM, (cl_context_properties)device->place.platform, 0};
    cl_int result;
    device->context = device->api->CreateContext(properties, 1, &device->place.id, NULL, NULL, &result);
    return norma_opencl_check(result, OPENCL_FN_CreateContext);
}

static norma_status make_queue(opencl_device *device) {
    cl_int result;
    device->queue = device->api->CreateCommandQueue(device->context, device->place.id, 0, &result);
    return norma_opencl_check(result, OPENCL_FN_CreateCommandQueue);
}

norma_status norma_opencl_open(const norma_open_desc *desc, norma_device **out_device) {
    opencl_device *device = calloc(1, sizeof *device);
    if (!device) return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory for a device");
    device->base.backend = &norma_backend_opencl;
    device->base.index = desc->index;
    device->base.log = desc->log;
    norma_status status = find_place(desc->index, &device->api, &device->place);
    const bool native = desc->stream || desc->native_context || desc->native_device;
    if (!status && native) status = take_native(device, desc);
    if (!status) status = identify(device);
    if (!status) status = read_limits(device);
    if (!status) status = read_platform(device);
    if (!status) read_capability(device);
    if (!status && !device->context) status = make_context(device);
    if (!status && !device->queue) status = make_queue(device);
    if (status) {
        norma_opencl_close(&device->base);
        return status;
    }
    *out_device = &device->base;
    return NORMA_OK;
}

void norma_opencl_close(norma_device *base) {
    opencl_device *device = (opencl_device *)base;
    /* Results are not looked at: on a lost device every call fails, and there is nobody left to tell. */
    if (device->queue) device->api->Finish(device->queue);
    norma_opencl_unload(device);
    if (device->timed_queue) device->api->ReleaseCommandQueue(device->timed_queue);
    if (device->queue) device->api->ReleaseCommandQueue(device->queue);
    if (device->context) device->api->ReleaseContext(device->context);
    free(device);
}

bool norma_opencl_force_target(norma_device *base, norma_target target) {
    if (target != NORMA_TARGET_OPENCL_CPU && target != NORMA_TARGET_OPENCL_GPU) return false;
    base->limits.target = target;
    return true;
}

norma_status norma_opencl_sync(norma_device *base) {
    opencl_device *device = (opencl_device *)base;
    return OPENCL_CALL(device->api, Finish, device->queue);
}

void norma_opencl_versions(norma_device *base, char *text, size_t text_bytes) {
    const opencl_device *device = (const opencl_device *)base;
    snprintf(text, text_bytes, "%s", device->identity);
}

/* ---- Memory ---- */

norma_status norma_opencl_alloc(norma_device *base, size_t bytes, void **out_data) {
    opencl_device *device = (opencl_device *)base;
    cl_int result;
    cl_mem memory = device->api->CreateBuffer(device->context, CL_MEM_READ_WRITE, bytes ? bytes : 1, NULL, &result);
    const norma_status status = norma_opencl_check(result, OPENCL_FN_CreateBuffer);
    if (status == NORMA_ERROR_OUT_OF_MEMORY)
        return norma_fail(status, "device %d of backend opencl has no %zu bytes of memory left: %s", base->index, bytes,
                          norma_opencl_error_name(result));
    if (!status) *out_data = memory;
    return status;
}

/* OpenCL itself keeps the memory until the work that uses it has finished. */
norma_status norma_opencl_release(norma_device *base, void *data) {
    opencl_device *device = (opencl_device *)base;
    return OPENCL_CALL(device->api, ReleaseMemObject, data);
}

norma_status norma_opencl_upload(norma_device *base, norma_buffer to, const void *from, size_t bytes) {
    opencl_device *device = (opencl_device *)base;
    return OPENCL_CALL(device->api, EnqueueWriteBuffer, device->queue, to.data, CL_TRUE, to.offset_bytes, bytes, from, 0,
                       NULL, NULL);
}

norma_status norma_opencl_download(norma_device *base, void *to, norma_buffer from, size_t bytes) {
    opencl_device *device = (opencl_device *)base;
    return OPENCL_CALL(device->api, EnqueueReadBuffer, device->queue, from.data, CL_TRUE, from.offset_bytes, bytes, to, 0,
                       NULL, NULL);
}
