/* The gradients of RMSNorm + Linear as a list of steps, each of which is a problem of its own with routes of its own; and,
 * of RMSNorm alone too, what is left of the gradients where there are no rows. Pure functions.
 *
 *     room <- y, the normalised rows                 rmsnorm         if a dweight is wanted
 *     dweight (+)= y^T dout, for each part           product
 *     dbias (+)= sum over rows of dout               column sums
 *     room <- sum over parts of dout W^T             products        if dx or dgamma is wanted
 *     dx, dgamma <- room, x, rstd, dresidual_out     rmsnorm backward
 *
 * room is a matrix of M x K values of x's dtype: dx itself where dx is of that dtype, else memory of the plan's own.
 *
 * Without rows, m = 0, the steps are others: dgamma, each dweight and each dbias that is not added to is a sum over no rows,
 * and becomes zero. */
#ifndef NORMA_FRONT_BACKWARD_H
#define NORMA_FRONT_BACKWARD_H

#include "../problem.h"

/* y and the norm's gradient, and three steps per part. */
#define NORMA_MAX_BACKWARD_STEPS (2 + 3 * NORMA_MAX_PARTS)

int norma_backward_step_count(const norma_problem *problem);

/* How often a step runs: a product that sums over rows runs once for each batch, since batches lie at a stride of their own;
 * a sum over no rows once for each run of elements at one stride, which a packed matrix is as a whole. */
int64_t norma_backward_step_passes(const norma_problem *problem, int step);

/* The problem of a step and pass. `room` is the plan's own memory; NULL data while a plan is prepared. */
void norma_backward_step(const norma_problem *problem, int step, int64_t pass, norma_buffer room,
                         norma_problem *out_problem);

/* The bytes of the plan's own memory that `rows` rows need. */
int64_t norma_backward_room_bytes(const norma_problem *problem, int64_t rows);

#endif
