/* The llama2.c checkpoint format: a header of seven int32, then the fp32 weights in a fixed order, in the machine's byte
 * order. The weights are kept as one array, and each tensor is an offset into it, so the same offsets serve the host's copy
 * and a device's. */
#ifndef NORMA_EXAMPLES_CHECKPOINT_H
#define NORMA_EXAMPLES_CHECKPOINT_H

#include <stddef.h>

typedef struct checkpoint {
    int dim;       /* hidden size */
    int ffn;       /* width of the feed-forward layer */
    int layers;    /* transformer blocks */
    int heads;     /* query heads */
    int kv_heads;  /* key and value heads; heads is a multiple of it */
    int vocab;     /* tokens */
    int positions; /* longest sequence */
    int head_dim;  /* dim / heads */
    int kv_dim;    /* head_dim * kv_heads */

    float *weights;
    size_t count; /* floats in weights */

    /* Where each tensor begins, in floats. Those of a layer follow one another: layer l of wq is at wq + l * dim * dim.
     * Matrices are stored (outputs, inputs). The classifier is the embedding. */
    size_t embedding, rms_att, wq, wk, wv, wo, rms_ffn, w1, w2, w3, rms_final;
} checkpoint;

/* Reads a checkpoint; on failure prints a sentence to standard error and returns 0. */
int checkpoint_read(checkpoint *out, const char *path);

void checkpoint_free(checkpoint *model);

#endif
