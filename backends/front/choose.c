/* The choice among routes (choose.h). */
#include "choose.h"

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

norma_status norma_choose(norma_context *context, const norma_problem *problem, int64_t rows, const char *forced,
                          norma_prepared *out_prepared) {
    norma_route routes[NORMA_MAX_ROUTES];
    const int count = list_routes(context, problem, rows, forced, routes);
    if (count == 0)
        return norma_fail(NORMA_ERROR_UNSUPPORTED, "kernel \"%s\" does not serve this operation with these flags",
                          forced ? forced : "");
    const norma_status status = prepare_first(context, problem, rows, forced, routes, count, out_prepared);
    if (status == NORMA_ERROR_UNSUPPORTED && forced)
        return norma_fail(status, "kernel \"%s\" cannot do this on backend \"%s\": %s", forced, context->info.backend,
                          norma_last_error());
    return status;
}
