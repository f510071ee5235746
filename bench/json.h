/* JSON's one difficulty: text in quotes. */
#ifndef NORMA_BENCH_JSON_H
#define NORMA_BENCH_JSON_H

#include <stdio.h>

/* Writes UTF-8 text as a JSON string, or null for NULL. */
static inline void bench_json_text(FILE *file, const char *text) {
    if (!text) {
        fputs("null", file);
        return;
    }
    fputc('"', file);
    for (; *text; text++) {
        const unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            fprintf(file, "\\%c", c);
        else if (c < 0x20)
            fprintf(file, "\\u%04x", c);
        else
            fputc(c, file);
    }
    fputc('"', file);
}

#endif
