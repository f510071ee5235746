/* A plan: a problem without addresses, and for each bracket of M the prepared launches of the route that serves it.
 *
 * These are the internal entries. The public functions turn descriptions into problems (validate.h) and come here; the bench
 * and the tests come here directly when they force a route or want an operation that has no public function. */
#ifndef NORMA_FRONT_PLAN_H
#define NORMA_FRONT_PLAN_H

#include "context.h"
#include "route.h"

/* Creates a plan for `problem` (batch, m and addresses ignored). `route` names the only route to use, or is NULL for the
 * best; a name that cannot serve the problem is NORMA_ERROR_UNSUPPORTED. max_rows > 0 prepares every bracket up to it now; 0
 * means any number of rows, each bracket prepared when first run. */
norma_status norma_plan_create(norma_context *context, const norma_problem *problem, int64_t max_rows, const char *route,
                               norma_plan **out_plan);

/* What the plan was made from. */
const norma_problem *norma_plan_problem(const norma_plan *plan);

/* As norma_plan_create for any number of rows, with the context's workspace in place of its own: for one-shot calls, which
 * nobody captures, so that many plans share one piece of memory. */
norma_status norma_plan_create_shared(norma_context *context, const norma_problem *problem, norma_plan **out_plan);

/* Runs a plan. `problem` is the plan's own with batch, m and addresses filled in, and already validated. */
norma_status norma_plan_run(norma_plan *plan, const norma_problem *problem);

#endif
