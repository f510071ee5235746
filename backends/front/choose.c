/* The choice among routes (choose.h). What timing found is kept on disk under all that it may depend on, one file for each
 * description and bracket of rows; a file holds a route's form, kernel and tile. */
#include "choose.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "disk_cache.h"
#include "problem_key.h"
#include "timing.h"

enum { KEY_BYTES = 8192, ROUTE_BYTES = 128 };

static const char cache_kind[] = "route";

/* The routes in the order in which to try them: all, or those of the kernel that is asked for by name. */
static int list_routes(const norma_context *context, const norma_problem *problem, int64_t rows, const char *forced,
                       norma_route routes[NORMA_MAX_ROUTES]) {
    const int count = norma_routes_for(problem, rows, &context->device->limits, routes);
    if (!forced) return count;
    int kept = 0;
    for (int i = 0; i < count; i++) {
        if (!norma_route_admits(&routes[i], forced)) continue;
        routes[kept] = routes[i];
        routes[kept++].reason = "asked for by name";
    }
    return kept;
}

static norma_status prepare_first(norma_context *context, const norma_problem *problem, int64_t rows, const char *forced,
                                  const norma_route *routes, int count, norma_prepared *out_prepared) {
    norma_status status = NORMA_ERROR_UNSUPPORTED;
    for (int i = 0; i < count && status == NORMA_ERROR_UNSUPPORTED; i++)
        status = norma_prepared_create(context, problem, &routes[i], rows, forced, out_prepared);
    return status;
}

/* ---- By timing ---- */

/* The reference is for what nothing else takes, and too slow to be timed. */
static bool contends(const norma_route *route) {
    return route->kernel != NORMA_KERNEL_REFERENCE;
}

/* A batch-invariant choice must not depend on the rows, so not on their time. */
static bool is_timed(const norma_problem *problem, const char *forced, const norma_route *routes, int count) {
    int contenders = 0;
    for (int i = 0; i < count; i++) contenders += contends(&routes[i]);
    return (problem->flags & NORMA_TIME_ROUTES) && !(problem->flags & NORMA_BATCH_INVARIANT) && !forced && contenders > 1;
}

static void describe_route(const norma_route *route, char text[ROUTE_BYTES]) {
    static const char *const forms[] = {"direct", "residual first", "norm first", "backward"};
    snprintf(text, ROUTE_BYTES, "%s, %s, %s\n", forms[route->form], norma_kernel_name(route->kernel),
             route->tile ? route->tile->name : "no tile");
}

static void describe_key(const norma_context *context, const norma_problem *problem, int64_t rows, char text[KEY_BYTES]) {
    norma_device *device = context->device;
    char versions[512] = "";
    norma_problem_key key;
    norma_problem_key_make(problem, &key);
    if (device->backend->versions) device->backend->versions(device, versions, sizeof versions);
    int used =
        snprintf(text, KEY_BYTES, "norma %s\n%s\n%s\n%s\n%s\ntarget %d, units %d, cache %" PRId64 "\nrows %" PRId64 "\n",
                 norma_version(), context->info.backend, context->info.name, context->info.arch, versions,
                 (int)device->limits.target, device->limits.units, device->limits.cache_bytes, rows);
    for (int i = 0; i < key.count && used < KEY_BYTES; i++)
        used += snprintf(text + used, (size_t)(KEY_BYTES - used), "%" PRIx64 " ", key.words[i]);
}

/* The route that is kept under the key, if it is still one of these; -1 if not. */
static int recall(const char *key, const norma_route *routes, int count) {
    unsigned char *kept;
    size_t bytes;
    int found = -1;
    if (!norma_disk_cache_read(cache_kind, key, &kept, &bytes)) return found;
    for (int i = 0; i < count && found < 0; i++) {
        char text[ROUTE_BYTES];
        describe_route(&routes[i], text);
        if (strlen(text) == bytes && memcmp(text, kept, bytes) == 0) found = i;
    }
    free(kept);
    return found;
}

static void keep(norma_context *context, const char *key, const norma_route *route) {
    char text[ROUTE_BYTES], why[512];
    describe_route(route, text);
    if (norma_disk_cache_write(cache_kind, key, text, strlen(text), why, sizeof why) || context->cache_is_bad) return;
    norma_log(&context->device->log, NORMA_LOG_WARN, "routes that were timed cannot be kept, and every plan times anew: %s",
              why);
    context->cache_is_bad = true;
}

/* Prepares every contender that the backend takes and has the memory for. */
static norma_status prepare_candidates(norma_context *context, const norma_problem *problem, int64_t rows,
                                       const norma_route *routes, int count, norma_prepared *candidates, int *out_count) {
    *out_count = 0;
    for (int i = 0; i < count; i++) {
        if (!contends(&routes[i])) continue;
        const norma_status status = norma_prepared_create(context, problem, &routes[i], rows, NULL, &candidates[*out_count]);
        if (status && status != NORMA_ERROR_UNSUPPORTED && status != NORMA_ERROR_OUT_OF_MEMORY) return status;
        *out_count += !status;
    }
    return NORMA_OK;
}

/* The fastest of the candidates, which must be at least one; the first where they cannot be timed. */
static norma_status time_candidates(norma_context *context, const norma_problem *problem, int64_t rows, const char *key,
                                    norma_prepared *candidates, int count, int *out_fastest) {
    *out_fastest = 0;
    if (count == 1) return NORMA_OK;
    const norma_status status = norma_timing_fastest(context, problem, rows, candidates, count, out_fastest);
    if (status == NORMA_ERROR_DEVICE_LOST) return status;
    if (status) {
        norma_log(&context->device->log, NORMA_LOG_WARN, "routes cannot be timed, and the table's is taken: %s",
                  norma_last_error());
        return NORMA_OK;
    }
    keep(context, key, &candidates[*out_fastest].route);
    candidates[*out_fastest].route.reason = "the fastest when timed";
    return NORMA_OK;
}

/* Leaves *out_prepared empty where nothing was chosen, which is no error: the routes are then tried in their order. */
static norma_status choose_timed(norma_context *context, const norma_problem *problem, int64_t rows,
                                 const norma_route *routes, int count, norma_prepared *out_prepared) {
    char key[KEY_BYTES];
    norma_device *device = context->device;
    describe_key(context, problem, rows, key);
    const int kept = recall(key, routes, count);
    if (kept >= 0) {
        norma_route route = routes[kept];
        route.reason = "the fastest when timed before";
        const norma_status status = norma_prepared_create(context, problem, &route, rows, NULL, out_prepared);
        if (!status || status == NORMA_ERROR_DEVICE_LOST) return status;
    }
    if (device->backend->capturing && device->backend->capturing(device)) {
        norma_log(&device->log, NORMA_LOG_INFO, "the stream is being captured: no route is timed, and the table's is taken");
        return NORMA_OK;
    }
    norma_prepared candidates[NORMA_MAX_ROUTES];
    int candidate_count, fastest = -1;
    norma_status status = prepare_candidates(context, problem, rows, routes, count, candidates, &candidate_count);
    if (!status && candidate_count > 0)
        status = time_candidates(context, problem, rows, key, candidates, candidate_count, &fastest);
    for (int i = 0; i < candidate_count; i++) {
        if (!status && i == fastest)
            *out_prepared = candidates[i];
        else
            norma_prepared_discard(context, &candidates[i]);
    }
    return status;
}

/* ---- The choice ---- */

norma_status norma_choose(norma_context *context, const norma_problem *problem, int64_t rows, const char *forced,
                          norma_prepared *out_prepared) {
    norma_route routes[NORMA_MAX_ROUTES];
    norma_status status = NORMA_OK;
    const int count = list_routes(context, problem, rows, forced, routes);
    memset(out_prepared, 0, sizeof *out_prepared);
    if (count == 0)
        return norma_fail(NORMA_ERROR_UNSUPPORTED, "kernel \"%s\" does not serve this operation with these flags",
                          forced ? forced : "");
    if (is_timed(problem, forced, routes, count)) status = choose_timed(context, problem, rows, routes, count, out_prepared);
    if (status || out_prepared->rows > 0) return status;
    status = prepare_first(context, problem, rows, forced, routes, count, out_prepared);
    if (status == NORMA_ERROR_UNSUPPORTED && forced)
        return norma_fail(status, "kernel \"%s\" cannot do this on backend \"%s\": %s", forced, context->info.backend,
                          norma_last_error());
    return status;
}
