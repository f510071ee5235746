/* Rows normalised ahead of the product, for rmsnorm_linear_hopper: y, rounded as the contract says, goes to a workspace,
 * from which the tiles are copied while it is in L2. A wave has a row, and reads it twice: once for its squares, and once
 * more, from L1 or L2, for y. The row's word in params.rstd, with the launch's number, says that y is there. */
#ifndef NORMA_HOPPER_NORM_CUH
#define NORMA_HOPPER_NORM_CUH

#include "platform_sm90.cuh"

template <typename T, int loads>
struct hopper_norm {
    const norma_hopper_params &params;

    /* Rows of [begin, end), of which wave `wave` of `waves` in each block takes its share. */
    NORMA_DEVICE void write(int wave, int waves, int begin, int end, unsigned launch) const {
        const int blocks = (int)grid_blocks();
        NORMA_NO_UNROLL
        for (int row = begin + wave * blocks + (int)block_id(); row < end && row < params.rows; row += waves * blocks)
            write_row(row, launch);
    }

    NORMA_DEVICE void write_four(int first, unsigned launch) const {
        NORMA_NO_UNROLL
        for (int row = first; row < first + 4 && row < params.rows; row++) write_row(row, launch);
    }

  private:
    NORMA_DEVICE void write_row(int row, unsigned launch) const {
        const T *const x = (const T *)params.x_data + row * params.x_stride;
        T *const y = (T *)params.y + row * params.y_stride;
        const int lane = wave_lane(), chunks = params.k / 8, last = chunks * 8 + lane;
        const float tail = last < params.k ? to_float(x[last]) : 0.0f;
        const float rstd = rstd_of(x, chunks, tail);
        if constexpr (loads > 6)
            write_chunks(y, x, chunks, rstd);
        else
            write_words(y, x, chunks * 4, rstd);
        if (last < params.k) {
            float scale = 1.0f;
            if (params.gamma) scale = add_rn(load_as(params.gamma, params.gamma_dtype, last), params.gamma_offset);
            y[last] = from_float<T>(normalised(tail, scale, rstd));
        }
        copies_fence();
        device_fence();
        wave_sync();
        if (lane != 0) return;
        store_word(params.rstd + row, (unsigned long long)launch << 32 | float_bits(rstd));
        if (params.rstd_out) params.rstd_out[row * params.rstd_stride] = rstd;
    }

    NORMA_DEVICE void write_chunks(T *y, const T *x, int chunks, float rstd) const {
        NORMA_NO_UNROLL
        for (int chunk = wave_lane(); chunk < chunks; chunk += 32 * 4) {
            vec16 v[4];
            load<4>(v, x, chunk, chunks);
            NORMA_UNROLL
            for (int i = 0; i < 4; i++) {
                const int at = chunk + 32 * i;
                if (at < chunks) store16(y + at * 8, normalised(v[i], at * 8, rstd));
            }
        }
    }

    /* Two values at a time, where registers are few. */
    NORMA_DEVICE void write_words(T *y, const T *x, int words, float rstd) const {
        NORMA_NO_UNROLL
        for (int at = wave_lane(); at < words; at += 32) {
            const unsigned word = ((const unsigned *)x)[at];
            float scale[2] = {1.0f, 1.0f};
            if (params.gamma) {
                scale[0] = add_rn(load_as(params.gamma, params.gamma_dtype, 2 * at), params.gamma_offset);
                scale[1] = add_rn(load_as(params.gamma, params.gamma_dtype, 2 * at + 1), params.gamma_offset);
            }
            ((unsigned *)y)[at] =
                pack2<T>(normalised(unpack_low<T>(word), scale[0], rstd), normalised(unpack_high<T>(word), scale[1], rstd));
        }
    }

    NORMA_DEVICE float rstd_of(const T *x, int chunks, float tail) const {
        float sum[2] = {mul_rn(tail, tail), 0.0f};
        NORMA_NO_UNROLL
        for (int chunk = wave_lane(); chunk < chunks; chunk += 32 * loads) {
            vec16 v[loads];
            load<loads>(v, x, chunk, chunks);
            NORMA_UNROLL
            for (int q = 0; q < 4 * loads; q++) {
                const float low = unpack_low<T>(v[q / 4].word[q % 4]), high = unpack_high<T>(v[q / 4].word[q % 4]);
                sum[0] = fma_rn(low, low, sum[0]);
                sum[1] = fma_rn(high, high, sum[1]);
            }
        }
        return norm_rstd(wave_sum<32>(add_rn(sum[0], sum[1])), params.k, params.eps);
    }

    template <int count>
    NORMA_DEVICE static void load(vec16 (&v)[count], const T *x, int chunk, int chunks) {
        NORMA_UNROLL
        for (int i = 0; i < count; i++)
            v[i] = chunk + 32 * i < chunks ? load16(x + (chunk + 32 * i) * 8) : vec16{{0, 0, 0, 0}};
    }

    /* As norm_exact(), but for the last rounding. */
    NORMA_DEVICE float normalised(float h, float scale, float rstd) const {
        const float value = mul_rn(h, rstd);
        return mul_rn(params.contract == NORMA_ROUND_TWICE && params.gamma ? round_to<T>(value) : value, scale);
    }

    NORMA_DEVICE vec16 normalised(vec16 v, int k, float rstd) const {
        float scale[8];
        load_scale(scale, k);
        NORMA_UNROLL
        for (int q = 0; q < 4; q++)
            v.word[q] = pack2<T>(normalised(unpack_low<T>(v.word[q]), scale[2 * q], rstd),
                                 normalised(unpack_high<T>(v.word[q]), scale[2 * q + 1], rstd));
        return v;
    }

    NORMA_DEVICE void load_scale(float (&scale)[8], int k) const {
        NORMA_UNROLL
        for (int e = 0; e < 8; e++) scale[e] = 1.0f;
        if (!params.gamma) return;
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
};

#endif
