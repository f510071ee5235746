/* Preparing and running one route (prepared.h). */
#include "prepared.h"

#include <inttypes.h>
#include <stdio.h>

#include "../dtype.h"
#include "choose.h"
#include "step.h"

#define WORKSPACE_ALIGNMENT 256

/* ---- Preparing ---- */

void norma_prepared_discard(norma_context *context, norma_prepared *prepared) {
    norma_device *device = context->device;
    for (int step = 0; step < prepared->steps; step++) device->backend->discard(device, &prepared->launches[step]);
    memset(prepared, 0, sizeof *prepared);
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

/* A step of a backward is a problem of its own, with one launch by whichever of its routes is chosen. */
static norma_status prepare_backward_step(norma_context *context, const norma_problem *problem, int step, const char *forced,
                                          norma_launch *launch) {
    norma_problem own;
    norma_prepared chosen;
    norma_backward_step(problem, step, 0, (norma_buffer){0}, &own);
    const char *concerned = forced && norma_route_concerns(forced, &own) ? forced : NULL;
    const norma_status status = norma_choose(context, &own, own.m, concerned, &chosen);
    if (!status) *launch = chosen.launches[0];
    return status;
}

static norma_status prepare_step(norma_context *context, const norma_route *route, const norma_problem *problem, int step,
                                 const char *forced, norma_launch *launch) {
    if (route->form == NORMA_FORM_BACKWARD) return prepare_backward_step(context, problem, step, forced, launch);
    norma_problem own;
    norma_step_problem(route, step, problem, (norma_buffer){0}, &own);
    return prepare_launch(context->device, norma_step_kernel(route, step), norma_step_tile(route, step), &own, launch);
}

norma_status norma_prepared_create(norma_context *context, const norma_problem *problem, const norma_route *route,
                                   int64_t rows, const char *forced, norma_prepared *out_prepared) {
    norma_device *device = context->device;
    norma_prepared *made = out_prepared;
    norma_problem own = *problem;
    const int64_t chunk = norma_chunk_rows(route, &own, context->intermediate_bytes);
    own.batch = 1;
    own.m = rows < chunk ? rows : chunk;

    memset(made, 0, sizeof *made);
    made->route = *route;
    made->steps = step_count(route, &own);
    for (int step = 0; step < made->steps; step++) {
        const norma_status status = prepare_step(context, route, &own, step, forced, &made->launches[step]);
        if (!status) continue;
        while (step-- > 0) device->backend->discard(device, &made->launches[step]);
        memset(made, 0, sizeof *made);
        return status;
    }
    made->intermediate_bytes = (size_t)intermediate_bytes(route, &own, own.m);
    made->rows = rows;
    return NORMA_OK;
}

/* `first` rounded up to where a second region may begin. */
static size_t aligned_end(size_t first) {
    return (first + WORKSPACE_ALIGNMENT - 1) / WORKSPACE_ALIGNMENT * WORKSPACE_ALIGNMENT;
}

size_t norma_prepared_workspace_bytes(const norma_prepared *prepared) {
    size_t launch_bytes = 0;
    for (int step = 0; step < prepared->steps; step++)
        if (prepared->launches[step].workspace_bytes > launch_bytes) launch_bytes = prepared->launches[step].workspace_bytes;
    return launch_bytes ? aligned_end(prepared->intermediate_bytes) + launch_bytes : prepared->intermediate_bytes;
}

/* ---- Running ---- */

/* One line per launch: what runs, then what was asked for, in the words of norma-bench, which repeats it. */
static void log_launch(const norma_context *context, const norma_prepared *prepared, int step,
                       const norma_problem *problem) {
    static const char *const contracts[] = {"deferred", "twice", "once"};
    const norma_logger *log = &context->device->log;
    if (!norma_log_enabled(log, NORMA_LOG_DEBUG)) return;
    const norma_tile *tile = prepared->launches[step].tile;
    const norma_tensor *out = problem->parts ? &problem->part[0].out : &problem->out;
    char columns[24] = "";
    if (problem->parts) snprintf(columns, sizeof columns, ",%" PRId64, norma_problem_columns(problem));
    norma_log(log, NORMA_LOG_DEBUG,
              "launch %s, %d of %d, tile %s: norma-bench --shape %" PRId64 ",%" PRId64
              "%s --dtype %s --contract %s --kernel %s "
              "(batch %" PRId64 ", parts %d, gamma %s, weight %s, out %s; %s)",
              norma_kernel_name(prepared->launches[step].kernel), step + 1, prepared->steps, tile ? tile->name : "none",
              problem->batch * problem->m, problem->k, columns, norma_dtype_name(problem->x.layout.dtype),
              contracts[problem->contract], norma_route_name(&prepared->route), problem->batch, problem->parts,
              norma_dtype_name(problem->gamma.layout.dtype), norma_dtype_name(problem->part[0].weight.layout.dtype),
              norma_dtype_name(out->layout.dtype), prepared->route.reason);
}

/* What does not change from launch to launch of one run. */
typedef struct running {
    norma_context *context;
    const norma_prepared *prepared;
    const norma_workspace *workspace;
} running;

typedef norma_status (*piece_fn)(const running *run, int step, const norma_problem *piece);

/* Whole batches, or rows within a batch, in pieces of at most `most` rows. */
static norma_status run_pieces(const running *run, int step, const norma_problem *problem, int64_t most, piece_fn function) {
    if (problem->batch * problem->m <= most) return function(run, step, problem);
    const bool whole_batches = problem->m <= most;
    const int64_t batches = whole_batches ? most / problem->m : 1;
    const int64_t m = whole_batches ? problem->m : most;
    for (int64_t batch = 0; batch < problem->batch; batch += batches) {
        for (int64_t row = 0; row < problem->m; row += m) {
            const int64_t batches_left = problem->batch - batch;
            const int64_t rows_left = problem->m - row;
            norma_problem piece;
            norma_problem_slice(problem, batch, batches < batches_left ? batches : batches_left, row,
                                m < rows_left ? m : rows_left, &piece);
            const norma_status status = function(run, step, &piece);
            if (status) return status;
        }
    }
    return NORMA_OK;
}

static norma_status launch_step(const running *run, int step, const norma_problem *problem) {
    norma_device *device = run->context->device;
    norma_launch launch = run->prepared->launches[step];
    launch.problem = problem;
    launch.workspace.data = run->workspace->data;
    launch.workspace.offset_bytes = aligned_end(run->prepared->intermediate_bytes);
    return device->backend->launch(device, &launch);
}

static norma_status run_step(const running *run, int step, const norma_problem *problem) {
    const int64_t most = run->prepared->launches[step].max_rows;
    return run_pieces(run, step, problem, most ? most : INT64_MAX, launch_step);
}

/* Runs the route's steps from `first` on, on rows that fit the intermediate. */
static norma_status run_steps(const running *run, int first, const norma_problem *chunk) {
    const norma_buffer intermediate = {.data = run->workspace->data, .offset_bytes = 0};
    for (int step = first; step < run->prepared->steps; step++) {
        norma_problem problem;
        norma_step_problem(&run->prepared->route, step, chunk, intermediate, &problem);
        log_launch(run->context, run->prepared, step, chunk);
        const norma_status status = run_step(run, step, &problem);
        if (status) return status;
    }
    return NORMA_OK;
}

static norma_status run_backward(const running *run, const norma_problem *whole) {
    const norma_buffer room = {.data = run->workspace->data, .offset_bytes = 0};
    for (int step = 0; step < run->prepared->steps; step++) {
        const int64_t passes = norma_backward_step_passes(whole, step);
        for (int64_t pass = 0; pass < passes; pass++) {
            norma_problem problem;
            norma_backward_step(whole, step, pass, room, &problem);
            log_launch(run->context, run->prepared, step, &problem);
            const norma_status status = run_step(run, step, &problem);
            if (status) return status;
        }
    }
    return NORMA_OK;
}

norma_status norma_prepared_run(norma_context *context, const norma_prepared *prepared, const norma_problem *problem,
                                const norma_workspace *workspace) {
    const running run = {context, prepared, workspace};
    if (prepared->route.form == NORMA_FORM_BACKWARD) return run_backward(&run, problem);
    return run_pieces(&run, 0, problem, norma_chunk_rows(&prepared->route, problem, context->intermediate_bytes), run_steps);
}
