/* What a backend of this kind supplies, the backend slots that it gets for it, and the helpers that the slots share. */
#ifndef NORMA_GPU_DEVICE_H
#define NORMA_GPU_DEVICE_H

#include "../front/status.h"
#include "driver.h"
#include "gpu.h"

/* Device attributes, whose numbers differ between CUDA and HIP. */
typedef enum gpu_attribute {
    GPU_ATTRIBUTE_UNITS,
    GPU_ATTRIBUTE_WAVE,
    GPU_ATTRIBUTE_BLOCK_THREADS,
    GPU_ATTRIBUTE_BLOCK_SHARED_BYTES, /* the most that a block may ask for */
    GPU_ATTRIBUTE_CACHE_BYTES,        /* L2 */
    GPU_ATTRIBUTE_READS_HOST_MEMORY,
    GPU_ATTRIBUTE_COUNT
} gpu_attribute;

struct gpu_platform {
    const norma_backend *backend;
    const char *maker; /* "NVIDIA", for sentences */
    norma_target target;
    int oldest_arch;   /* device code exists from this one on */
    int extended_arch; /* clusters and overlapping launches exist from this one on */
    int attributes[GPU_ATTRIBUTE_COUNT];
    const gpu_image *images;            /* the last has no stem */
    const gpu_operation *linear_skinny; /* the one for these devices */
    const gpu_operation *linear_blas;   /* NULL if there is none */

    /* The process's driver table, loaded on first use; NULL, with the reason in `why`, if there is no usable driver. */
    const gpu_driver *(*driver)(char *why, size_t why_bytes);

    /* The architecture as a number for comparisons and as a name. */
    norma_status (*arch)(const gpu_driver *driver, int ordinal, int *out_arch, char *name, size_t name_bytes);

    /* The driver's version as users know it, "CUDA 13.0". */
    void (*version)(const gpu_driver *driver, char *text, size_t text_bytes);
};

/* Slots that need to know the platform before there is a device. */
void norma_gpu_probe(const gpu_platform *platform, norma_backend_info *out_info);
norma_status norma_gpu_describe(const gpu_platform *platform, int index, norma_device_info *out_info);
norma_status norma_gpu_open(const gpu_platform *platform, const norma_open_desc *desc, norma_device **out_device);

/* The other slots, as backend.h says. */
void norma_gpu_close(norma_device *base);
norma_status norma_gpu_alloc(norma_device *base, size_t bytes, void **out_data);
norma_status norma_gpu_release(norma_device *base, void *data);
norma_status norma_gpu_upload(norma_device *base, norma_buffer to, const void *from, size_t bytes);
norma_status norma_gpu_download(norma_device *base, void *to, norma_buffer from, size_t bytes);
norma_status norma_gpu_prepare(norma_device *base, norma_launch *launch);
void norma_gpu_discard(norma_device *base, norma_launch *launch);
norma_status norma_gpu_launch(norma_device *base, const norma_launch *launch);
norma_status norma_gpu_sync(norma_device *base);
void norma_gpu_versions(norma_device *base, char *text, size_t text_bytes);
bool norma_gpu_capturing(norma_device *base);
norma_status norma_gpu_record(norma_device *base, norma_work_fn work, void *user, void **out_recording);
norma_status norma_gpu_replay(norma_device *base, void *recording, double *out_us);
void norma_gpu_forget(norma_device *base, void *recording);

/* Makes the device's context current on this thread, and norma_gpu_leave() the one that was: engines share the thread, and
 * find it as they left it. */
norma_status norma_gpu_enter(gpu_device *device, void **out_previous);
void norma_gpu_leave(gpu_device *device, void *previous);

/* Between these two the thread may allocate, free and load code although a stream is being captured, by this thread or
 * another. norma_gpu_strict() takes what norma_gpu_relax() gave. */
int norma_gpu_relax(gpu_device *device);
void norma_gpu_strict(gpu_device *device, int mode);

/* The device's own stream, which does not wait for the default stream. */
norma_status norma_gpu_own_stream(gpu_device *device, void **out_stream);

/* The operation for a kernel, or NULL if the platform has none. */
const gpu_operation *norma_gpu_operation_for(const gpu_platform *platform, norma_kernel kernel);

/* The name of a kernel that norma_gpu_find() gave. */
const char *norma_gpu_function_name(const gpu_device *device, const void *function);

/* Frees what norma_gpu_words_reserve() made. */
void norma_gpu_words_free(gpu_device *device);

/* Unloads the modules and forgets their functions. */
void norma_gpu_unload(gpu_device *device);

/* Refuses a problem with a tensor at an address that the driver does not know. */
norma_status norma_gpu_check_addresses(gpu_device *device, const norma_problem *problem);

/* Defines the backend norma_backend_<id> over the static gpu_platform `platform`. */
#define GPU_BACKEND(id)                                                                       \
    static void probe(norma_backend_info *out_info) {                                         \
        norma_gpu_probe(&platform, out_info);                                                 \
    }                                                                                         \
    static norma_status describe(int index, norma_device_info *out_info) {                    \
        return norma_gpu_describe(&platform, index, out_info);                                \
    }                                                                                         \
    static norma_status open_device(const norma_open_desc *desc, norma_device **out_device) { \
        return norma_gpu_open(&platform, desc, out_device);                                   \
    }                                                                                         \
    const norma_backend norma_backend_##id = {                                                \
        .name = #id,                                                                          \
        .takes_native = true,                                                                 \
        .probe = probe,                                                                       \
        .describe = describe,                                                                 \
        .open = open_device,                                                                  \
        .close = norma_gpu_close,                                                             \
        .alloc = norma_gpu_alloc,                                                             \
        .release = norma_gpu_release,                                                         \
        .upload = norma_gpu_upload,                                                           \
        .download = norma_gpu_download,                                                       \
        .prepare = norma_gpu_prepare,                                                         \
        .discard = norma_gpu_discard,                                                         \
        .launch = norma_gpu_launch,                                                           \
        .sync = norma_gpu_sync,                                                               \
        .versions = norma_gpu_versions,                                                       \
        .capturing = norma_gpu_capturing,                                                     \
        .record = norma_gpu_record,                                                           \
        .replay = norma_gpu_replay,                                                           \
        .forget = norma_gpu_forget,                                                           \
    }

#endif
