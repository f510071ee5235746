/* The llama2.c tokenizer format, for decoding: an int32 (length of the longest token), then for each token a float score, an
 * int32 length and that many bytes, in the machine's byte order. */
#ifndef NORMA_EXAMPLES_TOKENIZER_H
#define NORMA_EXAMPLES_TOKENIZER_H

#include <stdio.h>

#define TOKEN_BEGIN 1 /* begins a sequence; when a model produces it, the text has ended */

typedef struct tokenizer {
    int count;
    char **text;
} tokenizer;

/* Reads `count` tokens; on failure prints a sentence to standard error and returns 0. */
int tokenizer_read(tokenizer *out, const char *path, int count);

void tokenizer_free(tokenizer *words);

/* Writes the text of `token` as it reads after `previous`. */
void tokenizer_print(const tokenizer *words, int previous, int token, FILE *to);

#endif
