/* Device memory, and copies in the order of the context's stream. */
#include "device.h"

norma_status norma_gpu_alloc(norma_device *base, size_t bytes, void **out_data) {
    gpu_device *device = (gpu_device *)base;
    void *previous;
    norma_status status = norma_gpu_enter(device, &previous);
    if (status) return status;
    const int mode = norma_gpu_relax(device);
    status = GPU_CALL(device->driver, memory_alloc, out_data, bytes ? bytes : 1);
    norma_gpu_strict(device, mode);
    norma_gpu_leave(device, previous);
    if (status == NORMA_ERROR_OUT_OF_MEMORY)
        return norma_fail(status, "device %d of backend %s has no %zu bytes of memory left", base->index,
                          base->backend->name, bytes);
    return status;
}

/* Goes on after a failure: what can be freed is. */
norma_status norma_gpu_release(norma_device *base, void *data) {
    gpu_device *device = (gpu_device *)base;
    void *previous;
    const norma_status entered = norma_gpu_enter(device, &previous);
    const norma_status waited = GPU_CALL(device->driver, stream_sync, device->stream);
    const int mode = norma_gpu_relax(device);
    const norma_status freed = GPU_CALL(device->driver, memory_free, data);
    norma_gpu_strict(device, mode);
    if (!entered) norma_gpu_leave(device, previous);
    return entered ? entered : waited ? waited : freed;
}

/* The host's memory may go as soon as the slot returns, so both copies wait. */
norma_status norma_gpu_upload(norma_device *base, norma_buffer to, const void *from, size_t bytes) {
    gpu_device *device = (gpu_device *)base;
    void *previous;
    norma_status status = norma_gpu_enter(device, &previous);
    if (status) return status;
    status = GPU_CALL(device->driver, copy_to_device, (char *)to.data + to.offset_bytes, from, bytes, device->stream);
    if (!status) status = GPU_CALL(device->driver, stream_sync, device->stream);
    norma_gpu_leave(device, previous);
    return status;
}

norma_status norma_gpu_download(norma_device *base, void *to, norma_buffer from, size_t bytes) {
    gpu_device *device = (gpu_device *)base;
    void *previous;
    norma_status status = norma_gpu_enter(device, &previous);
    if (status) return status;
    status = GPU_CALL(device->driver, copy_to_host, to, (char *)from.data + from.offset_bytes, bytes, device->stream);
    if (!status) status = GPU_CALL(device->driver, stream_sync, device->stream);
    norma_gpu_leave(device, previous);
    return status;
}
