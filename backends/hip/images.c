/* Embeds the bundles of code objects. The build defines HIP_ARCHITECTURES as X(name) for each chip. */
#include "images.h"

#include <string.h>

#include "../gpu/embed.h"
#include "hip_image_list.h"

GPU_IMAGES(hip, HIP_IMAGE_LIST);

bool norma_hip_images_have(const char *arch) {
    static const char *const names[] = {
#define NAME(arch) #arch,
        HIP_ARCHITECTURES(NAME)
#undef NAME
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(arch, names[i]) == 0) return true;
    return false;
}
