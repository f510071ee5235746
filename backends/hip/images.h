/* The device code that the build embeds: one bundle of all chips' code objects per kernel file. The build defines
 * HIP_IMAGE_LIST as X(stem) for each of them, and HIP_ARCHITECTURES as X(name) for each chip. */
#ifndef NORMA_HIP_IMAGES_H
#define NORMA_HIP_IMAGES_H

#include "../gpu/gpu.h"
#include "hip_image_list.h"

enum {
#define HIP_IMAGE_ENUM(stem) HIP_IMAGE_##stem,
    HIP_IMAGE_LIST(HIP_IMAGE_ENUM)
#undef HIP_IMAGE_ENUM
        HIP_IMAGE_COUNT
};

extern const gpu_image hip_images[HIP_IMAGE_COUNT];

/* Whether they hold code for a chip, such as "gfx942". */
bool hip_images_have(const char *arch);

#endif
