/* Embeds a file: the assembler copies it as it is, so the compiler never sees megabytes of initialisers. Declares
 * `extern const char symbol[]`. */
#ifndef NORMA_GPU_EMBED_H
#define NORMA_GPU_EMBED_H

#define GPU_EMBED(symbol, path)                  \
    __asm__(".pushsection .rodata\n"             \
            ".balign 4096\n"                     \
            ".hidden " #symbol "\n"              \
            ".globl " #symbol "\n" #symbol ":\n" \
            ".incbin \"" path "\"\n"             \
            ".popsection\n");                    \
    extern const char symbol[] __attribute__((visibility("hidden")));

#endif
