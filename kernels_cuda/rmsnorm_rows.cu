/* RMSNorm of rows: out = h * rstd * (gamma + offset), with h = x or x + residual, one pass over memory. Rounds as
 * docs/numerics.md says. A row is read once into registers, its squares are summed, and it is written. Long rows wait in
 * shared memory instead, and only what fits neither is read twice.
 *
 *      thread of a group        0   1   2       31   0   1               A thread holds `each` chunks of 16 bytes, 32 chunks
 *                             +---+---+---+-- --+---+---+---+-- --+      apart, and the next group of 32 threads begins
 *      row r, chunks of 16 B  | 0 | 1 | 2 |     |31 |32 |33 |     |      after them. Short rows share a block; each block
 *                             +---+---+---+-- --+---+---+---+-- --+      of a cluster has a piece of a long row.
 *                               first chunks of each        second chunks
 *
 *                          +----+-----+-----+-- --+-----+------+         chunks begin at multiples of 16 of the address;
 *      ragged: such a row  |edge|  0  |  1  |     |     | edge |         what is left at both ends, 15 elements at most,
 *                          +----+-----+-----+-- --+-----+------+         is one for each of the first threads.
 *
 * Steps, by the names of tile_index.h: 1 place  2 load  3 square  5 scale  6 store. */
#include "chunk.cuh"

namespace {

constexpr int group = 32;         /* lanes whose sums go by shuffles; a wave of 64 holds two */
constexpr int row_threads = 512;  /* the most of a row in a block */
constexpr int cluster_blocks = 8; /* the most that share a row */

/* ---- The sum of a row, in an order that params.shape alone determines ---- */

/* What the blocks of a cluster tell each other, by turns: they are less than two turns apart. */
struct cluster_sums {
    float sums[2][cluster_blocks];
    cluster_box box[2];

    NORMA_DEVICE void open() {
        if (thread_id() < 2) cluster_open(&box[thread_id()]);
        cluster_sync();
    }
    NORMA_DEVICE float total(float value, int blocks, int turn) {
        float *const mine = sums[turn & 1];
        cluster_box *const to = &box[turn & 1];
        if (thread_id() == 0) cluster_expect(to, blocks);
        if (thread_id() < blocks) cluster_post(to, &mine[cluster_rank()], thread_id(), value);
        cluster_collect(to, turn >> 1 & 1);
        value = 0;
        for (int i = 0; i < blocks; i++) value = add_rn(value, mine[i]);
        return value;
    }
};

/* All threads of the block call it. */
NORMA_DEVICE float row_sum(float value, int threads, int turn = 0) {
    NORMA_UNROLL
    for (int mask = group / 2; mask > 0; mask /= 2)
        if (threads > mask) value = add_rn(value, wave_xor(value, mask));
    if (threads <= group) return value;
    alignas(16) NORMA_SHARED float partial[2][row_threads / group];
    float *const mine = partial[turn & 1];
    const int waves = threads / group;
    if (thread_id() % group == 0) mine[thread_id() / group] = value;
    block_sync();
    const int wave = thread_id() % (row_threads / group);
    return wave_sum<row_threads / group>(wave < waves ? mine[wave] : 0.0f);
}

NORMA_DEVICE float row_rstd(const norma_rows_shape &shape, float sum) {
    return rsqrt_near(add_rn(mul_rn(sum, shape.per_element), shape.eps));
}

/* ---- Place ---- */

/* What a thread does of a row. */
struct share {
    norma_index row;
    int lane, rank;
    bool inside; /* there is such a row */
};

NORMA_DEVICE share place(const norma_rows_shape &shape) {
    const int slot = thread_id() >> shape.thread_shift;
    share s;
    s.lane = thread_id() - (slot << shape.thread_shift);
    s.rank = (int)block_id() & ((1 << shape.block_shift) - 1);
    s.row = (block_id() >> shape.block_shift) * shape.block_rows + slot;
    s.inside = s.row < shape.rows;
    return s;
}

/* The thread's first chunk, and the step to its next ones. */
NORMA_DEVICE int first_chunk(const share &s, int each) {
    return s.lane / group * group * each + s.lane % group;
}
NORMA_DEVICE int chunk_step(int threads) {
    return threads < group ? threads : group;
}

/* Where a ragged row's chunks begin, how many they are, and what is left. One chunk is given up where gamma's chunks begin
 * elsewhere, so that the two chunks of gamma that it takes exist. */
struct edges {
    int head, chunks, element; /* the thread's own element, or -1 */
};

template <typename T>
NORMA_DEVICE edges edges_of(const T *row, int k, const share &s) {
    constexpr int width = chunk<T>::width;
    edges e;
    e.head = -(int)((unsigned long long)row % 16 / sizeof(T)) & (width - 1);
    e.chunks = k / width - (e.head && k >= width ? 1 : 0);
    const int body = e.chunks * width;
    e.element = s.lane < e.head ? s.lane : body + s.lane;
    if (!s.inside || e.element >= k || s.lane >= k - body) e.element = -1;
    return e;
}

/* ---- Scale ---- */

template <typename T>
NORMA_DEVICE vec16 scaled(const chunk<T> &h, const chunk<T> &scale, float rstd, int contract) {
    chunk<T> y;
    NORMA_UNROLL
    for (int i = 0; i < chunk<T>::width; i++) {
        float normalised = mul_rn(h.value[i], rstd);
        if (contract == NORMA_ROUND_TWICE) normalised = round_to<T>(normalised);
        y.value[i] = mul_rn(normalised, scale.value[i]);
    }
    return pack(y);
}

/* With halves rounded twice and no offset, the second product is one of halves. */
template <typename T>
NORMA_DEVICE vec16 scaled_twice(const vec16 &h, const vec16 &gamma, float rstd) {
    if constexpr (sizeof(T) == 2) {
        chunk<T> normalised = unpack<T>(h);
        NORMA_UNROLL
        for (int i = 0; i < chunk<T>::width; i++) normalised.value[i] = mul_rn(normalised.value[i], rstd);
        vec16 y = pack(normalised);
        NORMA_UNROLL
        for (int i = 0; i < 4; i++) y.word[i] = mul_pairs<T>(y.word[i], gamma.word[i]);
        return y;
    }
    return h;
}

template <typename T>
NORMA_DEVICE float scaled_edge(float h, float scale, float rstd, int contract) {
    const float normalised = mul_rn(h, rstd);
    return mul_rn(contract == NORMA_ROUND_TWICE ? round_to<T>(normalised) : normalised, scale);
}

template <typename T>
NORMA_DEVICE vec16 ones() {
    chunk<T> c;
    NORMA_UNROLL
    for (int i = 0; i < chunk<T>::width; i++) c.value[i] = 1.0f;
    return pack(c);
}

/* The chunk that begins at element `skip` of two neighbours. */
template <typename T>
NORMA_DEVICE vec16 straddled(const vec16 &a, const vec16 &b, int skip) {
    constexpr int per_word = 4 / (int)sizeof(T);
    const int words = skip / per_word;
    unsigned w[8];
    NORMA_UNROLL
    for (int i = 0; i < 8; i++) w[i] = i < 4 ? a.word[i] : b.word[i - 4];
    NORMA_UNROLL
    for (int i = 0; i < 6; i++) w[i] = words & 2 ? w[i + 2] : w[i];
    NORMA_UNROLL
    for (int i = 0; i < 5; i++) w[i] = words & 1 ? w[i + 1] : w[i];
    vec16 v;
    NORMA_UNROLL
    for (int i = 0; i < 4; i++) v.word[i] = skip % per_word ? w[i] >> 16 | w[i + 1] << 16 : w[i];
    return v;
}

/* Gamma's chunk from element head + at on, where `at` is a multiple of the width. */
template <typename T, bool ragged>
NORMA_DEVICE vec16 packed_gamma(const T *gamma, int at, int head) {
    const vec16 a = load16_reused(gamma + at);
    if constexpr (!ragged) return a;
    return straddled<T>(a, head ? load16_reused(gamma + at + chunk<T>::width) : a, head);
}

/* ---- Rows in registers, `chunks` chunks a thread: one batch, no residual, rows, out and gamma of dtype T, gamma packed and
 * aligned. Few rows have several blocks each, all of which sum the whole row, and each of which writes a part. ---- */

/* A row's chunks on their way: those at first + i * step, for all i with which that is less than count. */
template <typename T, int chunks, bool ragged>
struct held_row {
    static constexpr int width = chunk<T>::width;
    static constexpr bool early = !ragged && chunks <= 4; /* gamma is read with x, where registers allow */
    static constexpr int together = early ? chunks : ragged ? 1 : 2;
    vec16 packed[chunks], scale[chunks];
    int first, step, count, head;

    NORMA_DEVICE bool has(int i) const {
        return first + i * step < count;
    }
    NORMA_DEVICE void load_gamma(const T *gamma, int from) {
        const T *at = gamma + first * width;
        NORMA_UNROLL
        for (int i = from; i < from + together; i++) {
            if (ragged) scale[i] = ones<T>();
            if (has(i) && gamma) scale[i] = packed_gamma<T, ragged>(at, i * step * width, head);
        }
    }
    NORMA_DEVICE void store(T *out, const T *gamma, const norma_rows_shape &shape, float rstd) {
        const float offset = gamma ? shape.gamma_offset : 0.0f;
        const bool twice = sizeof(T) == 2 && shape.contract == NORMA_ROUND_TWICE && offset == 0;
        out += head + first * width;
        NORMA_UNROLL
        for (int from = 0; from < chunks; from += together) {
            if (ragged || (!early && gamma)) load_gamma(gamma, from);
            NORMA_UNROLL
            for (int i = from; i < from + together; i++) {
                if (!has(i)) continue;
                renew(packed[i]);
                NORMA_UNROLL
                for (int j = 0; j < 4; j++) packed[i].word[j] ^= shape.nothing;
                vec16 y;
                if (twice)
                    y = scaled_twice<T>(packed[i], scale[i], rstd);
                else
                    y = scaled(unpack<T>(packed[i]), plus_offset(unpack<T>(scale[i]), offset), rstd, shape.contract);
                if constexpr (ragged)
                    store16(out + i * step * width, y); /* whose neighbours complete its sectors */
                else
                    store16_once(out + i * step * width, y);
            }
        }
    }
};

template <typename T, int chunks, bool ragged, bool narrow>
NORMA_DEVICE void lean_rows(const norma_rows_shape &shape) {
    grid_wait();
    grid_launch_dependents();

    /* 1 place */
    const share s = place(shape);
    const norma_index row = s.inside ? s.row : 0;
    const T *x = (const T *)shape.x + row * shape.x_stride;
    held_row<T, chunks, ragged> held;
    edges e = {0, shape.k / held.width, -1};
    if constexpr (ragged) e = edges_of(x, shape.k, s);
    held.first = first_chunk(s, chunks);
    held.step = narrow ? chunk_step(shape.threads) : group;
    held.count = s.inside ? e.chunks : 0;
    held.head = e.head;

    /* 2 load */
    NORMA_UNROLL
    for (int i = 0; i < chunks; i++) {
        held.packed[i] = vec16{{0, 0, 0, 0}};
        if (held.has(i)) held.packed[i] = load16_once(x + e.head + held.first * held.width + i * held.step * held.width);
    }
    const bool mine = (s.lane / group & ((1 << shape.block_shift) - 1)) == s.rank;
    const T *gamma = (const T *)shape.gamma;
    float edge = 0;
    if constexpr (ragged) {
        if (e.element >= 0) edge = to_float(x[e.element]);
    }
    if (!ragged) {
        NORMA_UNROLL
        for (int i = 0; i < chunks; i++) held.scale[i] = ones<T>();
    }
    if (held.early && gamma && mine) held.load_gamma(gamma, 0);

    /* 3 square */
    float sum = mul_rn(edge, edge);
    NORMA_UNROLL
    for (int i = 0; i < chunks; i++) sum = add_rn(sum, squares(unpack<T>(held.packed[i])));
    sum = row_sum(sum, shape.threads);
    if (!mine) return;

    /* 5 scale, 6 store */
    T *out = (T *)shape.out + row * shape.out_stride;
    const float rstd = row_rstd(shape, sum);
    if (shape.rstd && s.inside && s.lane == 0) shape.rstd[row] = rstd;
    if (ragged && e.element >= 0) {
        const float scale = gamma ? add_rn(to_float(gamma[e.element]), shape.gamma_offset) : 1.0f;
        out[e.element] = from_float<T>(scaled_edge<T>(edge, scale, rstd, shape.contract));
    }
    held.store(out, gamma, shape, rstd);
}

/* ---- The same for all that is rarer: batches, residuals, any gamma, no out. Tensors but gamma are of dtype T, contiguous
 * along the row, and begin at the same place within 16 bytes. ---- */

/* gamma + offset from element `at` on. */
template <typename T, bool ragged>
NORMA_DEVICE chunk<T> any_scale(const norma_norm_params &norm, int at, int head) {
    if (ragged && gamma_is_packed<T>(norm))
        return plus_offset(unpack<T>(packed_gamma<T, ragged>((const T *)norm.gamma.data, at - head, head)),
                           norm.gamma_offset);
    return load_scale<T>(norm, at, !ragged && gamma_in_chunks<T>(norm));
}

template <typename T>
NORMA_DEVICE float edge_scale_of(const norma_norm_params &norm, int element) {
    if (!norm.gamma.data) return 1.0f;
    return add_rn(load_as(norm.gamma.data, norm.gamma_dtype, element * norm.gamma.col_stride), norm.gamma_offset);
}

/* h of the thread's edge element, 0 without one; stores it where wanted. */
template <typename T>
NORMA_DEVICE float edge_of(const T *x, const T *residual, T *residual_out, int element) {
    if (element < 0) return 0.0f;
    float h = to_float(x[element]);
    if (residual) h = round_to<T>(add_rn(h, to_float(residual[element])));
    if (residual_out) residual_out[element] = from_float<T>(h);
    return h;
}

template <typename T, int chunks, bool ragged>
NORMA_DEVICE void full_rows(const norma_rows_params &params) {
    constexpr int width = chunk<T>::width, together = 4;
    const norma_rows_shape &shape = params.shape;
    const norma_norm_params &norm = params.norm;
    grid_wait();
    grid_launch_dependents();

    /* 1 place */
    const share s = place(shape);
    const norma_index row = s.inside ? s.row : 0;
    const T *x = row_of<T>(norm.x, row, norm.m);
    edges e = {0, shape.k / width, -1};
    if constexpr (ragged) e = edges_of(x, shape.k, s);
    const int begin = first_chunk(s, shape.each), step = chunk_step(shape.threads), count = s.inside ? e.chunks : 0;
    const int last = begin + shape.each * step, end = last < count ? last : count, first = e.head + begin * width;

    /* 2 load */
    vec16 packed[chunks];
    NORMA_UNROLL
    for (int i = 0; i < chunks; i++) {
        packed[i] = vec16{{0, 0, 0, 0}};
        if (begin + i * step < end) packed[i] = load16_once(x + first + i * step * width);
    }
    const T *residual = row_of<T>(norm.residual, row, norm.m);
    T *residual_out = row_of<T>(norm.residual_out, row, norm.m);
    const float edge = ragged ? edge_of(x, residual, residual_out, e.element) : 0.0f;
    if (residual) {
        NORMA_UNROLL
        for (int from = 0; from < chunks; from += together) {
            vec16 added[together];
            NORMA_UNROLL
            for (int i = 0; i < together; i++) {
                added[i] = vec16{{0, 0, 0, 0}};
                if (begin + (from + i) * step < end) added[i] = load16_once(residual + first + (from + i) * step * width);
            }
            NORMA_UNROLL
            for (int i = 0; i < together; i++) {
                packed[from + i] = pack(rounded_sum(unpack<T>(packed[from + i]), unpack<T>(added[i])));
                if (residual_out && begin + (from + i) * step < end)
                    store16_once(residual_out + first + (from + i) * step * width, packed[from + i]);
            }
        }
    }

    /* 3 square */
    float sum = mul_rn(edge, edge);
    NORMA_UNROLL
    for (int i = 0; i < chunks; i++) sum = add_rn(sum, squares(unpack<T>(packed[i])));
    NORMA_UNROLL
    for (int i = 0; i < chunks; i++) renew(packed[i]);
    sum = row_sum(sum, shape.threads);

    /* 5 scale, 6 store */
    const float rstd = row_rstd(shape, sum);
    if (norm.rstd.data && s.inside && s.lane == 0) *row_of<float>(norm.rstd, row, norm.m) = rstd;
    T *out = row_of<T>(params.out, row, norm.m);
    if (!out) return;
    if (ragged && e.element >= 0)
        out[e.element] = from_float<T>(scaled_edge<T>(edge, edge_scale_of<T>(norm, e.element), rstd, norm.contract));
    NORMA_UNROLL
    for (int i = 0; i < chunks; i++) {
        if (begin + i * step >= end) break;
        const int at = first + i * step * width;
        store16_once(out + at, scaled(unpack<T>(packed[i]), any_scale<T, ragged>(norm, at, e.head), rstd, norm.contract));
    }
}

/* ---- Long rows pass through shared memory, a piece in each block of a cluster, while the next ones are on their way.
 *
 *      stage          0        1        2        A block takes its piece of every grid_clusters-th row. A thread copies,
 *                 +--------+--------+--------+   squares and scales the same chunks, so that nothing but sums passes from
 *                 | row r  | r + g  | r + 2g |   thread to thread.
 *                 +--------+--------+--------+
 * ---- */

constexpr int stages = 3, stream_chunks = 8;

template <typename T, bool lean>
NORMA_DEVICE void rows_in_stream(const norma_rows_params &params) {
    constexpr int width = chunk<T>::width;
    const norma_rows_shape &shape = params.shape;
    const norma_norm_params &norm = params.norm;
    const int blocks = 1 << shape.block_shift, each = shape.each;
    grid_wait();
    grid_launch_dependents();

    /* 1 place */
    const share s = place(shape);
    const int before = s.rank * (int)shape.piece, left = shape.k / width - before;
    const int begin = first_chunk(s, each), last = begin + each * group;
    const int count = left < (int)shape.piece ? left : (int)shape.piece, end = last < count ? last : count;
    const norma_index clusters = grid_blocks() >> shape.block_shift;
    unsigned char *const memory = shared_memory() + begin * 16;
    const int stage_bytes = (int)shape.piece * 16;
    const auto copy_row = [&](norma_index row, int stage) {
        if (row < shape.rows) {
            const T *x = (lean ? (const T *)shape.x + row * shape.x_stride : row_of<T>(norm.x, row, norm.m)) +
                         (before + begin) * width;
            const unsigned to = shared_address(memory + stage * stage_bytes);
            NORMA_UNROLL
            for (int i = 0; i < stream_chunks; i++)
                if (begin + i * group < end) copy16_async(to + i * group * 16, x + i * group * width, true);
        }
        copy_async_commit();
    };

    /* 2 load */
    for (int i = 0; i < stages; i++) copy_row(s.row + i * clusters, i);
    vec16 gamma[lean ? stream_chunks : 1];
    if constexpr (lean) {
        NORMA_UNROLL
        for (int i = 0; i < stream_chunks; i++) {
            gamma[i] = ones<T>();
            if (shape.gamma && begin + i * group < end)
                gamma[i] = load16_reused((const T *)shape.gamma + (before + begin + i * group) * width);
        }
    }
    NORMA_SHARED cluster_sums cluster;
    if (blocks > 1) cluster.open();

    int stage = 0, turn = 0;
    for (norma_index row = s.row; row < shape.rows; row += clusters) {
        copy_async_wait<stages - 1>();
        unsigned char *const held = memory + stage * stage_bytes;
        if (!lean && norm.residual.data) {
            const T *residual = row_of<T>(norm.residual, row, norm.m) + (before + begin) * width;
            T *residual_out = row_of<T>(norm.residual_out, row, norm.m);
            NORMA_UNROLL4
            for (int i = 0; i < each; i++) {
                if (begin + i * group >= end) break;
                const vec16 added = load16_once(residual + i * group * width);
                const vec16 h = pack(rounded_sum(unpack<T>(load16(held + i * group * 16)), unpack<T>(added)));
                store16(held + i * group * 16, h);
                if (residual_out) store16_once(residual_out + (before + begin + i * group) * width, h);
            }
        }

        /* 3 square */
        float sum = 0;
        NORMA_UNROLL
        for (int i = 0; i < stream_chunks; i++)
            if (begin + i * group < end) sum = add_rn(sum, squares(unpack<T>(load16(held + i * group * 16))));
        sum = row_sum(sum, shape.threads, turn);
        if (blocks > 1) sum = cluster.total(sum, blocks, turn);

        /* 5 scale, 6 store */
        const float rstd = row_rstd(shape, sum);
        if (norm.rstd.data && s.lane == 0 && s.rank == 0) *row_of<float>(norm.rstd, row, norm.m) = rstd;
        T *out = lean ? (T *)shape.out + row * shape.out_stride : row_of<T>(params.out, row, norm.m);
        if constexpr (lean) {
            NORMA_UNROLL
            for (int i = 0; i < stream_chunks; i++) {
                if (begin + i * group >= end) continue;
                const chunk<T> scale = plus_offset(unpack<T>(gamma[i]), shape.gamma ? shape.gamma_offset : 0.0f);
                store16_once(out + (before + begin + i * group) * width,
                             scaled(unpack<T>(load16(held + i * group * 16)), scale, rstd, shape.contract));
            }
        } else {
            NORMA_NO_UNROLL
            for (int i = 0; i < each && out; i++) {
                if (begin + i * group >= end) break;
                const int at = (before + begin + i * group) * width;
                store16_once(out + at, scaled(unpack<T>(load16(held + i * group * 16)), any_scale<T, false>(norm, at, 0),
                                              rstd, shape.contract));
            }
        }
        copy_row(row + stages * clusters, stage);
        stage = stage + 1 < stages ? stage + 1 : 0;
        turn++;
    }
    copy_async_wait<0>();
}

/* ---- Rows that registers do not hold: a block reads a row twice. As above, always ragged. ---- */

template <typename T>
NORMA_DEVICE vec16 summed(const T *x, const T *residual, int at) {
    const vec16 v = load16_once(x + at);
    return residual ? pack(rounded_sum(unpack<T>(v), unpack<T>(load16_once(residual + at)))) : v;
}

template <typename T>
NORMA_DEVICE void rows_in_sweeps(const norma_rows_params &params) {
    constexpr int width = chunk<T>::width, unroll = 4, step = group * width;
    const norma_norm_params &norm = params.norm;
    grid_wait();
    grid_launch_dependents();

    /* 1 place */
    const share s = place(params.shape);
    const T *x = row_of<T>(norm.x, s.row, norm.m);
    const T *residual = row_of<T>(norm.residual, s.row, norm.m);
    T *residual_out = row_of<T>(norm.residual_out, s.row, norm.m);
    T *out = row_of<T>(params.out, s.row, norm.m);
    const edges e = edges_of(x, params.shape.k, s);
    const int begin = first_chunk(s, params.shape.each), last = begin + params.shape.each * group;
    const int first = e.head + begin * width, end = e.head + (last < e.chunks ? last : e.chunks) * width;

    /* 2 load, 3 square */
    const float edge = edge_of(x, residual, residual_out, e.element);
    float sum = mul_rn(edge, edge);
    for (int at = first; at < end; at += unroll * step) {
        vec16 packed[unroll];
        NORMA_UNROLL
        for (int i = 0; i < unroll; i++) {
            packed[i] = vec16{{0, 0, 0, 0}};
            if (at + i * step < end) packed[i] = summed(x, residual, at + i * step);
        }
        NORMA_UNROLL
        for (int i = 0; i < unroll; i++) {
            if (residual_out && at + i * step < end) store16_once(residual_out + at + i * step, packed[i]);
            sum = add_rn(sum, squares(unpack<T>(packed[i])));
        }
    }
    sum = row_sum(sum, row_threads);

    /* 5 scale, 6 store */
    const float rstd = row_rstd(params.shape, sum);
    if (norm.rstd.data && s.lane == 0) *row_of<float>(norm.rstd, s.row, norm.m) = rstd;
    if (!out) return;
    if (e.element >= 0)
        out[e.element] = from_float<T>(scaled_edge<T>(edge, edge_scale_of<T>(norm, e.element), rstd, norm.contract));
    if (residual_out) { /* x may have been overwritten by h */
        x = residual_out;
        residual = nullptr;
    }
    for (int at = first; at < end; at += unroll * step) {
        vec16 packed[unroll];
        NORMA_UNROLL
        for (int i = 0; i < unroll; i++)
            if (at + i * step < end) packed[i] = summed(x, residual, at + i * step);
        NORMA_UNROLL
        for (int i = 0; i < unroll; i++) {
            if (at + i * step >= end) break;
            const chunk<T> scale = any_scale<T, true>(norm, at + i * step, e.head);
            store16_once(out + at + i * step, scaled(unpack<T>(packed[i]), scale, rstd, norm.contract));
        }
    }
}

/* ---- Anything: all dtypes and strides, element by element, in two sweeps, summed as the chunks of an aligned row are. ----
 */

NORMA_DEVICE float h_at(const norma_norm_params &norm, norma_index x, norma_index residual, norma_index col) {
    const float value = load_as(norm.x.data, norm.x_dtype, x + col * norm.x.col_stride);
    if (!norm.residual.data) return value;
    const norma_index at = residual + col * norm.residual.col_stride;
    return round_as(norm.h_dtype, add_rn(value, load_as(norm.residual.data, norm.h_dtype, at)));
}

} // namespace

NORMA_KERNEL(rmsnorm_rows_any, norma_rows_params, 512, 1) {
    const norma_rows_shape &shape = params.shape;
    const norma_norm_params &norm = params.norm;
    const int blocks = 1 << shape.block_shift;
    grid_wait();
    grid_launch_dependents();
    NORMA_SHARED cluster_sums cluster;
    if (blocks > 1) cluster.open();

    /* 1 place */
    const share s = place(shape);
    const norma_index row = s.inside ? s.row : 0;
    const norma_index x = row_offset(norm.x, row, norm.m), residual = row_offset(norm.residual, row, norm.m);
    const norma_index residual_out = row_offset(norm.residual_out, row, norm.m);
    const norma_index width = 16 / dtype_bytes(norm.x_dtype), begin = s.rank * shape.piece * width;
    const norma_index piece_end = begin + shape.piece * width, row_end = !s.inside            ? 0
                                                                         : piece_end < norm.k ? piece_end
                                                                                              : norm.k;
    const norma_index stride = chunk_step(shape.threads) * width, first = begin + first_chunk(s, shape.each) * width;
    const norma_index last = first + shape.each * stride, end = last < row_end ? last : row_end;

    /* 2 load, 3 square */
    float sum = 0;
    for (norma_index at = first; at < end; at += stride) {
        float squares = 0;
        for (norma_index col = at; col < at + width && col < end; col++) {
            const float h = h_at(norm, x, residual, col);
            if (norm.residual_out.data)
                store_as(norm.residual_out.data, norm.h_dtype, residual_out + col * norm.residual_out.col_stride, h);
            squares = fma_rn(h, h, squares);
        }
        sum = add_rn(sum, squares);
    }
    sum = row_sum(sum, shape.threads);
    if (blocks > 1) sum = cluster.total(sum, blocks, 0);

    /* 5 scale, 6 store */
    const float rstd = row_rstd(shape, sum);
    if (!s.inside) return;
    if (norm.rstd.data && s.lane == 0 && s.rank == 0) *row_of<float>(norm.rstd, row, norm.m) = rstd;
    if (!params.out.data) return;
    const norma_index out = row_offset(params.out, row, norm.m);
    for (norma_index at = first; at < end; at += stride)
        for (norma_index col = at; col < at + width && col < end; col++) {
            const float h = norm.residual_out.data ? load_as(norm.residual_out.data, norm.h_dtype,
                                                             residual_out + col * norm.residual_out.col_stride)
                                                   : h_at(norm, x, residual, col);
            float y = mul_rn(h, rstd);
            if (norm.contract == NORMA_ROUND_TWICE) y = round_as(norm.h_dtype, y);
            if (norm.gamma.data) {
                const float gamma = load_as(norm.gamma.data, norm.gamma_dtype, col * norm.gamma.col_stride);
                y = mul_rn(y, add_rn(gamma, norm.gamma_offset));
            }
            store_as(params.out.data, params.out_dtype, out + col * params.out.col_stride, y);
        }
}

/* `resident` blocks of `most` threads must fit a multiprocessor, which keeps rows packed in registers while they wait. */
#define NORMA_LEAN_ROWS(name, T, chunks, ragged, narrow, most, resident)               \
    NORMA_KERNEL(rmsnorm_rows_##name##_c##chunks, norma_rows_params, most, resident) { \
        lean_rows<T, chunks, ragged, narrow>(params.shape);                            \
    }
#define NORMA_FULL_ROWS(name, T, chunks, ragged, resident)                                    \
    NORMA_KERNEL(rmsnorm_rows_##name##_c##chunks, norma_rows_params, row_threads, resident) { \
        full_rows<T, chunks, ragged>(params);                                                 \
    }
#define NORMA_ROWS_KERNELS(name, T)                                                      \
    NORMA_LEAN_ROWS(name, T, 1, false, true, row_threads, 3)                             \
    NORMA_LEAN_ROWS(name, T, 2, false, true, row_threads, 3)                             \
    NORMA_LEAN_ROWS(name, T, 4, false, false, row_threads, 2)                            \
    NORMA_LEAN_ROWS(name, T, 8, false, false, row_threads, 1)                            \
    NORMA_LEAN_ROWS(name##_ragged, T, 1, true, true, row_threads, 2)                     \
    NORMA_LEAN_ROWS(name##_ragged, T, 2, true, true, row_threads, 2)                     \
    NORMA_LEAN_ROWS(name##_ragged, T, 4, true, false, 256, 5)                            \
    NORMA_LEAN_ROWS(name##_ragged, T, 8, true, false, row_threads, 1)                    \
    NORMA_FULL_ROWS(name##_full, T, 4, false, 2)                                         \
    NORMA_FULL_ROWS(name##_full, T, 8, false, 1)                                         \
    NORMA_FULL_ROWS(name##_full_ragged, T, 4, true, 2)                                   \
    NORMA_FULL_ROWS(name##_full_ragged, T, 8, true, 1)                                   \
    NORMA_KERNEL(rmsnorm_rows_##name##_stream, norma_rows_params, row_threads, 1) {      \
        rows_in_stream<T, true>(params);                                                 \
    }                                                                                    \
    NORMA_KERNEL(rmsnorm_rows_##name##_full_stream, norma_rows_params, row_threads, 1) { \
        rows_in_stream<T, false>(params);                                                \
    }                                                                                    \
    NORMA_KERNEL(rmsnorm_rows_##name##_sweep, norma_rows_params, row_threads, 1) {       \
        rows_in_sweeps<T>(params);                                                       \
    }

NORMA_ROWS_KERNELS(f32, float)
NORMA_ROWS_KERNELS(f16, f16)
NORMA_ROWS_KERNELS(bf16, bf16)
