/* What both programs do: one RMSNorm on the CPU whose result is known exactly. */
#ifndef CONSUMER_H
#define CONSUMER_H

#include <math.h>
#include <norma/norma.h>
#include <stdio.h>

#if NORMA_VERSION < 100
#error "older than the first version"
#endif

/* 0 if the library that the program runs with computes what its header says. */
static inline int consumer_run(void) {
    float x[4] = {2, -2, 2, -2}, out[4] = {0, 0, 0, 0};
    norma_context_desc where = norma_context_desc_init();
    where.backend = "cpu";
    norma_context *context = NULL;
    if (norma_context_create(&where, &context) != NORMA_OK) {
        printf("%s\n", norma_last_error());
        return 1;
    }
    norma_rmsnorm_desc desc = norma_rmsnorm_desc_init();
    desc.k = 4;
    desc.x.dtype = NORMA_F32;
    desc.out.dtype = NORMA_F32;
    norma_rmsnorm_args args = norma_rmsnorm_args_init();
    args.m = 1;
    args.x.data = x;
    args.out.data = out;
    const norma_status status = norma_rmsnorm(context, &desc, &args);
    norma_context_destroy(context);
    if (status != NORMA_OK) {
        printf("%s: %s\n", norma_status_name(status), norma_last_error());
        return 1;
    }
    printf("norma %s: %g %g %g %g\n", norma_version(), (double)out[0], (double)out[1], (double)out[2], (double)out[3]);
    for (int i = 0; i < 4; i++)
        if (fabsf(out[i] - (i % 2 ? -1.0f : 1.0f)) > 1e-6f) return 1;
    return 0;
}

#endif
