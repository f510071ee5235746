/* The plans of one-shot calls, looked up by description. Bounded: the least recently used plan goes first. */
#ifndef NORMA_FRONT_PLAN_CACHE_H
#define NORMA_FRONT_PLAN_CACHE_H

#include "../problem.h"

#define NORMA_PLAN_CACHE_SIZE 256

typedef struct norma_plan_cache {
    struct norma_plan_cache_entry *entries; /* NORMA_PLAN_CACHE_SIZE of them once there is one */
    int count;
    uint64_t clock;
} norma_plan_cache;

/* The plan made for the same description, or NULL. */
norma_plan *norma_plan_cache_find(norma_plan_cache *cache, const norma_problem *problem);

/* Gives `plan` to the cache, which destroys the least recently used one if it is full. On an error the plan stays the
 * caller's. */
norma_status norma_plan_cache_insert(norma_plan_cache *cache, const norma_problem *problem, norma_plan *plan);

/* Destroys every plan. */
void norma_plan_cache_clear(norma_plan_cache *cache);

#endif
