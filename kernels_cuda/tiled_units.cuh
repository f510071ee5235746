/* The engine of rmsnorm_linear_tiled for AMD's matrix units (unit_hip.cuh): x and W of one half dtype, fp32 sums. There are
 * no asynchronous copies to shared memory, so a K step goes through registers, where x is squared, scaled or normalised
 * (step 3) on its way; shared memory holds one step, so that two blocks share a unit and one multiplies while the other
 * waits:
 *
 *     square        own chunks of step s, which have arrived
 *     barrier       everyone is done with step s - 1
 *     lay down      step s into shared memory
 *     barrier       everyone has laid down
 *     load          own chunks of step s + 1, into registers
 *     multiply      step s
 *
 * Shared memory of a step has lines of 64 bytes: four chunks of eight k of a row of x, or of a column of W. Chunk c of line
 * n stands at c ^ (n / 2 % 4):
 *
 *     line    chunks        line    chunks
 *     0, 1    0 1 2 3       4, 5    2 3 0 1
 *     2, 3    1 0 3 2       6, 7    3 2 1 0
 *
 * Matrix operands are read as one chunk of each of 16 lines, 8 lanes at a time: 8 lie in different 16-byte columns of the
 * 128-byte wide memory. So do the four chunks of two lines that 8 threads lay down. W as (K, N) is laid down by 8 threads
 * for lines 8 apart: there line n takes the place of n ^ (n / 8 % 8).
 *
 * Rows and columns past the edges are copies of the last ones and are not stored. Every tile row keeps BK = 32, four threads
 * to a row's step and k in order, so an output's bits depend neither on the tile row nor on M. */
#ifndef NORMA_TILED_UNITS_CUH
#define NORMA_TILED_UNITS_CUH

#include "tiled_common.cuh"
#include "unit_hip.cuh"

template <typename T, int layout, typename Tile>
struct unit_engine {
    static constexpr int bm = Tile::bm, bn = Tile::bn, bk = Tile::bk, threads = Tile::threads;
    static constexpr int x_chunks = bm * bk / 8 / threads, w_chunks = bn * bk / 8 / threads;
    static constexpr int wave_rows = bm / 2, wave_cols = bn / (threads / NORMA_WAVE / 2);
    static constexpr int m_units = wave_rows / 16, n_units = wave_cols / 16;
    static constexpr int w_heads = layout == WEIGHT_KN ? 1 : w_chunks; /* of a thread's chunks of W; the rest follow */
    static constexpr int x_bytes = bm * bk * 2, stage_bytes = (bm + bn) * bk * 2;
    static_assert(bk == 32 && Tile::stages == 1, "four chunks to a line, one step in shared memory");
    static_assert(x_chunks * 8 * threads == bm * bk && w_chunks * 8 * threads == bn * bk, "whole chunks for every thread");
    static_assert(m_units * n_units * unit_values == Tile::tm * Tile::tn, "what a thread accumulates");
    static_assert(stage_bytes >= (threads * unit_values + bn) * 4, "what follows a step in its place");

    const norma_linear_params &params;
    const norma_part_params &part;
    const norma_tile_place place;
    const int rows, cols; /* of the tile that are inside */
    const tiled_form form;
    const bool gamma_is_vector;
    unsigned char *const shared;
    float *const rstd;       /* of the tile's rows, behind the step */
    const T *x_at[x_chunks]; /* this thread's next chunks of x */
    const T *w_at[w_heads];  /* and of W */
    vec16 x[x_chunks], w[w_chunks], gamma;
    float sum[x_chunks][2];
    unit_sum d[m_units][n_units];

    NORMA_DEVICE unit_engine(const norma_linear_params &p, const norma_tile_place &at)
        : params(p), part(p.part[at.part]), place(at), rows((int)at.rows), cols((int)at.cols),
          form(tiled_form_of(p, dtype_traits<T>::value == NORMA_BF16)),
          gamma_is_vector(p.norm.gamma.data && p.norm.gamma_dtype == dtype_traits<T>::value &&
                          p.norm.gamma.col_stride == 1 && p.norm.k % 8 == 0),
          shared(shared_memory()), rstd((float *)(shared + stage_bytes)) {
        rewind_x();
        NORMA_UNROLL
        for (int i = 0; i < x_chunks; i++) sum[i][0] = sum[i][1] = 0.0f;
        NORMA_UNROLL
        for (int i = 0; i < w_heads; i++) w_at[i] = first_of_w(i);
        NORMA_UNROLL
        for (int i = 0; i < m_units; i++) {
            NORMA_UNROLL
            for (int j = 0; j < n_units; j++) d[i][j].clear();
        }
    }

    /* A thread's chunks of the x tile, and of a W tile that lies likewise. */
    static NORMA_DEVICE int line_of(int i) {
        return thread_id() / 4 + i * (threads / 4);
    }
    static NORMA_DEVICE int chunk_k() {
        return thread_id() % 4 * 8;
    }
    /* Its chunks of a W tile with columns side by side: w_chunks neighbours in K of eight columns. */
    static NORMA_DEVICE int group_col() {
        return thread_id() / 2 % (bn / 8) * 8;
    }
    static NORMA_DEVICE int group_k() {
        return (thread_id() / (bn / 4) * 2 + thread_id() % 2) * w_chunks;
    }
    static NORMA_DEVICE int place_of(int slot, int chunk) {
        return slot * 64 + (chunk ^ slot / 2 % 4) * 16;
    }
    static NORMA_DEVICE int w_slot(int line) {
        return layout == WEIGHT_KN && unit_is_matrix ? line ^ line / 8 % 8 : line;
    }

    NORMA_DEVICE void rewind_x() {
        NORMA_UNROLL
        for (int i = 0; i < x_chunks; i++) {
            const int row = line_of(i) < rows ? line_of(i) : rows - 1;
            x_at[i] = (const T *)params.norm.x.data + tiled_row_start(params.norm.x, params.norm, place.row + row) +
                      chunk_k() * params.norm.x.col_stride;
        }
    }

    NORMA_DEVICE const T *first_of_w(int i) const {
        const T *const from = (const T *)part.weight.data;
        if constexpr (layout == WEIGHT_KN) {
            const int col = group_col() < cols ? group_col() : 0;
            return from + group_k() * part.weight.row_stride + place.col + col;
        }
        const int col = line_of(i) < cols ? line_of(i) : cols - 1;
        return from + (place.col + col) * part.weight.col_stride + chunk_k() * part.weight.row_stride;
    }

    /* The first `count` (of 8) elements, and zeros. */
    static NORMA_DEVICE vec16 gather(const T *from, norma_index stride, norma_index count) {
        vec16 v = {{0, 0, 0, 0}};
        NORMA_UNROLL
        for (int e = 0; e < 8; e++)
            if (e < count) v.word[e / 2] |= (unsigned)from[e * stride].bits << e % 2 * 16;
        return v;
    }

    /* Step 2, load: chunks of a step that begins at k, zeros past the end of K. Where they are read as vectors, K, and N for
     * W as (K, N), are multiples of eight, so that all of a thread's chunks are inside, or none. */
    NORMA_DEVICE void load(norma_index k) {
        load_x(k);
        if (form >= FORM_SCALE && gamma_is_vector) load_gamma(k);
        load_w(k);
    }

    NORMA_DEVICE void load_x(norma_index k) {
        NORMA_UNROLL
        for (int i = 0; i < x_chunks; i++) x[i] = vec16{{0, 0, 0, 0}};
        if constexpr (layout == WEIGHT_ANY) {
            NORMA_UNROLL
            for (int i = 0; i < x_chunks; i++)
                x[i] = gather(x_at[i], params.norm.x.col_stride, params.norm.k - k - chunk_k());
        } else if (k + chunk_k() < params.norm.k) {
            NORMA_UNROLL
            for (int i = 0; i < x_chunks; i++) x[i] = load16_any(x_at[i]);
        }
        NORMA_UNROLL
        for (int i = 0; i < x_chunks; i++) x_at[i] += bk * (layout == WEIGHT_ANY ? params.norm.x.col_stride : 1);
    }

    NORMA_DEVICE void load_gamma(norma_index k) {
        gamma = vec16{{0, 0, 0, 0}};
        if (k + chunk_k() < params.norm.k) gamma = load16_any((const T *)params.norm.gamma.data + k + chunk_k());
    }

    NORMA_DEVICE void load_w(norma_index k) {
        NORMA_UNROLL
        for (int i = 0; i < w_chunks; i++) w[i] = vec16{{0, 0, 0, 0}};
        if constexpr (layout == WEIGHT_ANY) {
            NORMA_UNROLL
            for (int i = 0; i < w_chunks; i++) w[i] = gather(w_at[i], part.weight.row_stride, params.norm.k - k - chunk_k());
        } else if (k + (layout == WEIGHT_NK ? chunk_k() : group_k()) < params.norm.k) {
            NORMA_UNROLL
            for (int i = 0; i < w_chunks; i++)
                w[i] = load16_any(layout == WEIGHT_NK ? w_at[i % w_heads] : w_at[0] + i * part.weight.row_stride);
        }
        NORMA_UNROLL
        for (int i = 0; i < w_heads; i++) w_at[i] += bk * (layout == WEIGHT_NK ? 1 : part.weight.row_stride);
    }

    /* Step 3, square: this thread's chunks of a step that begins at k. */
    NORMA_DEVICE void square(norma_index k) {
        unit_pair scale[4];
        if (form >= FORM_SCALE) scale_of(scale, k + chunk_k());
        if (form == FORM_SQUARE)
            square_as<FORM_SQUARE, false>(scale);
        else if (form == FORM_SCALE)
            square_as<FORM_SCALE, false>(scale);
        else if (form == FORM_EXACT && params.norm.contract == NORMA_ROUND_TWICE)
            square_as<FORM_EXACT, true>(scale);
        else if (form == FORM_EXACT)
            square_as<FORM_EXACT, false>(scale);
    }

    template <tiled_form as, bool twice>
    NORMA_DEVICE void square_as(const unit_pair scale[4]) {
        NORMA_UNROLL
        for (int i = 0; i < x_chunks; i++) {
            if (as != FORM_EXACT) add_squares(i);
            if (as == FORM_SQUARE) continue;
            const float factor = as == FORM_EXACT ? rstd[line_of(i)] : 1.0f;
            NORMA_UNROLL
            for (int q = 0; q < 4; q++) {
                unit_pair y = unit_unpack<T>(x[i].word[q]);
                if (as == FORM_EXACT) y = unit_scaled(y, unit_pair{factor, factor});
                if (twice) y = unit_round<T>(y);
                x[i].word[q] = unit_pack<T>(unit_scaled(y, scale[q]));
            }
        }
    }

    NORMA_DEVICE void add_squares(int i) {
        NORMA_UNROLL
        for (int q = 0; q < 4; q++) {
            const unit_pair h = unit_unpack<T>(x[i].word[q]);
            sum[i][0] = fma_rn(h[0], h[0], sum[i][0]);
            sum[i][1] = fma_rn(h[1], h[1], sum[i][1]);
        }
    }

    /* gamma + offset; 1 without gamma. */
    NORMA_DEVICE void scale_of(unit_pair scale[4], norma_index k) {
        if (gamma_is_vector) {
            NORMA_UNROLL
            for (int q = 0; q < 4; q++) {
                const unit_pair own = unit_unpack<T>(gamma.word[q]);
                scale[q] = unit_pair{add_rn(own[0], params.norm.gamma_offset), add_rn(own[1], params.norm.gamma_offset)};
            }
            return;
        }
        float value[8] = {1.0f, 1.0f, 1.0f, 1.0f, 1.0f, 1.0f, 1.0f, 1.0f};
        /* Addresses of a gamma that is read so are not to be kept, and moved on in every step, by those that have none. */
        if (params.norm.gamma.data) tiled_load_gamma<8>(value, params.norm, renewed(k));
        NORMA_UNROLL
        for (int q = 0; q < 4; q++) scale[q] = unit_pair{unit_tame(value[2 * q]), unit_tame(value[2 * q + 1])};
    }

    NORMA_DEVICE void lay_down() {
        NORMA_UNROLL
        for (int i = 0; i < x_chunks; i++) store16(shared + place_of(line_of(i), chunk_k() / 8), x[i]);
        unsigned char *const to = shared + x_bytes;
        if constexpr (layout == WEIGHT_KN) {
            lay_down_columns(to);
        } else {
            NORMA_UNROLL
            for (int i = 0; i < w_chunks; i++) store16(to + place_of(w_slot(line_of(i)), chunk_k() / 8), w[i]);
        }
    }

    /* w_chunks k of eight columns become w_chunks neighbours in each of eight lines, whose places differ in certain bits. */
    NORMA_DEVICE void lay_down_columns(unsigned char *to) {
        static_assert(layout != WEIGHT_KN || w_chunks == 2 || w_chunks == 4, "words of two k");
        const int first = renewed(place_of(w_slot(group_col()), group_k() / 8) + group_k() % 8 * 2);
        NORMA_UNROLL
        for (int e = 0; e < 8; e++) {
            unsigned *const at = (unsigned *)(to + (first ^ place_of(e, 0)));
            NORMA_UNROLL
            for (int i = 0; i < w_chunks; i += 2) {
                const unsigned one = w[i].word[e / 2], other = w[i + 1].word[e / 2];
                at[i / 2] = e % 2 ? high_halves(one, other) : low_halves(one, other);
            }
        }
    }

    static NORMA_DEVICE int wave_row() {
        return wave_id() % 2 * wave_rows;
    }
    static NORMA_DEVICE int wave_col() {
        return wave_id() / 2 * wave_cols;
    }

    /* Step 4, multiply. */
    NORMA_DEVICE void multiply() {
        NORMA_UNROLL
        for (int k = 0; k < bk; k += unit_k) {
            unit_b b[m_units];
            NORMA_UNROLL
            for (int i = 0; i < m_units; i++)
                b[i] = unit_load_b(
                    [&](int line, int chunk) { return shared + place_of(wave_row() + i * 16 + line, k / 8 + chunk); });
            unit_a a = load_a(0, k);
            NORMA_UNROLL
            for (int j = 0; j < n_units; j++) {
                unit_a next = a;
                if (j + 1 < n_units) next = load_a(j + 1, k);
                NORMA_UNROLL
                for (int i = 0; i < m_units; i++) unit_multiply<T>(d[i][j], a, b[i]);
                a = next;
                schedule_barrier();
            }
        }
    }

    NORMA_DEVICE unit_a load_a(int j, int k) const {
        return unit_load_a([&](int line, int chunk) {
            return shared + x_bytes + place_of(w_slot(wave_col() + j * 16 + line), k / 8 + chunk);
        });
    }

    /* First sweep of the exact form: rstd of this thread's rows, in the order of the other forms' sums. Several steps are
     * under way, since there are no products meanwhile. */
    NORMA_DEVICE void sweep_rows() {
        constexpr int steps = layout == WEIGHT_ANY ? 1 : 4;
        NORMA_NO_UNROLL
        for (norma_index k = 0; k < params.norm.k; k += steps * bk) {
            vec16 ahead[steps][x_chunks];
            NORMA_UNROLL
            for (int s = 0; s < steps; s++) {
                load_x(k + s * bk);
                NORMA_UNROLL
                for (int i = 0; i < x_chunks; i++) ahead[s][i] = x[i];
            }
            schedule_barrier();
            NORMA_UNROLL
            for (int s = 0; s < steps; s++) {
                NORMA_UNROLL
                for (int i = 0; i < x_chunks; i++) {
                    x[i] = ahead[s][i];
                    add_squares(i);
                }
            }
        }
        finish_rows();
        rewind_x();
    }

    /* rstd of every row, from the four threads that summed it. */
    NORMA_DEVICE void finish_rows() {
        static_assert(bm <= threads, "a thread for every row");
        NORMA_UNROLL
        for (int i = 0; i < x_chunks; i++) {
            const float total = wave_sum<4>(add_rn(sum[i][0], sum[i][1]));
            if (thread_id() % 4 == 0) rstd[line_of(i)] = total;
        }
        block_sync();
        if (thread_id() < bm) rstd[thread_id()] = norm_rstd(rstd[thread_id()], params.norm.k, params.norm.eps);
        block_sync();
    }

    NORMA_DEVICE void run() {
        if (form == FORM_EXACT) sweep_rows();
        load(0);
        NORMA_NO_UNROLL
        for (norma_index k = 0; k < params.norm.k; k += bk) {
            square(k);
            schedule_barrier();
            block_sync();
            lay_down();
            block_sync();
            if (k + bk < params.norm.k) load(k + bk);
            schedule_barrier();
            multiply();
        }
        publish();
        store();
    }

    /* After the walk the step's place has the bias of the tile's columns, and values on their way, see store_elements(). */
    NORMA_DEVICE float *bias_at(int col) const {
        return (float *)shared + threads * unit_values + col;
    }

    /* Step 5, scale: rstd and the bias. */
    NORMA_DEVICE void publish() {
        block_sync();
        NORMA_NO_UNROLL
        for (int col = thread_id(); col < bn; col += threads) tiled_load_bias<1>(bias_at(col), part, place, col);
        if (form == FORM_SQUARE || form == FORM_SCALE)
            finish_rows();
        else
            block_sync();
        if (form != FORM_PLAIN) tiled_store_rstd<Tile>(rstd, params, place);
    }

    /* Step 6, store: a lane has neighbouring columns of one row of each 16 x 16 tile. */
    NORMA_DEVICE void store() {
        const bool vector = part.out_dtype == dtype_traits<T>::value && tiled_vector_rows(part.out, 2) && !params.accumulate;
        float factor[m_units];
        norma_index start[m_units];
        NORMA_UNROLL
        for (int i = 0; i < m_units; i++) {
            const int row = wave_row() + i * 16 + unit_m();
            factor[i] = form == FORM_SQUARE || form == FORM_SCALE ? rstd[row] : 1.0f;
            start[i] = row < rows ? tiled_row_start(part.out, params.norm, place.row + row) : -1;
        }
        NORMA_UNROLL
        for (int j = 0; j < n_units; j++) {
            const int col = wave_col() + j * 16 + unit_n();
            NORMA_UNROLL
            for (int i = 0; i < m_units; i++) {
                unit_sum value = unit_settled(d[i][j]);
                NORMA_UNROLL
                for (int e = 0; e < unit_values; e++) value.value[e] = fma_rn(value.value[e], factor[i], *bias_at(col + e));
                if (vector && wave_col() + j * 16 + 16 <= cols)
                    store_vector(value, start[i], col);
                else
                    store_elements(value, start[i], col);
                schedule_barrier();
            }
        }
    }

    NORMA_DEVICE void store_vector(const unit_sum &value, norma_index start, int col) {
        typedef unsigned words __attribute__((ext_vector_type(unit_values / 2)));
        words word;
        NORMA_UNROLL
        for (int q = 0; q < unit_values / 2; q++) word[q] = pack2<T>(value.value[2 * q], value.value[2 * q + 1]);
        if (start >= 0) *(words *)((T *)part.out.data + start + place.col + col) = word;
    }

    /* Any dtype and stride. The values go through shared memory, which no one needs any more, for the sake of a loop that is
     * not unrolled: this is much code. */
    NORMA_DEVICE void store_elements(const unit_sum &value, norma_index start, int col) {
        float *const scratch = (float *)shared + thread_id();
        NORMA_UNROLL
        for (int e = 0; e < unit_values; e++) scratch[e * threads] = value.value[e];
        NORMA_NO_UNROLL
        for (int e = 0; e < unit_values && start >= 0 && col + e < cols; e++)
            tiled_store(params, part, start + (place.col + col + e) * part.out.col_stride, scratch[e * threads]);
    }
};

/* What every lane has alike, in scalar registers. */
NORMA_DEVICE norma_index tiled_uniform(norma_index value) {
    const unsigned low = (unsigned)wave_first((int)value), high = (unsigned)wave_first((int)(value >> 32));
    return (norma_index)((unsigned long long)high << 32 | low);
}

template <typename T, int layout, typename Tile>
NORMA_DEVICE void tiled_units(const norma_linear_params &params) {
    using engine = unit_engine<T, layout, Tile>;
    norma_tile_place *const at = (norma_tile_place *)(shared_memory() + engine::stage_bytes + 4 * Tile::bm);
    tiled_place<Tile>(at, params);
    const norma_tile_place place = {wave_first(at->part), tiled_uniform(at->row), tiled_uniform(at->rows),
                                    tiled_uniform(at->col), tiled_uniform(at->cols)};
    engine(params, place).run();
}

#endif
