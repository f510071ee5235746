/* Launches rmsnorm_linear_tiled: one work-group to a tile. The tile row is the one that the front chose, or, where the
 * device's local memory or its work-groups are too small for that, the next one that fits; the shape for CPUs, which needs
 * neither, comes last. A residual is not for this kernel: the front adds it in a launch of its own. */
#include <stdio.h>
#include <stdlib.h>

#include "opencl.h"

typedef struct tiled_native {
    const opencl_kernel *kernel;
    const norma_tile *tile;
} tiled_native;

/* The two tiles, with a line's end for each k, and rstd of the rows. */
static int64_t local_bytes(const norma_tile *tile) {
    if (tile->target == NORMA_TARGET_OPENCL_CPU) return 0;
    return 4 * ((int64_t)tile->bk * (tile->bm + 4 + tile->bn + 4) + tile->bm);
}

/* Builds a tile row's kernel; NORMA_ERROR_UNSUPPORTED if the device cannot run it. */
static norma_status find(opencl_device *device, const norma_tile *tile, tiled_native *native) {
    static const char stem[] = "rmsnorm_linear_tiled";
    const norma_limits *limits = &device->base.limits;
    char options[128];
    if (local_bytes(tile) > limits->shared_bytes || tile->threads > limits->max_threads)
        return norma_fail(NORMA_ERROR_UNSUPPORTED, "device %d is too small for %s", device->base.index, tile->name);
    native->tile = tile;
    if (tile->target == NORMA_TARGET_OPENCL_CPU) return opencl_find_cpu(device, stem, &native->kernel);
    snprintf(options, sizeof options, "-DBM=%d -DBN=%d -DBK=%d -DTM=%d -DTN=%d -DTHREADS=%d", tile->bm, tile->bn, tile->bk,
             tile->tm, tile->tn, tile->threads);
    const norma_status status = opencl_find(device, stem, stem, options, &native->kernel);
    if (status || (size_t)tile->threads <= native->kernel->max_threads) return status;
    return norma_fail(NORMA_ERROR_UNSUPPORTED, "device %d runs work-groups of %zu of %s", device->base.index,
                      native->kernel->max_threads, tile->name);
}

static norma_status prepare(opencl_device *device, norma_launch *launch) {
    if (norma_tensor_present(&launch->problem->residual))
        return norma_fail(NORMA_ERROR_UNSUPPORTED, "rmsnorm_linear_tiled takes no residual");
    tiled_native *native = calloc(1, sizeof *native);
    if (!native) return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory for a launch");
    launch->native = native;
    norma_status status = find(device, launch->tile, native);
    for (const norma_tile *tile = launch->tile + 1;
         status == NORMA_ERROR_UNSUPPORTED && tile < norma_tiles + NORMA_TILE_COUNT && tile->target == launch->tile->target;
         tile++)
        status = find(device, tile, native);
    return status == NORMA_ERROR_UNSUPPORTED ? find(device, &norma_tiles[NORMA_TILE_opencl_cpu_small], native) : status;
}

static norma_status enqueue(opencl_device *device, const norma_launch *launch) {
    const tiled_native *native = launch->native;
    norma_cl_linear params = opencl_linear_params(launch->problem);
    params.tile_rows = native->tile->bm;
    params.tile_columns = native->tile->bn;
    norma_index n[NORMA_MAX_PARTS] = {0};
    for (int p = 0; p < params.parts; p++) n[p] = params.part[p].n;
    const int64_t tiles =
        norma_ceil_div(params.norm.rows, native->tile->bm) * norma_col_tiles(n, params.parts, native->tile->bn);
    opencl_argument arguments[OPENCL_LINEAR_ARGUMENTS];
    opencl_linear_arguments(launch->problem, &params, sizeof params, arguments);
    return opencl_enqueue(device, native->kernel, tiles, native->tile->threads, arguments, OPENCL_LINEAR_ARGUMENTS);
}

const opencl_operation opencl_rmsnorm_linear_tiled = {
    .kernel = NORMA_KERNEL_RMSNORM_LINEAR_TILED,
    .prepare = prepare,
    .launch = enqueue,
};
