/* The plan cache: a few hundred keys of a few hundred bytes, searched from end to end by hash. */
#include "plan_cache.h"

#include <stdlib.h>

#include "problem_key.h"
#include "status.h"

struct norma_plan_cache_entry {
    norma_problem_key key;
    norma_plan *plan;
    uint64_t last_use;
};

norma_plan *norma_plan_cache_find(norma_plan_cache *cache, const norma_problem *problem) {
    norma_problem_key key;
    norma_problem_key_make(problem, &key);
    for (int i = 0; i < cache->count; i++) {
        if (!norma_problem_keys_equal(&cache->entries[i].key, &key)) continue;
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
    norma_problem_key_make(problem, &entry->key);
    entry->plan = plan;
    entry->last_use = ++cache->clock;
    return NORMA_OK;
}

void norma_plan_cache_clear(norma_plan_cache *cache) {
    for (int i = 0; i < cache->count; i++) norma_plan_destroy(cache->entries[i].plan);
    free(cache->entries);
    memset(cache, 0, sizeof *cache);
}
