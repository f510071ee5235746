/* The index arithmetic of the tile walk, shared to the letter by C, CUDA, HIP and OpenCL C.
 *
 *      column tiles of part 0      of part 1
 *     +-------+-------+-------+   +-------+---+
 *     | 0     | 2     | 4     |   | 6     | 8 |   A walk visits row tiles in groups of `group`, and within a group goes down
 *     +-------+-------+-------+   +-------+---+   the column first, so that neighbours share W and a group shares x.
 *     | 1     | 3     | 5     |   | 7     | 9 |   (Here group = 2.) Each part has its own column tiles, so no tile
 *     +-------+-------+-------+   +-------+---+   straddles two outputs; edge tiles are cut by norma_tile_extent().
 *     | 10    | 11    | ...
 *
 * The steps, by the names that every tiled kernel's comments use:
 *     1 place    which tile, part and rows
 *     2 load     the x tile and the W tile of one K step, zero-filled past the edges
 *     3 square   add the x tile's squares to the rows' sums
 *     4 multiply acc += (x * gamma) W
 *     5 scale    rstd from the sums; acc * rstd + bias
 *     6 store    round once and write the part's output */
#ifndef NORMA_TILE_INDEX_H
#define NORMA_TILE_INDEX_H

#if defined(__OPENCL_VERSION__)
typedef long norma_index;
#define NORMA_INDEX_FN static inline
#elif defined(__CUDACC__) || defined(__HIP__)
typedef long long norma_index;
#define NORMA_INDEX_FN static __host__ __device__ __forceinline__
#else
#include <stdint.h>
typedef int64_t norma_index;
#define NORMA_INDEX_FN static inline
#endif

/* Rows are counted over all batches: row r is row r % m of batch r / m. */
typedef struct norma_tile_coord {
    norma_index row_tile;
    norma_index col_tile;
} norma_tile_coord;

typedef struct norma_tile_place {
    int part;
    norma_index row, rows; /* first row and how many, 1 to bm */
    norma_index col, cols; /* first column within the part and how many, 1 to bn */
} norma_tile_place;

NORMA_INDEX_FN
norma_index norma_ceil_div(norma_index value, norma_index by) {
    return value / by + (value % by != 0); /* value + by could overflow */
}

NORMA_INDEX_FN
norma_index norma_index_min(norma_index a, norma_index b) {
    return a < b ? a : b;
}

/* How much of a tile that starts at `start` lies inside `total`. */
NORMA_INDEX_FN
norma_index norma_tile_extent(norma_index start, norma_index tile, norma_index total) {
    return norma_index_min(tile, total - start);
}

/* Tile number `index` of a walk over row_tiles x col_tiles in groups of `group` row tiles. */
NORMA_INDEX_FN
norma_tile_coord norma_tile_at(norma_index index, norma_index row_tiles, norma_index col_tiles, norma_index group) {
    const norma_index per_group = group * col_tiles;
    const norma_index first = index / per_group * group;
    const norma_index height = norma_index_min(group, row_tiles - first);
    const norma_index within = index % per_group;
    norma_tile_coord coord;
    coord.row_tile = first + within % height;
    coord.col_tile = within / height;
    return coord;
}

/* Element offset of (row, col) in a tensor, row counted over all batches of m rows. */
NORMA_INDEX_FN
norma_index norma_element_at(norma_index row, norma_index col, norma_index m, norma_index batch_stride,
                             norma_index row_stride, norma_index col_stride) {
    return row / m * batch_stride + row % m * row_stride + col * col_stride;
}

/* Column tiles over all parts; n has NORMA_MAX_PARTS entries, unused ones 0. */
NORMA_INDEX_FN
norma_index norma_col_tiles(const norma_index *n, int parts, norma_index bn) {
    norma_index tiles = 0;
    for (int p = 0; p < parts; p++) tiles += norma_ceil_div(n[p], bn);
    return tiles;
}

/* Where tile `coord` lies. `rows` counts all batches. */
NORMA_INDEX_FN
norma_tile_place norma_tile_locate(norma_tile_coord coord, norma_index rows, const norma_index *n, int parts, norma_index bm,
                                   norma_index bn) {
    norma_tile_place place;
    norma_index tile = coord.col_tile;
    int part = 0;
    while (part < parts - 1 && tile >= norma_ceil_div(n[part], bn)) {
        tile -= norma_ceil_div(n[part], bn);
        part++;
    }
    place.part = part;
    place.row = coord.row_tile * bm;
    place.rows = norma_tile_extent(place.row, bm, rows);
    place.col = tile * bn;
    place.cols = norma_tile_extent(place.col, bn, n[part]);
    return place;
}

#endif
