/* Embeds the fatbins. */
#include "images.h"

#include "../gpu/embed.h"
#include "cuda_image_list.h"

GPU_IMAGES(cuda, CUDA_IMAGE_LIST);
