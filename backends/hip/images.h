/* The device code that the build embeds: one bundle of all chips' code objects per kernel file. */
#ifndef NORMA_HIP_IMAGES_H
#define NORMA_HIP_IMAGES_H

#include "../gpu/gpu.h"

extern const gpu_image norma_hip_images[];

/* Whether they hold code for a chip, such as "gfx942". */
bool norma_hip_images_have(const char *arch);

#endif
