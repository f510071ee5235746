/* How W comes to the lean kernels of rmsnorm_linear_skinny.cu: each wave copies its slice of K of one tile after another
 * into a ring of its own in shared memory, stages ahead, without passing registers. No other wave waits for it, and
 * registers stay free for the x operand.
 *
 * A stage is up to 16 columns of W by 4 steps of 32: 256 bytes of a column. In a row of the ring the 16-byte chunks of odd
 * columns are swapped by halves of 64 bytes, so that the eight lanes of one access meet all banks. */
#ifndef NORMA_SKINNY_RING_CUH
#define NORMA_SKINNY_RING_CUH

#include "skinny_common.cuh"

namespace {

struct half_tiles {
    static constexpr int columns = 16;
    static constexpr int step_k = 32, step_bytes = 64, lane_k = 8;
    static constexpr int square_bytes = 1024;
};

struct ring {
    static constexpr int steps = 4, column_bytes = steps * half_tiles::step_bytes;
    static constexpr int stage_bytes = half_tiles::columns * column_bytes;
};

/* Lane (g, t) of 8 x 4. */
NORMA_DEVICE int half_g() {
    return (thread_id() & 31) >> 2;
}
NORMA_DEVICE int half_t() {
    return thread_id() & 3;
}

/* Which of those that share out the columns: a block, or where there may be clusters and phases, a cluster. */
template <bool phased>
NORMA_DEVICE int half_block(const norma_half_params &params) {
    return !phased || params.cluster == 1 ? (int)block_id() : (int)((unsigned)block_id() / (unsigned)params.cluster);
}

NORMA_DEVICE tile_range half_range(const norma_half_params &params, int tile) {
    const bool more = tile < params.longer;
    return {tile * params.each + (more ? tile : params.longer), params.each + (more ? 1 : 0)};
}

NORMA_DEVICE int half_part_of(const norma_half_params &params, int column) {
    int p = 0;
    NORMA_NO_UNROLL
    while (p + 1 < params.parts && column >= params.part[p + 1].first) p++;
    return p;
}

/* Reads a word of each line that `params` takes in the constant cache, so that the lines come together. Each launch brings
 * them anew, from far away, and else one after another as they are needed. */
NORMA_DEVICE void touch_params(const norma_half_params &params) {
    const int *words = (const int *)&params;
    int all = 0;
    NORMA_UNROLL
    for (int i = 0; i < (int)(offsetof(norma_half_params, part[1]) / 4); i += 16) all |= words[i];
    need(all);
}

/* Which slice of K a wave has. Each block begins with another one, or all blocks would ask for the same lines of x at once.
 */
NORMA_DEVICE int half_slice(const norma_half_params &params) {
    return (int)(((unsigned)thread_id() / 32 + (unsigned)block_id()) % (unsigned)params.waves);
}

/* Brings x and gamma to the second-level cache, each line by one block. Nothing is read, so it may come before the wait for
 * the work that writes them. */
template <typename T>
NORMA_DEVICE void half_prefetch(const norma_half_params &params) {
    constexpr int line = 128 / (int)sizeof(T);
    const int per_row = (params.k + line - 1) / line, blocks = params.blocks * params.cluster;
    NORMA_NO_UNROLL
    for (int i = (int)block_id() + thread_id() * blocks; i < per_row * params.rows; i += params.waves * 32 * blocks) {
        const int row = i / per_row, k = (i - row * per_row) * line;
        prefetch_line((const T *)params.x + row * params.x_stride + k);
        if (row == 0 && params.gamma) prefetch_line((const T *)params.gamma + k);
    }
}

/* A wave's ring. Stages are loaded in the order in which they are used: over the block's tiles, and within a tile over the
 * wave's slice. Lane l copies chunk l % 16 of columns l / 16, l / 16 + 2, .. and lane (g, t) reads chunk t of a step, of
 * columns g and g + 8. A slot is loaded anew as soon as it has been read. */
template <typename T, int stages, bool phased>
struct weight_ring {
    static constexpr int bytes = stages * ring::stage_bytes;
    const norma_half_params &params;
    int slot;          /* in bytes */
    int k, tile, step; /* of the lane's first chunk in the next stage to load: k without the steps before it */
    int phase;
    int count;               /* columns of that tile, from the lane's first one on */
    bool whole;              /* the tile lies in one part */
    unsigned to;             /* where the chunk goes in slot 0 */
    const unsigned char *at; /* what the lane reads first of slot 0 */
    const T *from;
    norma_index stride;

    NORMA_DEVICE weight_ring(const norma_half_params &given, int first_k, unsigned char *memory)
        : params(given), slot(0), tile(half_block<phased>(given)), step(0), phase(0), whole(true) {
        const int chunk = thread_id() & 15, column = first_column();
        k = first_k + chunk * half_tiles::lane_k;
        to = shared_address(memory) + (unsigned)(column * ring::column_bytes + (chunk ^ column << 2) * 16);
        at = memory + half_g() * ring::column_bytes + half_t() * 16;
        open_tile();
    }

    NORMA_DEVICE static int first_column() {
        return thread_id() >> 4 & 1;
    }

    NORMA_DEVICE void open_tile() {
        count = 0;
        if (tile >= params.tiles) return;
        const tile_range range = half_range(params, tile);
        int p = 0;
        if (params.parts > 1) {
            p = half_part_of(params, range.first);
            whole = half_part_of(params, range.first + range.count - 1) == p;
        }
        count = range.count - first_column();
        stride = params.part[p].weight_stride;
        from = (const T *)params.part[p].weight + (range.first - params.part[p].first + first_column()) * stride + k;
    }

    /* 2 load: the next stage into the slot; after the last one only the count of commits goes on. */
    NORMA_DEVICE void load(int steps) {
        const bool present = k + step * half_tiles::step_k < params.k;
        unsigned target = to + (unsigned)slot;
        if (whole) {
            const T *source = from + step * half_tiles::step_k;
            NORMA_UNROLL
            for (int i = 0; i < half_tiles::columns; i += 2) {
                if (i < count) copy16_async(target + (unsigned)(i * ring::column_bytes), source, present);
                source += 2 * stride;
            }
        } else {
            int column = half_range(params, tile).first + first_column();
            NORMA_NO_UNROLL
            for (int i = 0; i < count; i += 2, column += 2, target += 2 * ring::column_bytes) {
                const norma_half_part &part = params.part[half_part_of(params, column)];
                copy16_async(target,
                             (const T *)part.weight + (column - part.first) * part.weight_stride + k +
                                 step * half_tiles::step_k,
                             present);
            }
        }
        copy_async_commit();
        slot = slot == bytes - ring::stage_bytes ? 0 : slot + ring::stage_bytes;
        step += ring::steps;
        if (step < steps) return;
        step = 0;
        tile += params.blocks;
        if constexpr (phased) {
            if (tile >= params.tiles && phase + 1 < params.phases) {
                tile = half_block<phased>(params);
                k += params.phase_k;
                phase++;
            }
        }
        open_tile();
    }

    /* Brings the first stage to the second-level cache: nothing is read. */
    NORMA_DEVICE void prefetch() const {
        if (!whole || k >= params.k || (thread_id() & 7) != 0) return;
        NORMA_NO_UNROLL
        for (int i = 0; i < count; i += 2) prefetch_line(from + i * stride);
    }

    /* The slot's stage is there. */
    NORMA_DEVICE void wait() const {
        copy_async_wait<stages - 1>();
        wave_sync();
    }

    /* Step s of it */
    NORMA_DEVICE void read(int s, vec16 w[2]) const {
        const int chunk = (s & 2) * half_tiles::step_bytes + ((s ^ half_g()) & 1) * half_tiles::step_bytes;
        w[0] = load16(at + slot + chunk);
        w[1] = load16(at + slot + chunk + 8 * ring::column_bytes);
    }
};

/* A chunk of a normalised row, or what rounding left of it (`low`). */
template <typename T>
NORMA_DEVICE vec16 half_made(const norma_half_params &params, const vec16 &h, const vec16 &gamma, bool low, float rstd) {
    vec16 y;
    if (params.contract == NORMA_ROUND_TWICE && params.gamma && params.gamma_offset == 0) {
        NORMA_UNROLL
        for (int i = 0; i < 4; i++) {
            const unsigned word = pack2<T>(mul_rn(unpack_low<T>(h.word[i]), rstd), mul_rn(unpack_high<T>(h.word[i]), rstd));
            y.word[i] = mul_pairs<T>(word, gamma.word[i]);
        }
        return y;
    }
    chunk<T> value = unpack<T>(h);
    const chunk<T> scale = plus_offset(unpack<T>(gamma), params.gamma_offset);
    NORMA_UNROLL
    for (int i = 0; i < half_tiles::lane_k; i++)
        value.value[i] = normalised<T>(value.value[i], rstd, params.gamma ? scale.value[i] : 1.0f, params.contract);
    y = pack(value);
    if (params.split == 1) return y;
    const chunk<T> high = unpack<T>(y);
    NORMA_UNROLL
    for (int i = 0; i < half_tiles::lane_k; i++) value.value[i] = add_rn(value.value[i], -high.value[i]);
    const vec16 rest = pack(value);
    return low ? rest : y;
}

/* A wave's sums of a tile, as [column][operand or row]. */
template <int fragments>
NORMA_DEVICE void half_keep(const norma_half_params &params, const float c[fragments][4], float *partial) {
    NORMA_UNROLL
    for (int f = 0; f < fragments; f++) {
        NORMA_UNROLL
        for (int half = 0; half < 2; half++) {
            float *to = partial + (half_g() + 8 * half) * 8 * fragments + f * 8;
            const float even = c[f][2 * half], odd = c[f][2 * half + 1];
            if (params.split == 2) {
                to[half_t()] = add_halves(even, odd);
            } else {
                to[2 * half_t()] = even;
                to[2 * half_t() + 1] = odd;
            }
        }
    }
}

NORMA_DEVICE void half_scale_and_store(const norma_half_params &params, int row, int column, float total, float rstd) {
    const norma_half_part &part = params.part[params.parts == 1 ? 0 : half_part_of(params, column)];
    column -= part.first;
    if (!params.normalise) total = mul_rn(total, rstd);
    if (part.bias) total = add_rn(total, load_as(part.bias, part.bias_dtype, column));
    store_as(part.out, part.out_dtype, row * part.out_stride + column, total);
}

} // namespace

#endif
