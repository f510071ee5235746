/* A Llama-type model told to write a story: greedy decoding of a llama2.c checkpoint, one token at a time, in fp32.
 *
 *     NORMA_BACKEND=cpu llama [-n tokens] checkpoint.bin tokenizer.bin
 *
 * Every RMSNorm is one norma call together with the Linears that read it: q, k, v; gate, up; and the final norm with the
 * classifier. The same call adds the output of the block before to the residual stream, which lives on the device. What
 * lies between (rotary embedding, attention, SiLU and the two Linears that follow no norm) is plain code on the host.
 * The story goes to standard output, the speed to standard error. */
#include <math.h>
#include <norma/norma.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "checkpoint.h"
#include "tokenizer.h"

#define MODEL_EPS   1e-5f
#define ROTARY_BASE 10000.0f
#define MAX_LINEARS 3

/* An RMSNorm and the Linears that share its output; one plan serves all layers of the model. Offsets are those of layer 0,
 * in floats from the start of the weights. */
typedef struct fused {
    norma_plan *plan;
    int linears;
    int n[MAX_LINEARS];
    size_t gamma, weight[MAX_LINEARS];
} fused;

typedef struct llama {
    checkpoint model;
    norma_context *context;
    fused qkv, gate_up, classifier;

    /* On the device: the checkpoint's weights, the residual stream, what is to be added to it, and a layer's outputs. */
    void *weights, *stream, *delta, *outputs;

    /* On the host. The caches hold (layers, positions, kv_dim). */
    float *block, *hidden, *out, *scores, *key_cache, *value_cache;
} llama;

static void require(norma_status status) {
    if (status == NORMA_OK) return;
    fprintf(stderr, "%s: %s\n", norma_status_name(status), norma_last_error());
    exit(EXIT_FAILURE);
}

static float *new_floats(size_t count) {
    float *floats = calloc(count, sizeof *floats);
    if (floats) return floats;
    fprintf(stderr, "no memory for %zu floats\n", count);
    exit(EXIT_FAILURE);
}

static norma_buffer floats_at(void *data, size_t index) {
    return (norma_buffer){data, index * sizeof(float)};
}

/* ---- The fused layers ---- */

static void fused_init(fused *layer, const llama *lm) {
    const int dim = lm->model.dim;
    norma_rmsnorm_linear_desc desc = norma_rmsnorm_linear_desc_init();
    desc.k = dim;
    desc.max_rows = 1;
    desc.eps = MODEL_EPS;
    desc.flags = NORMA_WEIGHTS_STATIC;
    desc.x.dtype = desc.gamma.dtype = desc.residual.dtype = desc.residual_out.dtype = NORMA_F32;
    desc.parts = layer->linears;
    for (int i = 0; i < layer->linears; i++) {
        desc.part[i].n = layer->n[i];
        desc.part[i].weight = norma_layout_transposed(NORMA_F32, dim);
        desc.part[i].out.dtype = NORMA_F32;
    }
    require(norma_rmsnorm_linear_plan_create(lm->context, &desc, &layer->plan));
}

/* stream += delta; out = the Linears of RMSNorm(stream), one after the other. */
static void fused_run(const llama *lm, const fused *layer, int index, const float *delta, float *out) {
    const size_t dim = (size_t)lm->model.dim, l = (size_t)index;
    norma_rmsnorm_linear_args args = norma_rmsnorm_linear_args_init();
    args.m = 1;
    args.x = floats_at(lm->delta, 0);
    args.residual = args.residual_out = floats_at(lm->stream, 0);
    args.gamma = floats_at(lm->weights, layer->gamma + l * dim);
    size_t columns = 0;
    for (int i = 0; i < layer->linears; i++) {
        const size_t n = (size_t)layer->n[i];
        args.part[i].weight = floats_at(lm->weights, layer->weight[i] + l * n * dim);
        args.part[i].out = floats_at(lm->outputs, columns);
        columns += n;
    }
    require(norma_upload(lm->context, args.x, delta, dim * sizeof *delta));
    require(norma_rmsnorm_linear_plan_run(layer->plan, &args));
    require(norma_download(lm->context, out, floats_at(lm->outputs, 0), columns * sizeof *out));
}

/* ---- What lies between them, on the host ---- */

static void linear(float *out, const float *weight, const float *x, int n, int k) {
    for (int i = 0; i < n; i++) {
        float sum = 0;
        for (int j = 0; j < k; j++) sum += weight[(size_t)i * (size_t)k + (size_t)j] * x[j];
        out[i] = sum;
    }
}

static void rotate(float *heads, int count, int head_dim, int position) {
    for (int i = 0; i < count; i += 2) {
        const float angle = (float)position * powf(ROTARY_BASE, -(float)(i % head_dim) / (float)head_dim);
        const float c = cosf(angle), s = sinf(angle), a = heads[i], b = heads[i + 1];
        heads[i] = a * c - b * s;
        heads[i + 1] = a * s + b * c;
    }
}

static void softmax(float *values, int count) {
    float largest = values[0], sum = 0;
    for (int i = 1; i < count; i++) largest = fmaxf(largest, values[i]);
    for (int i = 0; i < count; i++) sum += values[i] = expf(values[i] - largest);
    for (int i = 0; i < count; i++) values[i] /= sum;
}

/* Attention of one query head over positions 0 to `last`; keys and values are those of its head at position 0. */
static void attend(const llama *lm, float *out, const float *query, const float *keys, const float *values, int last) {
    const int head_dim = lm->model.head_dim;
    const size_t step = (size_t)lm->model.kv_dim;
    for (int p = 0; p <= last; p++) {
        float score = 0;
        for (int i = 0; i < head_dim; i++) score += query[i] * keys[(size_t)p * step + (size_t)i];
        lm->scores[p] = score / sqrtf((float)head_dim);
    }
    softmax(lm->scores, last + 1);
    memset(out, 0, (size_t)head_dim * sizeof *out);
    for (int p = 0; p <= last; p++)
        for (int i = 0; i < head_dim; i++) out[i] += lm->scores[p] * values[(size_t)p * step + (size_t)i];
}

/* From q, k, v of one position to the block's output. */
static void attention_block(const llama *lm, int layer, int position, float *qkv, float *out) {
    const checkpoint *model = &lm->model;
    const size_t dim = (size_t)model->dim, kv_dim = (size_t)model->kv_dim;
    const size_t cache = (size_t)layer * (size_t)model->positions * kv_dim;
    rotate(qkv, model->dim, model->head_dim, position);
    rotate(qkv + dim, model->kv_dim, model->head_dim, position);
    memcpy(lm->key_cache + cache + (size_t)position * kv_dim, qkv + dim, kv_dim * sizeof *qkv);
    memcpy(lm->value_cache + cache + (size_t)position * kv_dim, qkv + dim + kv_dim, kv_dim * sizeof *qkv);

    const int share = model->heads / model->kv_heads;
    for (int h = 0; h < model->heads; h++) {
        const size_t head = (size_t)(h * model->head_dim), kv_head = (size_t)(h / share * model->head_dim);
        attend(lm, lm->hidden + head, qkv + head, lm->key_cache + cache + kv_head, lm->value_cache + cache + kv_head,
               position);
    }
    linear(out, model->weights + model->wo + (size_t)layer * dim * dim, lm->hidden, model->dim, model->dim);
}

/* From gate and up to the block's output. */
static void feed_forward_block(const llama *lm, int layer, const float *gate_up, float *out) {
    const checkpoint *model = &lm->model;
    const float *gate = gate_up, *up = gate_up + model->ffn;
    for (int i = 0; i < model->ffn; i++) lm->hidden[i] = gate[i] / (1 + expf(-gate[i])) * up[i];
    const size_t matrix = (size_t)model->dim * (size_t)model->ffn;
    linear(out, model->weights + model->w2 + (size_t)layer * matrix, lm->hidden, model->dim, model->ffn);
}

/* ---- The model ---- */

static int larger(int a, int b) {
    return a > b ? a : b;
}

/* Puts a model on the device that NORMA_BACKEND names, or else on the best one. */
static void llama_open(llama *lm, const checkpoint *model) {
    *lm = (llama){.model = *model};
    const checkpoint *m = &lm->model;
    require(norma_context_create(NULL, &lm->context));

    lm->qkv = (fused){NULL, 3, {m->dim, m->kv_dim, m->kv_dim}, m->rms_att, {m->wq, m->wk, m->wv}};
    lm->gate_up = (fused){NULL, 2, {m->ffn, m->ffn}, m->rms_ffn, {m->w1, m->w3}};
    lm->classifier = (fused){NULL, 1, {m->vocab}, m->rms_final, {m->embedding}};
    fused_init(&lm->qkv, lm);
    fused_init(&lm->gate_up, lm);
    fused_init(&lm->classifier, lm);

    const size_t widest = (size_t)larger(larger(m->dim + 2 * m->kv_dim, 2 * m->ffn), m->vocab);
    const size_t row_bytes = (size_t)m->dim * sizeof(float);
    require(norma_alloc(lm->context, m->count * sizeof *m->weights, &lm->weights));
    require(norma_alloc(lm->context, row_bytes, &lm->stream));
    require(norma_alloc(lm->context, row_bytes, &lm->delta));
    require(norma_alloc(lm->context, widest * sizeof(float), &lm->outputs));
    require(norma_upload(lm->context, floats_at(lm->weights, 0), m->weights, m->count * sizeof *m->weights));

    const size_t cache = (size_t)m->layers * (size_t)m->positions * (size_t)m->kv_dim;
    lm->block = new_floats((size_t)m->dim);
    lm->hidden = new_floats((size_t)larger(m->dim, m->ffn));
    lm->out = new_floats(widest);
    lm->scores = new_floats((size_t)m->positions);
    lm->key_cache = new_floats(cache);
    lm->value_cache = new_floats(cache);
}

static void llama_close(llama *lm) {
    norma_plan_destroy(lm->qkv.plan);
    norma_plan_destroy(lm->gate_up.plan);
    norma_plan_destroy(lm->classifier.plan);
    norma_free(lm->context, lm->weights);
    norma_free(lm->context, lm->stream);
    norma_free(lm->context, lm->delta);
    norma_free(lm->context, lm->outputs);
    norma_context_destroy(lm->context);
    free(lm->block);
    free(lm->hidden);
    free(lm->out);
    free(lm->scores);
    free(lm->key_cache);
    free(lm->value_cache);
}

/* The logits of the token after `token`, which stands at `position`. The residual stream starts at zero, and the embedding
 * is the first thing that is added to it. */
static const float *llama_step(llama *lm, int token, int position) {
    const checkpoint *m = &lm->model;
    const size_t dim = (size_t)m->dim;
    memset(lm->block, 0, dim * sizeof *lm->block);
    require(norma_upload(lm->context, floats_at(lm->stream, 0), lm->block, dim * sizeof *lm->block));
    memcpy(lm->block, m->weights + m->embedding + (size_t)token * dim, dim * sizeof *lm->block);
    for (int l = 0; l < m->layers; l++) {
        fused_run(lm, &lm->qkv, l, lm->block, lm->out);
        attention_block(lm, l, position, lm->out, lm->block);
        fused_run(lm, &lm->gate_up, l, lm->block, lm->out);
        feed_forward_block(lm, l, lm->out, lm->block);
    }
    fused_run(lm, &lm->classifier, 0, lm->block, lm->out);
    return lm->out;
}

static int most_likely(const float *logits, int count) {
    int best = 0;
    for (int i = 1; i < count; i++)
        if (logits[i] > logits[best]) best = i;
    return best;
}

static double now_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Writes at most `steps` tokens and returns how many. */
static int write_story(llama *lm, const tokenizer *words, int steps) {
    int token = TOKEN_BEGIN, written = 0;
    while (written < steps) {
        const int next = most_likely(llama_step(lm, token, written), lm->model.vocab);
        if (next == TOKEN_BEGIN) break;
        tokenizer_print(words, token, next, stdout);
        fflush(stdout);
        token = next;
        written++;
    }
    putchar('\n');
    return written;
}

int main(int argc, char **argv) {
    int steps = 256, first = 1;
    if (argc > 2 && strcmp(argv[1], "-n") == 0) {
        steps = atoi(argv[2]);
        first = 3;
    }
    if (argc - first != 2 || steps < 1) {
        fprintf(stderr, "usage: %s [-n tokens] checkpoint.bin tokenizer.bin\n", argv[0]);
        return 2;
    }
    checkpoint model;
    tokenizer words;
    if (!checkpoint_read(&model, argv[first])) return EXIT_FAILURE;
    if (!tokenizer_read(&words, argv[first + 1], model.vocab)) {
        checkpoint_free(&model);
        return EXIT_FAILURE;
    }
    llama lm;
    llama_open(&lm, &model);
    const double begin = now_seconds();
    const int written = write_story(&lm, &words, steps < model.positions ? steps : model.positions);
    const double seconds = now_seconds() - begin;

    norma_device_info device = {.struct_size = sizeof device};
    require(norma_context_get_info(lm.context, &device));
    fprintf(stderr, "%s, %s: %d tokens, %.0f tokens per second\n", device.backend, device.name, written, written / seconds);
    llama_close(&lm);
    tokenizer_free(&words);
    checkpoint_free(&model);
    return EXIT_SUCCESS;
}
