/* What the copy engine of sm_90 can take of a problem, and tensors as it sees them: matrices of a half dtype without gaps
 * within their lines, whose lines begin at multiples of 16 bytes. */
#ifndef NORMA_GPU_COPY_ENGINE_H
#define NORMA_GPU_COPY_ENGINE_H

#include "device.h"

/* Lines of `length` elements, `step` between two of them and `stride` between two lines. */
bool norma_gpu_lines_suit(int64_t step, int64_t stride, int64_t length);

/* A part's weight that lies as (N, K), `columns`, or as (K, N). */
bool norma_gpu_weight_suits(const norma_problem *problem, const norma_part *part, bool columns);

/* The address, which is known in launch() only. */
bool norma_gpu_aligned(const norma_tensor *tensor);

/* Whether the batches of x, rstd and the outputs are one taller matrix each. */
bool norma_gpu_joined(const norma_problem *problem);

/* rmsnorm_linear_tiled, for what an address rules out at the call: readied by prepare(), launched in place of `launch`. Its
 * `native` is the caller's to free. */
norma_status norma_gpu_fallback_prepare(gpu_device *device, const norma_problem *problem, norma_launch *out_tiled);
norma_status norma_gpu_fallback_launch(gpu_device *device, const norma_launch *tiled, const norma_launch *launch);

/* `lines` of `length` elements, `stride` elements apart, to be copied in boxes of box_length x box_lines. The chunks of a
 * box's lines of 64, 32 or 16 elements are permuted as the matrix units want them. */
norma_status norma_gpu_tensor_map(gpu_device *device, norma_tensor_map *map, const norma_tensor *tensor, int64_t length,
                                  int64_t lines, int64_t stride, int box_length, int box_lines);

#endif
