/* The device code that the build embeds: one fatbin per kernel file. */
#ifndef NORMA_CUDA_IMAGES_H
#define NORMA_CUDA_IMAGES_H

#include "../gpu/gpu.h"

extern const gpu_image norma_cuda_images[];

#endif
