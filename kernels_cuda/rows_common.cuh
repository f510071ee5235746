/* What the kernels of rmsnorm_rows share: how a row is dealt out to threads and blocks, the order of its sum, the ends of a
 * ragged row, and how a chunk is scaled. rmsnorm_rows.cu has the pictures. */
#ifndef NORMA_ROWS_COMMON_CUH
#define NORMA_ROWS_COMMON_CUH

#include "chunk.cuh"

namespace {

constexpr int group = 32;        /* lanes whose sums go by shuffles; a wave of 64 holds two */
constexpr int row_threads = 512; /* the most of a row in a block */
constexpr int row_waves = row_threads / group;
constexpr int cluster_blocks = 8; /* of a cluster, where there is one */

/* ---- The sum of a row, in an order that params.shape alone determines ---- */

NORMA_DEVICE float four_of(const float *values) {
    const vec16 v = load16(values);
    return add_rn(add_rn(float_from_bits(v.word[0]), float_from_bits(v.word[1])),
                  add_rn(float_from_bits(v.word[2]), float_from_bits(v.word[3])));
}

/* What the blocks of a cluster tell each other, by turns: they are less than two turns apart. A block posts its sum of a
 * turn after a barrier, which its threads reach with the sums of the turn before in registers; others post for the next turn
 * but one after they have collected that, so nothing unread is overwritten. None ends before all that is posted to it has
 * come. compute-sanitizer's racecheck reports hazards here. Its manual ("Racecheck Tool") names cuda::barrier, cp.async and
 * cp.async.bulk as what it follows, not st.async, and has it ask for a barrier of the whole cluster before a block ends. */
struct cluster_sums {
    alignas(16) float sums[2][cluster_blocks];
    cluster_box box[2];

    NORMA_DEVICE void open() {
        if (thread_id() < 2) cluster_open(&box[thread_id()]);
        cluster_sync();
    }
    NORMA_DEVICE float total(float value, int turn) {
        float *const mine = sums[turn & 1];
        cluster_box *const to = &box[turn & 1];
        if (thread_id() == 0) cluster_expect(to, cluster_blocks);
        if (thread_id() < cluster_blocks) cluster_post(to, &mine[cluster_rank()], thread_id(), value);
        cluster_collect(to, turn >> 1 & 1);
        return add_rn(four_of(mine), four_of(mine + 4));
    }
};

/* All threads of the block call it. */
NORMA_DEVICE float row_sum(float value, int threads, int turn = 0) {
    NORMA_UNROLL
    for (int mask = group / 2; mask > 0; mask /= 2)
        if (threads > mask) value = add_rn(value, wave_xor(value, mask));
    if (threads <= group) return value;
    alignas(16) NORMA_SHARED float partial[2][row_waves];
    float *const mine = partial[turn & 1];
    const int waves = threads / group, slots = waves > row_waves / 2 ? row_waves : row_waves / 2;
    if (thread_id() % group == 0) mine[thread_id() / group] = value;
    if (thread_id() < slots - waves) mine[waves + thread_id()] = 0.0f;
    block_sync();
    value = add_rn(four_of(mine), four_of(mine + 4));
    return slots < row_waves ? value : add_rn(value, add_rn(four_of(mine + 8), four_of(mine + 12)));
}

NORMA_DEVICE float row_rstd(const norma_rows_shape &shape, float sum) {
    return rsqrt_near(add_rn(mul_rn(sum, shape.per_element), shape.eps));
}

/* ---- Place ---- */

/* What a thread does of a row: of the block's piece, chunk `first` and those that follow it by shape.threads. */
struct share {
    norma_index row;
    int first, rank;
    bool inside; /* there is such a row */
};

NORMA_DEVICE share place(const norma_rows_shape &shape) {
    const int slot = thread_id() >> shape.thread_shift;
    share s;
    s.first = thread_id() - (slot << shape.thread_shift);
    s.rank = (int)block_id() & ((1 << shape.block_shift) - 1);
    s.row = (block_id() >> shape.block_shift) * shape.block_rows + slot;
    s.inside = s.row < shape.rows;
    return s;
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
    e.element = s.first < e.head ? s.first : body + s.first;
    if (!s.inside || e.element >= k || s.first >= k - body) e.element = -1;
    return e;
}

/* ---- Scale ---- */

/* What is known of gamma, offset and contract when a kernel is chosen. */
enum scaling {
    PLAIN, /* gamma without offset, and nothing is rounded before it */
    TWICE, /* gamma without offset, to a product of two halves */
    ANY    /* all the rest, or no gamma at all */
};

template <typename T, scaling kind>
NORMA_DEVICE vec16 scaled(const vec16 &h, const vec16 &gamma, float rstd, float offset, int contract) {
    chunk<T> y = unpack<T>(h);
    NORMA_UNROLL
    for (int i = 0; i < chunk<T>::width; i++) y.value[i] = mul_rn(y.value[i], rstd);
    if constexpr (kind == TWICE) {
        vec16 product = pack(y);
        NORMA_UNROLL
        for (int i = 0; i < 4; i++) product.word[i] = mul_pairs<T>(product.word[i], gamma.word[i]);
        return product;
    }
    chunk<T> scale = unpack<T>(gamma);
    if constexpr (kind == ANY) scale = plus_offset(scale, offset);
    NORMA_UNROLL
    for (int i = 0; i < chunk<T>::width; i++) {
        if (kind == ANY && contract == NORMA_ROUND_TWICE) y.value[i] = round_to<T>(y.value[i]);
        y.value[i] = mul_rn(y.value[i], scale.value[i]);
    }
    return pack(y);
}

/* Keeps the compiler from holding `v` unpacked, in twice the registers, or from unpacking it ahead of a loop. */
NORMA_DEVICE vec16 still_packed(vec16 v, const norma_rows_shape &shape) {
    renew(v);
    NORMA_UNROLL
    for (int i = 0; i < 4; i++) v.word[i] ^= shape.nothing;
    return v;
}

/* The same where gamma may be of another dtype. */
template <typename T>
NORMA_DEVICE vec16 scaled_by(const vec16 &h, const chunk<T> &scale, float rstd, int contract) {
    chunk<T> y = unpack<T>(h);
    NORMA_UNROLL
    for (int i = 0; i < chunk<T>::width; i++) {
        y.value[i] = mul_rn(y.value[i], rstd);
        if (contract == NORMA_ROUND_TWICE) y.value[i] = round_to<T>(y.value[i]);
        y.value[i] = mul_rn(y.value[i], scale.value[i]);
    }
    return pack(y);
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
    const int words = skip / per_word, bits = skip % per_word * 16;
    unsigned w[8];
    NORMA_UNROLL
    for (int i = 0; i < 8; i++) w[i] = i < 4 ? a.word[i] : b.word[i - 4];
    NORMA_UNROLL
    for (int i = 0; i < 6; i++) w[i] = words & 2 ? w[i + 2] : w[i];
    NORMA_UNROLL
    for (int i = 0; i < 5; i++) w[i] = words & 1 ? w[i + 1] : w[i];
    vec16 v;
    NORMA_UNROLL
    for (int i = 0; i < 4; i++) {
        if constexpr (per_word == 1)
            v.word[i] = w[i];
        else
            v.word[i] = (unsigned)(((unsigned long long)w[i + 1] << 32 | w[i]) >> bits);
    }
    return v;
}

/* Gamma's chunk from element head + at on, where `at` is a multiple of the width. */
template <typename T, bool ragged>
NORMA_DEVICE vec16 packed_gamma(const T *gamma, int at, int head) {
    const vec16 a = load16_reused(gamma + at);
    if constexpr (!ragged) return a;
    return straddled<T>(a, head ? load16_reused(gamma + at + chunk<T>::width) : a, head);
}

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

} // namespace

#endif
