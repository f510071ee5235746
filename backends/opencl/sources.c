/* Embeds the kernel files: the assembler copies each as it is. The build defines OPENCL_SOURCE_FOLDER. */
#include "sources.h"

#define EMBED(stem)                                               \
    __asm__(".pushsection .rodata\n"                              \
            ".hidden norma_opencl_source_" #stem "\n"             \
            ".globl norma_opencl_source_" #stem "\n"              \
            "norma_opencl_source_" #stem ":\n"                    \
            ".incbin \"" OPENCL_SOURCE_FOLDER "/" #stem ".cl\"\n" \
            ".byte 0\n"                                           \
            ".popsection\n");                                     \
    extern const char norma_opencl_source_##stem[] __attribute__((visibility("hidden")));
OPENCL_SOURCE_LIST(EMBED)

const opencl_source norma_opencl_sources[OPENCL_SOURCE_COUNT] = {
#define SOURCE(stem) {#stem, norma_opencl_source_##stem},
    OPENCL_SOURCE_LIST(SOURCE)
#undef SOURCE
};
