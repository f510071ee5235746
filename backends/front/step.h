/* A route's steps: the problem that each of its one or two launches sees, derived from the caller's. Pure functions.
 *
 * Where two launches pass rows of h or y through memory of the plan's own, the intermediate, the rows go through in chunks
 * that keep it within a limit, or one by one if already a row is larger. */
#ifndef NORMA_FRONT_STEP_H
#define NORMA_FRONT_STEP_H

#include "route.h"

int norma_step_count(const norma_route *route);

norma_kernel norma_step_kernel(const norma_route *route, int step);
const norma_tile *norma_step_tile(const norma_route *route, int step);

/* The problem of `step`. The intermediate begins at `intermediate`; NULL data while a plan is prepared. */
void norma_step_problem(const norma_route *route, int step, const norma_problem *problem, norma_buffer intermediate,
                        norma_problem *out_problem);

/* How many rows of the problem one pass over the route's steps takes; INT64_MAX if there is no intermediate. */
int64_t norma_chunk_rows(const norma_route *route, const norma_problem *problem, int64_t limit_bytes);

/* The intermediate's size for `rows` rows, no more than norma_chunk_rows(). */
int64_t norma_intermediate_bytes(const norma_route *route, const norma_problem *problem, int64_t rows);

/* Rows [row, row + m) of batches [batch, batch + batches) of a bound problem. */
void norma_problem_slice(const norma_problem *problem, int64_t batch, int64_t batches, int64_t row, int64_t m,
                         norma_problem *out_slice);

#endif
