/* Launches rmsnorm_linear_tiled: one block to a tile. Three choices name the kernel: the engine by the dtypes, the tile row
 * by the shape, and the way of loading by strides and addresses, which are known for certain only when it is launched. A
 * residual is not for this kernel: the front adds it in a launch of its own. */
#include <stdio.h>
#include <stdlib.h>

#include "../dtype.h"
#include "device.h"

/* A kernel and its tile row. */
typedef struct tiled_kernel {
    void *function; /* NULL: the strides rule it out */
    const norma_tile *tile;
} tiled_kernel;

typedef struct tiled_native {
    tiled_kernel vectors;  /* reads 16 aligned bytes at a time */
    tiled_kernel elements; /* reads anything */
    bool columns;          /* vectors takes weights whose columns are contiguous, (N, K) */
} tiled_native;

static norma_dtype half_of_all(const norma_problem *problem) {
    const norma_dtype dtype = problem->x.layout.dtype;
    for (int p = 0; p < problem->parts; p++)
        if (problem->part[p].weight.layout.dtype != dtype) return NORMA_NONE;
    return dtype == NORMA_F16 || dtype == NORMA_BF16 ? dtype : NORMA_NONE;
}

static bool aligned(const norma_tensor *tensor, int64_t stride) {
    const int64_t bytes = (int64_t)norma_dtype_bytes(tensor->layout.dtype);
    const uintptr_t address = (uintptr_t)tensor->buffer.data + tensor->buffer.offset_bytes;
    return stride * bytes % 16 == 0 && tensor->layout.batch_stride * bytes % 16 == 0 && address % 16 == 0;
}

/* What K, and N for weights (K, N), must be a multiple of for the vector kernels. CUDA's copies of halves end where they are
 * told. */
static int64_t whole_vectors(const gpu_device *device, const norma_problem *problem) {
    if (problem->x.layout.dtype == NORMA_F32) return 4;
    return device->platform->target == NORMA_TARGET_CUDA ? 1 : 8;
}

/* Whether everything lies as the vector kernels need it, weights (N, K) if `columns`, else (K, N). Absent addresses count as
 * aligned. */
static bool suits_vectors(const gpu_device *device, const norma_problem *problem, bool columns) {
    const int64_t whole = whole_vectors(device, problem);
    if (problem->x.layout.col_stride != 1 || !aligned(&problem->x, problem->x.layout.row_stride)) return false;
    if (problem->k % whole != 0) return false;
    for (int p = 0; p < problem->parts; p++) {
        const norma_part *part = &problem->part[p];
        const norma_layout *weight = &part->weight.layout;
        if (weight->dtype != problem->x.layout.dtype) return false;
        if ((columns ? weight->row_stride : weight->col_stride) != 1) return false;
        if (!aligned(&part->weight, columns ? weight->col_stride : weight->row_stride)) return false;
        if (!columns && part->n % whole != 0) return false;
    }
    return true;
}

/* The tile row that the front chose, if it is one for these dtypes: it may have seen the first part's alone. */
static const norma_tile *tile_for(const gpu_device *device, const norma_launch *launch, norma_dtype half) {
    const norma_dtype dtype = half ? half : NORMA_F32;
    const norma_target target = norma_tile_target(dtype, dtype, &device->base.limits);
    if (launch->tile && launch->tile->target == target) return launch->tile;
    const norma_problem *problem = launch->problem;
    const norma_shape shape = {.rows = norma_problem_tile_rows(problem, problem->batch * problem->m),
                               .k = problem->k,
                               .n = norma_problem_columns(problem),
                               .x_dtype = dtype,
                               .weight_dtype = dtype};
    const char *reason;
    return norma_tile_select(NORMA_KERNEL_RMSNORM_LINEAR_TILED, &shape, &device->base.limits, &reason);
}

/* Copies of a K step, rstd of the rows, and the place. */
static unsigned shared_bytes(const norma_tile *tile) {
    const int element_bytes = tile->target == NORMA_TARGET_CUDA || tile->target == NORMA_TARGET_HIP ? 4 : 2;
    return (unsigned)(tile->stages * (tile->bm + tile->bn) * tile->bk * element_bytes + tile->bm * 4) +
           (unsigned)sizeof(norma_tile_place);
}

static norma_status find(gpu_device *device, const norma_tile *tile, const char *suffix, tiled_kernel *out_kernel) {
    char name[96];
    snprintf(name, sizeof name, "rmsnorm_linear_tiled_%s_%s", tile->name, suffix);
    out_kernel->tile = tile;
    return norma_gpu_find(device, name, shared_bytes(tile), &out_kernel->function);
}

/* The one row of a target that comes with a kernel for all strides and dtypes. */
static const norma_tile *elements_tile(norma_target target) {
    static const norma_tile_id ids[NORMA_TARGET_COUNT] = {
        [NORMA_TARGET_CUDA] = NORMA_TILE_cuda_fma_small,
        [NORMA_TARGET_CUDA_MATRIX] = NORMA_TILE_cuda_matrix_medium,
        [NORMA_TARGET_HIP] = NORMA_TILE_hip_fma,
        [NORMA_TARGET_HIP_WAVE64] = NORMA_TILE_hip_wave64_small,
        [NORMA_TARGET_HIP_WAVE32] = NORMA_TILE_hip_wave32_small,
    };
    return &norma_tiles[ids[target]];
}

static norma_status find_all(gpu_device *device, const norma_launch *launch, tiled_native *native) {
    const norma_dtype half = half_of_all(launch->problem);
    const norma_dtype dtype = half ? half : NORMA_F32;
    char suffix[16];
    norma_status status = NORMA_OK;
    native->columns = suits_vectors(device, launch->problem, true);
    if (native->columns || suits_vectors(device, launch->problem, false)) {
        snprintf(suffix, sizeof suffix, "%s_%s", norma_dtype_name(dtype), native->columns ? "nk" : "kn");
        status = find(device, tile_for(device, launch, half), suffix, &native->vectors);
        if (status) return status;
    }
    snprintf(suffix, sizeof suffix, half ? "%s_any" : "any", norma_dtype_name(dtype));
    const norma_tile *any = elements_tile(norma_tile_target(dtype, dtype, &device->base.limits));
    return find(device, any, suffix, &native->elements);
}

static int64_t col_tiles(const norma_problem *problem, const norma_tile *tile) {
    norma_index n[NORMA_MAX_PARTS] = {0};
    for (int p = 0; p < problem->parts; p++) n[p] = problem->part[p].n;
    return norma_col_tiles(n, problem->parts, tile->bn);
}

static int64_t most_rows(const gpu_device *device, const norma_problem *problem, const tiled_kernel *kernel) {
    if (!kernel->function) return INT64_MAX;
    const norma_tile *tile = kernel->tile;
    return norma_gpu_most_blocks(device, tile->threads) / col_tiles(problem, tile) * tile->bm;
}

static norma_status prepare(gpu_device *device, norma_launch *launch) {
    if (norma_tensor_present(&launch->problem->residual))
        return norma_fail(NORMA_ERROR_UNSUPPORTED, "rmsnorm_linear_tiled takes no residual");
    tiled_native *native = calloc(1, sizeof *native);
    if (!native) return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory for a launch");
    launch->native = native;
    const norma_status status = find_all(device, launch, native);
    if (status) return status;
    launch->max_rows = norma_index_min(most_rows(device, launch->problem, &native->vectors),
                                       most_rows(device, launch->problem, &native->elements));
    return launch->max_rows ? NORMA_OK : norma_fail(NORMA_ERROR_UNSUPPORTED, "rmsnorm_linear_tiled: too many columns");
}

static norma_status enqueue(gpu_device *device, const norma_launch *launch) {
    const tiled_native *native = launch->native;
    const bool vectors = native->vectors.function && suits_vectors(device, launch->problem, native->columns);
    const tiled_kernel *chosen = vectors ? &native->vectors : &native->elements;
    norma_linear_params params = norma_gpu_linear_params(launch->problem);
    params.plain = norma_problem_is_plain(launch->problem);
    params.accumulate = launch->problem->accumulate;

    const int64_t tiles = norma_ceil_div(params.norm.rows, chosen->tile->bm) * col_tiles(launch->problem, chosen->tile);
    const gpu_kernel kernel = {
        .function = chosen->function,
        .grid = {(unsigned)tiles, 1, 1},
        .block = {(unsigned)chosen->tile->threads, 1, 1},
        .shared_bytes = shared_bytes(chosen->tile),
        .overlap = true,
    };
    return norma_gpu_enqueue(device, &kernel, &params, sizeof params);
}

const gpu_operation norma_gpu_rmsnorm_linear_tiled = {
    .kernel = NORMA_KERNEL_RMSNORM_LINEAR_TILED,
    .prepare = prepare,
    .launch = enqueue,
};
