/* Where the blocks of rmsnorm_linear_hopper are in their work: which tile, and which place in the ring of stages. Blocks
 * stay, and take tile after tile; a cluster of Tile::pieces blocks takes a tile together, each of them every so manieth step
 * of K. */
#ifndef NORMA_HOPPER_WALK_CUH
#define NORMA_HOPPER_WALK_CUH

#include "platform_sm90.cuh"

template <typename Tile>
struct hopper_walk {
    const norma_hopper_params &params;
    int part, row, col; /* where the tile lies; col within the part */
    int first, steps;   /* the first of this block's steps of 64, and how many; Tile::pieces lie between two */

    NORMA_DEVICE hopper_walk(const norma_hopper_params &p)
        : params(p), first(Tile::pieces > 1 ? cluster_rank() : 0), tile_((int)block_id() / Tile::pieces) {
        const int all = (p.k + Tile::bk - 1) / Tile::bk;
        steps = (all - first + Tile::pieces - 1) / Tile::pieces;
        locate();
    }
    NORMA_DEVICE bool inside() const {
        return tile_ < params.row_tiles * params.col_tiles;
    }
    NORMA_DEVICE void next() {
        tile_ += (int)grid_blocks() / Tile::pieces;
        locate();
    }

  private:
    int tile_;

    /* As norma_tile_at() and norma_tile_locate(), in 32 bits. */
    NORMA_DEVICE void locate() {
        const int per_group = params.group * params.col_tiles, above = tile_ / per_group * params.group;
        const int left = params.row_tiles - above, height = left < params.group ? left : params.group;
        const int within = tile_ % per_group, col_tile = height > 0 ? within / height : 0;
        part = 0;
        while (part < params.parts - 1 && col_tile >= params.part[part + 1].first_tile) part++;
        row = (above + (height > 0 ? within % height : 0)) * Tile::bm;
        col = (col_tile - params.part[part].first_tile) * Tile::bn;
    }
};

/* A place in the ring of stages, and whether it has been gone round an odd number of times. */
template <int stages>
struct hopper_ring {
    int stage = 0;
    unsigned parity = 0;

    NORMA_DEVICE void next() {
        if (++stage == stages) {
            stage = 0;
            parity ^= 1;
        }
    }
    NORMA_DEVICE void skip(int steps) {
        stage += steps;
        parity ^= (unsigned)(stage / stages) & 1;
        stage %= stages;
    }
    NORMA_DEVICE int previous() const {
        return stage == 0 ? stages - 1 : stage - 1;
    }
};

#endif
