/* Plans: for each bracket of M the prepared route that was chosen for it. Launches follow one another on one stream, so all
 * of a plan's brackets share one workspace, as large as the one that needs most. */
#include "plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "choose.h"
#include "struct_size.h"

struct norma_plan {
    norma_context *context;
    norma_problem problem;
    int64_t max_rows;
    const char *forced_route;
    norma_workspace own;
    norma_workspace *workspace; /* its own, or the context's */
    norma_prepared brackets[NORMA_BRACKET_COUNT];
    norma_prepared empty; /* for no rows: gradients that are sums over rows */
};

const norma_problem *norma_plan_problem(const norma_plan *plan) {
    return &plan->problem;
}

/* ---- Preparing ---- */

/* Prepares the route that is chosen, and its workspace. */
static norma_status prepare_bracket(norma_plan *plan, int64_t rows, norma_prepared *bracket) {
    norma_context *context = plan->context;
    norma_prepared prepared;
    norma_status status = norma_choose(context, &plan->problem, rows, plan->forced_route, &prepared);
    if (status) return status;
    status = norma_workspace_reserve(context, plan->workspace, norma_prepared_workspace_bytes(&prepared));
    if (status) {
        norma_prepared_discard(context, &prepared);
        return status;
    }
    norma_prepared_discard(context, bracket);
    *bracket = prepared;
    return NORMA_OK;
}

/* The bracket for no rows. Its launches need no workspace. */
static norma_status prepare_empty(norma_plan *plan) {
    static const norma_route route = {.form = NORMA_FORM_BACKWARD, .reason = "sums over no rows"};
    if (plan->empty.steps > 0) return NORMA_OK;
    return norma_context_check(
        plan->context, norma_prepared_create(plan->context, &plan->problem, &route, 0, plan->forced_route, &plan->empty));
}

/* The prepared bracket for `rows` rows. A plan for any number of rows prepares it when it is first needed. */
static norma_status bracket_for(norma_plan *plan, int64_t rows, norma_prepared **out_bracket) {
    *out_bracket = &plan->empty;
    if (rows == 0) return prepare_empty(plan);
    const int index = norma_bracket_of(rows);
    norma_prepared *bracket = &plan->brackets[index];
    *out_bracket = bracket;
    if (rows <= bracket->rows) return NORMA_OK;
    int64_t prepared_rows = norma_bracket_rows(index);
    if (plan->max_rows > 0 && prepared_rows > plan->max_rows) prepared_rows = plan->max_rows;
    if (prepared_rows == INT64_MAX) prepared_rows = rows;
    return norma_context_check(plan->context, prepare_bracket(plan, prepared_rows, bracket));
}

static bool has_outputs(const norma_problem *problem) {
    if (problem->op == NORMA_OP_FOLD_GAMMA) return problem->part[0].n > 0;
    if (problem->op == NORMA_OP_RMSNORM_LINEAR_BACKWARD) return norma_backward_step_count(problem) > 0;
    if (problem->op == NORMA_OP_RMSNORM_BACKWARD)
        return norma_tensor_present(&problem->dx) || norma_tensor_present(&problem->dgamma);
    return problem->parts > 0 || norma_tensor_present(&problem->out) || norma_tensor_present(&problem->residual_out) ||
           norma_tensor_present(&problem->rstd);
}

/* Whether a call of `rows` rows writes anything. */
static bool has_work(const norma_plan *plan, int64_t rows) {
    norma_problem problem = plan->problem;
    problem.batch = 1;
    problem.m = rows;
    if (rows > 0) return has_outputs(&problem);
    const bool backward = problem.op == NORMA_OP_RMSNORM_LINEAR_BACKWARD || problem.op == NORMA_OP_RMSNORM_BACKWARD;
    return backward && norma_backward_step_count(&problem) > 0;
}

static norma_status create(norma_context *context, const norma_problem *problem, int64_t max_rows, const char *route,
                           bool shared, norma_plan **out_plan) {
    *out_plan = NULL;
    norma_status status = norma_context_check(context, NORMA_OK);
    if (status) return status;
    norma_plan *plan = calloc(1, sizeof *plan);
    if (!plan) return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory for a plan of %zu bytes", sizeof *plan);
    plan->context = context;
    plan->problem = *problem;
    plan->problem.batch = plan->problem.m = 0;
    plan->problem.flags |= context->forced_flags;
    plan->max_rows = max_rows;
    plan->forced_route = route;
    if (!route && context->forced_route && norma_route_concerns(context->forced_route, problem))
        plan->forced_route = context->forced_route;
    plan->workspace = shared ? &context->workspace : &plan->own;

    const int last = max_rows > 0 ? norma_bracket_of(max_rows) : -1;
    /* The largest first, so that the workspace need not grow. */
    for (int index = last; index >= 0 && !status; index--) {
        const int64_t rows = norma_bracket_rows(index);
        norma_prepared *bracket;
        status = bracket_for(plan, rows < max_rows ? rows : max_rows, &bracket);
    }
    if (!status && max_rows > 0 && has_work(plan, 0)) status = prepare_empty(plan);
    if (status) {
        norma_plan_destroy(plan);
        return status;
    }
    *out_plan = plan;
    return NORMA_OK;
}

norma_status norma_plan_create(norma_context *context, const norma_problem *problem, int64_t max_rows, const char *route,
                               norma_plan **out_plan) {
    const char *known = route ? norma_route_find(route) : NULL;
    if (route && !known) {
        *out_plan = NULL;
        return norma_fail(NORMA_ERROR_UNSUPPORTED, "there is no kernel \"%s\"", route);
    }
    return create(context, problem, max_rows, known, false, out_plan);
}

norma_status norma_plan_create_shared(norma_context *context, const norma_problem *problem, norma_plan **out_plan) {
    return create(context, problem, 0, NULL, true, out_plan);
}

void norma_plan_destroy(norma_plan *plan) {
    if (!plan) return;
    for (int index = 0; index < NORMA_BRACKET_COUNT; index++) norma_prepared_discard(plan->context, &plan->brackets[index]);
    norma_prepared_discard(plan->context, &plan->empty);
    norma_workspace_release(plan->context, &plan->own);
    free(plan);
}

/* ---- Running ---- */

norma_status norma_plan_run(norma_plan *plan, const norma_problem *problem) {
    norma_status status = norma_context_check(plan->context, NORMA_OK);
    const int64_t rows = problem->batch * problem->m;
    if (status || !has_work(plan, rows)) return status;
    if (plan->max_rows > 0 && rows > plan->max_rows)
        return norma_fail(NORMA_ERROR_ROWS, "%" PRId64 " rows were given, but the plan was made for at most %" PRId64, rows,
                          plan->max_rows);
    norma_prepared *bracket;
    status = bracket_for(plan, rows, &bracket);
    if (status) return status;
    norma_problem flagged = *problem;
    flagged.flags = plan->problem.flags;
    return norma_context_check(plan->context, norma_prepared_run(plan->context, bracket, &flagged, plan->workspace));
}

/* ---- Describing ---- */

/* The kernels in their order, each once, as many as the text holds. */
static void describe(const norma_prepared *prepared, norma_plan_info *info) {
    bool told[NORMA_KERNEL_COUNT] = {false};
    info->kernel[0] = '\0';
    for (int step = 0; step < prepared->steps; step++) {
        const norma_kernel kernel = prepared->launches[step].kernel;
        const size_t used = strlen(info->kernel);
        const char *name = norma_kernel_name(kernel);
        if (told[kernel] || used + strlen(name) + 2 > sizeof info->kernel) continue;
        told[kernel] = true;
        snprintf(info->kernel + used, sizeof info->kernel - used, "%s%s", used ? "+" : "", name);
    }
    snprintf(info->reason, sizeof info->reason, "%s", prepared->route.reason);
}

norma_status norma_plan_get_info(const norma_plan *plan, int64_t m, norma_plan_info *out_info) {
    if (!plan) return norma_fail(NORMA_ERROR_NULL_POINTER, "plan is NULL");
    if (m < 0) return norma_fail(NORMA_ERROR_SIZE, "m is %" PRId64 "; it must not be negative", m);
    if (plan->max_rows > 0 && m > plan->max_rows)
        return norma_fail(NORMA_ERROR_ROWS, "m is %" PRId64 ", but the plan was made for at most %" PRId64 " rows", m,
                          plan->max_rows);
    norma_plan_info info = {.struct_size = sizeof info, .kernel = "none", .reason = "nothing to compute"};
    norma_status status = norma_struct_check("out_info", out_info, NORMA_BYTES_TO(norma_plan_info, reason), sizeof info);
    if (!status) status = norma_context_check(plan->context, NORMA_OK);
    if (status) return status;
    if (has_work(plan, m)) {
        /* A plan for any number of rows finds out now: its brackets are a cache behind a constant description. */
        norma_prepared *bracket;
        status = bracket_for((norma_plan *)plan, m, &bracket);
        if (status) return status;
        describe(bracket, &info);
    }
    info.workspace_bytes = plan->own.bytes;
    return norma_struct_write("out_info", out_info, NORMA_BYTES_TO(norma_plan_info, reason), &info, sizeof info);
}
