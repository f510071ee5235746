/* The plan cache: a few hundred keys of a few hundred bytes, searched from end to end by hash. A key is the description
 * written out field by field, since a struct's padding cannot be compared. */
#include "plan_cache.h"

#include <stdlib.h>

#include "../dtype.h"
#include "status.h"

#define LAYOUT_WORDS 4
#define HEAD_WORDS   6
#define PART_WORDS   (1 + 4 * LAYOUT_WORDS)
#define KEY_WORDS    (HEAD_WORDS + 7 * LAYOUT_WORDS + NORMA_MAX_PARTS * PART_WORDS)

typedef struct plan_key {
    uint64_t hash;
    int count;
    uint64_t words[KEY_WORDS];
} plan_key;

struct norma_plan_cache_entry {
    plan_key key;
    norma_plan *plan;
    uint64_t last_use;
};

static void put(plan_key *key, uint64_t word) {
    key->words[key->count++] = word;
}

static void put_layout(plan_key *key, const norma_tensor *tensor) {
    put(key, (uint64_t)tensor->layout.dtype);
    put(key, (uint64_t)tensor->layout.row_stride);
    put(key, (uint64_t)tensor->layout.col_stride);
    put(key, (uint64_t)tensor->layout.batch_stride);
}

/* FNV-1a over words. */
static uint64_t hash_of(const plan_key *key) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (int i = 0; i < key->count; i++) hash = (hash ^ key->words[i]) * UINT64_C(0x100000001b3);
    return hash;
}

static void put_forward(plan_key *key, const norma_problem *problem) {
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

static void put_backward(plan_key *key, const norma_problem *problem) {
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

static void make_key(const norma_problem *problem, plan_key *key) {
    key->count = 0;
    put(key, (uint64_t)problem->op);
    put(key, (uint64_t)problem->contract);
    put(key, problem->flags);
    put(key, norma_f32_bits(problem->eps));
    put(key, norma_f32_bits(problem->gamma_offset));
    put(key, (uint64_t)problem->k);
    if (problem->op == NORMA_OP_RMSNORM_BACKWARD || problem->op == NORMA_OP_RMSNORM_LINEAR_BACKWARD)
        put_backward(key, problem);
    else
        put_forward(key, problem);
    key->hash = hash_of(key);
}

static bool keys_equal(const plan_key *a, const plan_key *b) {
    return a->hash == b->hash && a->count == b->count &&
           memcmp(a->words, b->words, sizeof a->words[0] * (size_t)a->count) == 0;
}

norma_plan *norma_plan_cache_find(norma_plan_cache *cache, const norma_problem *problem) {
    plan_key key;
    make_key(problem, &key);
    for (int i = 0; i < cache->count; i++) {
        if (!keys_equal(&cache->entries[i].key, &key)) continue;
        cache->entries[i].last_use = ++cache->clock;
        return cache->entries[i].plan;
    }
    return NULL;
}

static struct norma_plan_cache_entry *least_recently_used(norma_plan_cache *cache) {
    struct norma_plan_cache_entry *oldest = &cache->entries[0];
    for (int i = 1; i < cache->count; i++)
        if (cache->entries[i].last_use < oldest->last_use) oldest = &cache->entries[i];
    return oldest;
}

norma_status norma_plan_cache_insert(norma_plan_cache *cache, const norma_problem *problem, norma_plan *plan) {
    if (!cache->entries) cache->entries = calloc(NORMA_PLAN_CACHE_SIZE, sizeof *cache->entries);
    if (!cache->entries)
        return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory for %d plan cache entries", NORMA_PLAN_CACHE_SIZE);
    struct norma_plan_cache_entry *entry;
    if (cache->count < NORMA_PLAN_CACHE_SIZE) {
        entry = &cache->entries[cache->count++];
    } else {
        entry = least_recently_used(cache);
        norma_plan_destroy(entry->plan);
    }
    make_key(problem, &entry->key);
    entry->plan = plan;
    entry->last_use = ++cache->clock;
    return NORMA_OK;
}

void norma_plan_cache_clear(norma_plan_cache *cache) {
    for (int i = 0; i < cache->count; i++) norma_plan_destroy(cache->entries[i].plan);
    free(cache->entries);
    memset(cache, 0, sizeof *cache);
}
