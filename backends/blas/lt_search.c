/* The search for a product's fastest algorithm. Every candidate runs once untimed and once timed; the best few run again by
 * turns and the one with the smallest time wins, as far as the time allowed goes. Operands are random normal values. What
 * was found is kept for the life of the process. A product of gradients is not timed: its bits may follow from what it is
 * alone. */
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "../dtype.h"
#include "../front/normals.h"
#include "lt_product.h"

#define FINALISTS  4
#define FINAL_RUNS 5
#define BUDGET_MS  100 /* of timed runs, after which no candidate enters the race, or the finals go no further round */

/* ---- What the process has found so far ---- */

#define MEMORY_SIZE 256

static pthread_mutex_t memory_lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    lt_shape shape;
    lt_candidate choice;
} memory[MEMORY_SIZE];
static unsigned memory_count; /* ever added; the oldest is overwritten */

static bool recall_locked(const lt_shape *shape, lt_candidate *out_choice) {
    const unsigned filled = memory_count < MEMORY_SIZE ? memory_count : MEMORY_SIZE;
    for (unsigned i = 0; i < filled; i++) {
        if (memcmp(&memory[i].shape, shape, sizeof *shape) != 0) continue;
        *out_choice = memory[i].choice;
        return true;
    }
    return false;
}

static bool recall(const lt_shape *shape, lt_candidate *out_choice) {
    pthread_mutex_lock(&memory_lock);
    const bool found = recall_locked(shape, out_choice);
    pthread_mutex_unlock(&memory_lock);
    return found;
}

/* If another thread searched for the same shape meanwhile, its choice stands. */
static void remember(const lt_shape *shape, lt_candidate *inout_choice) {
    pthread_mutex_lock(&memory_lock);
    if (!recall_locked(shape, inout_choice)) {
        memory[memory_count % MEMORY_SIZE].shape = *shape;
        memory[memory_count % MEMORY_SIZE].choice = *inout_choice;
        memory_count++;
    }
    pthread_mutex_unlock(&memory_lock);
}

/* ---- The bench to time on ---- */

typedef struct test_bench {
    void *stream, *start, *stop;
    void *x, *weight, *bias, *out, *workspace;
} test_bench;

#define PATTERN_VALUES 65536

/* Allocates `count` values and fills them by doubling what is there. */
static norma_status allocate(gpu_device *device, int32_t dtype, int64_t count, const void *pattern, void *stream,
                             void **out_data) {
    const gpu_driver *driver = device->driver;
    const size_t width = norma_dtype_bytes((norma_dtype)dtype);
    size_t bytes;
    if (__builtin_mul_overflow((size_t)count, width, &bytes))
        return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "a product of this size cannot be timed");
    norma_status status = GPU_CALL(driver, memory_alloc, out_data, bytes);
    if (status || !pattern) return status;
    size_t filled = bytes < PATTERN_VALUES * width ? bytes : PATTERN_VALUES * width;
    status = GPU_CALL(driver, copy_to_device, *out_data, pattern, filled, stream);
    while (!status && filled < bytes) {
        const size_t step = filled < bytes - filled ? filled : bytes - filled;
        status = GPU_CALL(driver, copy_on_device, (char *)*out_data + filled, *out_data, step, stream);
        filled += step;
    }
    return status;
}

static void close_bench(gpu_device *device, test_bench *bench) {
    const gpu_driver *driver = device->driver;
    if (bench->stream) driver->stream_sync(bench->stream);
    void *const blocks[] = {bench->x, bench->weight, bench->bias, bench->out, bench->workspace};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        if (blocks[i]) driver->memory_free(blocks[i]);
    if (bench->start) driver->event_destroy(bench->start);
    if (bench->stop) driver->event_destroy(bench->stop);
}

static norma_status fill_bench(gpu_device *device, const lt_shape *shape, const void *pattern, size_t workspace_bytes,
                               test_bench *bench) {
    const gpu_driver *driver = device->driver;
    const int64_t weight_columns = shape->weight_transposed ? shape->n : shape->k;
    norma_status status = norma_gpu_own_stream(device, &bench->stream);
    if (!status) status = GPU_CALL(driver, event_create, &bench->start, GPU_EVENT_TIMED);
    if (!status) status = GPU_CALL(driver, event_create, &bench->stop, GPU_EVENT_TIMED);
    if (!status)
        status = allocate(device, shape->dtype, (shape->x_transposed ? shape->k : shape->m) * shape->x_ld, pattern,
                          bench->stream, &bench->x);
    if (!status)
        status = allocate(device, shape->dtype, weight_columns * shape->weight_ld, pattern, bench->stream, &bench->weight);
    if (!status) status = allocate(device, shape->out_dtype, shape->m * shape->out_ld, NULL, bench->stream, &bench->out);
    if (!status && shape->bias_alignment)
        status = allocate(device, shape->out_dtype, shape->n, pattern, bench->stream, &bench->bias);
    if (!status && workspace_bytes) status = GPU_CALL(driver, memory_alloc, &bench->workspace, workspace_bytes);
    if (!status) status = GPU_CALL(driver, stream_sync, bench->stream);
    return status;
}

static norma_status open_bench(gpu_device *device, const lt_shape *shape, size_t workspace_bytes, test_bench *bench) {
    void *pattern = malloc(PATTERN_VALUES * sizeof(float)); /* of whatever dtype; the widest fits */
    if (!pattern) return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory to time a product with");
    norma_normals_fill(pattern, (norma_dtype)shape->dtype, PATTERN_VALUES);
    const norma_status status = fill_bench(device, shape, pattern, workspace_bytes, bench);
    free(pattern);
    return status;
}

/* One run of a candidate in milliseconds; one that does not run after all takes for ever. */
static norma_status time_once(gpu_device *device, const lt_product *product, const test_bench *bench,
                              const lt_candidate *candidate, float *out_ms) {
    const gpu_driver *driver = device->driver;
    const lt_operands operands = {bench->x,   bench->weight,    bench->bias,
                                  bench->out, bench->workspace, candidate->workspace_bytes};
    norma_status status = GPU_CALL(driver, event_record, bench->start, bench->stream);
    if (status) return status;
    status = norma_lt_product_run(device, product, candidate, &operands, bench->stream);
    if (status) {
        *out_ms = INFINITY;
        return status == NORMA_ERROR_DEVICE_LOST ? status : NORMA_OK;
    }
    status = GPU_CALL(driver, event_record, bench->stop, bench->stream);
    if (!status) status = GPU_CALL(driver, event_sync, bench->stop);
    return status ? status : GPU_CALL(driver, event_elapsed, out_ms, bench->start, bench->stop);
}

/* One run more, of which the smallest time is kept. */
static norma_status time_again(gpu_device *device, const lt_product *product, const test_bench *bench,
                               const lt_candidate *candidate, float *inout_ms, float *inout_spent_ms) {
    float ms = INFINITY;
    const norma_status status = time_once(device, product, bench, candidate, &ms);
    if (status || ms == INFINITY) return status;
    if (ms < *inout_ms) *inout_ms = ms;
    *inout_spent_ms += ms;
    return NORMA_OK;
}

/* Sorts by time; the few candidates do not deserve more. */
static void sort_candidates(lt_candidate *candidates, float *ms, int count) {
    for (int i = 1; i < count; i++) {
        for (int j = i; j > 0 && ms[j] < ms[j - 1]; j--) {
            const lt_candidate candidate = candidates[j];
            const float time = ms[j];
            candidates[j] = candidates[j - 1];
            ms[j] = ms[j - 1];
            candidates[j - 1] = candidate;
            ms[j - 1] = time;
        }
    }
}

/* The first `count` candidates by turns, sorted by what is then the smallest time of each. One alone has won. */
static norma_status run_finals(gpu_device *device, const lt_product *product, const test_bench *bench,
                               lt_candidate *candidates, float *ms, int count) {
    float spent_ms = 0;
    norma_status status = NORMA_OK;
    for (int run = 0; count > 1 && run < FINAL_RUNS && spent_ms < BUDGET_MS; run++)
        for (int i = 0; !status && i < count; i++)
            status = time_again(device, product, bench, &candidates[i], &ms[i], &spent_ms);
    sort_candidates(candidates, ms, count);
    return status;
}

/* Moves the fastest candidate to the front. */
static norma_status race(gpu_device *device, const lt_product *product, const test_bench *bench, lt_candidate *candidates,
                         int count) {
    float ms[LT_MAX_CANDIDATES], spent_ms = 0;
    norma_status status = NORMA_OK;
    int started = 0;
    for (; !status && started < count && spent_ms < BUDGET_MS; started++) {
        float warm_up;
        ms[started] = INFINITY;
        status = time_once(device, product, bench, &candidates[started], &warm_up);
        if (!status) status = time_again(device, product, bench, &candidates[started], &ms[started], &spent_ms);
    }
    if (status) return status;
    sort_candidates(candidates, ms, started);
    status = run_finals(device, product, bench, candidates, ms, started < FINALISTS ? started : FINALISTS);
    if (status) return status;
    return ms[0] < INFINITY
               ? NORMA_OK
               : norma_fail(NORMA_ERROR_UNSUPPORTED, "no algorithm of %s ran this product", product->shape.vendor->name);
}

norma_status norma_lt_product_first(gpu_device *device, const lt_product *product, lt_candidate *out_choice) {
    int count = 0;
    return norma_lt_product_candidates(device, product, LT_MAX_WORKSPACE_BYTES, 1, out_choice, &count);
}

norma_status norma_lt_product_search(gpu_device *device, const lt_product *product, lt_candidate *out_choice) {
    if (recall(&product->shape, out_choice)) return NORMA_OK;
    lt_candidate candidates[LT_MAX_CANDIDATES];
    int count = 0;
    norma_status status =
        norma_lt_product_candidates(device, product, LT_MAX_WORKSPACE_BYTES, LT_MAX_CANDIDATES, candidates, &count);
    if (status) return status;
    size_t workspace_bytes = 0;
    for (int i = 0; i < count; i++)
        if (candidates[i].workspace_bytes > workspace_bytes) workspace_bytes = candidates[i].workspace_bytes;

    *out_choice = candidates[0];
    test_bench bench = {0};
    status = open_bench(device, &product->shape, workspace_bytes, &bench);
    if (!status) status = race(device, product, &bench, candidates, count);
    close_bench(device, &bench);
    if (status) return status == NORMA_ERROR_OUT_OF_MEMORY ? NORMA_OK : status;
    *out_choice = candidates[0];
    remember(&product->shape, out_choice);
    return NORMA_OK;
}
