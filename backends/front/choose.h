/* Which of a problem's routes a plan takes: the first in their order that the backend prepares, or, with NORMA_TIME_ROUTES
 * in the problem's flags, the one that is the fastest on this device, which is timed once and kept on disk. */
#ifndef NORMA_FRONT_CHOOSE_H
#define NORMA_FRONT_CHOOSE_H

#include "prepared.h"

/* Chooses and prepares a route for up to `rows` rows of `problem`, whose batch, m and addresses do not matter. `forced`
 * names the only kernel to use, or is NULL; one that cannot serve the problem is NORMA_ERROR_UNSUPPORTED. On an error
 * *out_prepared holds nothing. */
norma_status norma_choose(norma_context *context, const norma_problem *problem, int64_t rows, const char *forced,
                          norma_prepared *out_prepared);

#endif
