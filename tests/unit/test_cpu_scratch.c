/* The scratch memory of the CPU's tiled kernel, by its own arithmetic: what prepare() reserves for a number of rows and a K
 * holds what a launch with as many or fewer of both lays out, for any number of threads. Sizes at which chunks are rounded
 * up to groups are too large to be run. */
#include <stdio.h>

#include "cpu/cpu_device.h"
#include "expect.h"

/* Any number of threads without making them. */
static int thread_count;
#define norma_threads_count(threads)   ((void)(threads), thread_count)
#define norma_cpu_rmsnorm_linear_tiled included_kernel
extern const norma_cpu_kernel included_kernel;
#include "cpu/rmsnorm_linear_tiled.c"

#define COUNT(table) ((int)(sizeof(table) / sizeof(table)[0]))

static const int64_t row_counts[] = {1,    5,    48,   63,   96,   500,  816,   1020,  2000,
                                     3080, 3600, 3880, 4080, 8120, 8160, 20000, 100001};
static const int64_t k_counts[] = {1, 63, 896, 2048, 2560, 8192, 70000};
static const int64_t n_counts[] = {1, 40, 1024, 57344};
static const int thread_counts[] = {1, 2, 3, 8, 64, 128};

static size_t needed(norma_cpu_launch launch, int64_t rows, int64_t k) {
    norma_problem problem = *launch.problem;
    problem.m = rows;
    problem.k = k;
    launch.problem = &problem;
    size_t bytes;
    (void)lay_out(&launch, NULL, &bytes);
    return bytes;
}

static void check_reserve(const norma_cpu_launch *launch) {
    const norma_problem *problem = launch->problem;
    const size_t reserved = scratch_bytes(launch);
    for (int r = 0; r < COUNT(row_counts) && row_counts[r] <= problem->m; r++)
        for (int k = 0; k < COUNT(k_counts) && k_counts[k] <= problem->k; k++)
            if (needed(*launch, row_counts[r], k_counts[k]) > reserved)
                fail_msg("%s: %lld rows of %lld, n %lld, %d threads need more than is reserved for %lld rows of %lld",
                         launch->tile->name, (long long)row_counts[r], (long long)k_counts[k], (long long)problem->part[0].n,
                         thread_count, (long long)problem->m, (long long)problem->k);
}

/* Every number of rows and every K of the tables. */
static void check_sizes(const norma_tile *tile, int64_t n) {
    norma_problem problem = {.op = NORMA_OP_RMSNORM_LINEAR, .batch = 1, .parts = 1, .part[0].n = n};
    for (int r = 0; r < COUNT(row_counts); r++)
        for (int k = 0; k < COUNT(k_counts); k++) {
            problem.m = row_counts[r];
            problem.k = k_counts[k];
            check_reserve(&(norma_cpu_launch){.problem = &problem, .tile = tile});
        }
}

static void reserve_holds_every_smaller_launch(void **state) {
    (void)state;
    for (int i = 0; i < NORMA_TILE_COUNT; i++) {
        if (norma_tiles[i].threads != 1) continue;
        for (int t = 0; t < COUNT(thread_counts); t++) {
            thread_count = thread_counts[t];
            for (int n = 0; n < COUNT(n_counts); n++) check_sizes(&norma_tiles[i], n_counts[n]);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(reserve_holds_every_smaller_launch)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
