/* Embeds the kernel files: the assembler copies each as it is. The build defines OPENCL_SOURCE_FOLDER. */
#include "sources.h"

#define EMBED(stem)                                               \
    __asm__(".pushsection .rodata\n"                              \
            ".hidden opencl_source_" #stem "\n"                   \
            ".globl opencl_source_" #stem "\n"                    \
            "opencl_source_" #stem ":\n"                          \
            ".incbin \"" OPENCL_SOURCE_FOLDER "/" #stem ".cl\"\n" \
            ".byte 0\n"                                           \
            ".popsection\n");                                     \
    extern const char opencl_source_##stem[] __attribute__((visibility("hidden")));
OPENCL_SOURCE_LIST(EMBED)

const opencl_source opencl_sources[OPENCL_SOURCE_COUNT] = {
#define SOURCE(stem) {#stem, opencl_source_##stem},
    OPENCL_SOURCE_LIST(SOURCE)
#undef SOURCE
};
