/* The tile table and the choice of a row: the first row of the device's target that gives every unit a block, else the
 * last. Rows of a target stand in the table from the largest block to the smallest. */
#include "tile_select.h"

#include <stdbool.h>
#include <stddef.h>

#include "tile_index.h"

#define NORMA_TILE(name, kernel, target, bm, bn, bk, tm, tn, threads, stages)                                    \
    _Static_assert((bm) > 0 && (bn) > 0 && (bk) > 0 && (tm) > 0 && (tn) > 0, #name ": sizes are positive");      \
    _Static_assert((bm) % (tm) == 0 && (bn) % (tn) == 0, #name ": a block is a whole number of register tiles"); \
    _Static_assert((threads) >= 1 && (stages) >= 1, #name ": at least one thread and one stage");                \
    _Static_assert((bm) / (tm) * ((bn) / (tn)) >= (threads), #name ": a register tile for every thread");
#include "tile_table.def"
#undef NORMA_TILE

const norma_tile norma_tiles[NORMA_TILE_COUNT] = {
#define NORMA_TILE(name, kernel, target, bm, bn, bk, tm, tn, threads, stages) \
    {#name, NORMA_KERNEL_##kernel, NORMA_TARGET_##target, bm, bn, bk, tm, tn, threads, stages},
#include "tile_table.def"
#undef NORMA_TILE
};

static int64_t blocks(const norma_tile *tile, const norma_shape *shape) {
    const int64_t row_tiles = norma_ceil_div(shape->rows, tile->bm);
    const int64_t col_tiles = norma_ceil_div(shape->n, tile->bn);
    int64_t count;
    return __builtin_mul_overflow(row_tiles, col_tiles, &count) ? INT64_MAX : count;
}

norma_target norma_tile_target(norma_dtype x_dtype, norma_dtype weight_dtype, const norma_limits *limits) {
    if ((x_dtype != NORMA_F16 && x_dtype != NORMA_BF16) || x_dtype != weight_dtype) return limits->target;
    if (limits->target == NORMA_TARGET_CUDA) return NORMA_TARGET_CUDA_MATRIX;
    if (limits->target == NORMA_TARGET_HIP) return limits->lanes == 64 ? NORMA_TARGET_HIP_WAVE64 : NORMA_TARGET_HIP_WAVE32;
    return limits->target;
}

const norma_tile *norma_tile_select(norma_kernel kernel, const norma_shape *shape, const norma_limits *limits,
                                    const char **out_reason) {
    const norma_target target = norma_tile_target(shape->x_dtype, shape->weight_dtype, limits);
    const norma_tile *smallest = NULL;
    for (int i = 0; i < NORMA_TILE_COUNT; i++) {
        const norma_tile *tile = &norma_tiles[i];
        if (tile->kernel != kernel || tile->target != target) continue;
        if (blocks(tile, shape) >= limits->units) {
            *out_reason = smallest ? "a larger tile would leave units idle" : "the largest tile keeps every unit busy";
            return tile;
        }
        smallest = tile;
    }
    *out_reason = smallest ? "even the smallest tile leaves units idle" : "the tile table has no row for this target";
    return smallest;
}
