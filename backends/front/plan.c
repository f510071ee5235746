/* Plans: for each bracket of M the first route whose launches the backend prepares, and the workspace that the routes need.
 * Launches follow one another on one stream, so all of a plan's share one workspace:
 *
 *     [ intermediate rows | workspace of the launch that is running ] */
#include "plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "../dtype.h"
#include "backward.h"
#include "step.h"
#include "struct_size.h"

#define WORKSPACE_ALIGNMENT 256

typedef struct bracket {
    int64_t rows; /* the most that it was prepared for; 0: not prepared */
    norma_route route;
    int steps;
    norma_launch launches[NORMA_MAX_BACKWARD_STEPS];
    size_t intermediate_bytes;
} bracket;

struct norma_plan {
    norma_context *context;
    norma_problem problem;
    int64_t max_rows;
    const char *forced_route;
    norma_workspace own;
    norma_workspace *workspace; /* its own, or the context's */
    bracket brackets[NORMA_BRACKET_COUNT];
};

const norma_problem *norma_plan_problem(const norma_plan *plan) {
    return &plan->problem;
}

/* ---- Preparing ---- */

static void discard_bracket(norma_plan *plan, bracket *b) {
    if (b->rows == 0) return;
    norma_device *device = plan->context->device;
    for (int step = 0; step < b->steps; step++) device->backend->discard(device, &b->launches[step]);
    memset(b, 0, sizeof *b);
}

static int step_count(const norma_route *route, const norma_problem *problem) {
    return route->form == NORMA_FORM_BACKWARD ? norma_backward_step_count(problem) : norma_step_count(route);
}

static int64_t intermediate_bytes(const norma_route *route, const norma_problem *problem, int64_t rows) {
    return route->form == NORMA_FORM_BACKWARD ? norma_backward_room_bytes(problem, rows)
                                              : norma_intermediate_bytes(route, problem, rows);
}

static norma_status prepare_launch(norma_device *device, norma_kernel kernel, const norma_tile *tile,
                                   const norma_problem *problem, norma_launch *launch) {
    *launch = (norma_launch){.kernel = kernel, .tile = tile, .problem = problem};
    const norma_status status = device->backend->prepare(device, launch);
    launch->problem = NULL;
    return status;
}

/* By the first route of the step's own that the backend takes, and that NORMA_KERNEL allows. */
static norma_status prepare_backward_step(const norma_plan *plan, const norma_problem *problem, int step,
                                          norma_launch *launch) {
    norma_device *device = plan->context->device;
    norma_problem own;
    norma_backward_step(problem, step, 0, (norma_buffer){0}, &own);
    const bool forced = plan->forced_route && norma_route_concerns(plan->forced_route, &own);
    norma_route routes[NORMA_MAX_ROUTES];
    const int count = norma_routes_for(&own, own.m, &device->limits, routes);
    norma_status status = NORMA_ERROR_UNSUPPORTED;
    for (int i = 0; i < count && status == NORMA_ERROR_UNSUPPORTED; i++)
        if (!forced || norma_route_admits(&routes[i], plan->forced_route))
            status = prepare_launch(device, routes[i].kernel, routes[i].tile, &own, launch);
    return status;
}

static norma_status prepare_step(const norma_plan *plan, const norma_route *route, const norma_problem *problem, int step,
                                 norma_launch *launch) {
    if (route->form == NORMA_FORM_BACKWARD) return prepare_backward_step(plan, problem, step, launch);
    norma_problem own;
    norma_step_problem(route, step, problem, (norma_buffer){0}, &own);
    return prepare_launch(plan->context->device, norma_step_kernel(route, step), norma_step_tile(route, step), &own, launch);
}

/* Prepares `route` for up to `rows` rows into *b; on an error *b holds nothing. */
static norma_status prepare_route(norma_plan *plan, const norma_route *route, int64_t rows, bracket *b) {
    norma_device *device = plan->context->device;
    norma_problem problem = plan->problem;
    const int64_t chunk = norma_chunk_rows(route, &problem, plan->context->intermediate_bytes);
    problem.batch = 1;
    problem.m = rows < chunk ? rows : chunk;

    memset(b, 0, sizeof *b);
    b->route = *route;
    b->steps = step_count(route, &problem);
    for (int step = 0; step < b->steps; step++) {
        const norma_status status = prepare_step(plan, route, &problem, step, &b->launches[step]);
        if (!status) continue;
        while (step-- > 0) device->backend->discard(device, &b->launches[step]);
        memset(b, 0, sizeof *b);
        return status;
    }
    b->intermediate_bytes = (size_t)intermediate_bytes(route, &problem, problem.m);
    b->rows = rows;
    return NORMA_OK;
}

/* `first` rounded up to where a second region may begin. */
static size_t aligned_end(size_t first) {
    return (first + WORKSPACE_ALIGNMENT - 1) / WORKSPACE_ALIGNMENT * WORKSPACE_ALIGNMENT;
}

static size_t workspace_bytes(const bracket *b) {
    size_t launch_bytes = 0;
    for (int step = 0; step < b->steps; step++)
        if (b->launches[step].workspace_bytes > launch_bytes) launch_bytes = b->launches[step].workspace_bytes;
    return launch_bytes ? aligned_end(b->intermediate_bytes) + launch_bytes : b->intermediate_bytes;
}

/* Prepares the first route that works, and its workspace. */
static norma_status prepare_bracket(norma_plan *plan, int64_t rows, bracket *b) {
    norma_context *context = plan->context;
    norma_route routes[NORMA_MAX_ROUTES];
    const int count = norma_routes_for(&plan->problem, rows, &context->device->limits, routes);
    bracket prepared;
    norma_status status = NORMA_ERROR_UNSUPPORTED;
    int tried = 0;
    for (int i = 0; i < count && status == NORMA_ERROR_UNSUPPORTED; i++) {
        if (plan->forced_route && !norma_route_admits(&routes[i], plan->forced_route)) continue;
        if (plan->forced_route) routes[i].reason = "asked for by name";
        status = prepare_route(plan, &routes[i], rows, &prepared);
        tried++;
    }
    if (tried == 0)
        return norma_fail(NORMA_ERROR_UNSUPPORTED, "kernel \"%s\" does not serve this operation with these flags",
                          plan->forced_route ? plan->forced_route : "");
    if (status == NORMA_ERROR_UNSUPPORTED && plan->forced_route)
        return norma_fail(status, "kernel \"%s\" cannot do this on backend \"%s\": %s", plan->forced_route,
                          context->info.backend, norma_last_error());
    if (status) return status;

    status = norma_workspace_reserve(context, plan->workspace, workspace_bytes(&prepared));
    if (status) {
        discard_bracket(plan, &prepared);
        return status;
    }
    discard_bracket(plan, b);
    *b = prepared;
    return NORMA_OK;
}

/* The prepared bracket for `rows` rows. A plan for any number of rows prepares it when it is first needed. */
static norma_status bracket_for(norma_plan *plan, int64_t rows, bracket **out_bracket) {
    const int index = norma_bracket_of(rows);
    bracket *b = &plan->brackets[index];
    *out_bracket = b;
    if (rows <= b->rows) return NORMA_OK;
    int64_t prepared_rows = norma_bracket_rows(index);
    if (plan->max_rows > 0 && prepared_rows > plan->max_rows) prepared_rows = plan->max_rows;
    if (prepared_rows == INT64_MAX) prepared_rows = rows;
    return norma_context_check(plan->context, prepare_bracket(plan, prepared_rows, b));
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
        bracket *b;
        status = bracket_for(plan, rows < max_rows ? rows : max_rows, &b);
    }
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
    for (int index = 0; index < NORMA_BRACKET_COUNT; index++) discard_bracket(plan, &plan->brackets[index]);
    norma_workspace_release(plan->context, &plan->own);
    free(plan);
}

/* ---- Running ---- */

/* One line per launch: what runs, then what was asked for, in the words of norma-bench, which repeats it. */
static void log_launch(const norma_plan *plan, const bracket *b, int step, const norma_problem *problem) {
    static const char *const contracts[] = {"deferred", "twice", "once"};
    const norma_logger *log = &plan->context->device->log;
    if (!norma_log_enabled(log, NORMA_LOG_DEBUG)) return;
    const norma_tile *tile = b->launches[step].tile;
    const norma_tensor *out = problem->parts ? &problem->part[0].out : &problem->out;
    char columns[24] = "";
    if (problem->parts) snprintf(columns, sizeof columns, ",%" PRId64, norma_problem_columns(problem));
    norma_log(log, NORMA_LOG_DEBUG,
              "launch %s, %d of %d, tile %s: norma-bench --shape %" PRId64 ",%" PRId64
              "%s --dtype %s --contract %s --kernel %s "
              "(batch %" PRId64 ", parts %d, gamma %s, weight %s, out %s; %s)",
              norma_kernel_name(b->launches[step].kernel), step + 1, b->steps, tile ? tile->name : "none",
              problem->batch * problem->m, problem->k, columns, norma_dtype_name(problem->x.layout.dtype),
              contracts[problem->contract], norma_route_name(&b->route), problem->batch, problem->parts,
              norma_dtype_name(problem->gamma.layout.dtype), norma_dtype_name(problem->part[0].weight.layout.dtype),
              norma_dtype_name(out->layout.dtype), b->route.reason);
}

static norma_status run_step(norma_plan *plan, const bracket *b, int step, const norma_problem *problem) {
    norma_device *device = plan->context->device;
    norma_launch launch = b->launches[step];
    launch.problem = problem;
    launch.workspace.data = plan->workspace->data;
    launch.workspace.offset_bytes = aligned_end(b->intermediate_bytes);
    return device->backend->launch(device, &launch);
}

/* Runs the bracket's steps on rows that fit the intermediate. */
static norma_status run_chunk(norma_plan *plan, const bracket *b, const norma_problem *chunk) {
    const norma_buffer intermediate = {.data = plan->workspace->data, .offset_bytes = 0};
    for (int step = 0; step < b->steps; step++) {
        norma_problem problem;
        norma_step_problem(&b->route, step, chunk, intermediate, &problem);
        log_launch(plan, b, step, chunk);
        const norma_status status = run_step(plan, b, step, &problem);
        if (status) return status;
    }
    return NORMA_OK;
}

static norma_status run_backward(norma_plan *plan, const bracket *b, const norma_problem *whole) {
    const norma_buffer room = {.data = plan->workspace->data, .offset_bytes = 0};
    for (int step = 0; step < b->steps; step++) {
        const int64_t passes = norma_backward_step_passes(whole, step);
        for (int64_t pass = 0; pass < passes; pass++) {
            norma_problem problem;
            norma_backward_step(whole, step, pass, room, &problem);
            log_launch(plan, b, step, &problem);
            const norma_status status = run_step(plan, b, step, &problem);
            if (status) return status;
        }
    }
    return NORMA_OK;
}

static norma_status run_chunks(norma_plan *plan, const bracket *b, const norma_problem *problem) {
    if (b->route.form == NORMA_FORM_BACKWARD) return run_backward(plan, b, problem);
    const int64_t chunk_rows = norma_chunk_rows(&b->route, problem, plan->context->intermediate_bytes);
    if (problem->batch * problem->m <= chunk_rows) return run_chunk(plan, b, problem);

    const bool whole_batches = problem->m <= chunk_rows;
    const int64_t batches = whole_batches ? chunk_rows / problem->m : 1;
    const int64_t m = whole_batches ? problem->m : chunk_rows;
    for (int64_t batch = 0; batch < problem->batch; batch += batches) {
        for (int64_t row = 0; row < problem->m; row += m) {
            const int64_t batches_left = problem->batch - batch;
            const int64_t rows_left = problem->m - row;
            norma_problem chunk;
            norma_problem_slice(problem, batch, batches < batches_left ? batches : batches_left, row,
                                m < rows_left ? m : rows_left, &chunk);
            const norma_status status = run_chunk(plan, b, &chunk);
            if (status) return status;
        }
    }
    return NORMA_OK;
}

static bool has_outputs(const norma_problem *problem) {
    if (problem->op == NORMA_OP_FOLD_GAMMA) return problem->part[0].n > 0;
    if (problem->op == NORMA_OP_RMSNORM_LINEAR_BACKWARD) return norma_backward_step_count(problem) > 0;
    if (problem->op == NORMA_OP_RMSNORM_BACKWARD)
        return norma_tensor_present(&problem->dx) || norma_tensor_present(&problem->dgamma);
    return problem->parts > 0 || norma_tensor_present(&problem->out) || norma_tensor_present(&problem->residual_out) ||
           norma_tensor_present(&problem->rstd);
}

norma_status norma_plan_run(norma_plan *plan, const norma_problem *problem) {
    norma_status status = norma_context_check(plan->context, NORMA_OK);
    const int64_t rows = problem->batch * problem->m;
    if (status || rows == 0 || !has_outputs(problem)) return status;
    if (plan->max_rows > 0 && rows > plan->max_rows)
        return norma_fail(NORMA_ERROR_ROWS, "%" PRId64 " rows were given, but the plan was made for at most %" PRId64, rows,
                          plan->max_rows);
    bracket *b;
    status = bracket_for(plan, rows, &b);
    if (status) return status;
    norma_problem flagged = *problem;
    flagged.flags = plan->problem.flags;
    return norma_context_check(plan->context, run_chunks(plan, b, &flagged));
}

/* ---- Describing ---- */

/* The kernels in their order, each once, as many as the text holds. */
static void describe_bracket(const bracket *b, norma_plan_info *info) {
    bool told[NORMA_KERNEL_COUNT] = {false};
    info->kernel[0] = '\0';
    for (int step = 0; step < b->steps; step++) {
        const norma_kernel kernel = b->launches[step].kernel;
        const size_t used = strlen(info->kernel);
        const char *name = norma_kernel_name(kernel);
        if (told[kernel] || used + strlen(name) + 2 > sizeof info->kernel) continue;
        told[kernel] = true;
        snprintf(info->kernel + used, sizeof info->kernel - used, "%s%s", used ? "+" : "", name);
    }
    snprintf(info->reason, sizeof info->reason, "%s", b->route.reason);
}

norma_status norma_plan_get_info(const norma_plan *plan, int64_t m, norma_plan_info *out_info) {
    if (!plan) return norma_fail(NORMA_ERROR_NULL_POINTER, "plan is NULL");
    if (m < 0) return norma_fail(NORMA_ERROR_SIZE, "m is %" PRId64 "; it must not be negative", m);
    if (plan->max_rows > 0 && m > plan->max_rows)
        return norma_fail(NORMA_ERROR_ROWS, "m is %" PRId64 ", but the plan was made for at most %" PRId64 " rows", m,
                          plan->max_rows);
    norma_plan_info info = {.struct_size = sizeof info, .kernel = "none", .reason = "nothing to compute"};
    if (m > 0 && has_outputs(&plan->problem)) {
        /* A plan for any number of rows finds out now: its brackets are a cache behind a constant description. */
        bracket *b;
        const norma_status status = bracket_for((norma_plan *)plan, m, &b);
        if (status) return status;
        describe_bracket(b, &info);
    }
    info.workspace_bytes = plan->own.bytes;
    return norma_struct_write("out_info", out_info, NORMA_BYTES_TO(norma_plan_info, reason), &info, sizeof info);
}
