/* Reading and printing llama2.c tokens; tokenizer.h has the format. */
#include "tokenizer.h"

#include <stdint.h>
#include <stdlib.h>

#define LONGEST_TOKEN 4096

/* The next token's text, NUL-terminated, or NULL. */
static char *read_token(FILE *file) {
    float score;
    int32_t bytes;
    if (fread(&score, sizeof score, 1, file) != 1 || fread(&bytes, sizeof bytes, 1, file) != 1) return NULL;
    if (bytes < 0 || bytes > LONGEST_TOKEN) return NULL;
    char *text = malloc((size_t)bytes + 1);
    if (!text) return NULL;
    if (fread(text, 1, (size_t)bytes, file) != (size_t)bytes) {
        free(text);
        return NULL;
    }
    text[bytes] = '\0';
    return text;
}

int tokenizer_read(tokenizer *out, const char *path, int count) {
    *out = (tokenizer){0};
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        return 0;
    }
    int32_t longest;
    out->text = calloc((size_t)count, sizeof *out->text);
    if (out->text && fread(&longest, sizeof longest, 1, file) == 1)
        while (out->count < count && (out->text[out->count] = read_token(file))) out->count++;
    fclose(file);
    if (out->count == count) return 1;
    fprintf(stderr, "%s: token %d of %d cannot be read\n", path, out->count, count);
    tokenizer_free(out);
    return 0;
}

void tokenizer_free(tokenizer *words) {
    for (int i = 0; i < words->count; i++) free(words->text[i]);
    free(words->text);
    *words = (tokenizer){0};
}

void tokenizer_print(const tokenizer *words, int previous, int token, FILE *to) {
    const char *text = words->text[token];
    unsigned byte;
    int end = 0;
    if (sscanf(text, "<0x%2X>%n", &byte, &end) == 1 && end == 6) {
        fputc((int)byte, to);
        return;
    }
    /* The word that begins a text comes with the space that would part it from a word before. */
    fputs(previous == TOKEN_BEGIN && text[0] == ' ' ? text + 1 : text, to);
}
