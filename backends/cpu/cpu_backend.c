/* The CPU backend: one device, the processors that this process may run on and is granted. A launch has finished when
 * launch() returns, so a stream, events and recordings are nothing but the functions themselves. After fork() a context
 * works on in the child, on the calling thread alone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../blas/cblas.h"
#include "cpu_device.h"
#include "processors.h"
#include "reference.h"
#include "stage.h"

enum { ALIGN_BYTES = 256 };

static norma_status run_reference(const norma_cpu_launch *launch) {
    norma_reference_run(launch->problem);
    return NORMA_OK;
}

static norma_status check_nothing(const norma_cpu_launch *launch) {
    (void)launch;
    return NORMA_OK;
}

static const norma_cpu_kernel reference = {.check = check_nothing, .run = run_reference};

static const norma_cpu_kernel *const kernels[NORMA_KERNEL_COUNT] = {
    [NORMA_KERNEL_REFERENCE] = &reference,
    [NORMA_KERNEL_RMSNORM_ROWS] = &norma_cpu_rmsnorm_rows,
    [NORMA_KERNEL_RMSNORM_LINEAR_SKINNY] = &norma_cpu_rmsnorm_linear_skinny,
    [NORMA_KERNEL_RMSNORM_LINEAR_TILED] = &norma_cpu_rmsnorm_linear_tiled,
    [NORMA_KERNEL_LINEAR_BLAS] = &norma_cpu_linear_blas,
    [NORMA_KERNEL_FOLD_GAMMA] = &norma_cpu_fold_gamma,
    [NORMA_KERNEL_RMSNORM_ROWS_BACKWARD] = &norma_cpu_rmsnorm_rows_backward,
    [NORMA_KERNEL_COLUMN_SUMS] = &norma_cpu_column_sums,
    [NORMA_KERNEL_STREAM] = &norma_cpu_stream,
};

static norma_cpu_device *cpu(norma_device *device) {
    return (norma_cpu_device *)device;
}

static uint64_t memory_bytes(void) {
    const long pages = sysconf(_SC_PHYS_PAGES);
    const long page_bytes = sysconf(_SC_PAGESIZE);
    return pages > 0 && page_bytes > 0 ? (uint64_t)pages * (uint64_t)page_bytes : 0;
}

static int64_t cache_bytes(void) {
#if defined(_SC_LEVEL3_CACHE_SIZE)
    const long level3 = sysconf(_SC_LEVEL3_CACHE_SIZE);
    if (level3 > 0) return level3;
    const long level2 = sysconf(_SC_LEVEL2_CACHE_SIZE);
    if (level2 > 0) return level2;
#endif
    return 0;
}

/* The processor's name as the kernel tells it. */
static void processor_name(char *name, size_t bytes) {
    snprintf(name, bytes, "CPU");
    FILE *file = fopen("/proc/cpuinfo", "r");
    if (!file) return;
    char line[256];
    while (fgets(line, sizeof line, file)) {
        if (strncmp(line, "model name", 10) != 0) continue;
        const char *value = strchr(line, ':');
        if (!value) continue;
        value += 1 + strspn(value + 1, " \t");
        snprintf(name, bytes, "%.*s", (int)strcspn(value, "\n"), value);
        break;
    }
    fclose(file);
}

static void cpu_probe(norma_backend_info *out_info) {
    out_info->built = 1;
    out_info->devices = 1;
    snprintf(out_info->detail, sizeof out_info->detail, "%d threads, %s kernels", norma_processor_count(),
             norma_simd_best()->name);
}

static norma_status cpu_describe(int index, norma_device_info *out_info) {
    out_info->backend = norma_backend_cpu.name;
    out_info->index = index;
    out_info->compute_units = norma_processor_count();
    out_info->memory_bytes = memory_bytes();
    processor_name(out_info->name, sizeof out_info->name);
    snprintf(out_info->arch, sizeof out_info->arch, "%s", norma_simd_best()->name);
    return NORMA_OK;
}

static void set_simd(norma_cpu_device *device, const simd_table *simd) {
    device->simd = simd;
    device->base.limits.target = simd->target;
    device->base.limits.lanes = simd->lanes;
}

static norma_status cpu_open(const norma_open_desc *desc, norma_device **out_device) {
    norma_cpu_device *device = calloc(1, sizeof *device);
    if (!device) return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no memory for a device");
    device->threads = norma_threads_create(desc->threads > 0 ? desc->threads : norma_processor_count());
    if (!device->threads) {
        free(device);
        return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no memory for %d threads", desc->threads);
    }
    device->base.backend = &norma_backend_cpu;
    device->base.index = desc->index;
    device->base.log = desc->log;
    device->base.limits = (norma_limits){
        .units = norma_threads_count(device->threads),
        .max_threads = 1,
        .cache_bytes = cache_bytes(),
        .memory_bytes = (int64_t)memory_bytes(),
    };
    set_simd(device, norma_simd_best());
    *out_device = &device->base;
    return NORMA_OK;
}

static void cpu_close(norma_device *device) {
    norma_threads_destroy(cpu(device)->threads);
    free(cpu(device)->scratch);
    free(device);
}

static norma_status allocate(size_t bytes, char **out_data) {
    const size_t rounded = bytes <= SIZE_MAX - ALIGN_BYTES ? (bytes + ALIGN_BYTES) / ALIGN_BYTES * ALIGN_BYTES : 0;
    *out_data = rounded ? aligned_alloc(ALIGN_BYTES, rounded) : NULL;
    return *out_data ? NORMA_OK : norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no memory for %zu bytes", bytes);
}

static norma_status cpu_alloc(norma_device *device, size_t bytes, void **out_data) {
    (void)device;
    char *data;
    const norma_status status = allocate(bytes, &data);
    *out_data = data;
    return status;
}

static norma_status cpu_release(norma_device *device, void *data) {
    (void)device;
    free(data);
    return NORMA_OK;
}

static norma_status cpu_upload(norma_device *device, norma_buffer to, const void *from, size_t bytes) {
    (void)device;
    memcpy((char *)to.data + to.offset_bytes, from, bytes);
    return NORMA_OK;
}

static norma_status cpu_download(norma_device *device, void *to, norma_buffer from, size_t bytes) {
    (void)device;
    memcpy(to, (const char *)from.data + from.offset_bytes, bytes);
    return NORMA_OK;
}

float *norma_scratch_take(norma_scratch *scratch, int64_t rows, int64_t values) {
    size_t count, bytes;
    float *taken = scratch->base ? (float *)(void *)(scratch->base + scratch->bytes) : NULL;
    if (__builtin_mul_overflow((size_t)rows, (size_t)norma_padded(values), &count) ||
        __builtin_mul_overflow(count, sizeof(float), &bytes) ||
        __builtin_add_overflow(scratch->bytes, bytes, &scratch->bytes))
        scratch->bytes = SIZE_MAX;
    return taken;
}

static norma_cpu_launch launch_of(norma_device *device, const norma_launch *launch, const simd_table *simd) {
    return (norma_cpu_launch){
        .simd = simd,
        .threads = cpu(device)->threads,
        .problem = launch->problem,
        .tile = launch->tile,
        .scratch = cpu(device)->scratch,
    };
}

static norma_status grow_scratch(norma_cpu_device *device, size_t bytes) {
    if (bytes <= device->scratch_bytes) return NORMA_OK;
    char *larger;
    const norma_status status = allocate(bytes, &larger);
    if (status) return status;
    free(device->scratch);
    device->scratch = larger;
    device->scratch_bytes = bytes;
    return NORMA_OK;
}

static norma_status cpu_prepare(norma_device *device, norma_launch *launch) {
    const simd_table *simd = cpu(device)->simd;
    const norma_cpu_kernel *kernel = kernels[launch->kernel];
    const norma_cpu_launch own = launch_of(device, launch, simd);
    const norma_status status = kernel->check(&own);
    if (status) return status;
    launch->workspace_bytes = 0;
    launch->native = (void *)(uintptr_t)simd;
    return kernel->scratch_bytes ? grow_scratch(cpu(device), kernel->scratch_bytes(&own)) : NORMA_OK;
}

static void cpu_discard(norma_device *device, norma_launch *launch) {
    (void)device;
    launch->native = NULL;
}

static norma_status cpu_launch(norma_device *device, const norma_launch *launch) {
    const norma_cpu_launch own = launch_of(device, launch, launch->native);
    return kernels[launch->kernel]->run(&own);
}

static norma_status cpu_sync(norma_device *device) {
    (void)device;
    return NORMA_OK;
}

static void cpu_versions(norma_device *device, char *text, size_t text_bytes) {
    (void)device;
    const norma_cblas *blas = norma_cblas_get();
    snprintf(text, text_bytes, "%s, %s", blas ? blas->library : "no BLAS", blas && blas->config ? blas->config() : "");
}

typedef struct recording {
    norma_work_fn work;
    void *user;
} recording;

static norma_status cpu_record(norma_device *device, norma_work_fn work, void *user, void **out_recording) {
    (void)device;
    recording *made = malloc(sizeof *made);
    if (!made) return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no memory for a recording");
    *made = (recording){work, user};
    *out_recording = made;
    return NORMA_OK;
}

static double now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec * 1e-3;
}

static norma_status cpu_replay(norma_device *device, void *recorded, double *out_us) {
    (void)device;
    const recording *made = recorded;
    const double begin_us = now_us();
    const norma_status status = made->work(made->user);
    *out_us = now_us() - begin_us;
    return status;
}

static void cpu_forget(norma_device *device, void *recorded) {
    (void)device;
    free(recorded);
}

bool norma_cpu_force_target(norma_device *device, norma_target target) {
    const simd_table *simd = norma_simd_for(target);
    if (simd) set_simd(cpu(device), simd);
    return simd != NULL;
}

const norma_backend norma_backend_cpu = {
    .name = "cpu",
    .takes_native = false,
    .probe = cpu_probe,
    .describe = cpu_describe,
    .open = cpu_open,
    .close = cpu_close,
    .alloc = cpu_alloc,
    .release = cpu_release,
    .upload = cpu_upload,
    .download = cpu_download,
    .prepare = cpu_prepare,
    .discard = cpu_discard,
    .launch = cpu_launch,
    .sync = cpu_sync,
    .versions = cpu_versions,
    .record = cpu_record,
    .replay = cpu_replay,
    .forget = cpu_forget,
};
