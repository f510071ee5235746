/* A whole life on a GPU backend: everything that a program may do, stopping at the first failure; and that life once for
 * every call that the driver gets, with that call failing. For drivers that run nothing and can be told to fail. */
#ifndef NORMA_TESTS_UNIT_GPU_LIFE_H
#define NORMA_TESTS_UNIT_GPU_LIFE_H

#include "front/context.h"
#include "gpu/device.h"

enum { GPU_LIFE_K = 64, GPU_LIFE_N = 48, GPU_LIFE_M = 4, GPU_LIFE_LARGE_M = 100 };

typedef struct gpu_life {
    norma_context *context;
    norma_plan *norm, *linear, *folded;
    void *x, *gamma, *weight, *out, *recording;
    char host[GPU_LIFE_LARGE_M * GPU_LIFE_K * 4];
} gpu_life;

norma_rmsnorm_desc gpu_life_norm_desc(void);
norma_rmsnorm_linear_desc gpu_life_linear_desc(void);
norma_status gpu_life_run_norm(gpu_life *l, int64_t m);
norma_status gpu_life_run_linear(gpu_life *l, int64_t m);
norma_status gpu_life_recorded_work(void *user);
norma_status gpu_life_open_all(gpu_life *l, const norma_backend *backend);

/* Also of a life that ended early; gives the first failure. */
norma_status gpu_life_close_all(gpu_life *l, norma_status status);

norma_status gpu_live(const norma_backend *backend);

/* A driver that runs nothing. */
typedef struct gpu_rig {
    const norma_backend *backend;
    const gpu_driver *driver;
    void (*arm)(int call, int result, bool sticky); /* forgets everything; that call, counted from 1, is to fail */
    int (*calls)(void);                             /* since then */
    const char *(*failed)(void);                    /* the native name of the call that failed */
    void (*expect_clean)(const char *label);        /* nothing is still out */
} gpu_rig;

/* Lives once for every call, with that call failing. */
void gpu_fail_every_call(const gpu_rig *rig, int result, bool sticky, norma_status expected);

#endif
