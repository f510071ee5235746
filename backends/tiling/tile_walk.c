/* The walk's cost model. A block's time is that of its K steps, each of which takes the matrix units or the way from L2,
 * whichever is longer, and what it does once. The constants are those of an H200 (docs/design.md has the measurements); what
 * counts is their proportion. */
#include "tile_walk.h"

#include <math.h>
#include <stddef.h>

/* Of one multiprocessor in a clock: multiplications of half dtypes; bytes from L2; and bytes from L2 when all ask for
 * different ones, in proportion to which a call takes longer besides. */
#define MULTIPLY_PER_CLOCK     2048.0
#define L2_BYTES_PER_CLOCK     64.0
#define L2_BYTES_BESIDES_CLOCK 256.0

/* From one tile to the next; storing the last, which no other product hides, for each column of 128 rows; and adding up the
 * parts of a tile that is shared. */
#define TILE_CLOCKS  500.0
#define STORE_CLOCKS 16.0
#define SHARE_CLOCKS 3500.0

/* Blocks that share a tile get at least so many of its steps. */
#define LEAST_STEPS 3

static double step_bytes(const norma_tile *tile) {
    return (double)(tile->bm + tile->bn) * NORMA_WALK_BK * 2;
}

static double step_clocks(const norma_tile *tile) {
    const double multiply = (double)tile->bm * tile->bn * NORMA_WALK_BK / MULTIPLY_PER_CLOCK;
    const double load = step_bytes(tile) / L2_BYTES_PER_CLOCK;
    return multiply > load ? multiply : load;
}

/* The walk with this row of the table; its tile is NULL if the row does not suit the shape. */
static norma_walk walk_of(const norma_tile *tile, const norma_walk_shape *shape, int units) {
    norma_walk walk = {.tile = tile,
                       .pieces = tile->bk / NORMA_WALK_BK,
                       .row_tiles = norma_ceil_div(shape->rows, tile->bm),
                       .col_tiles = norma_col_tiles(shape->n, shape->parts, tile->bn)};
    const int64_t steps = norma_ceil_div(shape->k, tile->bk);
    const double tiles = (double)walk.row_tiles * (double)walk.col_tiles;
    const bool shared = walk.pieces > 1;
    if (shared && (shape->whole || steps < LEAST_STEPS || tiles * walk.pieces > units)) return (norma_walk){.tile = NULL};
    const double rounds = shared ? 1 : ceil(tiles / units);
    walk.clocks = rounds * ((double)steps * step_clocks(tile) + TILE_CLOCKS) +
                  STORE_CLOCKS * tile->bm * tile->bn / 128 / walk.pieces + (shared ? SHARE_CLOCKS : 0) +
                  tiles * walk.pieces * (double)steps * step_bytes(tile) / units / L2_BYTES_BESIDES_CLOCK;
    return walk;
}

double norma_walk_fill(const norma_walk *walk, const norma_limits *limits) {
    const double blocks = (double)walk->row_tiles * (double)walk->col_tiles * walk->pieces;
    return blocks / ceil(blocks / limits->units) / limits->units;
}

norma_walk norma_walk_choose(const norma_walk_shape *shape, const norma_limits *limits) {
    norma_walk best = {.tile = NULL};
    if (!limits->wgmma) return best;
    for (int i = 0; i < NORMA_TILE_COUNT; i++) {
        if (norma_tiles[i].kernel != NORMA_KERNEL_RMSNORM_LINEAR_HOPPER) continue;
        const norma_walk walk = walk_of(&norma_tiles[i], shape, limits->units);
        if (walk.tile && (!best.tile || walk.clocks < best.clocks)) best = walk;
    }
    return best;
}
