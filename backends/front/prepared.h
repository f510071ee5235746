/* A prepared route: the launches of one way to compute a problem, readied by the backend for up to a number of rows, and how
 * they run one after another. Launches that follow one another on one stream share one workspace:
 *
 *     [ intermediate rows | workspace of the launch that is running ] */
#ifndef NORMA_FRONT_PREPARED_H
#define NORMA_FRONT_PREPARED_H

#include "backward.h"
#include "context.h"
#include "route.h"

typedef struct norma_prepared {
    int64_t rows; /* the most that it was prepared for */
    norma_route route;
    int steps; /* 0: it holds nothing */
    norma_launch launches[NORMA_MAX_BACKWARD_STEPS];
    size_t intermediate_bytes;
} norma_prepared;

/* Prepares `route` for up to `rows` rows of `problem`, whose batch, m and addresses do not matter. `forced` names the only
 * kernel that the route's own steps may use, or is NULL. On an error *out_prepared holds nothing; NORMA_ERROR_UNSUPPORTED:
 * the backend does not do it this way. */
norma_status norma_prepared_create(norma_context *context, const norma_problem *problem, const norma_route *route,
                                   int64_t rows, const char *forced, norma_prepared *out_prepared);

/* Gives back what it holds, after the work enqueued so far. */
void norma_prepared_discard(norma_context *context, norma_prepared *prepared);

/* What it needs of a workspace. */
size_t norma_prepared_workspace_bytes(const norma_prepared *prepared);

/* Enqueues the launches, in chunks of rows where an intermediate is large. `problem` has batch, m and addresses; `workspace`
 * has as many bytes as it needs. */
norma_status norma_prepared_run(norma_context *context, const norma_prepared *prepared, const norma_problem *problem,
                                const norma_workspace *workspace);

#endif
