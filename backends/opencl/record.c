/* Recordings for the bench: OpenCL has no graphs, so a recording is the work itself. A replay enqueues it on a queue with
 * profiling and takes the device's time from the first command's start to the last one's end. Which one is the last is known
 * from running it once before. */
#include <stdlib.h>

#include "opencl.h"

typedef struct recording {
    norma_work_fn work;
    void *user;
    int64_t launches; /* 0: not counted yet */
} recording;

norma_status norma_opencl_record(norma_device *base, norma_work_fn work, void *user, void **out_recording) {
    (void)base;
    recording *kept = malloc(sizeof *kept);
    if (!kept) return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory for a recording");
    *kept = (recording){work, user, 0};
    *out_recording = kept;
    return NORMA_OK;
}

void norma_opencl_forget(norma_device *base, void *recording_data) {
    (void)base;
    free(recording_data);
}

bool norma_opencl_wants_event(opencl_device *device) {
    const int64_t index = device->launches++;
    return device->timing && (index == 0 || index == device->last_launch);
}

void norma_opencl_keep_event(opencl_device *device, cl_event event) {
    if (!device->first) {
        device->first = event;
        return;
    }
    if (device->last) device->api->ReleaseEvent(device->last);
    device->last = event;
}

norma_status norma_opencl_keep_start(opencl_device *device) {
    if (!device->timing || device->first) return NORMA_OK;
    return OPENCL_CALL(device->api, EnqueueMarkerWithWaitList, device->queue, 0, NULL, &device->first);
}

static void drop_events(opencl_device *device) {
    if (device->first) device->api->ReleaseEvent(device->first);
    if (device->last) device->api->ReleaseEvent(device->last);
    device->first = device->last = NULL;
}

static norma_status make_timed_queue(opencl_device *device) {
    if (device->timed_queue) return NORMA_OK;
    cl_int result;
    cl_command_queue queue =
        device->api->CreateCommandQueue(device->context, device->place.id, CL_QUEUE_PROFILING_ENABLE, &result);
    const norma_status status = norma_opencl_check(result, OPENCL_FN_CreateCommandQueue);
    if (!status) device->timed_queue = queue;
    return status;
}

static norma_status read_time(const opencl_device *device, double *out_us) {
    const cl_event last = device->last ? device->last : device->first;
    cl_ulong start = 0, end = 0;
    *out_us = 0;
    if (!last) return NORMA_OK;
    norma_status status = OPENCL_CALL(device->api, GetEventProfilingInfo, device->first, CL_PROFILING_COMMAND_START,
                                      sizeof start, &start, NULL);
    if (!status)
        status = OPENCL_CALL(device->api, GetEventProfilingInfo, last, CL_PROFILING_COMMAND_END, sizeof end, &end, NULL);
    *out_us = 1e-3 * (double)(end - start);
    return status;
}

static norma_status run(opencl_device *device, recording *kept) {
    device->launches = 0;
    device->last_launch = kept->launches - 1;
    const norma_status status = kept->work(kept->user);
    kept->launches = device->launches;
    return status;
}

norma_status norma_opencl_replay(norma_device *base, void *recording_data, double *out_us) {
    opencl_device *device = (opencl_device *)base;
    recording *kept = recording_data;
    norma_status status = make_timed_queue(device);
    if (!status && kept->launches == 0) status = run(device, kept);
    if (!status) status = OPENCL_CALL(device->api, Finish, device->queue);
    if (status) return status;
    const cl_command_queue queue = device->queue;
    device->queue = device->timed_queue;
    device->timing = true;
    status = run(device, kept);
    device->timing = false;
    device->queue = queue;
    const norma_status finished = OPENCL_CALL(device->api, Finish, device->timed_queue);
    if (!status) status = finished;
    if (!status) status = read_time(device, out_us);
    drop_events(device);
    return status;
}
