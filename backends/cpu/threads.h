/* A pool of threads that run the iterations of a loop together with the calling thread.
 *
 * Which thread runs an iteration is decided as they go, so an iteration's result must not depend on it. A pool is used by
 * one thread at a time; different pools are independent. After fork() the child's pools have no workers: loops in the child
 * run on the calling thread alone, with the same results. */
#ifndef NORMA_CPU_THREADS_H
#define NORMA_CPU_THREADS_H

#include <stdint.h>

typedef struct norma_threads norma_threads;

/* One iteration. `worker` is 0 for the calling thread and otherwise below the pool's count. */
typedef void (*norma_loop_fn)(void *user, int64_t index, int worker);

/* A pool of `count` threads including the caller; fewer if the system refuses more. NULL if out of memory. */
norma_threads *norma_threads_create(int count);
void norma_threads_destroy(norma_threads *threads);

/* Upper bound of the worker numbers that norma_threads_run() passes. */
int norma_threads_count(const norma_threads *threads);

/* Runs function(user, i, worker) for i in [0, iterations) and returns when all have finished. */
void norma_threads_run(norma_threads *threads, int64_t iterations, norma_loop_fn function, void *user);

#endif
