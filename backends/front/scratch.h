/* Operands to time a problem on: device memory of their own for all of its tensors, laid out as the description says at
 * 256-byte aligned addresses and filled with random normals, in as many sets as it takes for one to have left the cache when
 * its turn comes again, but 256 at most: smaller operands stay in it. */
#ifndef NORMA_FRONT_SCRATCH_H
#define NORMA_FRONT_SCRATCH_H

#include "context.h"

typedef struct norma_scratch {
    norma_problem problem; /* on the first set */
    void *data;
    int64_t set_bytes;
    int sets;
} norma_scratch;

/* For `rows` rows in one batch. NORMA_ERROR_OUT_OF_MEMORY if one set takes more than an eighth of the device's memory, or
 * more than is left of it. On an error *out_scratch holds nothing. */
norma_status norma_scratch_create(norma_context *context, const norma_problem *problem, int64_t rows,
                                  norma_scratch *out_scratch);

void norma_scratch_free(norma_context *context, norma_scratch *scratch);

/* The problem on set `set`. */
void norma_scratch_problem(const norma_scratch *scratch, int set, norma_problem *out_problem);

#endif
