/* Timing prepared routes against one another on the device, on operands of their own. */
#ifndef NORMA_FRONT_TIMING_H
#define NORMA_FRONT_TIMING_H

#include "prepared.h"

/* Which of `count` routes, prepared for `rows` rows of `problem`, takes the least time. They come best first by expectation,
 * and one that is within 2 % of the fastest and stands before it is taken in its place. Blocks, runs on the context's
 * stream, and leaves nothing behind. Errors: OUT_OF_MEMORY; UNSUPPORTED if none of them ran; whatever the backend answers.
 */
norma_status norma_timing_fastest(norma_context *context, const norma_problem *problem, int64_t rows,
                                  const norma_prepared *prepared, int count, int *out_fastest);

#endif
