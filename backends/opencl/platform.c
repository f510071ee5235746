/* Platforms and devices: listing and describing them. Devices are counted GPUs first, then all others, each in the order in
 * which the loader lists them. A device counts if it is there, compiles OpenCL C 1.2 and is little-endian. */
#include <stdio.h>

#include "../front/status.h"
#include "opencl.h"

enum { MAX_PLATFORMS = 16 };

static cl_uint info_uint(const opencl_api *api, cl_device_id id, cl_device_info what) {
    cl_uint value = 0;
    return api->GetDeviceInfo(id, what, sizeof value, &value, NULL) == CL_SUCCESS ? value : 0;
}

/* OpenCL 1.2 or newer: "OpenCL <major>.<minor> ...". */
static bool new_enough(const opencl_api *api, cl_device_id id) {
    char version[128] = "";
    int major = 0, minor = 0;
    if (api->GetDeviceInfo(id, CL_DEVICE_VERSION, sizeof version, version, NULL) != CL_SUCCESS) return false;
    if (sscanf(version, "OpenCL %d.%d", &major, &minor) != 2) return false;
    return major > 1 || (major == 1 && minor >= 2);
}

static bool usable(const opencl_api *api, cl_device_id id) {
    return info_uint(api, id, CL_DEVICE_AVAILABLE) && info_uint(api, id, CL_DEVICE_COMPILER_AVAILABLE) &&
           info_uint(api, id, CL_DEVICE_ENDIAN_LITTLE) && new_enough(api, id);
}

static bool is_gpu(const opencl_api *api, cl_device_id id) {
    cl_device_type type = 0;
    return api->GetDeviceInfo(id, CL_DEVICE_TYPE, sizeof type, &type, NULL) == CL_SUCCESS && (type & CL_DEVICE_TYPE_GPU);
}

typedef struct listing {
    const opencl_api *api;
    opencl_place places[OPENCL_MAX_PLACES];
    int count;
} listing;

static void list_platform(listing *list, cl_platform_id platform, char *why, size_t why_bytes) {
    cl_device_id ids[OPENCL_MAX_PLACES];
    cl_uint found = 0;
    char name[128] = "a platform without a name";
    list->api->GetPlatformInfo(platform, CL_PLATFORM_NAME, sizeof name, name, NULL);
    const cl_int result = list->api->GetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, OPENCL_MAX_PLACES, ids, &found);
    if (result != CL_SUCCESS) {
        /* PoCL says no more than this when it cannot write its cache. */
        snprintf(why, why_bytes, "%s finds no device: %s (%d)", name, norma_opencl_error_name(result), result);
        return;
    }
    if (found > OPENCL_MAX_PLACES) found = OPENCL_MAX_PLACES;
    for (cl_uint i = 0; i < found; i++) {
        if (!usable(list->api, ids[i]))
            snprintf(why, why_bytes, "no device of %s is available, compiles OpenCL C 1.2 and is little-endian", name);
        else if (list->count < OPENCL_MAX_PLACES)
            list->places[list->count++] = (opencl_place){platform, ids[i]};
    }
}

int norma_opencl_list(const opencl_api **out_api, opencl_place places[OPENCL_MAX_PLACES], char *why, size_t why_bytes) {
    listing list = {.api = norma_opencl_load(why, why_bytes)};
    if (!list.api) return 0;
    *out_api = list.api;
    cl_platform_id platforms[MAX_PLATFORMS];
    cl_uint found = 0;
    const cl_int result = list.api->GetPlatformIDs(MAX_PLATFORMS, platforms, &found);
    if (result != CL_SUCCESS || found == 0) {
        snprintf(why, why_bytes, "the OpenCL loader finds no platform: %s (%d)", norma_opencl_error_name(result), result);
        return 0;
    }
    if (found > MAX_PLATFORMS) found = MAX_PLATFORMS;
    for (cl_uint i = 0; i < found; i++) list_platform(&list, platforms[i], why, why_bytes);

    int count = 0;
    for (int gpus = 1; gpus >= 0; gpus--)
        for (int i = 0; i < list.count; i++)
            if (is_gpu(list.api, list.places[i].id) == (gpus == 1)) places[count++] = list.places[i];
    return count;
}

/* A device's text, cut to fit. */
static norma_status info_text(const opencl_api *api, cl_device_id id, cl_device_info what, char *out_text, size_t bytes) {
    char text[1024] = "";
    const norma_status status = OPENCL_CALL(api, GetDeviceInfo, id, what, sizeof text, text, NULL);
    if (!status) snprintf(out_text, bytes, "%.*s", (int)bytes - 1, text);
    return status;
}

norma_status norma_opencl_describe_place(const opencl_api *api, const opencl_place *place, norma_device_info *out_info) {
    cl_ulong memory_bytes = 0;
    norma_status status = info_text(api, place->id, CL_DEVICE_NAME, out_info->name, sizeof out_info->name);
    if (!status) status = info_text(api, place->id, CL_DEVICE_VERSION, out_info->arch, sizeof out_info->arch);
    if (!status)
        status =
            OPENCL_CALL(api, GetDeviceInfo, place->id, CL_DEVICE_GLOBAL_MEM_SIZE, sizeof memory_bytes, &memory_bytes, NULL);
    if (status) return status;
    out_info->compute_units = (int32_t)info_uint(api, place->id, CL_DEVICE_MAX_COMPUTE_UNITS);
    out_info->memory_bytes = memory_bytes;
    return NORMA_OK;
}
