/* Embeds the fatbins. The build defines CUDA_IMAGE_FOLDER. */
#include "images.h"

#include "../gpu/embed.h"

#define EMBED(stem) GPU_EMBED(cuda_image_##stem, CUDA_IMAGE_FOLDER "/" #stem ".fatbin")
CUDA_IMAGE_LIST(EMBED)

const gpu_image cuda_images[CUDA_IMAGE_COUNT] = {
#define IMAGE(stem) {#stem, cuda_image_##stem},
    CUDA_IMAGE_LIST(IMAGE)
#undef IMAGE
};

_Static_assert(CUDA_IMAGE_COUNT <= GPU_MAX_IMAGES, "every image has a place in gpu_device");
