/* Embeds the fatbins: the assembler copies each file as it is, so the compiler never sees megabytes of initialisers. The
 * build defines CUDA_IMAGE_FOLDER. */
#include "images.h"

#define TEXT_OF(text) #text
#define TEXT(text)    TEXT_OF(text)

#define EMBED(stem)                                                \
    __asm__(".pushsection .rodata\n"                               \
            ".balign 64\n"                                         \
            ".hidden cuda_image_" #stem "\n"                       \
            ".globl cuda_image_" #stem "\n"                        \
            "cuda_image_" #stem ":\n"                              \
            ".incbin \"" CUDA_IMAGE_FOLDER "/" #stem ".fatbin\"\n" \
            ".popsection\n");                                      \
    extern const char cuda_image_##stem[] __attribute__((visibility("hidden")));
CUDA_IMAGE_LIST(EMBED)

const gpu_image cuda_images[CUDA_IMAGE_COUNT] = {
#define IMAGE(stem) {#stem, cuda_image_##stem},
    CUDA_IMAGE_LIST(IMAGE)
#undef IMAGE
};

_Static_assert(CUDA_IMAGE_COUNT <= GPU_MAX_IMAGES, "every image has a place in gpu_device");
