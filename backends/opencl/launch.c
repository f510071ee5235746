/* prepare, discard and launch: finds the kernel's operation, and enqueues for it. */
#include <inttypes.h>
#include <stdlib.h>

#include "opencl.h"

static const opencl_operation *operation_for(norma_kernel kernel) {
    static const opencl_operation *const operations[] = {
        &norma_opencl_rmsnorm_rows,         &norma_opencl_rmsnorm_linear_skinny,
        &norma_opencl_rmsnorm_linear_tiled, &norma_opencl_linear_blas,
        &norma_opencl_fold_gamma,           &norma_opencl_rmsnorm_rows_backward,
        &norma_opencl_column_sums,          &norma_opencl_stream};
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++)
        if (operations[i]->kernel == kernel) return operations[i];
    return NULL;
}

norma_status norma_opencl_prepare(norma_device *base, norma_launch *launch) {
    const opencl_operation *operation = operation_for(launch->kernel);
    if (!operation)
        return norma_fail(NORMA_ERROR_UNSUPPORTED, "backend opencl has no kernel %s", norma_kernel_name(launch->kernel));
    const norma_status status = operation->prepare((opencl_device *)base, launch);
    if (status) norma_opencl_discard(base, launch);
    return status;
}

void norma_opencl_discard(norma_device *base, norma_launch *launch) {
    (void)base;
    free(launch->native);
    launch->native = NULL;
}

norma_status norma_opencl_launch(norma_device *base, const norma_launch *launch) {
    return operation_for(launch->kernel)->launch((opencl_device *)base, launch);
}

norma_status norma_opencl_enqueue(opencl_device *device, const opencl_kernel *kernel, int64_t groups, int64_t threads,
                                  const opencl_argument *arguments, int count) {
    if (norma_log_enabled(&device->base.log, NORMA_LOG_DEBUG))
        norma_log(&device->base.log, NORMA_LOG_DEBUG, "%s: %" PRId64 " work-groups of %" PRId64, kernel->name, groups,
                  threads);
    for (int i = 0; i < count; i++) {
        const norma_status status =
            OPENCL_CALL(device->api, SetKernelArg, kernel->handle, (cl_uint)i, arguments[i].bytes, arguments[i].value);
        if (status) return status;
    }
    const size_t global = (size_t)(groups * threads), local = (size_t)threads;
    cl_event event = NULL;
    const norma_status status = OPENCL_CALL(device->api, EnqueueNDRangeKernel, device->queue, kernel->handle, 1, NULL,
                                            &global, &local, 0, NULL, norma_opencl_wants_event(device) ? &event : NULL);
    if (event) norma_opencl_keep_event(device, event);
    return status;
}
