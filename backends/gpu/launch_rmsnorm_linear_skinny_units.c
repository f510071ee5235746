/* Launches rmsnorm_linear_skinny on AMD: how W is dealt out to blocks and waves. The picture is in
 * kernels_cuda/skinny_units.cuh. It takes x and W of one dtype with K contiguous in whole pieces of 16 bytes, at any
 * address, and leaves the rest to other kernels. */
#include "gpu.h"

#include <stdio.h>

#include "../dtype.h"

enum {
    WAVES = 16, /* the most of a block */
    STEPS = 8,  /* of a wave, of one piece for each lane and a tile's columns */
    COLUMNS = 16,
    ROWS = 16,
    PIECE_BYTES = 16,
    TILE_BYTES = COLUMNS * ROWS * 4,      /* sums */
    SQUARE_BYTES = (WAVES + 1) * ROWS * 4 /* and rstd */
};

static norma_status refuse(const char *why) {
    return norma_fail(NORMA_ERROR_UNSUPPORTED, "rmsnorm_linear_skinny: %s", why);
}

static norma_status check(const norma_problem *problem) {
    const norma_layout *x = &problem->x.layout;
    if (norma_tensor_present(&problem->residual)) return refuse("a residual is added by another kernel");
    if (problem->batch * problem->m > ROWS) return refuse("too many rows");
    if (x->col_stride != 1) return refuse("x's rows are not contiguous");
    if (problem->k % (PIECE_BYTES / (int64_t)norma_dtype_bytes(x->dtype)) != 0)
        return refuse("K is no multiple of 16 bytes");
    if (problem->k > INT32_MAX / 64 || norma_problem_columns(problem) > INT32_MAX / 64) return refuse("too large");
    for (int p = 0; p < problem->parts; p++) {
        const norma_layout *weight = &problem->part[p].weight.layout;
        if (weight->dtype != x->dtype) return refuse("a weight of another dtype than x");
        if (weight->row_stride != 1) return refuse("a weight whose columns are not contiguous");
    }
    return NORMA_OK;
}

/* Deals out columns and K; returns the bytes of shared memory. */
static int64_t place(const gpu_device *device, const norma_problem *problem, norma_skinny_params *params) {
    const int width = PIECE_BYTES / (int)norma_dtype_bytes(problem->x.layout.dtype);
    const int wave_k = device->base.limits.lanes / COLUMNS * width * STEPS;
    const int64_t waves = norma_ceil_div(problem->k, wave_k), columns = norma_problem_columns(problem);
    params->phases = (int)norma_ceil_div(waves, WAVES);
    params->waves = (int)norma_ceil_div(waves, params->phases);
    /* A unit holds two blocks of a few waves. */
    const int64_t resident = params->waves <= WAVES / 2 ? 2 : 1;
    const int64_t blocks = norma_index_min(columns, device->base.limits.units * resident);
    params->block_tiles = (int)norma_ceil_div(columns, COLUMNS * blocks);
    params->tiles = (int)blocks * params->block_tiles;
    params->each = (int)columns / params->tiles;
    params->longer = (int)columns % params->tiles;
    return SQUARE_BYTES + 2 * WAVES * TILE_BYTES + (params->phases > 1 ? (int64_t)params->block_tiles * TILE_BYTES : 0);
}

static norma_skinny_params params_of(const norma_problem *problem) {
    const bool deferred = problem->contract == NORMA_ROUND_DEFERRED, gamma = norma_tensor_present(&problem->gamma);
    return (norma_skinny_params){
        .linear = norma_gpu_linear_params(problem),
        .steps = STEPS,
        .batch = 1,
        .split = 1,
        .normalise = !deferred || (problem->x.layout.dtype == NORMA_F16 && gamma),
    };
}

static norma_status prepare(gpu_device *device, norma_launch *launch) {
    const norma_problem *problem = launch->problem;
    const norma_status status = check(problem);
    if (status) return status;
    norma_skinny_params params = params_of(problem);
    if (place(device, problem, &params) > device->base.limits.shared_bytes) return refuse("shared memory is too small");
    char name[64];
    (void)snprintf(name, sizeof name, "rmsnorm_linear_skinny_units_%s", norma_dtype_name(problem->x.layout.dtype));
    return norma_gpu_find(device, name, 0, &launch->native);
}

/* The function belongs to the module. */
static void discard(gpu_device *device, norma_launch *launch) {
    (void)device;
    launch->native = NULL;
}

static norma_status enqueue(gpu_device *device, const norma_launch *launch) {
    norma_skinny_params params = params_of(launch->problem);
    const int64_t shared = place(device, launch->problem, &params);
    const gpu_kernel kernel = {
        .function = launch->native,
        .grid = {(unsigned)(params.tiles / params.block_tiles), 1, 1},
        .block = {(unsigned)(params.waves * device->base.limits.lanes), 1, 1},
        .shared_bytes = (unsigned)shared,
    };
    return norma_gpu_enqueue(device, &kernel, &params, sizeof params);
}

const gpu_operation norma_gpu_rmsnorm_linear_skinny_units = {
    .kernel = NORMA_KERNEL_RMSNORM_LINEAR_SKINNY,
    .prepare = prepare,
    .launch = enqueue,
    .discard = discard,
};
