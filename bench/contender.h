/* Contenders: norma and the peers that it is timed against, each a plan on the case's operands. Norma goes through the
 * public functions; the peers need what has no public function and use the front's internal entries. */
#ifndef NORMA_BENCH_CONTENDER_H
#define NORMA_BENCH_CONTENDER_H

#include "front/plan.h"
#include "operands.h"

typedef enum bench_role {
    BENCH_NORMA,  /* the case itself */
    BENCH_PAIR,   /* the norm kernel and then the vendor's product */
    BENCH_GEMM,   /* the vendor's product alone, on x */
    BENCH_NORM,   /* the norm kernel alone */
    BENCH_BASE,   /* norma on the case's sizes with nothing special asked for; none if the case is that */
    BENCH_STREAM, /* a copy of x (rmsnorm) or a read of W: what the memory allows */
    BENCH_ROLE_COUNT
} bench_role;

typedef struct bench_contender {
    norma_plan *plan;      /* NULL: this device has no such contender for this case */
    norma_problem problem; /* with the operands of the set in hand */
    const bench_operands *operands;
    bool public_entry;
    char kernel[64];
    char missing[256]; /* why plan is NULL */
} bench_contender;

/* Prepares one contender; `route` forces norma's. A contender that the device does not have is no error: its plan is NULL
 * and `missing` says why. Errors: those of norma_plan_create other than UNSUPPORTED. */
norma_status bench_contender_create(bench_contender *contender, bench_role role, const bench_case *which,
                                    const bench_operands *operands, const char *route);

void bench_contender_destroy(bench_contender *contender);

/* Points problem at operand set `set`. */
void bench_contender_bind(bench_contender *contender, int64_t set);

/* Enqueues the contender's work on the set it is bound to. */
norma_status bench_contender_run(bench_contender *contender);

#endif
