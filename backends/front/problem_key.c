/* Writing descriptions out as words (problem_key.h). */
#include "problem_key.h"

#include "../dtype.h"

static void put(norma_problem_key *key, uint64_t word) {
    key->words[key->count++] = word;
}

static void put_layout(norma_problem_key *key, const norma_tensor *tensor) {
    put(key, (uint64_t)tensor->layout.dtype);
    put(key, (uint64_t)tensor->layout.row_stride);
    put(key, (uint64_t)tensor->layout.col_stride);
    put(key, (uint64_t)tensor->layout.batch_stride);
}

/* FNV-1a over words. */
static uint64_t hash_of(const norma_problem_key *key) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (int i = 0; i < key->count; i++) hash = (hash ^ key->words[i]) * UINT64_C(0x100000001b3);
    return hash;
}

static void put_forward(norma_problem_key *key, const norma_problem *problem) {
    put_layout(key, &problem->x);
    put_layout(key, &problem->gamma);
    put_layout(key, &problem->residual);
    put_layout(key, &problem->residual_out);
    put_layout(key, &problem->rstd);
    put_layout(key, &problem->out);
    for (int p = 0; p < problem->parts; p++) {
        put(key, (uint64_t)problem->part[p].n);
        put_layout(key, &problem->part[p].weight);
        put_layout(key, &problem->part[p].bias);
        put_layout(key, &problem->part[p].out);
    }
}

static void put_backward(norma_problem_key *key, const norma_problem *problem) {
    put_layout(key, &problem->x);
    put_layout(key, &problem->gamma);
    put_layout(key, &problem->rstd);
    put_layout(key, &problem->dout);
    put_layout(key, &problem->dresidual_out);
    put_layout(key, &problem->dx);
    put_layout(key, &problem->dgamma);
    for (int p = 0; p < problem->parts; p++) {
        put(key, (uint64_t)problem->part[p].n);
        put_layout(key, &problem->part[p].weight);
        put_layout(key, &problem->part[p].dout);
        put_layout(key, &problem->part[p].dweight);
        put_layout(key, &problem->part[p].dbias);
    }
}

void norma_problem_key_make(const norma_problem *problem, norma_problem_key *key) {
    key->count = 0;
    put(key, (uint64_t)problem->op);
    put(key, (uint64_t)problem->contract);
    put(key, problem->flags);
    put(key, norma_f32_bits(problem->eps));
    put(key, norma_f32_bits(problem->gamma_offset));
    put(key, (uint64_t)problem->k);
    put(key, problem->accumulate);
    if (problem->op == NORMA_OP_RMSNORM_BACKWARD || problem->op == NORMA_OP_RMSNORM_LINEAR_BACKWARD)
        put_backward(key, problem);
    else
        put_forward(key, problem);
    key->hash = hash_of(key);
}

bool norma_problem_keys_equal(const norma_problem_key *a, const norma_problem_key *b) {
    return a->hash == b->hash && a->count == b->count &&
           memcmp(a->words, b->words, sizeof a->words[0] * (size_t)a->count) == 0;
}
