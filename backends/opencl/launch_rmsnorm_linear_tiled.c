/* Launches rmsnorm_linear_tiled: one work-group to a tile. The shape follows from the device, and on NVIDIA's from the
 * dtypes too: the matrix units of sm_90a, those of every device, or multiply-adds. The tile row is the one that the shapes
 * call for, or, where the device's local memory or its work-groups are too small for that, the next one that fits; then the
 * smallest in fewer threads; the shape for CPUs, which needs neither local memory nor work-groups, comes last. A residual is
 * not for this kernel: the front adds it in a launch of its own. */
#include <stdio.h>
#include <stdlib.h>

#include "../dtype.h"
#include "matrix.h"

static const char stem[] = "rmsnorm_linear_tiled";

/* The fewest that a tile's loads can be shared out to. */
enum { LEAST_THREADS = 8 };

/* Rows of y that a launch keeps at a time, in bytes. */
enum { Y_BYTES = 128 << 20 };

/* Past this K matrix units' sums for fp32 outputs are made in pieces (CHAIN of tiled_matrix.clh). */
enum { CHAIN_K = 2048 };

typedef struct tiled_kernel {
    opencl_kernel *kernel;
    norma_tile tile;
} tiled_kernel;

/* `main` takes every operand, but in the shape for NVIDIA's those in chunks. `gather` then takes the others, once there were
 * any. */
typedef struct tiled_native {
    tiled_kernel main, gather;
    const norma_tile *nvidia; /* the tile row to begin with, in that shape; else NULL */
} tiled_native;

/* Copies of a K step, and without matrix units the rows' rstd. NVIDIA's driver tells of 48 KB, and takes kernels that have
 * all the local memory of sm_90: whether it does, their trial shows. */
static int64_t local_bytes(const norma_tile *tile) {
    if (tile->target == NORMA_TARGET_OPENCL_CPU || tile->target == NORMA_TARGET_OPENCL_SM90A) return 0;
    if (tile->target == NORMA_TARGET_OPENCL_NVIDIA) return 4 * (int64_t)tile->stages * tile->bk * (tile->bm + tile->bn);
    if (tile->target == NORMA_TARGET_OPENCL_MATRIX) return 2 * (int64_t)tile->stages * tile->bk * (tile->bm + tile->bn);
    return 4 * ((int64_t)tile->stages * tile->bk * (tile->bm + tile->bn) + tile->bm);
}

/* Builds a tile row's kernel; NORMA_ERROR_UNSUPPORTED if the device cannot run it. */
static norma_status find(opencl_device *device, const norma_problem *problem, const norma_tile *tile, const char *more,
                         tiled_kernel *out_kernel) {
    const norma_limits *limits = &device->base.limits;
    const opencl_dtypes dtypes = norma_opencl_dtypes_of(problem);
    char options[192];
    if (local_bytes(tile) > limits->shared_bytes || tile->threads > limits->max_threads)
        return norma_fail(NORMA_ERROR_UNSUPPORTED, "device %d is too small for %s", device->base.index, tile->name);
    out_kernel->tile = *tile;
    if (tile->target == NORMA_TARGET_OPENCL_CPU) return norma_opencl_find_cpu(device, stem, dtypes, &out_kernel->kernel);
    snprintf(options, sizeof options, "-DBM=%d -DBN=%d -DBK=%d -DTM=%d -DTN=%d -DTHREADS=%d -DSTAGES=%d%s", tile->bm,
             tile->bn, tile->bk, tile->tm, tile->tn, tile->threads, tile->stages, more);
    const norma_status status = norma_opencl_find(device, stem, stem, dtypes, options, &out_kernel->kernel);
    if (status || (size_t)tile->threads <= out_kernel->kernel->max_threads) return status;
    return norma_fail(NORMA_ERROR_UNSUPPORTED, "device %d runs work-groups of %zu of %s", device->base.index,
                      out_kernel->kernel->max_threads, tile->name);
}

/* `tile`, or the next row of its target that the device can run. */
static norma_status find_from(opencl_device *device, const norma_problem *problem, const norma_tile *tile, const char *more,
                              tiled_kernel *out_kernel) {
    norma_status status = NORMA_ERROR_UNSUPPORTED;
    for (const norma_tile *row = tile; status == NORMA_ERROR_UNSUPPORTED && row < norma_tiles + NORMA_TILE_COUNT &&
                                       row->target == tile->target && row->kernel == tile->kernel;
         row++)
        status = find(device, problem, row, more, out_kernel);
    return status;
}

/* The smallest tile of GPUs, in as many threads, each with as many rows of it, as the device can run: some drivers allow a
 * kernel fewer than they allow the device. */
static norma_status find_shrunk(opencl_device *device, const norma_problem *problem, tiled_kernel *out_kernel) {
    norma_tile tile = norma_tiles[NORMA_TILE_opencl_gpu_tiny];
    norma_status status = NORMA_ERROR_UNSUPPORTED;
    for (; status == NORMA_ERROR_UNSUPPORTED && tile.threads >= LEAST_THREADS; tile.threads /= 2, tile.tm *= 2)
        status = find(device, problem, &tile, "", out_kernel);
    return status;
}

static bool is_vector(const norma_tensor *tensor, int64_t stride) {
    return tensor->layout.dtype == NORMA_F32 && (stride | tensor->layout.batch_stride) % 4 == 0 &&
           tensor->buffer.offset_bytes % 16 == 0;
}

/* Whether fp32 x and weights lie in aligned groups of four, along K or, in weights, along N. */
static bool suits_vectors(const norma_problem *problem) {
    bool suits =
        problem->x.layout.col_stride == 1 && problem->k % 4 == 0 && is_vector(&problem->x, problem->x.layout.row_stride);
    for (int p = 0; p < problem->parts; p++) {
        const norma_part *part = &problem->part[p];
        const norma_layout *weight = &part->weight.layout;
        const bool along_n = weight->col_stride == 1;
        suits = suits && (along_n ? part->n % 4 == 0 : weight->row_stride == 1) &&
                is_vector(&part->weight, along_n ? weight->row_stride : weight->col_stride);
    }
    return suits;
}

/* ---- The shape for NVIDIA's: rmsnorm_rows leaves rstd or y, and a product follows ---- */

/* What x needs before the product: nothing; FORM_SQUARE, rstd for the sums; FORM_EXACT, y. */
static int form_of(const norma_problem *problem) {
    if (norma_problem_is_plain(problem)) return FORM_PLAIN;
    const bool scales_sums = problem->contract == NORMA_ROUND_DEFERRED && !norma_tensor_present(&problem->gamma);
    return scales_sums ? FORM_SQUARE : FORM_EXACT;
}

static bool folds(const norma_problem *problem) {
    bool any = false;
    for (int p = 0; p < problem->parts; p++) any = any || problem->part[p].out.layout.dtype == NORMA_F32;
    return any && problem->x.layout.dtype != NORMA_F32 && problem->k > CHAIN_K;
}

/* Whether W is contiguous along K, or taken so; else along N. */
static bool is_along_k(const norma_problem *problem) {
    return problem->part[0].weight.layout.col_stride != 1;
}

static bool is_fp32(const norma_problem *problem) {
    bool all = problem->x.layout.dtype == NORMA_F32;
    for (int p = 0; p < problem->parts; p++) all = all && problem->part[p].weight.layout.dtype == NORMA_F32;
    return all;
}

/* No more kernels of this tile row's target; says why in the log, and refuses. */
static norma_status give_up(opencl_device *device, const norma_tile *tile) {
    if (tile->target == NORMA_TARGET_OPENCL_MATRIX) return norma_opencl_matrix_give_up(device, tile->name);
    *(tile->target == NORMA_TARGET_OPENCL_SM90A ? &device->no_sm90a : &device->no_copies) = true;
    norma_log(&device->base.log, NORMA_LOG_WARN, "device %d of backend opencl: %s and its like are not used: %s",
              device->base.index, tile->name, norma_last_error());
    return norma_fail(NORMA_ERROR_UNSUPPORTED, "%s does not work on device %d", tile->name, device->base.index);
}

/* Rows of y begin with a chunk of 16 bytes. */
static norma_tensor y_of(const norma_problem *problem, norma_buffer workspace) {
    const norma_dtype dtype = problem->x.layout.dtype;
    const int64_t values = 16 / (int64_t)norma_dtype_bytes(dtype), stride = norma_ceil_div(problem->k, values) * values;
    norma_tensor y = {workspace, norma_layout_strided(dtype, stride, 1)};
    y.layout.batch_stride = problem->m * stride;
    return y;
}

static norma_tensor rstd_of(const norma_problem *problem, norma_buffer workspace) {
    if (norma_tensor_present(&problem->rstd)) return problem->rstd;
    norma_tensor rstd = {workspace, norma_layout_strided(NORMA_F32, 1, 1)};
    rstd.layout.batch_stride = problem->m;
    return rstd;
}

static norma_problem product_of(const norma_problem *problem, norma_buffer workspace) {
    norma_problem product = *problem;
    switch (form_of(problem)) {
    case FORM_PLAIN: break;
    case FORM_SQUARE: product.rstd = rstd_of(problem, workspace); break;
    default:
        product.op = NORMA_OP_LINEAR;
        product.x = y_of(problem, workspace);
        product.gamma = product.rstd = (norma_tensor){0};
    }
    return product;
}

/* What goes before; `launches`, or only finds the kernel. */
static norma_status norm_rows(opencl_device *device, const norma_problem *problem, norma_buffer workspace, bool launches) {
    const int form = form_of(problem);
    if (form == FORM_PLAIN) return NORMA_OK;
    norma_problem rows = *problem;
    rows.op = NORMA_OP_RMSNORM;
    rows.parts = rows.desc_parts = 0;
    rows.out = form == FORM_SQUARE ? (norma_tensor){0} : y_of(problem, workspace);
    if (form == FORM_SQUARE) rows.rstd = rstd_of(problem, workspace);
    norma_launch launch = {.kernel = NORMA_KERNEL_RMSNORM_ROWS, .problem = &rows};
    norma_status status = norma_opencl_prepare(&device->base, &launch);
    if (!status && launches) status = norma_opencl_launch(&device->base, &launch);
    norma_opencl_discard(&device->base, &launch);
    return status;
}

/* What the launch needs for that, and how many rows it then takes at a time. */
static void size_workspace(norma_launch *launch) {
    const norma_problem *problem = launch->problem;
    const int64_t rows = problem->batch * problem->m;
    const int form = form_of(problem);
    if (form == FORM_SQUARE && !norma_tensor_present(&problem->rstd)) launch->workspace_bytes = (size_t)rows * sizeof(float);
    if (form != FORM_EXACT) return;
    const norma_layout y = y_of(problem, (norma_buffer){0}).layout;
    const int64_t row_bytes = y.row_stride * (int64_t)norma_dtype_bytes(y.dtype);
    launch->max_rows = norma_ceil_div(Y_BYTES, row_bytes);
    launch->workspace_bytes = (size_t)(norma_index_min(rows, launch->max_rows) * row_bytes);
}

static norma_status enqueue_on(opencl_device *device, const tiled_kernel *kernel, const norma_problem *problem) {
    norma_cl_linear params = norma_opencl_linear_params(problem);
    params.tile_rows = kernel->tile.bm;
    params.tile_columns = kernel->tile.bn;
    params.vectors = suits_vectors(problem);
    norma_index n[NORMA_MAX_PARTS] = {0};
    for (int p = 0; p < params.parts; p++) n[p] = params.part[p].n;
    const int64_t tiles =
        norma_ceil_div(params.norm.rows, kernel->tile.bm) * norma_col_tiles(n, params.parts, kernel->tile.bn);
    opencl_argument arguments[OPENCL_LINEAR_ARGUMENTS];
    norma_opencl_linear_arguments(problem, &params, sizeof params, arguments);
    return norma_opencl_enqueue(device, kernel->kernel, tiles, kernel->tile.threads, arguments, OPENCL_LINEAR_ARGUMENTS);
}

/* A trial of sums that are scaled finds rstd itself. */
static norma_status enqueue_trial(opencl_device *device, const void *kernel, const norma_problem *problem) {
    const norma_status status = norm_rows(device, problem, problem->rstd.buffer, true);
    return status ? status : enqueue_on(device, kernel, problem);
}

/* The kernel of a tile row for NVIDIA's, or of one after it, for such a product, once it has shown that it works. */
static norma_status find_nvidia(opencl_device *device, const norma_problem *product, const norma_tile *tile, bool gathers,
                                tiled_kernel *out_kernel) {
    const bool along_k = is_along_k(product);
    char more[128];
    snprintf(more, sizeof more, " -DNORMA_MATRIX%s%s%s%s%s", norma_problem_is_plain(product) ? "" : " -DNORMA_SCALE",
             tile->target == NORMA_TARGET_OPENCL_SM90A ? OPENCL_SM90A : "", along_k ? "" : " -DN_CONTIGUOUS",
             gathers ? " -DNORMA_GATHER" : "", folds(product) ? " -DNORMA_FOLD" : "");
    const norma_status status = find_from(device, product, tile, more, out_kernel);
    if (status) return status;
    opencl_kernel *const kernel = out_kernel->kernel;
    if (!kernel->works) kernel->works = norma_opencl_matrix_works(device, product, along_k, enqueue_trial, out_kernel);
    if (kernel->works) return NORMA_OK;
    out_kernel->kernel = NULL;
    return norma_fail(NORMA_ERROR_DEVICE, "%s does not compute right on device %d", tile->name, device->base.index);
}

static norma_status prepare_nvidia(opencl_device *device, const norma_problem *problem, norma_target target,
                                   tiled_native *native) {
    const norma_shape shape = {.rows = norma_problem_tile_rows(problem, problem->batch * problem->m),
                               .k = problem->k,
                               .n = norma_problem_columns(problem),
                               .x_dtype = problem->x.layout.dtype,
                               .weight_dtype = problem->part[0].weight.layout.dtype};
    const norma_problem product = product_of(problem, (norma_buffer){0});
    norma_limits limits = device->base.limits;
    limits.target = target;
    const char *reason;
    native->nvidia = norma_tile_select(NORMA_KERNEL_RMSNORM_LINEAR_TILED, &shape, &limits, &reason);
    const bool gathers = !norma_opencl_matrix_suits(&product, is_along_k(&product));
    const norma_status status =
        find_nvidia(device, &product, native->nvidia, gathers, gathers ? &native->gather : &native->main);
    if (!status) return norm_rows(device, problem, (norma_buffer){0}, false);
    if (status == NORMA_ERROR_OUT_OF_MEMORY) return status;
    const norma_tile *const tile = native->nvidia;
    native->nvidia = NULL;
    return give_up(device, tile);
}

/* The plan's strides may be those of chunks, and these tensors yet not begin with one. */
static norma_status enqueue_nvidia(opencl_device *device, tiled_native *native, const norma_problem *problem,
                                   norma_buffer workspace) {
    const norma_problem product = product_of(problem, workspace);
    const bool gathers = !norma_opencl_matrix_suits(&product, is_along_k(&product));
    tiled_kernel *const kernel = gathers ? &native->gather : &native->main;
    norma_status status = kernel->kernel ? NORMA_OK : find_nvidia(device, &product, native->nvidia, gathers, kernel);
    if (!status) status = norm_rows(device, problem, workspace, true);
    return status ? status : enqueue_on(device, kernel, &product);
}

static norma_status prepare(opencl_device *device, norma_launch *launch) {
    const norma_problem *problem = launch->problem;
    if (norma_tensor_present(&problem->residual))
        return norma_fail(NORMA_ERROR_UNSUPPORTED, "rmsnorm_linear_tiled takes no residual");
    tiled_native *native = calloc(1, sizeof *native);
    if (!native) return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory for a launch");
    launch->native = native;
    const bool half = norma_opencl_matrix_dtype(device, problem), fp32 = device->capability >= 80 && is_fp32(problem);
    norma_status status = NORMA_ERROR_UNSUPPORTED;
    if (half && device->capability == 90 && !device->no_sm90a)
        status = prepare_nvidia(device, problem, NORMA_TARGET_OPENCL_SM90A, native);
    if (half && status == NORMA_ERROR_UNSUPPORTED)
        status = prepare_nvidia(device, problem, NORMA_TARGET_OPENCL_MATRIX, native);
    if (fp32 && !device->no_copies) status = prepare_nvidia(device, problem, NORMA_TARGET_OPENCL_NVIDIA, native);
    if (!status) size_workspace(launch);
    if (status == NORMA_ERROR_UNSUPPORTED) status = find_from(device, problem, launch->tile, "", &native->main);
    if (status == NORMA_ERROR_UNSUPPORTED && launch->tile->target == NORMA_TARGET_OPENCL_GPU)
        status = find_shrunk(device, problem, &native->main);
    if (status == NORMA_ERROR_UNSUPPORTED)
        status = find(device, problem, &norma_tiles[NORMA_TILE_opencl_cpu_small], "", &native->main);
    return status;
}

static norma_status enqueue(opencl_device *device, const norma_launch *launch) {
    tiled_native *native = launch->native;
    if (native->nvidia) return enqueue_nvidia(device, native, launch->problem, launch->workspace);
    return enqueue_on(device, &native->main, launch->problem);
}

const opencl_operation norma_opencl_rmsnorm_linear_tiled = {
    .kernel = NORMA_KERNEL_RMSNORM_LINEAR_TILED,
    .prepare = prepare,
    .launch = enqueue,
};
