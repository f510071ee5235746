/* Trains a tiny network whose two layers are each a fused RMSNorm + Linear, with a leaky ReLU between them, on whatever
 * device NORMA_BACKEND names. Forward and backward passes are one call per layer; the loss, the ReLU and plain gradient
 * descent run on the host. Fails if the loss does not fall to a tenth.
 *
 *     x (64, 8) -> RMSNorm, Linear -> (64, 32) -> leaky ReLU -> RMSNorm, Linear -> (64, 2), against two functions of x */
#include <math.h>
#include <norma/norma.h>
#include <stdio.h>
#include <stdlib.h>

enum { M = 64, INPUTS = 8, HIDDEN = 32, OUTPUTS = 2, LAYERS = 2, STEPS = 300 };
static const float rate = 0.1F, leak = 0.1F;

/* A layer's tensors, by where they begin in one array of floats that exists on the host and on the device. Parameters stand
 * in one run, and their gradients in another in the same order. */
typedef struct layer {
    int64_t k, n;
    size_t parameters, gamma, weight, bias, gradients, dgamma, dweight, dbias;
    size_t x, rstd, out, dout, dx;
    size_t count; /* of parameters */
} layer;

typedef struct network {
    norma_context *ctx;
    void *device;
    float *host;
    size_t size; /* in floats */
    layer layers[LAYERS];
} network;

static size_t take(network *net, int64_t count) {
    const size_t begin = net->size;
    net->size += ((size_t)count + 63) / 64 * 64;
    return begin;
}

static layer lay_out(network *net, int64_t k, int64_t n) {
    layer l = {.k = k, .n = n, .count = (size_t)(k + k * n + n)};
    l.parameters = take(net, (int64_t)l.count);
    l.gamma = l.parameters, l.weight = l.gamma + (size_t)k, l.bias = l.weight + (size_t)(k * n);
    l.gradients = take(net, (int64_t)l.count);
    l.dgamma = l.gradients, l.dweight = l.dgamma + (size_t)k, l.dbias = l.dweight + (size_t)(k * n);
    l.x = take(net, M * k), l.rstd = take(net, M), l.dx = take(net, M * k);
    l.out = take(net, M * n), l.dout = take(net, M * n);
    return l;
}

static norma_buffer at(const network *net, size_t begin) {
    return (norma_buffer){net->device, begin * sizeof(float)};
}

static norma_status push(const network *net, size_t begin, size_t count) {
    return norma_upload(net->ctx, at(net, begin), net->host + begin, count * sizeof(float));
}

static norma_status pull(const network *net, size_t begin, size_t count) {
    return norma_download(net->ctx, net->host + begin, at(net, begin), count * sizeof(float));
}

/* out = RMSNorm(x) W + bias; rstd is kept for the backward pass, and the normalised x is not. */
static norma_status forward(const network *net, const layer *l) {
    norma_rmsnorm_linear_desc desc = norma_rmsnorm_linear_desc_init();
    desc.k = l->k;
    desc.x.dtype = desc.gamma.dtype = desc.rstd.dtype = NORMA_F32;
    desc.part[0].n = l->n;
    desc.part[0].weight = norma_layout_transposed(NORMA_F32, l->k);
    desc.part[0].bias.dtype = desc.part[0].out.dtype = NORMA_F32;

    norma_rmsnorm_linear_args args = norma_rmsnorm_linear_args_init();
    args.m = M;
    args.x = at(net, l->x), args.gamma = at(net, l->gamma), args.rstd = at(net, l->rstd);
    args.part[0].weight = at(net, l->weight), args.part[0].bias = at(net, l->bias);
    args.part[0].out = at(net, l->out);
    return norma_rmsnorm_linear(net->ctx, &desc, &args);
}

/* Every gradient of the layer from dout. */
static norma_status backward(const network *net, const layer *l) {
    norma_rmsnorm_linear_backward_desc desc = norma_rmsnorm_linear_backward_desc_init();
    desc.k = l->k;
    desc.x.dtype = desc.gamma.dtype = desc.rstd.dtype = desc.dx.dtype = desc.dgamma.dtype = NORMA_F32;
    desc.part[0].n = l->n;
    desc.part[0].weight = desc.part[0].dweight = norma_layout_transposed(NORMA_F32, l->k);
    desc.part[0].dout.dtype = desc.part[0].dbias.dtype = NORMA_F32;

    norma_rmsnorm_linear_backward_args args = norma_rmsnorm_linear_backward_args_init();
    args.m = M;
    args.x = at(net, l->x), args.rstd = at(net, l->rstd), args.gamma = at(net, l->gamma);
    args.dx = at(net, l->dx), args.dgamma = at(net, l->dgamma);
    args.part[0].weight = at(net, l->weight), args.part[0].dout = at(net, l->dout);
    args.part[0].dweight = at(net, l->dweight), args.part[0].dbias = at(net, l->dbias);
    return norma_rmsnorm_linear_backward(net->ctx, &desc, &args);
}

/* From -1 to 1. */
static float draw(void) {
    static uint32_t state = 1;
    state = state * 1664525U + 1013904223U;
    return (float)(state >> 8) * 0x1p-23F - 1;
}

/* What is to be learned: two functions of the direction of x, which is all that RMSNorm leaves of it. */
static float wanted(const float *x, int output) {
    float squares = 0;
    for (int k = 0; k < INPUTS; k++) squares += x[k] * x[k];
    return output == 0 ? x[0] * x[1] * (float)INPUTS / squares : fabsf(x[2]) * sqrtf((float)INPUTS / squares);
}

static void fill(network *net) {
    for (int i = 0; i < LAYERS; i++) {
        const layer *l = &net->layers[i];
        for (int64_t k = 0; k < l->k; k++) net->host[l->gamma + (size_t)k] = 1;
        for (int64_t j = 0; j < l->k * l->n; j++) net->host[l->weight + (size_t)j] = draw() * sqrtf(3 / (float)l->k);
    }
    for (int i = 0; i < M * INPUTS; i++) net->host[net->layers[0].x + (size_t)i] = draw();
}

/* The mean squared error, and its gradient into the last layer's dout. */
static float loss(network *net) {
    const layer *last = &net->layers[LAYERS - 1];
    float sum = 0;
    for (int m = 0; m < M; m++)
        for (int j = 0; j < OUTPUTS; j++) {
            const size_t i = (size_t)(m * OUTPUTS + j);
            const float error = net->host[last->out + i] - wanted(net->host + net->layers[0].x + m * INPUTS, j);
            net->host[last->dout + i] = 2 * error / (M * OUTPUTS);
            sum += error * error;
        }
    return sum / (M * OUTPUTS);
}

static norma_status step(network *net, float *out_loss) {
    const layer *first = &net->layers[0], *last = &net->layers[1];
    norma_status status = forward(net, first);
    if (!status) status = pull(net, first->out, M * HIDDEN);
    for (size_t i = 0; i < M * HIDDEN; i++) {
        const float value = net->host[first->out + i];
        net->host[last->x + i] = value > 0 ? value : leak * value;
    }
    if (!status) status = push(net, last->x, M * HIDDEN);
    if (!status) status = forward(net, last);
    if (!status) status = pull(net, last->out, M * OUTPUTS);
    *out_loss = loss(net);

    if (!status) status = push(net, last->dout, M * OUTPUTS);
    if (!status) status = backward(net, last);
    if (!status) status = pull(net, last->dx, M * HIDDEN);
    for (size_t i = 0; i < M * HIDDEN; i++)
        net->host[first->dout + i] = net->host[last->dx + i] * (net->host[first->out + i] > 0 ? 1 : leak);
    if (!status) status = push(net, first->dout, M * HIDDEN);
    if (!status) status = backward(net, first);

    for (int i = 0; i < LAYERS && !status; i++) {
        const layer *l = &net->layers[i];
        status = pull(net, l->gradients, l->count);
        for (size_t j = 0; j < l->count; j++) net->host[l->parameters + j] -= rate * net->host[l->gradients + j];
        if (!status) status = push(net, l->parameters, l->count);
    }
    return status;
}

int main(void) {
    network net = {.ctx = NULL};
    net.layers[0] = lay_out(&net, INPUTS, HIDDEN);
    net.layers[1] = lay_out(&net, HIDDEN, OUTPUTS);
    net.host = calloc(net.size, sizeof(float));
    if (!net.host) return 1;
    fill(&net);

    norma_device_info info = {.struct_size = sizeof info};
    norma_status status = norma_context_create(NULL, &net.ctx);
    if (!status) status = norma_context_get_info(net.ctx, &info);
    if (!status) status = norma_alloc(net.ctx, net.size * sizeof(float), &net.device);
    if (!status) status = push(&net, 0, net.size);
    float first = 0, now = 0;
    for (int i = 0; i <= STEPS && !status; i++) {
        status = step(&net, &now);
        if (i == 0) first = now;
        if (!status && i % 50 == 0) printf("%s:%d, step %3d: loss %.6f\n", info.backend, info.index, i, (double)now);
    }
    if (status) fprintf(stderr, "%s: %s\n", norma_status_name(status), norma_last_error());
    norma_free(net.ctx, net.device);
    norma_context_destroy(net.ctx);
    free(net.host);
    return !status && now < first / 10 ? 0 : 1;
}
