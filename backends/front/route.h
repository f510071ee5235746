/* Routes: the ordered ways in which a problem can be computed. A pure function of the problem's shape and the device's
 * limits proposes them, best first; the plan takes the first whose launches the backend prepares. The last one takes
 * anything. */
#ifndef NORMA_FRONT_ROUTE_H
#define NORMA_FRONT_ROUTE_H

#include "../problem.h"
#include "../tiling/tile_select.h"

/* How a route's launches are arranged. */
typedef enum norma_route_form {
    NORMA_FORM_DIRECT,         /* kernel(problem); with no part left it is the norm's side outputs alone */
    NORMA_FORM_RESIDUAL_FIRST, /* rmsnorm_rows writes h, kernel works on h; for kernels that take no residual */
    NORMA_FORM_NORM_FIRST,     /* rmsnorm_rows writes y (and h, rstd), kernel is a plain product on y: the pair */
    NORMA_FORM_BACKWARD        /* the steps of backward.h, each by a route of its own; kernel means nothing */
} norma_route_form;

typedef struct norma_route {
    norma_route_form form;
    norma_kernel kernel;
    const norma_tile *tile; /* NULL where the kernel has no rows in the table */
    const char *reason;
} norma_route;

#define NORMA_MAX_ROUTES 10

/* Fills routes[] for `rows` rows of `problem`, best first, and returns how many. */
int norma_routes_for(const norma_problem *problem, int64_t rows, const norma_limits *limits,
                     norma_route routes[NORMA_MAX_ROUTES]);

/* A route's name for NORMA_KERNEL, the log and the bench: the kernel's name, "pair" for linear_blas after a norm or "steps"
 * for NORMA_FORM_BACKWARD. */
const char *norma_route_name(const norma_route *route);

/* Whether the route is one that NORMA_KERNEL=name allows: it has the name, or its steps have. */
bool norma_route_admits(const norma_route *route, const char *name);

/* Whether NORMA_KERNEL=name is meant for the problem's operation: a Linear's kernel does not change how a norm alone is
 * computed. */
bool norma_route_concerns(const char *name, const norma_problem *problem);

/* The route name that equals `text`, as a string that lives for ever, or NULL. */
const char *norma_route_find(const char *text);

/* The brackets of M: a plan chooses once per bracket, for the bracket's largest number of rows. Bracket b covers the rows
 * above norma_bracket_rows(b - 1) up to norma_bracket_rows(b); the last one has no end, which reads INT64_MAX. */
#define NORMA_BRACKET_COUNT 32
int norma_bracket_of(int64_t rows);
int64_t norma_bracket_rows(int bracket);

#endif
