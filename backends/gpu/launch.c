/* Launches: from a kernel's identifier to the file that knows its geometry, and from there to the driver. */
#include "device.h"

#include <stdlib.h>

const gpu_operation *norma_gpu_operation_for(const gpu_platform *platform, norma_kernel kernel) {
    const gpu_operation *const operations[] = {&norma_gpu_rmsnorm_rows,
                                               platform->linear_skinny,
                                               &norma_gpu_rmsnorm_linear_tiled,
                                               &norma_gpu_rmsnorm_linear_hopper,
                                               &norma_gpu_rmsnorm_linear_narrow,
                                               &norma_gpu_fold_gamma,
                                               &norma_gpu_rmsnorm_rows_backward,
                                               &norma_gpu_column_sums,
                                               &norma_gpu_linear_split,
                                               &norma_gpu_stream,
                                               platform->linear_blas};
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++)
        if (operations[i] && operations[i]->kernel == kernel) return operations[i];
    return NULL;
}

/* Frees what an operation's prepare() left in launch->native, also when it failed half way. */
static void discard_native(gpu_device *device, const gpu_operation *operation, norma_launch *launch) {
    if (!launch->native) return;
    if (operation->discard)
        operation->discard(device, launch);
    else
        free(launch->native);
    launch->native = NULL;
}

norma_status norma_gpu_prepare(norma_device *base, norma_launch *launch) {
    gpu_device *device = (gpu_device *)base;
    const gpu_operation *operation = norma_gpu_operation_for(device->platform, launch->kernel);
    if (!operation)
        return norma_fail(NORMA_ERROR_UNSUPPORTED, "backend %s has no kernel %s", base->backend->name,
                          norma_kernel_name(launch->kernel));
    void *previous;
    norma_status status = norma_gpu_enter(device, &previous);
    if (status) return status;
    const int mode = norma_gpu_relax(device);
    launch->native = NULL;
    launch->workspace_bytes = 0;
    launch->max_rows = 0;
    status = operation->prepare(device, launch);
    if (status) discard_native(device, operation, launch);
    norma_gpu_strict(device, mode);
    norma_gpu_leave(device, previous);
    return status;
}

void norma_gpu_discard(norma_device *base, norma_launch *launch) {
    gpu_device *device = (gpu_device *)base;
    void *previous;
    const bool entered = norma_gpu_enter(device, &previous) == NORMA_OK;
    discard_native(device, norma_gpu_operation_for(device->platform, launch->kernel), launch);
    if (entered) norma_gpu_leave(device, previous);
}

norma_status norma_gpu_launch(norma_device *base, const norma_launch *launch) {
    gpu_device *device = (gpu_device *)base;
    void *previous;
    norma_status status = norma_gpu_enter(device, &previous);
    if (status) return status;
    status = norma_gpu_check_addresses(device, launch->problem);
    if (!status) status = norma_gpu_operation_for(device->platform, launch->kernel)->launch(device, launch);
    norma_gpu_leave(device, previous);
    return status;
}

int64_t norma_gpu_most_blocks(const gpu_device *device, int threads) {
    return norma_index_min(INT32_MAX, device->base.limits.grid_threads / threads);
}

static norma_status enqueue_extended(gpu_device *device, const gpu_kernel *kernel, void **arguments) {
    gpu_launch_attribute attributes[2];
    gpu_launch_config config = {
        .grid = {kernel->grid[0], kernel->grid[1], kernel->grid[2]},
        .block = {kernel->block[0], kernel->block[1], kernel->block[2]},
        .shared_bytes = kernel->shared_bytes,
        .stream = device->stream,
        .attributes = attributes,
    };
    if (kernel->cluster > 1)
        attributes[config.attribute_count++] =
            (gpu_launch_attribute){.id = GPU_LAUNCH_CLUSTER, .value.cluster = {kernel->cluster, 1, 1}};
    if (kernel->overlap)
        attributes[config.attribute_count++] = (gpu_launch_attribute){.id = GPU_LAUNCH_OVERLAP, .value.allowed = 1};
    return GPU_CALL(device->driver, launch_extended, &config, kernel->function, arguments, NULL);
}

bool norma_gpu_launches_clusters(const gpu_device *device) {
    return device->driver->launch_extended && device->arch >= device->platform->extended_arch;
}

norma_status norma_gpu_enqueue(gpu_device *device, const gpu_kernel *kernel, const void *params, size_t params_bytes) {
    const gpu_driver *driver = device->driver;
    if (norma_log_enabled(&device->base.log, NORMA_LOG_DEBUG))
        norma_log(&device->base.log, NORMA_LOG_DEBUG,
                  "%s: grid %ux%ux%u, block %ux%ux%u, shared %u bytes, cluster %u, overlap %d, arguments %zu bytes",
                  norma_gpu_function_name(device, kernel->function), kernel->grid[0], kernel->grid[1], kernel->grid[2],
                  kernel->block[0], kernel->block[1], kernel->block[2], kernel->shared_bytes, kernel->cluster,
                  kernel->overlap, params_bytes);
    void *arguments[] = {(void *)params};
    /* Overlap is only a permission: where there is none, it is dropped. */
    if (norma_gpu_launches_clusters(device) && (kernel->cluster > 1 || kernel->overlap))
        return enqueue_extended(device, kernel, arguments);
    if (kernel->cluster > 1)
        return norma_fail(NORMA_ERROR_UNSUPPORTED, "%s asks for a cluster, which device %d does not offer",
                          norma_gpu_function_name(device, kernel->function), device->base.index);
    return GPU_CALL(driver, launch, kernel->function, kernel->grid[0], kernel->grid[1], kernel->grid[2], kernel->block[0],
                    kernel->block[1], kernel->block[2], kernel->shared_bytes, device->stream, arguments, NULL);
}
