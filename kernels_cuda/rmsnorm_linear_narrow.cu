/* RMSNorm + Linear on sm_90a for some 9 to 64 rows: W streams once through a ring in shared memory, filled by the copy
 * engine, and is the 64-row operand of wgmma; the rows of x are its few columns. So the product comes out transposed,
 * out^T = W x^T, and no part of the tensor cores' work is spent on rows that are not there.
 *
 *   warps 0 to 3   multiply, and store
 *   warps 4 to 7   square x where it lies, and scale or normalise it there if something stands before the product
 *   warp 8         copies W, step by step of 128 of K (two boxes with rows of 128 bytes, swizzled), and x
 *
 *              +----+----+----+----+
 *   warp 8 --> | W  | W  | W  | W  |            wgmma     +---------------+
 *     |        +----+----+----+----+  ------------------> | acc: 64       | * rstd + bias --> out
 *     |        +----+----+----+----+            ^         | columns x     |
 *     +------> | x  | x  | x  | x  | -----------+         | all rows      |
 *              +----+----+----+----+                      +---------------+
 *                 ^ squares, gamma: warps 4 to 7
 *
 *   1 place      tile after tile of output columns; a cluster of 1 to 4 blocks shares the K of a tile
 *   2 load       boxes of W and x; outside the tensors they give zeros. A block's share of x stays if there is room for it
 *   3 square     each block its share of K; the shares meet in every block of the cluster, in the order of ranks
 *   4 scale      x times gamma, or the normalised x, rounded as the contract says, in the place of x
 *   5 multiply   acc += W x^T
 *   6 add        each block gets the sums of all for some of the rows, in the order of ranks
 *   7 store      acc * rstd + bias, rounded once
 *
 * The order of every sum follows from the shape and the device alone. */
#include "platform_sm90.cuh"
#include "platform_wgmma.cuh"

#if defined(__CUDA_ARCH_FEAT_SM90_ALL) || defined(NORMA_SIMT)

enum {
    NARROW_GROUP = 128,
    NARROW_THREADS = 2 * NARROW_GROUP + 32,
    TILE_COLUMNS = 64,
    ROW_K = 64,
    ROW_BYTES = 128,
    BOXES = 2,
    STEP_K = BOXES * ROW_K
};

/* Barriers of the block's waves, by number. */
enum { GROUP_MULTIPLY = 1, GROUP_HELP = 2 };

template <typename T_, int width_>
struct narrow_tile {
    using T = T_;
    static constexpr int width = width_;
    static constexpr int groups = width / 8; /* of 8 rows of x */
    static constexpr int w_box_bytes = TILE_COLUMNS * ROW_BYTES, w_bytes = BOXES * w_box_bytes;
    static constexpr int x_box_bytes = width * ROW_BYTES, x_bytes = BOXES * x_box_bytes;
    static constexpr int part_bytes = 64 * 8 * 4; /* sums of 8 rows and 64 columns */
    static constexpr int passes = width / 16;
};

/* Tile after tile, and step after step of a block's share of K. */
template <typename Tile>
struct narrow_walk {
    const norma_narrow_params &params;
    const int tiles, clusters, parts;
    int first, steps; /* of K */
    int step = 0;
    int part, column; /* where the tile lies; the column within the part */

    NORMA_DEVICE narrow_walk(const norma_narrow_params &p)
        : params(p), tiles(p.tiles), clusters((int)grid_blocks() >> p.cluster_shift), parts(p.parts) {
        const int all = (p.k + STEP_K - 1) / STEP_K, rank = cluster_rank();
        first = rank * all >> p.cluster_shift;
        steps = ((rank + 1) * all >> p.cluster_shift) - first;
        tile_ = (int)block_id() >> p.cluster_shift;
        locate();
    }
    NORMA_DEVICE bool inside() const {
        return tile_ < tiles;
    }
    /* Does the cluster have another tile, `turns` from here? */
    NORMA_DEVICE bool goes_on(int turns) const {
        return tile_ + turns * clusters < tiles;
    }
    NORMA_DEVICE void next_tile() {
        tile_ += clusters;
        locate();
    }
    NORMA_DEVICE void next_step() {
        if (++step < steps) return;
        step = 0;
        next_tile();
    }
    NORMA_DEVICE int k() const {
        return (first + step) * STEP_K;
    }

  private:
    int tile_;

    NORMA_DEVICE void locate() {
        part = 0;
        NORMA_NO_UNROLL
        while (part + 1 < parts && tile_ >= params.part[part + 1].first_tile) part++;
        column = (tile_ - params.part[part].first_tile) * TILE_COLUMNS;
    }
};

/* A place in a ring, and whether it has been gone round an odd number of times. */
struct narrow_ring {
    int places;
    int place = 0;
    unsigned parity = 0;

    NORMA_DEVICE void next() {
        if (++place < places) return;
        place = 0;
        parity ^= 1;
    }
};

/* Step 7: where a tile's columns go. What it needs is read once for a tile. */
template <typename Tile>
struct narrow_output {
    using T = typename Tile::T;
    const int rows, n, first; /* first: column of the tile */
    const bool paired;
    const norma_index row_stride, col_stride;
    T *const out;
    float bias[2];

    NORMA_DEVICE narrow_output(const norma_narrow_part &part, int column, int rows_)
        : rows(rows_), n(part.n), first(column + wave_id() * 16), paired(part.paired), row_stride(part.out_row_stride),
          col_stride(part.out_col_stride), out((T *)part.out) {
        NORMA_UNROLL
        for (int h = 0; h < 2; h++) {
            const int at = first + h * 8 + wave_lane() / 4;
            bias[h] = part.bias && at < n ? load_as(part.bias, part.bias_dtype, at * part.bias_stride) : 0.0f;
        }
    }

    /* v[2 h + e]: column wave * 16 + h * 8 + lane / 4, row 8 j + lane % 4 * 2 + e, whose rstd is even or odd. */
    NORMA_DEVICE void store(const float (&v)[4], int j, float even, float odd) const {
        const int lane = wave_lane();
        NORMA_UNROLL
        for (int h = 0; h < 2; h++) {
            const int above = first + h * 8;
            const float value[2] = {fma_rn(v[2 * h], even, bias[h]), fma_rn(v[2 * h + 1], odd, bias[h])};
            if (paired) {
                const unsigned word = transpose_matrix(pack2<T>(value[0], value[1]));
                const int row = 8 * j + lane / 4, column = above + lane % 4 * 2;
                T *const to = out + row * row_stride + column;
                if (row < rows && column + 1 < n)
                    *(unsigned *)to = word;
                else if (row < rows && column < n)
                    to->bits = (unsigned short)word;
                continue;
            }
            const int row = 8 * j + lane % 4 * 2, column = above + lane / 4;
            NORMA_UNROLL
            for (int e = 0; e < 2; e++)
                if (row + e < rows && column < n)
                    out[(row + e) * row_stride + column * col_stride] = from_float<T>(value[e]);
        }
    }
};

template <typename Tile>
struct narrow_block {
    using T = typename Tile::T;
    using accumulators = float[Tile::width / 2];
    const norma_narrow_params &params;
    const int rank, shift, cluster;
    const int stages, slots, buffers;
    bool resident; /* x stays */
    bool made;     /* what is multiplied is not x itself */
    bool normalises;
    int received;     /* groups of rows whose sums a block may get */
    int buffer_bytes; /* for them */
    unsigned shared, barriers;
    unsigned char *base;
    int x_at, parts_at, squares_at, rstd_at, scale_at;

    NORMA_DEVICE narrow_block(const norma_narrow_params &p)
        : params(p), rank(cluster_rank()), shift(p.cluster_shift), cluster(1 << p.cluster_shift), stages(p.stages),
          slots(p.x_slots), buffers(p.buffers) {
        const unsigned start = shared_address(shared_memory());
        shared = (start + 1023) & ~1023u;
        base = shared_memory() + (shared - start);
        resident = (p.k + STEP_K - 1) / STEP_K <= slots << shift;
        normalises = p.normalise;
        made = normalises || p.gamma;
        received = (Tile::groups + cluster - 1) >> shift;
        buffer_bytes = (cluster - 1) * received * Tile::part_bytes;
        x_at = stages * Tile::w_bytes;
        parts_at = x_at + slots * Tile::x_bytes;
        squares_at = parts_at + buffers * buffer_bytes;
        rstd_at = squares_at + cluster * Tile::width * 4;
        scale_at = rstd_at + Tile::width * 4;
        const int steps = (p.k + STEP_K - 1) / STEP_K, share = (steps + cluster - 1) >> shift;
        barriers = shared + scale_at + (p.gamma ? share * STEP_K * 4 : 0);
    }

    /* ---- Barriers ---- */

    NORMA_DEVICE unsigned w_filled(int stage) const {
        return barriers + 8 * stage;
    }
    NORMA_DEVICE unsigned w_emptied(int stage) const {
        return w_filled(stages + stage);
    }
    NORMA_DEVICE unsigned x_filled(int slot) const {
        return w_filled(2 * stages + slot);
    }
    NORMA_DEVICE unsigned x_made(int slot) const {
        return x_filled(slots + slot);
    }
    NORMA_DEVICE unsigned x_emptied(int slot) const {
        return x_filled(2 * slots + slot);
    }
    NORMA_DEVICE unsigned parts_filled(int buffer) const {
        return x_filled(3 * slots + buffer);
    }
    /* Of what this block sends: the others have read what was there. */
    NORMA_DEVICE unsigned parts_read(int buffer) const {
        return x_filled(3 * slots + 2 + buffer);
    }
    NORMA_DEVICE unsigned squares_filled() const {
        return x_filled(3 * slots + 4);
    }
    NORMA_DEVICE unsigned rstd_there() const {
        return x_filled(3 * slots + 5);
    }
    /* Blocks that get sums of the others. */
    NORMA_DEVICE int receivers() const {
        return cluster < Tile::groups ? cluster : Tile::groups;
    }

    /* How many arrivals end a phase of a barrier, of all barriers from barriers on. */
    NORMA_DEVICE int arrivals(int barrier) const {
        const int slot = barrier - 2 * stages, last = slot - 3 * slots;
        const int others = receivers() - (rank < receivers() ? 1 : 0);
        if (slot < slots) return 1;
        if (last < 0) return slot < 2 * slots ? 4 : 5;
        return last == 5 ? 4 : (last == 2 || last == 3) && others > 0 ? others : 1;
    }

    NORMA_DEVICE void open() const {
        for (int b = thread_id(); b < 2 * stages + 3 * slots + 6; b += NARROW_THREADS)
            barrier_init(w_filled(b), arrivals(b));
        barrier_init_done();
        block_sync();
        if (cluster == 1) return;
        if (thread_id() == 0) barrier_arrive_expecting(squares_filled(), (cluster - 1) * Tile::width * 4);
        cluster_arrive();
    }

    /* ---- Step 2, load: one thread ---- */

    NORMA_DEVICE void load() const {
        narrow_walk<Tile> ahead(params), walk(params);
        const bool early = params.early;
        int asked = 0;
        NORMA_NO_UNROLL
        for (; asked < stages && ahead.inside(); asked++, ahead.next_step())
            if (early) load_weight(ahead, asked);
        grid_wait();
        /* What needs no place to be emptied: all of x if it stays, for rows may have to be whole before they are multiplied.
         */
        const int share = walk.steps, first = resident && share > asked ? share : asked;
        NORMA_NO_UNROLL
        for (int i = 0; i < first; i++, walk.next_step()) {
            if (i < asked && !early) load_weight(walk, i);
            if (!resident || i < share) load_rows(walk, i);
        }
        narrow_ring ring{stages};
        NORMA_NO_UNROLL
        for (int i = 0; i < asked; i++) ring.next();
        NORMA_NO_UNROLL
        for (; ahead.inside(); ahead.next_step(), ring.next()) {
            barrier_wait(w_emptied(ring.place), ring.parity ^ 1);
            load_weight(ahead, ring.place);
            if (resident) continue;
            barrier_wait(x_emptied(ring.place), ring.parity ^ 1);
            load_rows(ahead, ring.place);
        }
    }

    NORMA_DEVICE void load_rows(const narrow_walk<Tile> &walk, int slot) const {
        barrier_arrive_expecting(x_filled(slot), Tile::x_bytes);
        NORMA_UNROLL
        for (int b = 0; b < BOXES; b++)
            tensor_load(shared + x_at + slot * Tile::x_bytes + b * Tile::x_box_bytes, &params.x, walk.k() + b * ROW_K, 0,
                        x_filled(slot));
    }

    NORMA_DEVICE void load_weight(const narrow_walk<Tile> &walk, int stage) const {
        const norma_tensor_map *const map = &params.part[walk.part].weight;
        const unsigned to = shared + stage * Tile::w_bytes;
        barrier_arrive_expecting(w_filled(stage), Tile::w_bytes);
        NORMA_UNROLL
        for (int b = 0; b < BOXES; b++)
            tensor_load(to + b * Tile::w_box_bytes, map, walk.k() + b * ROW_K, walk.column, w_filled(stage));
    }

    /* ---- Steps 3 and 4, square and scale: a warpgroup ---- */

    /* Eight lanes have a row, and each of them one chunk of 16 bytes of a step; the copy engine has put the chunks of row r
     * in the order c ^ r % 8. */
    NORMA_DEVICE static int help_thread() {
        return thread_id() % NARROW_GROUP;
    }
    NORMA_DEVICE unsigned char *chunk_place(int slot, int box) const {
        return base + x_at + slot * Tile::x_bytes + box * Tile::x_box_bytes + help_thread() * 16;
    }

    NORMA_DEVICE void help() {
        float sum[Tile::passes][2] = {};
        narrow_walk<Tile> walk(params);
        narrow_ring ring{slots};
        if (!params.early) grid_wait();
        if (params.gamma) keep_scale(walk);
        const bool scales = made && !normalises;
        NORMA_NO_UNROLL
        for (int i = 0; i < walk.steps; i++, walk.step++) square(sum, walk, ring, scales);
        walk.step = 0;
        walk.next_tile();
        share(sum);
        if (normalises) normalise();
        /* A ring of x goes on, for tile after tile. */
        NORMA_NO_UNROLL
        for (; !resident && walk.inside(); walk.next_step()) square(sum, walk, ring, scales);
    }

    NORMA_DEVICE void square(float (&sum)[Tile::passes][2], const narrow_walk<Tile> &walk, narrow_ring &ring,
                             bool scales) const {
        barrier_wait(x_filled(ring.place), ring.parity);
        NORMA_UNROLL
        for (int b = 0; b < BOXES; b++) {
            vec16 v[Tile::passes];
            NORMA_UNROLL
            for (int p = 0; p < Tile::passes; p++) v[p] = load16(chunk_place(ring.place, b) + p * 16 * ROW_BYTES);
            NORMA_UNROLL
            for (int p = 0; p < Tile::passes; p++) add_squares(sum[p], v[p]);
            if (!scales) continue;
            float scale[8];
            load_scale(scale, walk, b);
            NORMA_UNROLL
            for (int p = 0; p < Tile::passes; p++) {
                NORMA_UNROLL
                for (int q = 0; q < 4; q++)
                    v[p].word[q] = pack2<T>(mul_rn(unpack_low<T>(v[p].word[q]), scale[2 * q]),
                                            mul_rn(unpack_high<T>(v[p].word[q]), scale[2 * q + 1]));
                store16(chunk_place(ring.place, b) + p * 16 * ROW_BYTES, v[p]);
            }
        }
        if (scales) shared_fence();
        wave_sync();
        if (wave_lane() == 0) {
            if (scales) barrier_arrive(x_made(ring.place));
            if (!resident) barrier_arrive(x_emptied(ring.place));
        }
        ring.next();
    }

    NORMA_DEVICE static void add_squares(float (&sum)[2], const vec16 &v) {
        NORMA_UNROLL
        for (int q = 0; q < 4; q++) {
            const float low = unpack_low<T>(v.word[q]), high = unpack_high<T>(v.word[q]);
            sum[0] = fma_rn(low, low, sum[0]);
            sum[1] = fma_rn(high, high, sum[1]);
        }
    }

    /* The blocks' sums of squares, to all of them; then rstd. Lane i of a row's eight sends to block i. */
    NORMA_DEVICE void share(float (&sum)[Tile::passes][2]) {
        const int to = help_thread() % 8, row = help_thread() / 8;
        if (cluster > 1) cluster_wait();
        NORMA_UNROLL
        for (int p = 0; p < Tile::passes; p++) {
            const float whole = wave_sum<8>(add_rn(sum[p][0], sum[p][1]));
            const int at = squares_at + (rank * Tile::width + row + 16 * p) * 4;
            if (to == rank)
                *(float *)(base + at) = whole;
            else if (to < cluster)
                cluster_send(cluster_address(shared + at, to), whole, cluster_address(squares_filled(), to));
        }
        group_sync(GROUP_HELP, NARROW_GROUP);
        if (cluster > 1) barrier_wait_cluster(squares_filled(), 0);
        if (help_thread() < Tile::width) {
            const float *const squares = (const float *)(base + squares_at) + help_thread();
            float all = squares[0];
            NORMA_NO_UNROLL
            for (int r = 1; r < cluster; r++) all = add_rn(all, squares[r * Tile::width]);
            const float rstd = norm_rstd(all, params.k, params.eps);
            ((float *)(base + rstd_at))[help_thread()] = rstd;
            if (params.rstd_out && block_id() == 0 && help_thread() < params.rows) {
                grid_wait();
                params.rstd_out[help_thread() * params.rstd_stride] = rstd;
            }
        }
        wave_sync();
        if (wave_lane() == 0) barrier_arrive(rstd_there());
    }

    NORMA_DEVICE void normalise() const {
        const float *const rstd = (const float *)(base + rstd_at) + help_thread() / 8;
        narrow_walk<Tile> walk(params);
        group_sync(GROUP_HELP, NARROW_GROUP);
        NORMA_NO_UNROLL
        for (; walk.step < walk.steps; walk.step++) {
            NORMA_UNROLL
            for (int b = 0; b < BOXES; b++) {
                float scale[8];
                load_scale(scale, walk, b);
                NORMA_UNROLL
                for (int p = 0; p < Tile::passes; p++) {
                    unsigned char *const at = chunk_place(walk.step, b) + p * 16 * ROW_BYTES;
                    vec16 v = load16(at);
                    NORMA_UNROLL
                    for (int q = 0; q < 4; q++)
                        v.word[q] = pack2<T>(normalised(unpack_low<T>(v.word[q]), scale[2 * q], rstd[16 * p]),
                                             normalised(unpack_high<T>(v.word[q]), scale[2 * q + 1], rstd[16 * p]));
                    store16(at, v);
                }
            }
            shared_fence();
            wave_sync();
            if (wave_lane() == 0) barrier_arrive(x_made(walk.step));
        }
    }

    /* As norm_exact(), but for the last rounding. */
    NORMA_DEVICE float normalised(float h, float scale, float rstd) const {
        const float value = mul_rn(h, rstd);
        return mul_rn(params.contract == NORMA_ROUND_TWICE && params.gamma ? round_to<T>(value) : value, scale);
    }

    /* The block's share of gamma + offset, in fp32. */
    NORMA_DEVICE void keep_scale(const narrow_walk<Tile> &walk) const {
        NORMA_UNROLL4
        for (int chunk = help_thread(); chunk < walk.steps * STEP_K / 8; chunk += NARROW_GROUP) {
            float scale[8];
            read_scale(scale, walk.first * STEP_K + chunk * 8);
            NORMA_UNROLL
            for (int e = 0; e < 8; e += 4)
                store16(base + scale_at + chunk * 32 + e * 4, vec16{{float_bits(scale[e]), float_bits(scale[e + 1]),
                                                                     float_bits(scale[e + 2]), float_bits(scale[e + 3])}});
        }
        group_sync(GROUP_HELP, NARROW_GROUP);
    }

    NORMA_DEVICE void read_scale(float (&scale)[8], int k) const {
        NORMA_UNROLL
        for (int e = 0; e < 8; e++) scale[e] = 1.0f;
        if (k >= params.k) return;
        if (k + 8 > params.k) {
            NORMA_UNROLL
            for (int e = 0; e < 8; e++)
                if (k + e < params.k)
                    scale[e] = add_rn(load_as(params.gamma, params.gamma_dtype, k + e), params.gamma_offset);
            return;
        }
        if (params.gamma_dtype == NORMA_F32) {
            NORMA_UNROLL
            for (int e = 0; e < 8; e += 4) {
                const vec16 g = load16((const float *)params.gamma + k + e);
                NORMA_UNROLL
                for (int i = 0; i < 4; i++) scale[e + i] = add_rn(bits_float(g.word[i]), params.gamma_offset);
            }
            return;
        }
        const vec16 g = load16((const T *)params.gamma + k);
        NORMA_UNROLL
        for (int q = 0; q < 4; q++) {
            scale[2 * q] = add_rn(unpack_low<T>(g.word[q]), params.gamma_offset);
            scale[2 * q + 1] = add_rn(unpack_high<T>(g.word[q]), params.gamma_offset);
        }
    }

    /* Of this thread's chunk. */
    NORMA_DEVICE void load_scale(float (&scale)[8], const narrow_walk<Tile> &walk, int box) const {
        const int chunk = (walk.step * BOXES + box) * 8 + (help_thread() % 8 ^ help_thread() / 8 % 8);
        NORMA_UNROLL
        for (int e = 0; e < 8; e++) scale[e] = 1.0f;
        if (!params.gamma) return;
        NORMA_UNROLL
        for (int e = 0; e < 8; e += 4) {
            const vec16 four = load16(base + scale_at + chunk * 32 + e * 4);
            NORMA_UNROLL
            for (int i = 0; i < 4; i++) scale[e + i] = bits_float(four.word[i]);
        }
    }

    /* ---- Steps 5 to 7, multiply, add and store: a warpgroup ---- */

    NORMA_DEVICE static bool leads() {
        return thread_id() == 0;
    }

    NORMA_DEVICE void multiply_tiles() {
        narrow_walk<Tile> walk(params);
        narrow_ring ring{stages};
        grid_wait();
        NORMA_NO_UNROLL
        for (int count = 0; walk.inside(); count++, walk.next_tile()) {
            accumulators c;
            wgmma_clear(c);
            const narrow_output<Tile> output(params.part[walk.part], walk.column, params.rows);
            multiply(c, ring, walk.steps);
            if (count == 0 && cluster > 1) cluster_wait();
            switch (shift) {
            case 0: finish<1>(c, walk, output, count); break;
            case 1: finish<2>(c, walk, output, count); break;
            default: finish<4>(c, walk, output, count); break;
            }
        }
    }

    NORMA_DEVICE void multiply(accumulators &c, narrow_ring &ring, int steps) const {
        int last = 0;
        NORMA_NO_UNROLL
        for (int step = 0; step < steps; step++) {
            const int slot = resident ? step : ring.place;
            const unsigned w = shared + ring.place * Tile::w_bytes, x = shared + x_at + slot * Tile::x_bytes;
            const unsigned long long a = wgmma_k_major(w), b = wgmma_k_major(x);
            barrier_wait(made ? x_made(slot) : x_filled(slot), resident ? 0 : ring.parity);
            barrier_wait(w_filled(ring.place), ring.parity);
            wgmma_begin();
            NORMA_UNROLL
            for (int k16 = 0; k16 < 4 * BOXES; k16++) {
                const int box = k16 / 4, within = k16 % 4;
                wgmma<T, Tile::width, false>::multiply(c, a + box * (Tile::w_box_bytes >> 4) + within * 2,
                                                       b + box * (Tile::x_box_bytes >> 4) + within * 2);
            }
            wgmma_commit();
            wgmma_wait<1>();
            if (step > 0) release(last);
            last = ring.place;
            ring.next();
        }
        wgmma_wait<0>();
        wgmma_pin(c);
        release(last);
    }

    NORMA_DEVICE void release(int stage) const {
        if (!leads()) return;
        barrier_arrive(w_emptied(stage));
        if (!resident) barrier_arrive(x_emptied(stage));
    }

    /* Where the sums of another block for one of this block's groups are, this thread's. */
    template <int blocks>
    NORMA_DEVICE int part_place(int buffer, int source, int turn) const {
        constexpr int groups = (Tile::groups + blocks - 1) / blocks;
        const int part = (buffer * (blocks - 1) + source) * groups + turn;
        return parts_at + part * Tile::part_bytes + thread_id() * 16;
    }

    /* Steps 6 and 7 in a cluster of so many blocks, of which block r has groups r, r + blocks and so on of the rows. */
    template <int blocks>
    NORMA_DEVICE void finish(accumulators &c, const narrow_walk<Tile> &walk, const narrow_output<Tile> &output,
                             int count) const {
        constexpr int most = (Tile::groups + blocks - 1) / blocks;
        const int buffer = count % buffers, phase = count / buffers;
        const int groups = rank < Tile::groups ? (Tile::groups - rank + blocks - 1) / blocks : 0;
        if (blocks > 1) {
            if (groups > 0 && leads())
                barrier_arrive_expecting(parts_filled(buffer), (blocks - 1) * groups * Tile::part_bytes);
            if (phase > 0) barrier_wait_cluster(parts_read(buffer), (phase - 1) & 1);
            send<blocks>(c, buffer);
        }
        if (groups == 0) {
            if (count == 0) barrier_wait(rstd_there(), 0);
            return;
        }
        float sum[most][4];
        select<blocks>(sum, c);
        if (blocks > 1) {
            barrier_wait_cluster(parts_filled(buffer), phase & 1);
            add<blocks>(sum, buffer);
        }
        if (count == 0) barrier_wait(rstd_there(), 0);
        const float *const rstd = (const float *)(base + rstd_at) + wave_lane() % 4 * 2;
        NORMA_UNROLL
        for (int turn = 0; turn < most; turn++) {
            const int group = turn * blocks + rank;
            if (group >= Tile::groups) break;
            const float even = normalises ? 1.0f : rstd[8 * group], odd = normalises ? 1.0f : rstd[8 * group + 1];
            output.store(sum[turn], group, even, odd);
        }
        /* A block that sends nothing more to this one may have ended. */
        if (blocks == 1 || !walk.goes_on(buffers)) return;
        group_sync(GROUP_MULTIPLY, NARROW_GROUP);
        if (thread_id() < blocks && thread_id() != rank) cluster_arrive_at(cluster_address(parts_read(buffer), thread_id()));
    }

    template <int blocks>
    NORMA_DEVICE void send(const accumulators &c, int buffer) const {
        NORMA_UNROLL
        for (int to = 0; to < blocks && to < Tile::groups; to++) {
            if (to == rank) continue;
            const unsigned barrier = cluster_address(parts_filled(buffer), to);
            const int source = rank < to ? rank : rank - 1;
            const unsigned there = cluster_address(shared + part_place<blocks>(buffer, source, 0), to);
            NORMA_UNROLL
            for (int j = to; j < Tile::groups; j += blocks) {
                const float *const v = &c[4 * j];
                const vec16 four = {{float_bits(v[0]), float_bits(v[1]), float_bits(v[2]), float_bits(v[3])}};
                cluster_send16(there + j / blocks * Tile::part_bytes, four, barrier);
            }
        }
    }

    /* This block's groups. Which they are is known when running only, and registers have no addresses. */
    template <int blocks, int most>
    NORMA_DEVICE void select(float (&sum)[most][4], const accumulators &c) const {
        NORMA_UNROLL
        for (int j = 0; j < Tile::groups; j++) {
            NORMA_UNROLL
            for (int e = 0; e < 4; e++)
                if (j % blocks == 0 || j % blocks == rank) sum[j / blocks][e] = c[4 * j + e];
        }
    }

    /* The blocks' sums in the order of their ranks. */
    template <int blocks, int most>
    NORMA_DEVICE void add(float (&sum)[most][4], int buffer) const {
        NORMA_UNROLL
        for (int turn = 0; turn < most; turn++) {
            vec16 other[blocks];
            NORMA_UNROLL
            for (int source = 0; source < blocks - 1; source++)
                other[source] = load16(base + part_place<blocks>(buffer, source, turn));
            NORMA_UNROLL
            for (int e = 0; e < 4; e++) {
                const float own = sum[turn][e];
                float all = rank == 0 ? own : bits_float(other[0].word[e]);
                NORMA_UNROLL
                for (int from = 1; from < blocks; from++) {
                    const float before = bits_float(other[from - 1].word[e]);
                    const float after = from < blocks - 1 ? bits_float(other[from].word[e]) : 0.0f;
                    all = add_rn(all, from < rank ? after : from == rank ? own : before);
                }
                sum[turn][e] = all;
            }
        }
    }
};

template <typename Tile>
NORMA_DEVICE void narrow(const norma_narrow_params &params) {
    narrow_block<Tile> block(params);
    block.open();
    grid_launch_dependents();
    const int group = wave_get(wave_id() / 4, 0); /* in so many words the same in a whole wave */
    if (group == 0) {
        block.multiply_tiles();
    } else if (group == 1) {
        block.help();
    } else if (wave_lane() == 0) {
        block.load();
    }
}

/* rmsnorm_linear_narrow_<rows>_<dtype> */
#define NARROW(width, dtype)                                                                        \
    NORMA_KERNEL(rmsnorm_linear_narrow_##width##_##dtype, norma_narrow_params, NARROW_THREADS, 2) { \
        narrow<narrow_tile<dtype, width>>(params);                                                  \
    }
#define NARROW_WIDTHS(dtype) \
    NARROW(16, dtype)        \
    NARROW(32, dtype)        \
    NARROW(48, dtype)        \
    NARROW(64, dtype)
NARROW_WIDTHS(bf16)
NARROW_WIDTHS(f16)

#endif
