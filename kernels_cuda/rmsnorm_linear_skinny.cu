/* RMSNorm + Linear for a few rows: out = rstd * (h * (gamma + offset)) W + bias, W read once at the speed of memory. Sums go
 * in a fixed order. h is x: a residual is added by another kernel. skinny_short.cuh and skinny_half.cuh hold the kernels of
 * the usual decoding step: halves, K contiguous. skinny_any.cuh holds the one for weights that do not come in pieces of 16
 * bytes. Here are all others.
 *
 *                              K
 *              wave 0   1              15
 *            +--------+--------+----+--------+
 *     tile 0 | steps  | steps  |    | steps  |  block 0
 *            +--------+--------+----+--------+
 *     tile 1 |        |        |    |        |  block 1
 *            +--------+--------+----+--------+
 *       ...
 *
 * A tile is up to 16 columns of W with K contiguous, as nn.Linear stores it, or up to 8 pieces of 16 bytes with N
 * contiguous. Tiles are dealt out to blocks in turn, so that all blocks read one region of W at a time. A wave owns a slice
 * of K, `steps` steps of 32, for every tile of its block. Its lanes load W straight into registers, far ahead, and the
 * wave's part of h * gamma lies in shared memory; with K too long for that, all this happens in phases. At the end of a
 * batch of tiles the waves' sums are added up.
 *
 * Half dtypes go through the matrix units, W as the 16-row operand. Lane (g, t) of 8 x 4 has, of each step with K
 * contiguous, columns g and g + 8 and k = 8t .. 8t + 7. Words 0 and 1 go to the first product, 2 and 3 to the second, and x
 * alike: the matrix units see K in another order than memory, which a sum does not mind. With N contiguous it has piece g
 * and k = 4t .. 4t + 3 and 16 + 4t ..; neighbours in K are paired by byte permutation. fp32 goes through multiply-adds: lane
 * (g, t) of 4 x 8 has columns g, g + 4, .. and k = 4t .. 4t + 3; or as above.
 *
 * Steps, by the names of tile_index.h: 1 place  2 load  3 square  4 multiply  5 scale  6 store. */
#include "skinny_any.cuh"
#include "skinny_common.cuh"
#include "skinny_half.cuh"
#include "skinny_short.cuh"

namespace {

constexpr int step_k = 32;

/* How a wave's 32 lanes share the x operand of a step: lane (g, t) brings 16 bytes, chunk t of row g. */
template <typename T>
struct operand_lanes {
    static constexpr int chunks = step_k / chunk<T>::width;
    static constexpr int bytes = step_k * (int)sizeof(T); /* of a row and step */
};

/* How they share a tile of W. A group of steps is loaded and used together; `groups` are under way. */
template <typename T, bool along_k>
struct weight_lanes {
    static constexpr int t = along_k ? step_k / chunk<T>::width : 4, g = 32 / t;
    static constexpr int columns = along_k ? 16 : g * chunk<T>::width; /* of a tile */
    static constexpr int pieces = along_k ? 16 : g;             /* what tiles are counted in: columns, or 16 bytes of them */
    static constexpr int loads = along_k ? 16 / g : step_k / t; /* of 16 bytes in a step */
    static constexpr int group = along_k ? 2 : 1, groups = along_k ? 16 / (loads * group) : 1;
};

/* Shared memory: [wave][row] sums of squares, in the first `square_bytes`; [wave][step][operand] 32 k of the x operand;
 * [tile of a batch][wave][column][row] sums of a wave; [tile of the block][column][row] sums of the phases so far. */
constexpr int square_bytes = 1024;

NORMA_DEVICE float *shared_floats(int at) {
    return (float *)(shared_memory() + at);
}

template <typename T>
NORMA_DEVICE int operand_at(const norma_skinny_params &params, int wave) {
    return square_bytes + wave * params.steps * (int)params.linear.norm.rows * params.split * operand_lanes<T>::bytes;
}

template <typename T>
NORMA_DEVICE int partial_at(const norma_skinny_params &params) {
    return operand_at<T>(params, params.waves);
}

NORMA_DEVICE int first_k(const norma_skinny_params &params, int phase) {
    return (phase * params.waves + thread_id() / 32) * params.steps * step_k;
}

/* ---- The x operand: with a split, operands 2r and 2r + 1 are the high and the low half of row r ---- */

NORMA_DEVICE float rstd_of(const norma_skinny_params &params, int row) {
    const norma_norm_params &norm = params.linear.norm;
    float total = 0;
    NORMA_UNROLL4
    for (int wave = 0; wave < params.waves; wave++) total = add_rn(total, shared_floats(0)[wave * (int)norm.rows + row]);
    return norm_rstd(total, norm.k, norm.eps);
}

/* A lane's share of the wave's slice of a phase: neighbouring lanes take neighbouring chunks of a row, whose number is a
 * multiple of 32. What a lane writes to shared memory it alone reads, until the product. Rows lie at one stride. */
template <typename T>
struct row_share {
    static constexpr int width = chunk<T>::width, per_step = operand_lanes<T>::chunks;
    const norma_skinny_params &params;
    int rows, lane, chunks, k, last;
    unsigned char *operand;

    NORMA_DEVICE row_share(const norma_skinny_params &given, int phase) : params(given) {
        rows = (int)given.linear.norm.rows;
        chunks = given.steps * per_step;
        lane = thread_id() % 32;
        k = first_k(given, phase) + lane * width;
        last = (int)given.linear.norm.k - width;
        operand = shared_memory() + operand_at<T>(given, thread_id() / 32);
    }

    NORMA_DEVICE unsigned char *place(int r, int c) const {
        return operand + ((c / per_step * rows + r) * params.split) * operand_lanes<T>::bytes + c % per_step * 16;
    }

    /* 2 load: h to where its operand will be, zeros past the end of K. x goes there without passing registers. */
    NORMA_DEVICE void load() const {
        const norma_norm_params &norm = params.linear.norm;
        NORMA_NO_UNROLL
        for (int c = 0; c < chunks; c += 32) {
            const bool present = k + c * width <= last;
            const T *from = (const T *)norm.x.data + (present ? k + c * width : last);
            NORMA_NO_UNROLL
            for (int r = 0; r < rows; r++)
                copy16_async(shared_address(place(r, c + lane)), from + r * norm.x.row_stride, present);
        }
        copy_async_commit();
        copy_async_wait<0>();
    }

    /* 3 square */
    NORMA_DEVICE void square(bool first) const {
        NORMA_UNROLL4
        for (int r = 0; r < rows; r++) {
            float sum = 0;
            NORMA_NO_UNROLL
            for (int c = 0; c < chunks; c += 32) sum = add_rn(sum, squares(unpack<T>(load16(place(r, c + lane)))));
            sum = wave_sum<32>(sum);
            float *to = shared_floats(0) + thread_id() / 32 * rows + r;
            if (lane == 0) *to = first ? sum : add_rn(*to, sum);
        }
    }

    /* h becomes the operand: h * gamma, or the normalised row. Past the end of K gamma is zero too: the last of it, which
     * lanes there would read, may be infinite. */
    NORMA_DEVICE void make_operands() const {
        const norma_norm_params &norm = params.linear.norm;
        if (!norm.gamma.data && !params.normalise) return;
        const bool whole_gamma = gamma_in_chunks<T>(norm);
        NORMA_NO_UNROLL
        for (int c = 0; c < chunks; c += 32) {
            const bool present = k + c * width <= last;
            const int inside = present ? k + c * width : last;
            if constexpr (sizeof(T) == 2) {
                /* One rounding of h * gamma: a product of halves. */
                if (params.split == 1 && !params.normalise && norm.gamma_offset == 0 && gamma_is_packed<T>(norm)) {
                    vec16 gamma = {{0, 0, 0, 0}};
                    if (present) gamma = load16((const T *)norm.gamma.data + inside);
                    NORMA_UNROLL4
                    for (int r = 0; r < rows; r++) {
                        vec16 h = load16(place(r, c + lane));
                        NORMA_UNROLL
                        for (int i = 0; i < 4; i++) h.word[i] = mul_pairs<T>(h.word[i], gamma.word[i]);
                        store16(place(r, c + lane), h);
                    }
                    continue;
                }
            }
            chunk<T> scale = {};
            if (present) scale = load_scale<T>(norm, inside, whole_gamma);
            NORMA_NO_UNROLL
            for (int r = 0; r < rows; r++) {
                unsigned char *to = place(r, c + lane);
                chunk<T> y = unpack<T>(load16(to));
                const float rstd = params.normalise ? rstd_of(params, r) : 1.0f;
                NORMA_UNROLL
                for (int i = 0; i < width; i++) y.value[i] = normalised<T>(y.value[i], rstd, scale.value[i], norm.contract);
                const vec16 high = pack(y);
                store16(to, high);
                if (params.split == 1) continue;
                const chunk<T> rounded = unpack<T>(high);
                NORMA_UNROLL
                for (int i = 0; i < width; i++) y.value[i] = add_rn(y.value[i], -rounded.value[i]);
                store16(to + operand_lanes<T>::bytes, pack(y));
            }
        }
    }
};

/* The x operand of a phase, and in passing the rows' squares. Rows that are normalised are read in full first. */
template <typename T>
NORMA_DEVICE void stage(const norma_skinny_params &params, int phase) {
    const bool ahead = params.normalise && phase == 0;
    const int passes = ahead ? params.phases : 1;
    NORMA_NO_UNROLL
    for (int pass = 0; pass <= passes; pass++) {
        const bool make = pass == passes;
        const row_share<T> share(params, make ? phase : phase + pass);
        if (make && ahead) block_sync();
        if (!make || (ahead && params.phases > 1)) share.load();
        if (!make && (ahead || !params.normalise)) share.square(phase + pass == 0);
        if (make) share.make_operands();
    }
    wave_sync();
}

/* ---- W ---- */

/* Walks over the block's tiles and this lane's part of each, ahead of the products. */
template <typename T, bool along_k>
struct weight_reader {
    using lanes = weight_lanes<T, along_k>;
    static constexpr int lines = along_k ? lanes::loads : 1; /* columns, or 16 bytes of them, that a lane has of a tile */
    const norma_skinny_params &params;
    int tile, step, k, begin;
    norma_index stride;   /* of K, along N */
    const T *from[lines]; /* at k; NULL past the tile's or the block's last */

    NORMA_DEVICE weight_reader(const norma_skinny_params &given, int phase)
        : params(given), tile((int)block_id()), step(given.steps), k(0), stride(1) {
        begin = first_k(given, phase) + thread_id() % lanes::t * (along_k ? chunk<T>::width : 4);
    }

    NORMA_DEVICE void next_tile() {
        const int g = thread_id() % 32 / lanes::t;
        step = 0;
        k = begin;
        tile_range range = {0, 0};
        if (tile < params.tiles) range = range_of(params, tile);
        NORMA_UNROLL
        for (int i = 0; i < lines; i++) {
            const int piece = g + i * lanes::g, column = (range.first + piece) * (along_k ? 1 : chunk<T>::width);
            from[i] = nullptr;
            if (piece < range.count) {
                from[i] = weight_column<T, along_k>(params.linear, column, &stride);
                from[i] += k * stride;
            }
        }
        tile += (int)grid_blocks();
    }

    /* 2 load: one group of steps */
    NORMA_DEVICE void load(vec16 to[lanes::group][lanes::loads]) {
        NORMA_UNROLL
        for (int s = 0; s < lanes::group; s++) {
            NORMA_UNROLL
            for (int i = 0; i < lanes::loads; i++) {
                /* Along N a lane has 4 neighbours in K out of every 16. */
                const bool inside = k + (along_k ? 0 : i / 4 * 16) < (int)params.linear.norm.k;
                const T *&at = from[along_k ? i : 0];
                to[s][i] = at && inside ? load16_constant(at) : vec16{{0, 0, 0, 0}};
                if (at) at += along_k ? step_k : i % 4 < 3 ? stride : 13 * stride;
            }
            k += step_k;
        }
        step += lanes::group;
    }
};

/* ---- Products: what a lane accumulates. add() takes a step of W and the place of the x operand's step in shared memory;
 * keep() writes a tile's sums as [column][row] and clears them. ---- */

template <typename T, bool along_k, int fragments>
struct product;

/* C of one matrix product: columns `column` and `other` of the tile, operands 8f + 2t and 8f + 2t + 1. */
NORMA_DEVICE void keep_fragment(const norma_skinny_params &params, float c[4], int f, int column, int other,
                                float *partial) {
    const int rows = (int)params.linear.norm.rows, t = thread_id() % 4;
    NORMA_UNROLL
    for (int half = 0; half < 2; half++) {
        float *at = partial + (half ? other : column) * rows;
        if (params.split == 2) {
            if (f * 4 + t < rows) at[f * 4 + t] = add_halves(c[2 * half], c[2 * half + 1]);
        } else {
            if (f * 8 + 2 * t < rows) at[f * 8 + 2 * t] = c[2 * half];
            if (f * 8 + 2 * t + 1 < rows) at[f * 8 + 2 * t + 1] = c[2 * half + 1];
        }
        c[2 * half] = c[2 * half + 1] = 0;
    }
}

/* Where lane g finds its operand of fragment f in a step; a lane without one reads what is thrown away. */
template <typename T>
NORMA_DEVICE int feed_of(const norma_skinny_params &params, int f) {
    const int operand = f * 8 + thread_id() % 32 / 4;
    return operand < (int)params.linear.norm.rows * params.split ? operand * operand_lanes<T>::bytes : 0;
}

template <typename T, int fragments>
struct product<T, true, fragments> {
    float acc[fragments][4] = {};
    int feed[fragments];

    NORMA_DEVICE explicit product(const norma_skinny_params &params) {
        NORMA_UNROLL
        for (int f = 0; f < fragments; f++) feed[f] = feed_of<T>(params, f) + thread_id() % 4 * 16;
    }

    NORMA_DEVICE void add(const norma_skinny_params &, const vec16 w[2], const unsigned char *operands) {
        const unsigned a[2][4] = {{w[0].word[0], w[1].word[0], w[0].word[1], w[1].word[1]},
                                  {w[0].word[2], w[1].word[2], w[0].word[3], w[1].word[3]}};
        NORMA_UNROLL
        for (int f = 0; f < fragments; f++) {
            const vec16 b = load16(operands + feed[f]);
            mma_m16n8k16<T>(acc[f], a[0], &b.word[0]);
            mma_m16n8k16<T>(acc[f], a[1], &b.word[2]);
        }
    }

    NORMA_DEVICE void keep(const norma_skinny_params &params, float *partial) {
        const int g = thread_id() % 32 / 4;
        NORMA_UNROLL
        for (int f = 0; f < fragments; f++) keep_fragment(params, acc[f], f, g, g + 8, partial);
    }
};

template <typename T, int fragments>
struct product<T, false, fragments> {
    float acc[4][fragments][4] = {}; /* by pair of columns */
    int feed[fragments];

    NORMA_DEVICE explicit product(const norma_skinny_params &params) {
        NORMA_UNROLL
        for (int f = 0; f < fragments; f++) feed[f] = feed_of<T>(params, f) + thread_id() % 4 * 8;
    }

    NORMA_DEVICE void add(const norma_skinny_params &, const vec16 w[8], const unsigned char *operands) {
        NORMA_UNROLL
        for (int half = 0; half < 2; half++) {
            unsigned b[fragments][2];
            NORMA_UNROLL
            for (int f = 0; f < fragments; f++) {
                const unsigned *at = (const unsigned *)(operands + feed[f] + half * 32);
                b[f][0] = at[0];
                b[f][1] = at[1];
            }
            NORMA_UNROLL
            for (int pair = 0; pair < 4; pair++) {
                const unsigned k[4] = {w[4 * half].word[pair], w[4 * half + 1].word[pair], w[4 * half + 2].word[pair],
                                       w[4 * half + 3].word[pair]};
                const unsigned a[4] = {low_halves(k[0], k[1]), high_halves(k[0], k[1]), low_halves(k[2], k[3]),
                                       high_halves(k[2], k[3])};
                NORMA_UNROLL
                for (int f = 0; f < fragments; f++) mma_m16n8k16<T>(acc[pair][f], a, b[f]);
            }
        }
    }

    NORMA_DEVICE void keep(const norma_skinny_params &params, float *partial) {
        const int first = thread_id() % 32 / 4 * 8;
        NORMA_UNROLL
        for (int pair = 0; pair < 4; pair++) {
            NORMA_UNROLL
            for (int f = 0; f < fragments; f++)
                keep_fragment(params, acc[pair][f], f, first + 2 * pair, first + 2 * pair + 1, partial);
        }
    }
};

/* fp32: up to 4 * fragments rows. */
template <int fragments>
struct product<float, true, fragments> {
    using lanes = weight_lanes<float, true>;
    float acc[4 * fragments][lanes::loads] = {};

    NORMA_DEVICE explicit product(const norma_skinny_params &) {
    }

    NORMA_DEVICE void add(const norma_skinny_params &params, const vec16 w[lanes::loads], const unsigned char *operands) {
        NORMA_UNROLL
        for (int row = 0; row < 4 * fragments; row++) {
            if (row >= params.linear.norm.rows) break;
            const vec16 x = load16(operands + row * operand_lanes<float>::bytes + thread_id() % lanes::t * 16);
            NORMA_UNROLL
            for (int i = 0; i < lanes::loads; i++) {
                NORMA_UNROLL
                for (int j = 0; j < 4; j++)
                    acc[row][i] = fma_rn(float_from_bits(x.word[j]), float_from_bits(w[i].word[j]), acc[row][i]);
            }
        }
    }

    NORMA_DEVICE void keep(const norma_skinny_params &params, float *partial) {
        const int rows = (int)params.linear.norm.rows, g = thread_id() % 32 / lanes::t;
        NORMA_UNROLL
        for (int row = 0; row < 4 * fragments; row++) {
            if (row >= rows) break;
            NORMA_UNROLL
            for (int i = 0; i < lanes::loads; i++) {
                const float value = wave_sum<lanes::t>(acc[row][i]);
                if (thread_id() % lanes::t == 0) partial[(g + i * lanes::g) * rows + row] = value;
                acc[row][i] = 0;
            }
        }
    }
};

template <int fragments>
struct product<float, false, fragments> {
    using lanes = weight_lanes<float, false>;
    float acc[4 * fragments][4] = {};

    NORMA_DEVICE explicit product(const norma_skinny_params &) {
    }

    NORMA_DEVICE void add(const norma_skinny_params &params, const vec16 w[lanes::loads], const unsigned char *operands) {
        NORMA_UNROLL
        for (int row = 0; row < 4 * fragments; row++) {
            if (row >= params.linear.norm.rows) break;
            NORMA_UNROLL
            for (int half = 0; half < 2; half++) {
                const vec16 x =
                    load16(operands + row * operand_lanes<float>::bytes + half * 64 + thread_id() % lanes::t * 16);
                NORMA_UNROLL
                for (int i = 0; i < 4; i++) {
                    NORMA_UNROLL
                    for (int j = 0; j < 4; j++)
                        acc[row][j] =
                            fma_rn(float_from_bits(x.word[i]), float_from_bits(w[4 * half + i].word[j]), acc[row][j]);
                }
            }
        }
    }

    NORMA_DEVICE void keep(const norma_skinny_params &params, float *partial) {
        const int rows = (int)params.linear.norm.rows, g = thread_id() % 32 / lanes::t;
        NORMA_UNROLL
        for (int row = 0; row < 4 * fragments; row++) {
            if (row >= rows) break;
            NORMA_UNROLL
            for (int j = 0; j < 4; j++) {
                const float value = wave_sum<lanes::t>(acc[row][j]);
                if (thread_id() % lanes::t == 0) partial[(g * 4 + j) * rows + row] = value;
                acc[row][j] = 0;
            }
        }
    }
};

/* ---- The kernel ---- */

/* 5 scale, 6 store: adds up the waves' sums of `count` tiles from the block's tile `first` on. */
template <typename T, bool along_k>
NORMA_DEVICE void finish_tiles(const norma_skinny_params &params, int phase, int first, int count) {
    using lanes = weight_lanes<T, along_k>;
    const norma_norm_params &norm = params.linear.norm;
    const int rows = (int)norm.rows, per_tile = lanes::columns * rows;
    const float *partials = shared_floats(partial_at<T>(params));
    float *sums = shared_floats(partial_at<T>(params)) + params.batch * params.waves * per_tile;
    NORMA_NO_UNROLL
    for (int i = thread_id(); i < count * per_tile; i += block_threads()) {
        const int place = i / rows, row = i - place * rows, tile = place / lanes::columns, column = place % lanes::columns;
        const tile_range range = range_of(params, (int)block_id() + (first + tile) * (int)grid_blocks());
        if (column * lanes::pieces >= range.count * lanes::columns) continue;
        const float *partial = partials + tile * params.waves * per_tile + i - tile * per_tile;
        float total = 0;
        NORMA_UNROLL4
        for (int wave = 0; wave < params.waves; wave++) total = add_rn(total, partial[wave * per_tile]);
        float *sum = sums + first * per_tile + i;
        if (phase > 0) total = add_rn(total, *sum);
        if (phase < params.phases - 1) {
            *sum = total;
            continue;
        }
        const float rstd = rstd_of(params, row);
        store_output(params.linear, row, range.first * (lanes::columns / lanes::pieces) + column,
                     params.normalise ? total : mul_rn(total, rstd));
        if (norm.rstd.data && block_id() == 0 && first + tile == 0 && column == 0)
            ((float *)norm.rstd.data)[row_offset(norm.rstd, row, norm.m)] = rstd;
    }
}

template <typename T, bool along_k, int fragments>
NORMA_DEVICE void skinny_tiles(const norma_skinny_params &params) {
    using lanes = weight_lanes<T, along_k>;
    /* Half as far ahead where sums take the registers. */
    constexpr int groups = along_k && fragments > 1 ? lanes::groups / 2 : lanes::groups;
    const norma_norm_params &norm = params.linear.norm;
    if (!params.early) grid_wait();

    /* 1 place */
    const int step_bytes = (int)norm.rows * params.split * operand_lanes<T>::bytes, wave = thread_id() / 32;
    const unsigned char *operands = shared_memory() + operand_at<T>(params, wave);

    NORMA_NO_UNROLL
    for (int phase = 0; phase < params.phases; phase++) {
        vec16 w[groups][lanes::group][lanes::loads];
        weight_reader<T, along_k> reader(params, phase);
        reader.next_tile();
        NORMA_UNROLL
        for (int i = 0; i < groups; i++) reader.load(w[i]);
        if (phase == 0) {
            grid_launch_dependents();
            if (params.early) grid_wait();
        }
        stage<T>(params, phase);
        product<T, along_k, fragments> sums(params);

        NORMA_NO_UNROLL
        for (int first = 0; first < params.block_tiles; first += params.batch) {
            const int count = params.block_tiles - first < params.batch ? params.block_tiles - first : params.batch;
            NORMA_NO_UNROLL
            for (int tile = 0; tile < count; tile++) {
                /* 4 multiply: a tile's steps are a multiple of those under way */
                NORMA_NO_UNROLL
                for (int step = 0; step < params.steps; step += groups * lanes::group) {
                    if (reader.step == params.steps) reader.next_tile();
                    NORMA_UNROLL
                    for (int i = 0; i < groups; i++) {
                        NORMA_UNROLL
                        for (int s = 0; s < lanes::group; s++)
                            sums.add(params, w[i][s], operands + (step + i * lanes::group + s) * step_bytes);
                        reader.load(w[i]);
                    }
                }
                sums.keep(params, shared_floats(partial_at<T>(params)) +
                                      (tile * params.waves + wave) * lanes::columns * (int)norm.rows);
            }
            block_sync();
            finish_tiles<T, along_k>(params, phase, first, count);
            if (first + params.batch < params.block_tiles || phase < params.phases - 1) block_sync();
        }
    }
}

} // namespace

#define NORMA_SKINNY_KERNEL(name, T, along_k, fragments)                                            \
    NORMA_KERNEL(rmsnorm_linear_skinny_##name##fragments, norma_skinny_params, skinny_threads, 1) { \
        skinny_tiles<T, along_k, fragments>(params);                                                \
    }
#define NORMA_SKINNY_KERNELS(name, T)          \
    NORMA_SKINNY_KERNEL(name##_k, T, true, 1)  \
    NORMA_SKINNY_KERNEL(name##_k, T, true, 2)  \
    NORMA_SKINNY_KERNEL(name##_n, T, false, 1) \
    NORMA_SKINNY_KERNEL(name##_n, T, false, 2)

NORMA_SKINNY_KERNELS(f32, float)
NORMA_SKINNY_KERNELS(f16, f16)
NORMA_SKINNY_KERNELS(bf16, bf16)

#define NORMA_SKINNY_HALF_KERNEL(name, T, fragments, packed)                                                          \
    NORMA_KERNEL(rmsnorm_linear_skinny_##name##fragments, norma_half_params, half_limits<fragments>::waves * 32, 1) { \
        skinny_half<T, fragments, packed>(params);                                                                    \
    }
#define NORMA_SKINNY_HALF_KERNELS(name, T)                \
    NORMA_SKINNY_HALF_KERNEL(name##_packed, T, 1, true)   \
    NORMA_SKINNY_HALF_KERNEL(name##_packed, T, 2, true)   \
    NORMA_SKINNY_HALF_KERNEL(name##_rounded, T, 1, false) \
    NORMA_SKINNY_HALF_KERNEL(name##_rounded, T, 2, false)

#define NORMA_SKINNY_SHORT_KERNEL(name, T, steps, packed)                                                      \
    NORMA_KERNEL(rmsnorm_linear_skinny_##name##_short##steps, norma_half_params, short_tiles::waves * 32, 2) { \
        skinny_short<T, steps, packed>(params);                                                                \
    }
#define NORMA_SKINNY_SHORT_KERNELS(name, T)                 \
    NORMA_SKINNY_SHORT_KERNEL(name##_packed, T, 4, true)    \
    NORMA_SKINNY_SHORT_KERNEL(name##_packed, T, 8, true)    \
    NORMA_SKINNY_SHORT_KERNEL(name##_packed, T, 12, true)   \
    NORMA_SKINNY_SHORT_KERNEL(name##_packed, T, 16, true)   \
    NORMA_SKINNY_SHORT_KERNEL(name##_rounded, T, 4, false)  \
    NORMA_SKINNY_SHORT_KERNEL(name##_rounded, T, 8, false)  \
    NORMA_SKINNY_SHORT_KERNEL(name##_rounded, T, 12, false) \
    NORMA_SKINNY_SHORT_KERNEL(name##_rounded, T, 16, false)

NORMA_SKINNY_SHORT_KERNELS(f16, f16)
NORMA_SKINNY_SHORT_KERNELS(bf16, bf16)
NORMA_SKINNY_HALF_KERNELS(f16, f16)
NORMA_SKINNY_HALF_KERNELS(bf16, bf16)

NORMA_KERNEL(rmsnorm_linear_skinny_any, norma_skinny_params, skinny_threads, 1) {
    skinny_any(params);
}
