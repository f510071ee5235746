/* Operands on the device: two arenas per run, one of inputs full of normally distributed values, one of outputs. A case lays
 * its operand sets over them; calls rotate through the sets, so that a set has left the cache when its turn comes again.
 *
 *     inputs   | x gamma W | x gamma W | ...      outputs   | guard out guard | guard out guard | ...
 *
 * Parts lie one after another: each has some rows of W, which is stored (N, K), and an out of its own.
 * A backward's inputs have dout as well, and its out is dx, dgamma, dW, each aligned.
 *
 * The inputs are only ever read, so they are made once per dtype. */
#ifndef NORMA_BENCH_OPERANDS_H
#define NORMA_BENCH_OPERANDS_H

#include "front/context.h"
#include "suite.h"

#define BENCH_GUARD_BYTES ((size_t)256)

/* Cold operand sets together exceed this many times the last-level cache. */
#define BENCH_COLD_FACTOR 3

typedef struct bench_arena {
    void *data;
    size_t bytes;
} bench_arena;

typedef struct bench_operands {
    norma_context *context;
    int64_t seed;
    size_t limit_bytes; /* for both arenas together */
    norma_dtype filled; /* the dtype of what the inputs hold */
    bench_arena inputs, outputs;
    bench_arena rstd; /* of a backward's rows, for every set: written once for each case */

    /* The layout of the case in hand. */
    size_t gamma_offset, weight_offset, dout_offset, input_stride; /* x is at 0 */
    size_t x_bytes, weight_bytes, gamma_bytes, dout_bytes, rstd_bytes;
    size_t out_bytes, output_stride;      /* out_bytes also suffices for the norm's result */
    size_t dgamma_offset, dweight_offset; /* from out, which is dx */
    int64_t sets;
    bool cold;
} bench_operands;

/* limit_bytes of 0 means half of the memory that is free. */
void bench_operands_init(bench_operands *operands, norma_context *context, int64_t seed, int64_t limit_bytes);

void bench_operands_free(bench_operands *operands);

/* Lays out `which`: one set if `warm`, else as many as make it cold, or as fit. Errors: OUT_OF_MEMORY, DEVICE. */
norma_status bench_operands_lay_out(bench_operands *operands, const bench_case *which, bool warm);

norma_buffer bench_operands_x(const bench_operands *operands, int64_t set);
norma_buffer bench_operands_gamma(const bench_operands *operands, int64_t set);
norma_buffer bench_operands_weight(const bench_operands *operands, int64_t set);
norma_buffer bench_operands_out(const bench_operands *operands, int64_t set);
norma_buffer bench_operands_dout(const bench_operands *operands, int64_t set);
norma_buffer bench_operands_dgamma(const bench_operands *operands, int64_t set);
norma_buffer bench_operands_dweight(const bench_operands *operands, int64_t set);
norma_buffer bench_operands_rstd(const bench_operands *operands, int64_t set);

/* A small generator with a known sequence: 64 random bits, and a number below `limit`. */
uint64_t bench_random(uint64_t *state);
int64_t bench_random_below(uint64_t *state, int64_t limit);

#endif
