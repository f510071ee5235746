/* The device code that the build embeds: one fatbin per kernel file. The build defines CUDA_IMAGE_LIST as X(stem) for each
 * of them. */
#ifndef NORMA_CUDA_IMAGES_H
#define NORMA_CUDA_IMAGES_H

#include "../gpu/gpu.h"
#include "cuda_image_list.h"

enum {
#define CUDA_IMAGE_ENUM(stem) CUDA_IMAGE_##stem,
    CUDA_IMAGE_LIST(CUDA_IMAGE_ENUM)
#undef CUDA_IMAGE_ENUM
        CUDA_IMAGE_COUNT
};

extern const gpu_image cuda_images[CUDA_IMAGE_COUNT];

#endif
