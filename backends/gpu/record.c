/* Recordings for the bench: work captured into a graph on a stream of its own, because the default stream cannot be
 * captured, and replayed on the context's stream between two events. */
#include "device.h"

#include <stdlib.h>

typedef struct recording {
    void *graph;
    void *exec;
    void *start, *stop;
} recording;

static void free_recording(const gpu_driver *driver, recording *kept) {
    if (kept->start) driver->event_destroy(kept->start);
    if (kept->stop) driver->event_destroy(kept->stop);
    if (kept->exec) driver->graph_exec_destroy(kept->exec);
    if (kept->graph) driver->graph_destroy(kept->graph);
    free(kept);
}

/* Runs `work` under capture, with the device's stream replaced by `stream`. */
static norma_status capture_on(gpu_device *device, void *stream, norma_work_fn work, void *user, void **out_graph) {
    norma_status status = GPU_CALL(device->driver, capture_begin, stream, GPU_CAPTURE_RELAXED);
    if (status) return status;
    void *const callers_stream = device->stream;
    device->stream = stream;
    status = work(user);
    device->stream = callers_stream;
    /* A failed piece of work ends the capture too, and its own sentence is the one to keep. */
    if (status) {
        device->driver->capture_end(stream, out_graph);
        return status;
    }
    return GPU_CALL(device->driver, capture_end, stream, out_graph);
}

static norma_status capture(gpu_device *device, norma_work_fn work, void *user, void **out_graph) {
    void *stream;
    norma_status status = GPU_CALL(device->driver, stream_create, &stream, GPU_STREAM_NON_BLOCKING);
    if (status) return status;
    status = capture_on(device, stream, work, user, out_graph);
    device->driver->stream_destroy(stream);
    return status;
}

static norma_status fill(gpu_device *device, norma_work_fn work, void *user, recording *kept) {
    const gpu_driver *driver = device->driver;
    norma_status status = capture(device, work, user, &kept->graph);
    if (!status) status = GPU_CALL(driver, graph_instantiate, &kept->exec, kept->graph, 0);
    if (!status) status = GPU_CALL(driver, event_create, &kept->start, GPU_EVENT_TIMED);
    if (!status) status = GPU_CALL(driver, event_create, &kept->stop, GPU_EVENT_TIMED);
    return status;
}

norma_status norma_gpu_record(norma_device *base, norma_work_fn work, void *user, void **out_recording) {
    gpu_device *device = (gpu_device *)base;
    recording *kept = calloc(1, sizeof *kept);
    if (!kept) return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory for a recording");
    void *previous;
    norma_status status = norma_gpu_enter(device, &previous);
    if (!status) {
        status = fill(device, work, user, kept);
        if (status) free_recording(device->driver, kept);
        norma_gpu_leave(device, previous);
    } else {
        free(kept);
    }
    if (!status) *out_recording = kept;
    return status;
}

norma_status norma_gpu_replay(norma_device *base, void *recording_data, double *out_us) {
    gpu_device *device = (gpu_device *)base;
    const gpu_driver *driver = device->driver;
    const recording *kept = recording_data;
    void *previous;
    norma_status status = norma_gpu_enter(device, &previous);
    if (status) return status;
    float ms = 0;
    status = GPU_CALL(driver, event_record, kept->start, device->stream);
    if (!status) status = GPU_CALL(driver, graph_launch, kept->exec, device->stream);
    if (!status) status = GPU_CALL(driver, event_record, kept->stop, device->stream);
    if (!status) status = GPU_CALL(driver, event_sync, kept->stop);
    if (!status) status = GPU_CALL(driver, event_elapsed, &ms, kept->start, kept->stop);
    norma_gpu_leave(device, previous);
    if (!status) *out_us = 1e3 * (double)ms;
    return status;
}

void norma_gpu_forget(norma_device *base, void *recording_data) {
    gpu_device *device = (gpu_device *)base;
    void *previous;
    const bool entered = norma_gpu_enter(device, &previous) == NORMA_OK;
    free_recording(device->driver, recording_data);
    if (entered) norma_gpu_leave(device, previous);
}
