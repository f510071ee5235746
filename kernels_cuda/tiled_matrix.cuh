/* The engine of rmsnorm_linear_tiled for matrix units: x and W of one half dtype, products by m16n8k16 steps with fp32 sums.
 *
 * A block has Tile::stages copies of a K step of 32 in shared memory, filled by asynchronous 16-byte copies that run
 * stages - 1 steps ahead. Each thread squares, scales or normalises (step 3) the very chunks that it copied itself, so it
 * needs to wait for no one before it does, and one barrier per step publishes both:
 *
 *     barrier       everyone has prepared step s and is done with step s - 1
 *     load          step s + stages - 1, into the place of step s - 1
 *     multiply      first half of step s
 *     square        own chunks of step s + 1, while the matrix units work
 *     multiply      second half of step s
 *
 * Shared memory of one step; c is a 16-byte chunk of eight values. ldmatrix reads one chunk of each of eight rows at a time,
 * and the eight must fall on different 16-byte columns of the 128-byte wide memory. Rows of 64 bytes (x, and W as (N, K))
 * lie two to a line, and chunk c of row r stands at c ^ (r / 2 % 4):
 *
 *     row 0: 0 1 2 3   row 1: 0 1 2 3          W as (K, N) has lines of bn values, and chunk c of row k stands at
 *     row 2: 1 0 3 2   row 3: 1 0 3 2          c ^ (k % 8), as the transposing ldmatrix takes one chunk of each
 *     row 4: 2 3 0 1   row 5: 2 3 0 1          of eight rows k.
 *     row 6: 3 2 1 0   row 7: 3 2 1 0
 *
 * Matrix units round every sum toward zero, so a long chain of them drifts. An fp32 output would show it: there the sums of
 * each TILED_CHAIN of K are added to those before them, rounded to nearest, in the output's own memory, as registers hold
 * one set of sums.
 *
 * Every tile row keeps BK = 32, four threads to a row's step and the k16 steps in order, so an output's bits depend neither
 * on the tile row nor on M. */
#ifndef NORMA_TILED_MATRIX_CUH
#define NORMA_TILED_MATRIX_CUH

#include "tiled_common.cuh"

template <typename T, int layout, typename Tile>
struct matrix_engine {
    static constexpr int bm = Tile::bm, bn = Tile::bn, bk = Tile::bk, threads = Tile::threads, stages = Tile::stages;
    static constexpr int x_bytes = bm * bk * 2, stage_bytes = (bm + bn) * bk * 2;
    static constexpr int x_chunks = bm * bk / 8 / threads, w_chunks = bn * bk / 8 / threads;
    static constexpr int wave_rows = 8 * Tile::tm, wave_cols = 4 * Tile::tn, waves_down = bm / wave_rows;
    static constexpr int m_tiles = wave_rows / 16, n_tiles = wave_cols / 8;
    static_assert(bk == 32, "four chunks to a row, two k16 steps");
    static_assert(x_chunks * 8 * threads == bm * bk && w_chunks * 8 * threads == bn * bk, "whole chunks for every thread");
    static_assert(bm / wave_rows * (bn / wave_cols) * 32 == threads, "a wave for every part of the tile");
    static_assert(n_tiles % 4 == 0, "four 8-column tiles make one 16-byte store a lane");

    const norma_linear_params &params;
    const norma_part_params &part;
    const norma_tile_place &place; /* in shared memory, behind rstd */
    const int rows, cols;          /* of the tile that are inside */
    const tiled_form form;
    const bool gamma_is_vector;
    const bool folds; /* are the sums of all but the last of K with the outputs? */
    unsigned char *const shared;
    float *const rstd;        /* of the tile's rows, behind the stages */
    const T *x_row[x_chunks]; /* this thread's rows of x, or NULL past the end */
    float sum[x_chunks][2];
    float c[m_tiles][n_tiles][4];

    NORMA_DEVICE matrix_engine(const norma_linear_params &p, const norma_tile_place &at)
        : params(p), part(p.part[at.part]), place(at), rows((int)at.rows), cols((int)at.cols),
          form(tiled_form_of(p, dtype_traits<T>::value == NORMA_BF16)),
          gamma_is_vector(p.norm.gamma.data && p.norm.gamma_dtype == dtype_traits<T>::value && p.norm.k % 8 == 0 &&
                          tiled_vector_rows(p.norm.gamma, 2)),
          folds(part.out_dtype == NORMA_F32 && p.norm.k > TILED_CHAIN), shared(shared_memory()),
          rstd((float *)(shared + stages * stage_bytes)) {
        NORMA_UNROLL
        for (int i = 0; i < x_chunks; i++) {
            const int row = chunk_row(i);
            sum[i][0] = sum[i][1] = 0.0f;
            x_row[i] = nullptr;
            if (row < rows)
                x_row[i] = (const T *)params.norm.x.data + tiled_row_start(params.norm.x, params.norm, place.row + row);
        }
        NORMA_UNROLL
        for (int i = 0; i < m_tiles * n_tiles * 4; i++) c[i / 4 / n_tiles][i / 4 % n_tiles][i % 4] = 0.0f;
    }

    /* A thread's chunks of the x tile, and of a W tile that lies likewise. */
    static NORMA_DEVICE int chunk_row(int i) {
        return thread_id() / 4 + i * (threads / 4);
    }
    static NORMA_DEVICE int chunk_k() {
        return thread_id() % 4 * 8;
    }
    static NORMA_DEVICE int row_major(int row, int chunk) {
        return row * 64 + (chunk ^ row / 2 % 4) * 16;
    }
    static NORMA_DEVICE int k_major(int k, int chunk) {
        return k * bn * 2 + (chunk ^ k % 8) * 16;
    }
    static NORMA_DEVICE int bytes_inside(norma_index from, norma_index end) {
        const norma_index left = (end - from) * 2;
        return left >= 16 ? 16 : left > 0 ? (int)left : 0;
    }

    /* Step 2, load. */
    NORMA_DEVICE void load(norma_index step, int stage) {
        unsigned char *const x = shared + stage * stage_bytes, *const w = x + x_bytes;
        const norma_index k = step * bk + chunk_k();
        if constexpr (layout == WEIGHT_ANY)
            load_elements(x, w, k);
        else
            load_chunks(x, w, k, step * bk);
    }

    NORMA_DEVICE void load_chunks(unsigned char *x, unsigned char *w, norma_index k, norma_index first) {
        const T *const weight = (const T *)part.weight.data;
        const int k_bytes = bytes_inside(k, params.norm.k);
        NORMA_UNROLL
        for (int i = 0; i < x_chunks; i++) {
            const int bytes = x_row[i] ? k_bytes : 0;
            copy16_async_cut(shared_address(x) + row_major(chunk_row(i), chunk_k() / 8),
                             bytes ? x_row[i] + k : params.norm.x.data, bytes);
        }
        NORMA_UNROLL
        for (int i = 0; i < w_chunks; i++) {
            if constexpr (layout == WEIGHT_NK) {
                const int n = chunk_row(i), bytes = n < cols ? k_bytes : 0;
                copy16_async_cut(shared_address(w) + row_major(n, chunk_k() / 8),
                                 bytes ? weight + (place.col + n) * part.weight.col_stride + k : weight, bytes);
            } else {
                const int chunk = thread_id() % (bn / 8), row = thread_id() / (bn / 8) + i * (threads / (bn / 8));
                const norma_index from = first + row;
                const int bytes = from < params.norm.k ? bytes_inside(chunk * 8, cols) : 0;
                copy16_async_cut(shared_address(w) + k_major(row, chunk),
                                 bytes ? weight + from * part.weight.row_stride + place.col + chunk * 8 : weight, bytes);
            }
        }
    }

    /* The same from any strides; W is laid down as (N, K). */
    NORMA_DEVICE void load_elements(unsigned char *x, unsigned char *w, norma_index k) {
        NORMA_UNROLL
        for (int i = 0; i < x_chunks; i++)
            gather(x + row_major(chunk_row(i), chunk_k() / 8), x_row[i], params.norm.x.col_stride, k);
        NORMA_NO_UNROLL
        for (int i = 0; i < w_chunks; i++) {
            const int n = chunk_row(i);
            const T *const column = (const T *)part.weight.data + (place.col + n) * part.weight.col_stride;
            gather(w + row_major(n, chunk_k() / 8), n < cols ? column : nullptr, part.weight.row_stride, k);
        }
    }

    NORMA_DEVICE void gather(unsigned char *to, const T *from, norma_index stride, norma_index k) {
        vec16 v = {{0, 0, 0, 0}};
        NORMA_UNROLL
        for (int e = 0; e < 8; e++)
            if (from && k + e < params.norm.k) v.word[e / 2] |= (unsigned)from[(k + e) * stride].bits << e % 2 * 16;
        store16(to, v);
    }

    /* Step 3, square: this thread's own chunks, once its copies have arrived. */
    NORMA_DEVICE void square(int stage, norma_index step, const vec16 &gamma) {
        if (form == FORM_PLAIN) return;
        unsigned char *const x = shared + stage * stage_bytes;
        float scale[8];
        if (form >= FORM_SCALE) scale_of(scale, step, gamma);
        NORMA_UNROLL
        for (int i = 0; i < x_chunks; i++) {
            const int row = chunk_row(i);
            unsigned char *const chunk = x + row_major(row, chunk_k() / 8);
            vec16 v = load16(chunk);
            if (form == FORM_EXACT) {
                const float factor = rstd[row];
                NORMA_UNROLL
                for (int q = 0; q < 4; q++)
                    v.word[q] = pack2<T>(exact(unpack_low<T>(v.word[q]), factor, scale[2 * q]),
                                         exact(unpack_high<T>(v.word[q]), factor, scale[2 * q + 1]));
                store16(chunk, v);
                continue;
            }
            NORMA_UNROLL
            for (int q = 0; q < 4; q++) {
                const float low = unpack_low<T>(v.word[q]), high = unpack_high<T>(v.word[q]);
                sum[i][0] = fma_rn(low, low, sum[i][0]);
                sum[i][1] = fma_rn(high, high, sum[i][1]);
                if (form == FORM_SCALE) v.word[q] = pack2<T>(mul_rn(low, scale[2 * q]), mul_rn(high, scale[2 * q + 1]));
            }
            if (form == FORM_SCALE) store16(chunk, v);
        }
    }

    NORMA_DEVICE float exact(float h, float factor, float scale) {
        const float normalised = mul_rn(h, factor);
        return mul_rn(params.norm.contract == NORMA_ROUND_TWICE ? round_to<T>(normalised) : normalised, scale);
    }

    /* gamma for the chunks of a step, all of one k, as it lies in memory: fetched a step before it is used. */
    NORMA_DEVICE vec16 fetch_gamma(norma_index step) {
        const norma_index k = step * bk + chunk_k();
        if (!gamma_is_vector || k >= params.norm.k) return {{0, 0, 0, 0}};
        return load16((const T *)params.norm.gamma.data + k);
    }

    /* gamma + offset; 1 without gamma. */
    NORMA_DEVICE void scale_of(float scale[8], norma_index step, const vec16 &gamma) {
        if (gamma_is_vector) {
            NORMA_UNROLL
            for (int q = 0; q < 4; q++) {
                scale[2 * q] = add_rn(unpack_low<T>(gamma.word[q]), params.norm.gamma_offset);
                scale[2 * q + 1] = add_rn(unpack_high<T>(gamma.word[q]), params.norm.gamma_offset);
            }
            return;
        }
        NORMA_UNROLL
        for (int e = 0; e < 8; e++) scale[e] = 1.0f;
        if (params.norm.gamma.data) tiled_load_gamma<8>(scale, params.norm, step * bk + chunk_k());
    }

    /* Step 4, multiply: k16 step `half` of a stage. */
    NORMA_DEVICE void multiply(int stage, int half) {
        const unsigned x = shared_address(shared + stage * stage_bytes), w = x + x_bytes;
        const int lane = wave_lane();
        unsigned a[m_tiles][4];
        NORMA_UNROLL
        for (int i = 0; i < m_tiles; i++)
            load_matrices(a[i], x + row_major(wave_row() + i * 16 + lane % 16, half * 2 + lane / 16));
        NORMA_UNROLL
        for (int j = 0; j < n_tiles; j += 2) {
            unsigned b[4];
            if constexpr (layout == WEIGHT_KN)
                load_matrices_transposed(b, w + k_major(half * 16 + lane % 16, (wave_col() + j * 8) / 8 + lane / 16));
            else
                load_matrices(b, w + row_major(wave_col() + j * 8 + lane / 16 * 8 + lane % 8, half * 2 + lane / 8 % 2));
            NORMA_UNROLL
            for (int i = 0; i < m_tiles; i++) {
                mma_m16n8k16<T>(c[i][j], a[i], b);
                mma_m16n8k16<T>(c[i][j + 1], a[i], b + 2);
            }
        }
    }

    /* Adds what the outputs hold to the sums, and before the last step leaves them there and begins anew. A lane finds what
     * it left itself. */
    NORMA_DEVICE void fold(norma_index done, norma_index steps) {
        const bool empty = done * bk <= TILED_CHAIN && !params.accumulate, last = done == steps;
        NORMA_UNROLL
        for (int half = 0; half < m_tiles * 2; half++) {
            const int row = wave_row() + half * 8 + wave_lane() / 4, col = wave_col() + wave_lane() % 4 * 2;
            if (row >= rows) continue;
            float *const line = (float *)part.out.data + tiled_row_start(part.out, params.norm, place.row + row) +
                                (place.col + col) * part.out.col_stride;
            NORMA_UNROLL
            for (int at = 0; at < n_tiles * 2; at++) {
                const int within = at / 2 * 8 + at % 2;
                if (col + within >= cols) continue;
                float &sum = c[half / 2][at / 2][half % 2 * 2 + at % 2];
                float *const to = line + within * part.out.col_stride;
                if (!empty) sum = add_rn(*to, sum);
                if (last) continue;
                *to = sum;
                sum = 0.0f;
            }
        }
    }

    static NORMA_DEVICE int wave_row() {
        return wave_id() % waves_down * wave_rows;
    }
    static NORMA_DEVICE int wave_col() {
        return wave_id() / waves_down * wave_cols;
    }

    NORMA_DEVICE void run() {
        const norma_index steps = norma_ceil_div(params.norm.k, bk);
        if (form == FORM_EXACT) {
            tiled_sweep_rows<Tile>(rstd, params, place);
            block_sync();
        }
        NORMA_UNROLL
        for (int s = 0; s < stages - 1; s++) {
            if (s < steps) load(s, s);
            copy_async_commit();
        }
        copy_async_wait<stages - 2>();
        square(0, 0, fetch_gamma(0));
        vec16 gamma = fetch_gamma(1);
        int stage = 0;
        NORMA_NO_UNROLL
        for (norma_index step = 0; step < steps; step++) {
            const int freed = stage == 0 ? stages - 1 : stage - 1, next = stage == stages - 1 ? 0 : stage + 1;
            block_sync();
            if (step + stages - 1 < steps) load(step + stages - 1, freed);
            copy_async_commit();
            multiply(stage, 0);
            copy_async_wait<stages - 2>();
            if (step + 1 < steps) square(next, step + 1, gamma);
            gamma = fetch_gamma(step + 2);
            multiply(stage, 1);
            stage = next;
            if (folds && ((step + 1) % (TILED_CHAIN / bk) == 0 || step + 1 == steps)) fold(step + 1, steps);
        }
        block_sync();
        finish_rows();
        store();
    }

    /* Step 5, scale: rstd of every row, from the four threads that summed it. */
    NORMA_DEVICE void finish_rows() {
        if (form == FORM_SQUARE || form == FORM_SCALE) {
            NORMA_UNROLL
            for (int i = 0; i < x_chunks; i++) {
                const float total = wave_sum<4>(add_rn(sum[i][0], sum[i][1]));
                if (thread_id() % 4 == 0) rstd[chunk_row(i)] = norm_rstd(total, params.norm.k, params.norm.eps);
            }
            block_sync();
        }
        if (form != FORM_PLAIN) tiled_store_rstd<Tile>(rstd, params, place);
    }

    /* Step 6, store. A lane holds pairs of columns of four 8-column tiles; exchanged among the four lanes of a row, they
     * become all eight columns of one tile, which one store writes. */
    NORMA_DEVICE void store() {
        const bool vector = part.out_dtype == dtype_traits<T>::value && tiled_vector_rows(part.out, 2) && !params.accumulate;
        const int lane = wave_lane();
        NORMA_UNROLL
        for (int j = 0; j < n_tiles; j += 4) {
            const int col = wave_col() + j * 8;
            float bias[4][2];
            NORMA_UNROLL
            for (int q = 0; q < 4; q++) tiled_load_bias<2>(bias[q], part, place, col + q * 8 + lane % 4 * 2);
            NORMA_UNROLL
            for (int half = 0; half < m_tiles * 2; half++) {
                const int i = half / 2, h = half % 2 * 2, row = wave_row() + half * 8 + lane / 4;
                const float factor = form == FORM_SQUARE || form == FORM_SCALE ? rstd[row] : 1.0f;
                float value[8];
                NORMA_UNROLL
                for (int e = 0; e < 8; e++) value[e] = fma_rn(c[i][j + e / 2][h + e % 2], factor, bias[e / 2][e % 2]);
                norma_index start = 0;
                if (row < rows) start = tiled_row_start(part.out, params.norm, place.row + row);
                if (vector && col + 32 <= cols)
                    store_vector(value, row, (T *)part.out.data + start + place.col + col);
                else
                    store_elements(value, row, start, col + lane % 4 * 2);
            }
        }
    }

    NORMA_DEVICE void store_vector(const float value[8], int row, T *to) {
        const int lane = wave_lane() % 4;
        vec16 v;
        NORMA_UNROLL
        for (int q = 0; q < 4; q++) v.word[q] = pack2<T>(value[2 * q], value[2 * q + 1]);
        exchange<1>(v);
        exchange<2>(v);
        if (row < rows) store16(to + lane * 8, v);
    }

    /* One step of the transposition of four words in four lanes. */
    template <int distance>
    static NORMA_DEVICE void exchange(vec16 &v) {
        const bool upper = wave_lane() & distance;
        NORMA_UNROLL
        for (int q = 0; q < 4; q++) {
            if (q & distance) continue;
            const unsigned got = wave_xor(upper ? v.word[q] : v.word[q + distance], distance);
            if (upper)
                v.word[q] = got;
            else
                v.word[q + distance] = got;
        }
    }

    /* Any dtype and stride, from `column` of the tile on, in pairs that lie eight apart. The values go through shared
     * memory, which no one needs any more, for the sake of a loop that is not unrolled: this is much code. */
    NORMA_DEVICE void store_elements(const float value[8], int row, norma_index start, int column) {
        float *const scratch = (float *)shared + thread_id();
        NORMA_UNROLL
        for (int e = 0; e < 8; e++) scratch[e * threads] = value[e];
        NORMA_NO_UNROLL
        for (int e = 0; e < 8; e++) {
            const int at = column + e / 2 * 8 + e % 2;
            if (row >= rows || at >= cols) continue;
            const norma_index to = start + (place.col + at) * part.out.col_stride;
            if (folds)
                store_as(part.out.data, part.out_dtype, to, scratch[e * threads]);
            else
                tiled_store(params, part, to, scratch[e * threads]);
        }
    }
};

template <typename T, int layout, typename Tile>
NORMA_DEVICE void tiled_matrix(const norma_linear_params &params) {
    using engine = matrix_engine<T, layout, Tile>;
    grid_wait();
    grid_launch_dependents();
    norma_tile_place *const place =
        (norma_tile_place *)(shared_memory() + engine::stages * engine::stage_bytes + 4 * Tile::bm);
    tiled_place<Tile>(place, params);
    engine(params, *place).run();
}

#endif
