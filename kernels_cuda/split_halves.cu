/* Splits lines of fp32 into pairs of fp16 for linear_split: a line (a row of x, a column of W), times a power of two, is the
 * sum of a high and a low part,
 *
 *     v 2^e = high + low 2^-11,   high = f16(v 2^e),   low = f16((v 2^e - high) 2^11)
 *
 * with e such that the largest finite value of the line comes to lie in [2^14, 2^15), or 126 where that is less. The sum has
 * 22 bits of a value down to 2^-28 of the largest, and fewer below. A value that is not finite is its high part, beside a
 * low part of zero.
 *
 *     line:  | 32 high | 32 low | 32 high | 32 low | ...   K in chunks of 32, the last one filled up with zeros
 *
 * Steps, by the names of tile_index.h: 1 place  2 load  5 scale  6 store.
 * Source: the splitting of operands goes back to Markidis and others, "NVIDIA Tensor Core Programmability", 2018; low parts
 * that are scaled lest they underflow, to Ootomo and Yokota, "Recovering single precision accuracy from Tensor Cores", 2022.
 */
#include "split_common.cuh"

namespace {

constexpr int chunk = split_chunk;

/* The magnitude's bits, which order as magnitudes do; 0 for what is not finite. */
NORMA_DEVICE unsigned magnitude(float value) {
    return split_is_finite(value) ? float_bits(value) & 0x7fffffffu : 0;
}
NORMA_DEVICE unsigned larger(unsigned a, unsigned b) {
    return a > b ? a : b;
}

/* e of a line whose largest magnitude has these bits. */
NORMA_DEVICE int exponent_for(unsigned largest) {
    const int exponent = 14 - ((int)(largest >> 23) - 127);
    return largest == 0 ? 0 : exponent < 126 ? exponent : 126;
}

NORMA_DEVICE float power_of_two(int exponent) {
    return float_from_bits((unsigned)(exponent + 127) << 23);
}

/* ---- Pairs ---- */

struct pair {
    f16 high, low;
};

NORMA_DEVICE pair split(float value, float scale) {
    const float scaled = mul_rn(value, scale);
    const f16 high = from_float<f16>(scaled);
    const float rest = mul_rn(add_rn(scaled, -to_float(high)), 1 / split_low);
    return {high, from_float<f16>(split_is_finite(value) ? rest : 0.0f)};
}

NORMA_DEVICE unsigned join(f16 first, f16 second) {
    return first.bits | (unsigned)second.bits << 16;
}

/* The largest of all threads of a block, in each of them. `room` holds a word for each wave. */
NORMA_DEVICE unsigned block_largest(unsigned value, unsigned *room) {
    NORMA_UNROLL
    for (int mask = NORMA_WAVE / 2; mask > 0; mask /= 2) value = larger(value, wave_xor(value, mask));
    if (wave_lane() == 0) room[wave_id()] = value;
    block_sync();
    NORMA_NO_UNROLL
    for (int wave = 0; wave < block_threads() / NORMA_WAVE; wave++) value = larger(value, room[wave]);
    return value;
}

/* ---- A line whose values are neighbours: a block ---- */

constexpr int row_threads = 256, fours = NORMA_SPLIT_PIECE / 4 / row_threads;

/* Four values from `k` on. */
template <bool aligned>
NORMA_DEVICE vec16 load_four(const float *line, int k, int end) {
    if (aligned && k + 4 <= end) return load16_once(line + k);
    vec16 v;
    NORMA_UNROLL
    for (int i = 0; i < 4; i++) v.word[i] = k + i < end ? float_bits(line[k + i]) : 0;
    return v;
}

template <bool aligned>
NORMA_DEVICE void split_row(const norma_split_params &params) {
    NORMA_SHARED unsigned room[row_threads / NORMA_WAVE];
    grid_wait();
    grid_launch_dependents();

    /* 1 place */
    const norma_index line = block_id();
    const float *const from = (const float *)params.from + line * params.line_stride;

    /* 2 load */
    vec16 v[fours];
    unsigned largest = 0;
    NORMA_UNROLL
    for (int i = 0; i < fours; i++) {
        v[i] = load_four<aligned>(from, (i * row_threads + thread_id()) * 4, params.k);
        NORMA_UNROLL
        for (int j = 0; j < 4; j++) largest = larger(largest, magnitude(float_from_bits(v[i].word[j])));
    }
    const int e = exponent_for(block_largest(largest, room));
    if (thread_id() == 0) params.scales[line] = power_of_two(-e);

    /* 5 scale, 6 store */
    const float scale = power_of_two(e);
    unsigned char *const to = (unsigned char *)params.to + line * params.chunks * split_chunk_bytes;
    NORMA_UNROLL
    for (int i = 0; i < fours; i++) {
        const int k = (i * row_threads + thread_id()) * 4;
        if (k >= params.chunks * chunk) break;
        pair p[4];
        NORMA_UNROLL
        for (int j = 0; j < 4; j++) p[j] = split(float_from_bits(v[i].word[j]), scale);
        unsigned char *const place = to + k / chunk * split_chunk_bytes + k % chunk * 2;
        *(split_vec8 *)place = {{join(p[0].high, p[1].high), join(p[2].high, p[3].high)}};
        *(split_vec8 *)(place + 2 * chunk) = {{join(p[0].low, p[1].low), join(p[2].low, p[3].low)}};
    }
}

/* ---- Lines at any strides: a block for each 32, which reads neighbouring lines together ---- */

constexpr int column_lines = 32, column_threads = 512, column_depth = column_threads / column_lines;

} // namespace

NORMA_KERNEL(split_halves_rows, norma_split_params, row_threads, 4) {
    split_row<true>(params);
}
NORMA_KERNEL(split_halves_rows_any, norma_split_params, row_threads, 4) {
    split_row<false>(params);
}

NORMA_KERNEL(split_halves_columns, norma_split_params, column_threads, 2) {
    NORMA_SHARED unsigned largest_of[column_depth][column_lines];
    NORMA_SHARED unsigned pairs[column_lines][chunk + 1];
    grid_wait();
    grid_launch_dependents();

    /* 1 place */
    const int lane = thread_id() % column_lines, depth = thread_id() / column_lines;
    const norma_index line = block_id() * column_lines + lane;
    const bool inside = line < params.lines;
    const float *const from = (const float *)params.from + line * params.line_stride;

    /* 2 load */
    unsigned largest = 0;
    NORMA_UNROLL4
    for (int k = depth; k < params.k; k += column_depth)
        if (inside) largest = larger(largest, magnitude(from[k * params.k_stride]));
    largest_of[depth][lane] = largest;
    block_sync();
    NORMA_UNROLL
    for (int i = 0; i < column_depth; i++) largest = larger(largest, largest_of[i][lane]);
    const int e = exponent_for(largest);
    if (depth == 0 && inside) params.scales[line] = power_of_two(-e);
    const float scale = power_of_two(e);

    NORMA_NO_UNROLL
    for (int first = 0; first < params.chunks * chunk; first += chunk) {
        block_sync();
        NORMA_UNROLL
        for (int i = 0; i < chunk; i += column_depth) {
            const int k = first + i + depth;
            const pair p = split(inside && k < params.k ? from[k * params.k_stride] : 0.0f, scale);
            pairs[lane][i + depth] = join(p.high, p.low);
        }
        block_sync();

        /* 5 scale, 6 store: two values of K from each thread */
        NORMA_UNROLL
        for (int i = 0; i < column_lines; i += column_threads / (chunk / 2)) {
            const int k = thread_id() % (chunk / 2) * 2, own = i + thread_id() / (chunk / 2);
            const norma_index own_line = block_id() * column_lines + own;
            if (own_line >= params.lines) continue;
            const unsigned left = pairs[own][k], right = pairs[own][k + 1];
            unsigned *const to =
                (unsigned *)((unsigned char *)params.to + own_line * params.chunks * split_chunk_bytes + first * 4) + k / 2;
            to[0] = low_halves(left, right);
            to[chunk / 2] = high_halves(left, right);
        }
    }
}
