/* Reading a llama2.c checkpoint; checkpoint.h has the format. */
#include "checkpoint.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* Larger header fields are taken for a file of some other kind; the limit also keeps the sums below from overflowing. */
#define LARGEST_FIELD (1 << 18)

static int header_is_sane(const int32_t header[7]) {
    for (int i = 0; i < 7; i++)
        if (header[i] < 1 || header[i] > LARGEST_FIELD) return 0;
    const int32_t dim = header[0], heads = header[3], kv_heads = header[4];
    return dim % heads == 0 && heads % kv_heads == 0 && dim / heads % 2 == 0;
}

static size_t take(size_t *count, size_t a, size_t b, size_t c) {
    const size_t begin = *count;
    *count += a * b * c;
    return begin;
}

static void place_tensors(checkpoint *model) {
    const size_t dim = (size_t)model->dim, ffn = (size_t)model->ffn, kv_dim = (size_t)model->kv_dim;
    const size_t layers = (size_t)model->layers;
    model->count = 0;
    model->embedding = take(&model->count, 1, (size_t)model->vocab, dim);
    model->rms_att = take(&model->count, layers, 1, dim);
    model->wq = take(&model->count, layers, dim, dim);
    model->wk = take(&model->count, layers, kv_dim, dim);
    model->wv = take(&model->count, layers, kv_dim, dim);
    model->wo = take(&model->count, layers, dim, dim);
    model->rms_ffn = take(&model->count, layers, 1, dim);
    model->w1 = take(&model->count, layers, ffn, dim);
    model->w2 = take(&model->count, layers, dim, ffn);
    model->w3 = take(&model->count, layers, ffn, dim);
    model->rms_final = take(&model->count, 1, 1, dim);
}

int checkpoint_read(checkpoint *out, const char *path) {
    *out = (checkpoint){0};
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        return 0;
    }
    int32_t header[7];
    if (fread(header, sizeof header, 1, file) != 1 || !header_is_sane(header)) {
        fprintf(stderr, "%s: not a llama2.c checkpoint with a shared classifier\n", path);
        fclose(file);
        return 0;
    }
    out->dim = header[0];
    out->ffn = header[1];
    out->layers = header[2];
    out->heads = header[3];
    out->kv_heads = header[4];
    out->vocab = header[5];
    out->positions = header[6];
    out->head_dim = out->dim / out->heads;
    out->kv_dim = out->head_dim * out->kv_heads;
    place_tensors(out);

    out->weights = malloc(out->count * sizeof *out->weights);
    const int complete = out->weights && fread(out->weights, sizeof *out->weights, out->count, file) == out->count;
    fclose(file);
    if (!complete) {
        fprintf(stderr, "%s: cannot read %zu weights\n", path, out->count);
        checkpoint_free(out);
    }
    return complete;
}

void checkpoint_free(checkpoint *model) {
    free(model->weights);
    *model = (checkpoint){0};
}
