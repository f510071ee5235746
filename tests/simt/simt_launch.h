/* Runs kernels that were compiled for the host, by name. */
#ifndef NORMA_TESTS_SIMT_LAUNCH_H
#define NORMA_TESTS_SIMT_LAUNCH_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct simt_kernel simt_kernel;

/* NULL if no kernel has that name. */
const simt_kernel *simt_find(const char *name);

size_t simt_params_bytes(const simt_kernel *kernel);

/* Runs a grid of blocks to its end. NULL if all went well, else a sentence that says what the kernel did wrong, valid until
 * the next launch. Launches from several threads run one after another. */
const char *simt_launch(const simt_kernel *kernel, const unsigned grid[3], unsigned threads, unsigned shared_bytes,
                        const void *params);

/* Whose matrix units: multiply.cpp says how they differ. Those of compute capability 8 unless set. */
typedef enum simt_units { SIMT_AMPERE, SIMT_HOPPER } simt_units;
void simt_set_units(simt_units units);

#ifdef __cplusplus
}
#endif

#endif
