/* The pool of threads.h. Iterations are taken from one atomic counter. A loop is published by opening a gate, one word that
 * holds the loop's number, whether it is open, and how many workers are inside; the caller closes it when the counter has
 * run out and waits only for the workers inside, never for one that still sleeps. Waiting is a bounded spin, then a
 * condition variable. */
#include "threads.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

/* Long enough to bridge the gaps between a model's layers, short enough not to heat an idle program. */
#define SPIN_NS INT64_C(50000)

#define GATE_INSIDE UINT64_C(0x7fffffff)
#define GATE_OPEN   UINT64_C(0x80000000)
#define GATE_LOOP   UINT64_C(0x100000000) /* the loop's number counts in units of this */

typedef struct worker {
    norma_threads *pool;
    pthread_t thread;
    int number;
} worker;

struct norma_threads {
    int count; /* including the caller */
    unsigned forks;
    norma_loop_fn function;
    void *user;
    int64_t iterations;
    _Alignas(64) _Atomic int64_t next;
    _Alignas(64) _Atomic uint64_t gate;
    _Alignas(64) atomic_int sleepers;
    atomic_bool caller_sleeps, stop;
    pthread_mutex_t mutex;
    pthread_cond_t opened, emptied;
    worker workers[];
};

static atomic_uint fork_count;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static void count_fork(void) {
    atomic_fetch_add_explicit(&fork_count, 1, memory_order_relaxed);
}

static void watch_forks(void) {
    (void)pthread_atfork(NULL, NULL, count_fork);
}

/* The workers stay in the parent. */
static bool forked(const norma_threads *threads) {
    return threads->forks != atomic_load_explicit(&fork_count, memory_order_relaxed);
}

static void spin_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void take_iterations(norma_threads *threads, int number) {
    for (;;) {
        const int64_t index = atomic_fetch_add_explicit(&threads->next, 1, memory_order_relaxed);
        if (index >= threads->iterations) return;
        threads->function(threads->user, index, number);
    }
}

static bool gate_is_new(uint64_t gate, uint64_t last) {
    return (gate & GATE_OPEN) != 0 && gate / GATE_LOOP != last;
}

/* Waits until a loop other than number `last` is open, or the pool stops; returns the gate as seen. */
static uint64_t await_loop(norma_threads *threads, uint64_t last) {
    const int64_t deadline = now_ns() + SPIN_NS;
    do {
        for (int i = 0; i < 32; i++) {
            const uint64_t gate = atomic_load(&threads->gate);
            if (gate_is_new(gate, last) || atomic_load_explicit(&threads->stop, memory_order_relaxed)) return gate;
            spin_pause();
        }
    } while (now_ns() < deadline);

    pthread_mutex_lock(&threads->mutex);
    atomic_fetch_add(&threads->sleepers, 1);
    uint64_t gate = atomic_load(&threads->gate);
    while (!gate_is_new(gate, last) && !atomic_load(&threads->stop)) {
        pthread_cond_wait(&threads->opened, &threads->mutex);
        gate = atomic_load(&threads->gate);
    }
    atomic_fetch_sub(&threads->sleepers, 1);
    pthread_mutex_unlock(&threads->mutex);
    return gate;
}

static void leave_gate(norma_threads *threads) {
    const uint64_t before = atomic_fetch_sub(&threads->gate, 1);
    if ((before & GATE_INSIDE) != 1 || !atomic_load(&threads->caller_sleeps)) return;
    pthread_mutex_lock(&threads->mutex);
    pthread_cond_signal(&threads->emptied);
    pthread_mutex_unlock(&threads->mutex);
}

static void *worker_main(void *argument) {
    const worker *self = argument;
    norma_threads *threads = self->pool;
    uint64_t last = 0;
    for (;;) {
        uint64_t gate = await_loop(threads, last);
        if (atomic_load(&threads->stop)) return NULL;
        if (!atomic_compare_exchange_strong(&threads->gate, &gate, gate + 1)) continue;
        last = gate / GATE_LOOP;
        take_iterations(threads, self->number);
        leave_gate(threads);
    }
}

/* The program's signals stay with its own threads, but for those that a worker itself causes, whose handlers should run. */
static void start_workers(norma_threads *threads, int count) {
    static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGPROF};
    sigset_t others, before;
    sigfillset(&others);
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) sigdelset(&others, own[i]);
    pthread_sigmask(SIG_BLOCK, &others, &before);
    for (int i = 0; i < count; i++) {
        worker *each = &threads->workers[i];
        each->pool = threads;
        each->number = i + 1;
        if (pthread_create(&each->thread, NULL, worker_main, each)) break;
        threads->count++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

norma_threads *norma_threads_create(int count) {
    pthread_once(&fork_once, watch_forks);
    const size_t bytes = sizeof(norma_threads) + (size_t)(count - 1) * sizeof(worker);
    norma_threads *threads = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!threads) return NULL;
    threads->count = 1;
    threads->forks = atomic_load(&fork_count);
    atomic_init(&threads->next, 0);
    atomic_init(&threads->gate, 0);
    atomic_init(&threads->sleepers, 0);
    atomic_init(&threads->caller_sleeps, false);
    atomic_init(&threads->stop, false);
    pthread_mutex_init(&threads->mutex, NULL);
    pthread_cond_init(&threads->opened, NULL);
    pthread_cond_init(&threads->emptied, NULL);
    start_workers(threads, count - 1);
    return threads;
}

void norma_threads_destroy(norma_threads *threads) {
    if (!threads) return;
    if (!forked(threads)) {
        pthread_mutex_lock(&threads->mutex);
        atomic_store(&threads->stop, true);
        pthread_cond_broadcast(&threads->opened);
        pthread_mutex_unlock(&threads->mutex);
        for (int i = 0; i < threads->count - 1; i++) pthread_join(threads->workers[i].thread, NULL);
        pthread_cond_destroy(&threads->emptied);
        pthread_cond_destroy(&threads->opened);
        pthread_mutex_destroy(&threads->mutex);
    }
    free(threads);
}

int norma_threads_count(const norma_threads *threads) {
    return threads->count;
}

static void open_gate(norma_threads *threads) {
    const uint64_t loop = atomic_load_explicit(&threads->gate, memory_order_relaxed) / GATE_LOOP + 1;
    atomic_store(&threads->gate, loop * GATE_LOOP | GATE_OPEN);
    if (atomic_load(&threads->sleepers) == 0) return;
    pthread_mutex_lock(&threads->mutex);
    pthread_cond_broadcast(&threads->opened);
    pthread_mutex_unlock(&threads->mutex);
}

static bool gate_is_empty(norma_threads *threads) {
    return (atomic_load(&threads->gate) & GATE_INSIDE) == 0;
}

static void close_gate(norma_threads *threads) {
    atomic_fetch_and(&threads->gate, ~GATE_OPEN);
    if (gate_is_empty(threads)) return;
    const int64_t deadline = now_ns() + SPIN_NS;
    do {
        for (int i = 0; i < 32; i++) {
            if (gate_is_empty(threads)) return;
            spin_pause();
        }
    } while (now_ns() < deadline);

    pthread_mutex_lock(&threads->mutex);
    atomic_store(&threads->caller_sleeps, true);
    while (!gate_is_empty(threads)) pthread_cond_wait(&threads->emptied, &threads->mutex);
    atomic_store(&threads->caller_sleeps, false);
    pthread_mutex_unlock(&threads->mutex);
}

void norma_threads_run(norma_threads *threads, int64_t iterations, norma_loop_fn function, void *user) {
    if (threads->count == 1 || iterations <= 1 || forked(threads)) {
        for (int64_t i = 0; i < iterations; i++) function(user, i, 0);
        return;
    }
    threads->function = function;
    threads->user = user;
    threads->iterations = iterations;
    atomic_store_explicit(&threads->next, 0, memory_order_relaxed);
    open_gate(threads);
    take_iterations(threads, 0);
    close_gate(threads);
}
