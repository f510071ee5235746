/* Choosing how blocks that stay on their multiprocessors share out a product: a pure function of the shape and the device's
 * limits, for the kernel rmsnorm_linear_hopper. */
#ifndef NORMA_TILE_WALK_H
#define NORMA_TILE_WALK_H

#include "tile_index.h"
#include "tile_select.h"

/* K steps of one block; a tile row of which bk is a multiple of it is for clusters of as many blocks, which share a tile. */
#define NORMA_WALK_BK 64

typedef struct norma_walk {
    const norma_tile *tile; /* NULL: the device has no such kernel */
    int pieces;             /* blocks that share a tile */
    int64_t row_tiles, col_tiles;
    double clocks; /* the model's estimate */
} norma_walk;

typedef struct norma_walk_shape {
    int64_t rows, k;
    norma_index n[NORMA_MAX_PARTS]; /* columns of each part, 0 for those that are not there */
    int parts;
    bool whole; /* no tile may be shared, because that changes the order of its sum */
} norma_walk_shape;

/* The share of the multiprocessors' time that the walk's tiles take, the last round with its gaps included. */
double norma_walk_fill(const norma_walk *walk, const norma_limits *limits);

/* The cheapest walk over all rows of the table for the kernel. */
norma_walk norma_walk_choose(const norma_walk_shape *shape, const norma_limits *limits);

#endif
