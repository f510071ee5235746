/* Tensors as the copy engine of sm_90 sees them, and the kernel for those that it cannot. */
#include "copy_engine.h"

bool norma_gpu_lines_suit(int64_t step, int64_t stride, int64_t length) {
    return step == 1 && stride % 8 == 0 && stride >= length;
}

bool norma_gpu_weight_suits(const norma_problem *problem, const norma_part *part, bool columns) {
    const norma_layout *weight = &part->weight.layout;
    return columns ? norma_gpu_lines_suit(weight->row_stride, weight->col_stride, problem->k)
                   : norma_gpu_lines_suit(weight->col_stride, weight->row_stride, part->n);
}

bool norma_gpu_aligned(const norma_tensor *tensor) {
    return ((uintptr_t)tensor->buffer.data + tensor->buffer.offset_bytes) % 16 == 0;
}

static bool follows(const norma_problem *problem, const norma_tensor *tensor) {
    return !norma_tensor_present(tensor) || tensor->layout.batch_stride == problem->m * tensor->layout.row_stride;
}

bool norma_gpu_joined(const norma_problem *problem) {
    bool all = follows(problem, &problem->x) && follows(problem, &problem->rstd);
    for (int p = 0; p < problem->parts; p++) all = all && follows(problem, &problem->part[p].out);
    return all || problem->batch == 1;
}

norma_status norma_gpu_fallback_prepare(gpu_device *device, const norma_problem *problem, norma_launch *out_tiled) {
    *out_tiled = (norma_launch){.kernel = NORMA_KERNEL_RMSNORM_LINEAR_TILED, .problem = problem};
    const norma_status status = norma_gpu_rmsnorm_linear_tiled.prepare(device, out_tiled);
    out_tiled->problem = NULL;
    return status;
}

norma_status norma_gpu_fallback_launch(gpu_device *device, const norma_launch *tiled, const norma_launch *launch) {
    norma_launch instead = *tiled;
    instead.problem = launch->problem;
    return norma_gpu_rmsnorm_linear_tiled.launch(device, &instead);
}

norma_status norma_gpu_tensor_map(gpu_device *device, norma_tensor_map *map, const norma_tensor *tensor, int64_t length,
                                  int64_t lines, int64_t stride, int box_length, int box_lines) {
    const uint64_t sizes[2] = {(uint64_t)length, (uint64_t)lines}, bytes[1] = {(uint64_t)stride * 2};
    const uint32_t box[2] = {(uint32_t)box_length, (uint32_t)box_lines}, steps[2] = {1, 1};
    const int dtype = tensor->layout.dtype == NORMA_F16 ? GPU_TENSOR_F16 : GPU_TENSOR_BF16;
    const int swizzle = box_length == 64 ? GPU_SWIZZLE_128 : box_length == 32 ? GPU_SWIZZLE_64 : GPU_SWIZZLE_32;
    return GPU_CALL(device->driver, tensor_map_encode, map, dtype, 2, norma_gpu_view(tensor).data, sizes, bytes, box, steps,
                    0, swizzle, GPU_PROMOTION_256, 0);
}
