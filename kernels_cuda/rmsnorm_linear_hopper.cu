/* RMSNorm + Linear on sm_90a for many rows: wgmma fed by the copy engine through a ring of stages in shared memory, by
 * blocks that stay, one to a multiprocessor, and walk the tiles in groups of row tiles.
 *
 *   warpgroups 0, 1    by turns: one multiplies a tile while the other stores its own, so the tensor cores never wait
 *   warp 8             copies the x and W tiles of each K step into the ring (64 of K: rows of 128 bytes, swizzled)
 *   warp 9             fetches rstd of the next tile's rows, and its bias
 *   warps 10, 11       sum squares: every row once, shared out among all blocks
 *
 *             ring of stages                                          global memory: rstd of every row
 *   warp 8   +----+----+----+----+                                   warps 10, 11 of all blocks  -->  +---+
 *   -------> | x  | x  | x  | x  |   wgmma   +-----------+                                            |   |
 *            | W  | W  | W  | W  | --------> | acc       | * rstd + bias  --> out      warp 9 <------ |   |
 *            +----+----+----+----+           +-----------+      ^------------------------- |          +---+
 *
 *   1 place      which tile: hopper_walk.cuh
 *   2 load       copies of boxes of x and W; outside the tensors they give zeros
 *   3 square     not from the stages, where every column tile would do it again: rows are read once more, ahead of the
 *                product, mostly from L2, which they enter by this
 *   4 multiply   acc += x W, with W as it lies, (N, K) or (K, N)
 *   5 scale      acc * rstd + bias
 *   6 store      rounded once, through shared memory, by the copy engine, which cuts at the edges
 *
 * Where there are fewer tiles than multiprocessors, a cluster of 2 or 4 blocks shares a tile, each of them every so manieth
 * step of K. In the end each block has a part of the tile, for which the others send it their sums.
 *
 * A row's rstd in global memory is one word with the number of the launch that it is of: word and number come together, so
 * there is no fence, and nothing has to be cleared between launches. A block that waits too long for a row sums it itself,
 * in the same order. A tile that is not shared sums K in the same order whatever its size: then a row's bits depend on
 * nothing but the row. */
#include "hopper_norm.cuh"
#include "hopper_walk.cuh"
#include "platform_sm90.cuh"
#include "platform_wgmma.cuh"

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

enum { LAYOUT_NK, LAYOUT_KN };

/* Barriers of the block's waves, by number: whose turn it is, for each warpgroup; the end of the squares; and one for the
 * waves of each warpgroup. */
enum { GROUP_TURN = 1, GROUP_SQUARED = 3, GROUP_OWN = 4 };

/* How often a wave asks for rstd before it computes it: some 10 ms. */
enum { PATIENCE = 1 << 14 };

template <typename T_, int layout_, int bm_, int bn_, int pieces_, int stages_>
struct hopper_tile {
    using T = T_;
    static constexpr int layout = layout_, bm = bm_, bn = bn_, pieces = pieces_, stages = stages_, bk = 64;
    static constexpr int m_tiles = bm / 64;
    /* (K, N) comes in slabs of 64 columns. */
    static constexpr int w_cols = layout == LAYOUT_NK ? bn : (bn + 63) / 64 * 64;
    static constexpr int x_bytes = bm * bk * 2, stage_bytes = x_bytes + w_cols * bk * 2;
    /* A block's part of a tile that a cluster shares: of the rows, and if they do not suffice of the columns. */
    static constexpr int part_m_tiles = pieces == 1 ? m_tiles : 1, part_cols = bn * m_tiles / pieces / part_m_tiles;
    static constexpr int part_bytes = part_m_tiles * 64 * part_cols * 4;
    static constexpr int box_cols = part_cols % 32 == 0 ? 32 : 16, box_bytes = 16 * box_cols * 2;
    /* A cluster has one tile, which is the first warpgroup's. */
    static constexpr int store_waves = pieces == 1 ? 8 : 4;
    /* Shared memory: stages, parts from the other blocks, boxes to be stored, rstd and bias, barriers, the launch's number.
     */
    static constexpr int parts_at = stages * stage_bytes, store_at = parts_at + (pieces - 1) * part_bytes;
    static constexpr int rstd_at = store_at + store_waves * 2 * box_bytes, bias_at = rstd_at + 2 * bm * 4;
    static constexpr int barrier_at = bias_at + 2 * bn * 4, bytes = barrier_at + (2 * stages + 7) * 8;
    /* Of 504 for a thread of each warpgroup. */
    static constexpr int acc_registers = m_tiles * bn / 2;
    static constexpr int multiply_registers = acc_registers > 176 ? 224 : acc_registers > 160 ? 216 : 208;
    static constexpr int help_registers = 504 - 2 * multiply_registers;
    static constexpr int loads = help_registers > 60 ? 8 : 6; /* of 16 bytes in flight, of a lane that sums squares */
    static_assert(bytes + 1024 <= 232448, "fits a multiprocessor's shared memory");
    static_assert(part_cols * pieces * part_m_tiles == bn * m_tiles && part_cols % 16 == 0, "parts are whole boxes");
};

template <typename Tile>
struct hopper_block {
    using T = typename Tile::T;
    using accumulators = float[Tile::m_tiles][Tile::bn / 2];
    const norma_hopper_params &params;
    const hopper_norm<T, Tile::loads> norm;
    unsigned shared; /* aligned to 1024 bytes */
    unsigned char *base;

    NORMA_DEVICE hopper_block(const norma_hopper_params &p) : params(p), norm{p} {
        const unsigned start = shared_address(shared_memory());
        shared = (start + 1023) & ~1023u;
        base = shared_memory() + (shared - start);
    }
    NORMA_DEVICE unsigned filled(int stage) const {
        return shared + Tile::barrier_at + 8 * stage;
    }
    NORMA_DEVICE unsigned emptied(int stage) const {
        return filled(Tile::stages + stage);
    }
    /* rstd and bias for each warpgroup. */
    NORMA_DEVICE unsigned rows_filled(int warpgroup) const {
        return filled(2 * Tile::stages + warpgroup);
    }
    NORMA_DEVICE unsigned rows_emptied(int warpgroup) const {
        return filled(2 * Tile::stages + 2 + warpgroup);
    }
    NORMA_DEVICE float *rstd(int warpgroup) const {
        return (float *)(base + Tile::rstd_at) + warpgroup * Tile::bm;
    }
    NORMA_DEVICE float *bias(int warpgroup) const {
        return (float *)(base + Tile::bias_at) + warpgroup * Tile::bn;
    }
    /* The rows of y that a tile needs are there. */
    NORMA_DEVICE unsigned y_written(int warpgroup) const {
        return filled(2 * Tile::stages + 5 + warpgroup);
    }
    /* For the parts that the other blocks of the cluster send. */
    NORMA_DEVICE unsigned parts_filled() const {
        return filled(2 * Tile::stages + 4);
    }

    NORMA_DEVICE void open() {
        if (thread_id() == 0) {
            for (int b = 0; b < 2 * Tile::stages + 7; b++) barrier_init(filled(b), 1);
            barrier_init_done();
            tensor_prefetch(&params.x);
            for (int p = 0; p < params.parts; p++) {
                tensor_prefetch(&params.part[p].weight);
                tensor_prefetch(&params.part[p].out);
            }
        }
        if (Tile::pieces > 1)
            cluster_sync();
        else
            block_sync();
    }

    /* ---- Step 2, load: one thread ---- */

    NORMA_DEVICE void load() {
        hopper_ring<Tile::stages> ring;
        int warpgroup = 0;
        unsigned parity = 0;
        for (hopper_walk<Tile> walk(params); walk.inside(); walk.next()) {
            if (params.y) barrier_wait(y_written(warpgroup), parity);
            warpgroup ^= 1;
            parity ^= warpgroup == 0;
            const norma_tensor_map *const weight = &params.part[walk.part].weight;
            NORMA_NO_UNROLL
            for (int i = 0; i < walk.steps; i++) {
                const int k = (walk.first + i * Tile::pieces) * Tile::bk;
                const unsigned barrier = filled(ring.stage), x = shared + ring.stage * Tile::stage_bytes;
                barrier_wait(emptied(ring.stage), ring.parity ^ 1);
                barrier_arrive_expecting(barrier, Tile::stage_bytes);
                tensor_load(x, &params.x, k, walk.row, barrier);
                if (Tile::layout == LAYOUT_NK) {
                    tensor_load(x + Tile::x_bytes, weight, k, walk.col, barrier);
                } else {
                    NORMA_UNROLL
                    for (int slab = 0; slab < Tile::w_cols / 64; slab++)
                        tensor_load(x + Tile::x_bytes + slab * 64 * Tile::bk * 2, weight, walk.col + slab * 64, k, barrier);
                }
                ring.next();
            }
        }
    }

    /* ---- Step 3, square: whole waves ---- */

    /* rstd of four rows, eight lanes to a row, as words. The order of a row's sum depends on k alone. */
    template <int loads>
    NORMA_DEVICE unsigned long long rstd_words(int first, unsigned launch) const {
        const int row = first + wave_lane() / 8, lane = wave_lane() % 8;
        const int chunks = row < params.rows ? params.k / 8 : 0;
        const T *const x = (const T *)params.x_data + row * params.x_stride;
        float sum[2] = {0.0f, 0.0f};
        NORMA_NO_UNROLL
        for (int chunk = lane; chunk < chunks; chunk += 8 * loads) {
            vec16 v[loads];
            NORMA_UNROLL
            for (int i = 0; i < loads; i++)
                v[i] = chunk + 8 * i < chunks ? load16(x + (chunk + 8 * i) * 8) : vec16{{0, 0, 0, 0}};
            NORMA_UNROLL
            for (int q = 0; q < 4 * loads; q++) {
                const float low = unpack_low<T>(v[q / 4].word[q % 4]), high = unpack_high<T>(v[q / 4].word[q % 4]);
                sum[0] = fma_rn(low, low, sum[0]);
                sum[1] = fma_rn(high, high, sum[1]);
            }
        }
        if (row < params.rows && chunks * 8 + lane < params.k) {
            const float value = to_float(x[chunks * 8 + lane]);
            sum[0] = fma_rn(value, value, sum[0]);
        }
        const float rstd = norm_rstd(wave_sum<8>(add_rn(sum[0], sum[1])), params.k, params.eps);
        return (unsigned long long)launch << 32 | float_bits(rstd);
    }

    /* Rows by fours, of which wave `wave` of `waves` in each block takes its share of [begin, end). */
    template <int loads>
    NORMA_DEVICE void square(int wave, int waves, int begin, int end, unsigned launch) {
        const int blocks = (int)grid_blocks();
        NORMA_NO_UNROLL
        for (int four = begin + wave * blocks + (int)block_id(); four < end && four * 4 < params.rows;
             four += waves * blocks) {
            const unsigned long long word = rstd_words<loads>(four * 4, launch);
            const int row = four * 4 + wave_lane() / 8;
            if (wave_lane() % 8 != 0 || row >= params.rows) continue;
            store_word(params.rstd + row, word);
            if (params.rstd_out) params.rstd_out[row * params.rstd_stride] = bits_float((unsigned)word);
        }
    }

    /* Both warpgroups take a row for each wave before they multiply: the first tiles wait for them. */
    NORMA_DEVICE int first_rows() const {
        return 8 * (int)grid_blocks();
    }

    /* Step 3 as the helpers do it. */
    NORMA_DEVICE void square_or_normalise(int helper, unsigned launch) {
        if (params.y)
            norm.write(helper, 2, first_rows(), params.rows, launch);
        else if (!params.plain)
            square<Tile::loads>(helper, 2, first_fours(), params.rows, launch);
    }

    /* The first rows are wanted soonest: the warpgroup whose turn comes second sums them, which has nothing else to do yet.
     */
    NORMA_DEVICE int first_fours() const {
        return 4 * (int)grid_blocks();
    }

    /* rstd and bias of this block's tiles, ahead of the product. */
    NORMA_DEVICE void fetch(unsigned launch) {
        int warpgroup = 0;
        unsigned parity = 1;
        for (hopper_walk<Tile> walk(params); walk.inside(); walk.next()) {
            barrier_wait(rows_emptied(warpgroup), parity);
            fetch_bias(params.part[walk.part], walk.col, bias(warpgroup));
            fetch_rstd(walk.row, rstd(warpgroup), launch);
            if (params.y) {
                device_fence();
                copies_fence();
                wave_sync();
                if (wave_lane() == 0) barrier_arrive(y_written(warpgroup));
            }
            wave_sync();
            if (wave_lane() == 0) barrier_arrive(rows_filled(warpgroup));
            warpgroup ^= 1;
            parity ^= warpgroup == 0;
        }
    }

    NORMA_DEVICE void fetch_bias(const norma_hopper_part &part, int col, float *to) {
        for (int i = wave_lane(); i < Tile::bn; i += 32)
            to[i] = part.bias && col + i < part.n ? load_as(part.bias, part.bias_dtype, (col + i) * part.bias_stride) : 0.0f;
    }

    /* All words are asked for together, again and again until they are of this launch. */
    NORMA_DEVICE void fetch_rstd(int first, float *to, unsigned launch) {
        constexpr int words = Tile::bm / 32;
        const unsigned long long tag = (unsigned long long)launch << 32;
        unsigned long long word[words];
        bool there = false;
        NORMA_NO_UNROLL
        for (int tries = 0; !there && tries < PATIENCE; tries++) {
            NORMA_UNROLL
            for (int i = 0; i < words; i++) {
                const int row = first + i * 32 + wave_lane();
                word[i] = params.plain || row >= params.rows ? tag | float_bits(1.0f) : load_word(params.rstd + row);
            }
            there = true;
            NORMA_UNROLL
            for (int i = 0; i < words; i++) there = there && (unsigned)(word[i] >> 32) == launch;
            there = wave_all(there);
        }
        NORMA_UNROLL
        for (int i = 0; i < words; i++) {
            if (!there) word[i] = make_words(first + i * 32, word[i], launch);
            to[i * 32 + wave_lane()] = params.y ? 1.0f : bits_float((unsigned)word[i]);
        }
    }

    /* The words of 32 rows, from this wave where they are missing. */
    NORMA_DEVICE unsigned long long make_words(int first, unsigned long long word, unsigned launch) {
        NORMA_NO_UNROLL
        for (int four = 0; four < 8; four++) {
            const bool missing = wave_lane() / 4 == four && (unsigned)(word >> 32) != launch;
            if (wave_all(!missing)) continue;
            if (params.y) {
                norm.write_four(first + four * 4, launch);
                continue;
            }
            const unsigned long long own = wave_get(rstd_words<Tile::loads>(first + four * 4, launch), wave_lane() % 4 * 8);
            if (wave_lane() / 4 == four) word = own;
        }
        return word;
    }

    NORMA_DEVICE void help() {
        const int wave = wave_id() - 8;
        if (wave == 0) {
            if (wave_lane() == 0) load();
            return;
        }
        const unsigned launch = load_counter(params.launches) + 1;
        if (wave == 1)
            fetch(launch);
        else
            square_or_normalise(wave - 2, launch);
        /* Everyone here has the launch's number, so the last block may count it. */
        group_sync(GROUP_SQUARED, 96 + 128);
        if (wave == 1 && wave_lane() == 0 && add_counter(params.launches + 1, 1) == (unsigned)grid_blocks() - 1) {
            store_counter(params.launches + 1, 0);
            store_counter(params.launches, launch);
        }
    }

    /* ---- Steps 4 to 6: a warpgroup ---- */

    NORMA_DEVICE static bool leads() {
        return thread_id() % 128 == 0;
    }

    NORMA_DEVICE void multiply_tiles(int warpgroup) {
        hopper_walk<Tile> walk(params);
        hopper_ring<Tile::stages> ring;
        unsigned parity = 0;
        if (warpgroup == 1) {
            group_arrive(GROUP_TURN, 256);
            const unsigned launch = load_counter(params.launches) + 1;
            if (params.y)
                norm.write(wave_id(), 8, 0, first_rows(), launch);
            else if (!params.plain)
                square<16>(wave_id() % 4, 4, 0, first_fours(), launch);
            group_arrive(GROUP_SQUARED, 96 + 128);
            pass(walk, ring);
        } else if (params.y) {
            norm.write(wave_id(), 8, 0, first_rows(), load_counter(params.launches) + 1);
        }
        while (walk.inside()) {
            accumulators c;
            NORMA_UNROLL
            for (int i = 0; i < Tile::m_tiles; i++) wgmma_clear(c[i]);
            group_sync(GROUP_TURN + warpgroup, 256);
            multiply(c, ring, walk.steps);
            group_arrive(GROUP_TURN + (warpgroup ^ 1), 256);
            wgmma_wait<0>();
            NORMA_UNROLL
            for (int i = 0; i < Tile::m_tiles; i++) wgmma_pin(c[i]);
            if (leads()) barrier_arrive(emptied(ring.previous()));
            barrier_wait(rows_filled(warpgroup), parity);
            parity ^= 1;
            finish(c, walk, warpgroup);
            group_sync(GROUP_OWN + warpgroup, 128);
            if (leads()) barrier_arrive(rows_emptied(warpgroup));
            walk.next();
            pass(walk, ring);
        }
        if (wave_lane() == 0) tensor_store_wait<0>();
    }

    /* The other warpgroup's turn. */
    NORMA_DEVICE static void pass(hopper_walk<Tile> &walk, hopper_ring<Tile::stages> &ring) {
        ring.skip(walk.steps);
        walk.next();
    }

    NORMA_DEVICE void multiply(accumulators &c, hopper_ring<Tile::stages> &ring, int steps) {
        constexpr bool flipped = Tile::layout == LAYOUT_KN;
        NORMA_NO_UNROLL
        for (int step = 0; step < steps; step++) {
            const unsigned x = shared + ring.stage * Tile::stage_bytes;
            const unsigned long long a = wgmma_k_major(x);
            const unsigned long long b =
                flipped ? wgmma_n_major(x + Tile::x_bytes, 64 * 128) : wgmma_k_major(x + Tile::x_bytes);
            barrier_wait(filled(ring.stage), ring.parity);
            wgmma_begin();
            NORMA_UNROLL
            for (int k16 = 0; k16 < 4; k16++) {
                NORMA_UNROLL
                for (int i = 0; i < Tile::m_tiles; i++)
                    wgmma<T, Tile::bn, flipped>::multiply(c[i], a + i * 512 + k16 * 2, b + k16 * (flipped ? 128 : 2));
            }
            wgmma_commit();
            wgmma_wait<1>();
            if (step > 0 && leads()) barrier_arrive(emptied(ring.previous()));
            ring.next();
        }
    }

    /* Where the sums of block `from` are for the part of this one, or `to` this thread's first. */
    NORMA_DEVICE static int part_place(int from, int to) {
        return Tile::parts_at + (from < to ? from : from - 1) * Tile::part_bytes + thread_id() % 128 * 16;
    }

    /* A cluster's blocks have one tile each, so the barrier has one phase. */
    NORMA_DEVICE void finish(accumulators &c, const hopper_walk<Tile> &walk, int warpgroup) {
        constexpr int across = Tile::bn / Tile::part_cols; /* parts side by side */
        if (Tile::pieces == 1) {
            NORMA_UNROLL
            for (int i = 0; i < Tile::m_tiles; i++) store<0, Tile::bn>(c[i], i, walk, warpgroup);
            return;
        }
        const int rank = cluster_rank();
        if (leads()) barrier_arrive_expecting(parts_filled(), (Tile::pieces - 1) * Tile::part_bytes);
        NORMA_UNROLL
        for (int to = 0; to < Tile::pieces; to++)
            if (to != rank) send(c[to / across], to % across * Tile::part_cols, rank, to);
        barrier_wait_cluster(parts_filled(), 0);
        finish_part<0>(c, walk, warpgroup, rank);
    }

    /* The part is known when compiling, so that accumulators stay in registers. */
    template <int to>
    NORMA_DEVICE void finish_part(accumulators &c, const hopper_walk<Tile> &walk, int warpgroup, int rank) {
        constexpr int across = Tile::bn / Tile::part_cols, i = to / across, col = to % across * Tile::part_cols;
        if (to == rank) {
            add_parts<to>(c[i], col);
            store<col, Tile::part_cols>(c[i], i, walk, warpgroup);
        } else if constexpr (to + 1 < Tile::pieces) {
            finish_part<to + 1>(c, walk, warpgroup, rank);
        }
    }

    NORMA_DEVICE void send(float (&c)[Tile::bn / 2], int col, int rank, int to) {
        const unsigned there = cluster_address(shared + part_place(rank, to), to);
        const unsigned barrier = cluster_address(parts_filled(), to);
        NORMA_UNROLL
        for (int q = 0; q < Tile::part_cols / 8; q++) {
            const float *const v = &c[col / 2 + 4 * q];
            const vec16 four = {{float_bits(v[0]), float_bits(v[1]), float_bits(v[2]), float_bits(v[3])}};
            cluster_send16(there + q * 128 * 16, four, barrier);
        }
    }

    /* The blocks' sums in the order of their ranks. */
    template <int to>
    NORMA_DEVICE void add_parts(float (&c)[Tile::bn / 2], int col) {
        NORMA_UNROLL
        for (int q = 0; q < Tile::part_cols / 8; q++) {
            float sum[4];
            NORMA_UNROLL
            for (int from = 0; from < Tile::pieces; from++) {
                vec16 v = {{0, 0, 0, 0}};
                if (from != to) v = load16(base + part_place(from, to) + q * 128 * 16);
                NORMA_UNROLL
                for (int e = 0; e < 4; e++) {
                    const float one = from == to ? c[col / 2 + 4 * q + e] : bits_float(v.word[e]);
                    sum[e] = from == 0 ? one : add_rn(sum[e], one);
                }
            }
            NORMA_UNROLL
            for (int e = 0; e < 4; e++) c[col / 2 + 4 * q + e] = sum[e];
        }
    }

    /* 64 rows from 64 i on, `cols` columns from `first` on. Each wave by itself: 16 rows of box_cols columns at a time, in
     * two buffers by turns. */
    template <int first, int cols>
    NORMA_DEVICE void store(float (&c)[Tile::bn / 2], int i, const hopper_walk<Tile> &walk, int warpgroup) {
        constexpr int boxes = cols / Tile::box_cols;
        const int lane = wave_lane(), row = i * 64 + wave_id() % 4 * 16;
        const unsigned buffers = shared + Tile::store_at + wave_id() * 2 * Tile::box_bytes;
        const norma_tensor_map *const out = &params.part[walk.part].out;
        const float *const bias_pairs = bias(warpgroup) + lane % 4 * 2;
        const float upper = rstd(warpgroup)[row + lane / 4], lower = rstd(warpgroup)[row + lane / 4 + 8];
        NORMA_UNROLL
        for (int box = 0; box < boxes; box++) {
            const unsigned to = buffers + (box + i * boxes) % 2 * Tile::box_bytes;
            if (lane == 0) tensor_store_wait<1>();
            wave_sync();
            NORMA_UNROLL
            for (int half = 0; half < Tile::box_cols / 16; half++) {
                unsigned word[4];
                NORMA_UNROLL
                for (int j = 0; j < 2; j++) {
                    const int col = first + box * Tile::box_cols + half * 16 + j * 8;
                    const float *const v = &c[col / 2];
                    const float left = bias_pairs[col], right = bias_pairs[col + 1];
                    word[2 * j] = pack2<T>(fma_rn(v[0], upper, left), fma_rn(v[1], upper, right));
                    word[2 * j + 1] = pack2<T>(fma_rn(v[2], lower, left), fma_rn(v[3], lower, right));
                }
                store_matrices(to + box_place(lane % 16, half * 2 + lane / 16), word);
            }
            shared_fence();
            wave_sync();
            if (lane == 0) {
                tensor_store(out, walk.col + first + box * Tile::box_cols, walk.row + row, to);
                tensor_store_commit();
            }
        }
    }

    /* Where the copy engine looks for 16-byte chunk `chunk` of row `row` of a box, in an order without bank conflicts. */
    NORMA_DEVICE static int box_place(int row, int chunk) {
        return Tile::box_cols == 32 ? row * 64 + (chunk ^ row / 2 % 4) * 16 : row * 32 + (chunk ^ row / 4 % 2) * 16;
    }
};

template <typename Tile>
NORMA_DEVICE void hopper(const norma_hopper_params &params) {
    hopper_block<Tile> block(params);
    block.open();
    grid_wait();
    grid_launch_dependents();
    const int warpgroup = wave_get(wave_id() / 4, 0); /* in so many words the same in a whole wave */
    if (warpgroup == 2) {
        registers_shrink<Tile::help_registers>();
        block.help();
    } else {
        registers_grow<Tile::multiply_registers>();
        block.multiply_tiles(warpgroup);
    }
}

/* rmsnorm_linear_hopper_<tile>_<dtype>_<layout>: the rows of the tile table. */
#define HOPPER(name, dtype, suffix, layout, bm, bn, pieces, stages)                                \
    NORMA_KERNEL(rmsnorm_linear_hopper_##name##_##dtype##_##suffix, norma_hopper_params, 384, 1) { \
        hopper<hopper_tile<dtype, layout, bm, bn, pieces, stages>>(params);                        \
    }
#define HOPPER_ROW_RMSNORM_LINEAR_HOPPER(name, bm, bn, bk, stages) \
    HOPPER(name, bf16, nk, LAYOUT_NK, bm, bn, bk / 64, stages)     \
    HOPPER(name, bf16, kn, LAYOUT_KN, bm, bn, bk / 64, stages)     \
    HOPPER(name, f16, nk, LAYOUT_NK, bm, bn, bk / 64, stages)      \
    HOPPER(name, f16, kn, LAYOUT_KN, bm, bn, bk / 64, stages)
#define HOPPER_ROW_RMSNORM_LINEAR_TILED(name, bm, bn, bk, stages)
#define NORMA_TILE(name, kernel, target, bm, bn, bk, tm, tn, threads, stages) HOPPER_ROW_##kernel(name, bm, bn, bk, stages)
#include "../backends/tiling/tile_table.def"
#undef NORMA_TILE

#endif
