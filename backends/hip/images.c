/* Embeds the bundles of code objects. The build defines HIP_IMAGE_FOLDER. */
#include "images.h"

#include <string.h>

#include "../gpu/embed.h"

#define EMBED(stem) GPU_EMBED(hip_image_##stem, HIP_IMAGE_FOLDER "/" #stem ".hipfb")
HIP_IMAGE_LIST(EMBED)

const gpu_image hip_images[HIP_IMAGE_COUNT] = {
#define IMAGE(stem) {#stem, hip_image_##stem},
    HIP_IMAGE_LIST(IMAGE)
#undef IMAGE
};

_Static_assert(HIP_IMAGE_COUNT <= GPU_MAX_IMAGES, "every image has a place in gpu_device");

bool hip_images_have(const char *arch) {
    static const char *const names[] = {
#define NAME(arch) #arch,
        HIP_ARCHITECTURES(NAME)
#undef NAME
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(arch, names[i]) == 0) return true;
    return false;
}
