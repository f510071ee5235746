/* The fake backend. Calls that may fail go through one counter. */
#include "fake_backend.h"

#include <stdio.h>
#include <stdlib.h>

#include "cpu/reference.h"
#include "expect.h"

fake_state fake;

void fake_reset(void) {
    memset(&fake, 0, sizeof fake);
    fake.devices = 1;
    fake.refuse_residual = true;
}

static norma_status count_call(const char *name) {
    if (fake.fail_only && strcmp(name, fake.fail_only) != 0) return NORMA_OK;
    if (++fake.calls != fake.fail_at) return NORMA_OK;
    fake.failed = name;
    return norma_fail(fake.fail_status, "the fake backend was told to fail call %d, %s", fake.calls, name);
}

static void fake_probe(norma_backend_info *out_info) {
    out_info->devices = fake.devices;
    snprintf(out_info->detail, sizeof out_info->detail, "%d fake devices", fake.devices);
}

static norma_status fake_describe(int index, norma_device_info *out_info) {
    (void)index;
    snprintf(out_info->name, sizeof out_info->name, "a fake device");
    snprintf(out_info->arch, sizeof out_info->arch, "none");
    return count_call("describe");
}

static norma_status fake_open(const norma_open_desc *desc, norma_device **out_device) {
    norma_status status = count_call("open");
    if (status) return status;
    norma_device *device = calloc(1, sizeof *device);
    if (!device) return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory for a fake device");
    device->backend = &fake_backend;
    device->index = desc->index;
    device->log = desc->log;
    device->limits.target = NORMA_TARGET_CPU_AVX2;
    device->limits.units = 2;
    device->limits.lanes = 8;
    device->limits.max_threads = 1;
    device->limits.opaque_buffers = fake.opaque_buffers;
    device->limits.memory_bytes = fake.memory_bytes;
    device->limits.cache_bytes = fake.cache_bytes;
    fake.live_devices++;
    *out_device = device;
    return NORMA_OK;
}

static void fake_close(norma_device *device) {
    fake.live_devices--;
    free(device);
}

static norma_status fake_alloc(norma_device *device, size_t bytes, void **out_data) {
    (void)device;
    const norma_status status = count_call("alloc");
    if (status) {
        *out_data = device; /* as a careless driver might */
        return status;
    }
    *out_data = malloc(bytes);
    if (!*out_data) return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory for %zu bytes", bytes);
    if (bytes > fake.largest_alloc_bytes) fake.largest_alloc_bytes = bytes;
    fake.live_buffers++;
    return NORMA_OK;
}

/* Freeing takes place also where the call is told to fail, as drivers do it after a fault. */
static norma_status fake_release(norma_device *device, void *data) {
    (void)device;
    free(data);
    fake.live_buffers--;
    return count_call("release");
}

static norma_status fake_upload(norma_device *device, norma_buffer to, const void *from, size_t bytes) {
    (void)device;
    const norma_status status = count_call("upload");
    if (!status) memcpy((char *)to.data + to.offset_bytes, from, bytes);
    return status;
}

static norma_status fake_download(norma_device *device, void *to, norma_buffer from, size_t bytes) {
    (void)device;
    const norma_status status = count_call("download");
    if (!status) memcpy(to, (const char *)from.data + from.offset_bytes, bytes);
    return status;
}

static fake_launch keep(const norma_launch *launch) {
    return (fake_launch){launch->kernel, launch->tile, *launch->problem, launch->workspace, launch->workspace_bytes};
}

static norma_status fake_prepare(norma_device *device, norma_launch *launch) {
    (void)device;
    const norma_status status = count_call("prepare");
    if (status) return status;
    const bool adds_residual =
        launch->kernel == NORMA_KERNEL_RMSNORM_ROWS || launch->kernel == NORMA_KERNEL_REFERENCE || !fake.refuse_residual;
    if (norma_tensor_present(&launch->problem->residual) && !adds_residual)
        return norma_fail(NORMA_ERROR_UNSUPPORTED, "%s takes no residual", norma_kernel_name(launch->kernel));
    if (fake.refuse[launch->kernel])
        return norma_fail(NORMA_ERROR_UNSUPPORTED, "the fake backend has no kernel %s", norma_kernel_name(launch->kernel));
    launch->native = malloc(1);
    if (!launch->native) return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory for a fake launch");
    launch->workspace_bytes = fake.workspace_bytes[launch->kernel];
    launch->max_rows = fake.max_rows[launch->kernel];
    fake.live_launches++;
    if (fake.prepared < FAKE_MAX_LAUNCHES) fake.preparations[fake.prepared] = keep(launch);
    fake.prepared++;
    return NORMA_OK;
}

static void fake_discard(norma_device *device, norma_launch *launch) {
    (void)device;
    free(launch->native);
    fake.live_launches--;
}

static norma_status fake_run(norma_device *device, const norma_launch *launch) {
    (void)device;
    const norma_status status = count_call("launch");
    if (status) return status;
    if (fake.launched < FAKE_MAX_LAUNCHES) fake.launches[fake.launched] = keep(launch);
    fake.launched++;
    const int64_t rows = launch->problem->batch * launch->problem->m;
    fake.clock_us += fake.us[launch->kernel] * (double)rows;
    if (rows > fake.most_rows[launch->kernel]) fake.most_rows[launch->kernel] = rows;
    if (launch->workspace_bytes)
        memset((char *)launch->workspace.data + launch->workspace.offset_bytes, 0xa5, launch->workspace_bytes);
    if (fake.compute) norma_reference_run(launch->problem);
    return NORMA_OK;
}

static norma_status fake_sync(norma_device *device) {
    (void)device;
    fake.synchronized++;
    return count_call("sync");
}

static void fake_versions(norma_device *device, char *text, size_t text_bytes) {
    (void)device;
    snprintf(text, text_bytes, "%s", fake.versions ? fake.versions : "");
}

static bool fake_capturing(norma_device *device) {
    (void)device;
    return fake.capturing;
}

typedef struct fake_recording {
    norma_work_fn work;
    void *user;
} fake_recording;

static norma_status fake_record(norma_device *device, norma_work_fn work, void *user, void **out_recording) {
    (void)device;
    const norma_status status = count_call("record");
    if (status) return status;
    fake_recording *made = malloc(sizeof *made);
    if (!made) return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory for a fake recording");
    *made = (fake_recording){work, user};
    fake.live_recordings++;
    *out_recording = made;
    return NORMA_OK;
}

static norma_status fake_replay(norma_device *device, void *recording, double *out_us) {
    (void)device;
    norma_status status = count_call("replay");
    if (status) return status;
    const fake_recording *made = recording;
    const double begin_us = fake.clock_us;
    fake.replayed++;
    status = made->work(made->user);
    *out_us = fake.clock_us - begin_us;
    return status;
}

static void fake_forget(norma_device *device, void *recording) {
    (void)device;
    free(recording);
    fake.live_recordings--;
}

const norma_backend fake_backend = {
    .name = "fake",
    .probe = fake_probe,
    .describe = fake_describe,
    .open = fake_open,
    .close = fake_close,
    .alloc = fake_alloc,
    .release = fake_release,
    .upload = fake_upload,
    .download = fake_download,
    .prepare = fake_prepare,
    .discard = fake_discard,
    .launch = fake_run,
    .sync = fake_sync,
    .versions = fake_versions,
    .capturing = fake_capturing,
    .record = fake_record,
    .replay = fake_replay,
    .forget = fake_forget,
};

norma_status fake_context_create(norma_context **out_context) {
    norma_open_desc desc = {.index = 0};
    const norma_status status = norma_logger_init(&desc.log, NORMA_LOG_ERROR, NULL, NULL);
    return status ? status : norma_context_create_on(&fake_backend, &desc, out_context);
}

void fake_expect_nothing_live(const char *label) {
    if (fake.live_devices || fake.live_buffers || fake.live_launches || fake.live_recordings)
        fail_msg("%s: %d devices, %d buffers, %d launches and %d recordings have leaked", label, fake.live_devices,
                 fake.live_buffers, fake.live_launches, fake.live_recordings);
}

int fake_begin(void **state) {
    fake_reset();
    unsetenv("NORMA_KERNEL");
    unsetenv("NORMA_BATCH_INVARIANT");
    unsetenv("NORMA_TIME_ROUTES");
    norma_context *context;
    EXPECT_OK(fake_context_create(&context));
    *state = context;
    return 0;
}

int fake_end(void **state) {
    norma_context_destroy(*state);
    fake_expect_nothing_live("at the end");
    return 0;
}
