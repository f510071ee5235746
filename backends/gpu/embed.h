/* Embeds a backend's device code. The build lists it as X(backend, stem, path) for each file; the assembler copies the files
 * as they are, so the compiler never sees megabytes of initialisers. */
#ifndef NORMA_GPU_EMBED_H
#define NORMA_GPU_EMBED_H

#include "gpu.h"

#define GPU_IMAGE_BYTES(id, stem, path)                                              \
    __asm__(".pushsection .rodata\n"                                                 \
            ".balign 4096\n"                                                         \
            ".hidden norma_" #id "_image_" #stem "\n"                                \
            ".globl norma_" #id "_image_" #stem "\nnorma_" #id "_image_" #stem ":\n" \
            ".incbin \"" path "\"\n"                                                 \
            ".popsection\n");                                                        \
    extern const char norma_##id##_image_##stem[] __attribute__((visibility("hidden")));

#define GPU_IMAGE_ROW(id, stem, path) {#stem, norma_##id##_image_##stem},

/* Defines norma_<id>_images from the list. */
#define GPU_IMAGES(id, list)                                                                         \
    list(GPU_IMAGE_BYTES) const gpu_image norma_##id##_images[] = {list(GPU_IMAGE_ROW){NULL, NULL}}; \
    _Static_assert(sizeof norma_##id##_images / sizeof *norma_##id##_images <= GPU_MAX_IMAGES + 1,   \
                   "every image has a place in gpu_device")

#endif
