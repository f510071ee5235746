/* AMD's matrix units as one operation on 16 x 16 tiles: D[n][m] += sum over k of A[n][k] B[m][k], A being W and B being x,
 * with fp32 sums. What a chip offers for halves:
 *
 *     gfx90a, gfx942   v_mfma_f32_16x16x16, waves of 64      gfx11, gfx12   v_wmma_f32_16x16x16, waves of 32
 *     gfx950           v_mfma_f32_16x16x32                   gfx10          none: dot products of pairs, or multiply-adds
 *
 * fp32 goes through v_mfma_f32_16x16x4 on gfx9, and through multiply-adds elsewhere.
 *
 * A chunk is 16 bytes of one line (row of A or B): eight k of halves, four of fp32. A step is one chunk of each lane: lane l
 * has chunk l / 16 of line l % 16. Which k the hardware takes a chunk's values for does not matter as long as A and B agree.
 * On every chip lane l ends up with D[n][m] for m = l % 16 and unit_values neighbours n from unit_values * (l / 16) on.
 *
 * Two ways to an operand: unit_a and unit_b read one from shared memory; unit_lane_a and unit_lane_b make one of the chunk
 * that a lane holds. Sources: AMD's instruction set manuals of CDNA 3 and RDNA 2 to 4 for the layouts of lanes. */
#ifndef NORMA_UNIT_HIP_CUH
#define NORMA_UNIT_HIP_CUH

#include "platform.cuh"

#if defined(__gfx90a__) || defined(__gfx942__) || defined(__gfx950__)
#define NORMA_UNIT_MFMA 1
#elif defined(__GFX11__)
#define NORMA_UNIT_WMMA_TWICE 1 /* both halves of the wave hold the whole line */
#elif defined(__GFX12__)
#define NORMA_UNIT_WMMA 1
#else
#define NORMA_UNIT_NONE 1
#endif

#if NORMA_UNIT_NONE
constexpr bool unit_is_matrix = false;
#else
constexpr bool unit_is_matrix = true;
#endif

/* D's values in a lane. */
constexpr int unit_values = 256 / NORMA_WAVE;

template <int count>
struct unit_operand {
    vec16 part[count];
};

#if NORMA_UNIT_NONE
constexpr int unit_k = 8;
using unit_a = unit_operand<unit_values>; /* a lane reads the lines of all its n, and its m */
using unit_b = unit_operand<1>;
#elif NORMA_UNIT_WMMA_TWICE
constexpr int unit_k = 16;
using unit_a = unit_operand<2>;
using unit_b = unit_operand<2>;
#else
constexpr int unit_k = NORMA_WAVE / 16 * 8;
using unit_a = unit_operand<1>;
using unit_b = unit_operand<1>;
#endif

NORMA_DEVICE int unit_lane() {
    return thread_id() % NORMA_WAVE;
}
NORMA_DEVICE int unit_m() {
    return unit_lane() % 16;
}
NORMA_DEVICE int unit_n() {
    return unit_lane() / 16 * unit_values;
}

/* ---- Two values on their way to an operand ---- */

/* gfx9 has instructions for two fp32 at a time. */
typedef float unit_pair __attribute__((ext_vector_type(2)));

NORMA_DEVICE unit_pair unit_scaled(unit_pair a, unit_pair b) {
#pragma clang fp contract(off)
    return a * b;
}

template <typename T>
NORMA_DEVICE unit_pair unit_unpack(unsigned word) {
    return unit_pair{unpack_low<T>(word), unpack_high<T>(word)};
}

/* Rounding to bf16 adds up to half a unit to the bits, which must not carry out of a NaN: in the low half a NaN has zeros.
 * So has one that bf16 values or the hardware brought, and what follows from it; any other passes unit_tame() once. */
NORMA_DEVICE float unit_tame(float value) {
    return value == value ? value : float_from_bits(0x7fc00000u);
}
/* As bf16_rounded(), for tame values. */
NORMA_DEVICE unsigned unit_rounded(float value) {
    const unsigned bits = float_bits(value);
    return bits + 0x7fffu + ((bits >> 16) & 1u);
}

/* Tame values rounded into one word, as pack2(). */
template <typename T>
NORMA_DEVICE unsigned unit_pack(unit_pair value) {
    if constexpr (dtype_traits<T>::value == NORMA_BF16)
        return __builtin_amdgcn_perm(unit_rounded(value[1]), unit_rounded(value[0]), 0x07060302u);
    else
        return pack2<T>(value[0], value[1]);
}
/* Tame values rounded to T. */
template <typename T>
NORMA_DEVICE unit_pair unit_round(unit_pair value) {
    if constexpr (dtype_traits<T>::value == NORMA_BF16)
        return unit_pair{float_from_bits(unit_rounded(value[0]) & 0xffff0000u),
                         float_from_bits(unit_rounded(value[1]) & 0xffff0000u)};
    else
        return unit_pair{round_to<T>(value[0]), round_to<T>(value[1])};
}

/* ---- Operands from shared memory: at(line, chunk) says where a chunk lies ---- */

template <typename At>
NORMA_DEVICE unit_a unit_load_a(const At &at) {
    unit_a a;
#if NORMA_UNIT_NONE
    NORMA_UNROLL
    for (int i = 0; i < unit_values; i++) a.part[i] = load16(at(unit_n() + i, 0));
#elif NORMA_UNIT_WMMA_TWICE
    NORMA_UNROLL
    for (int i = 0; i < 2; i++) a.part[i] = load16(at(unit_lane() % 16, i));
#else
    a.part[0] = load16(at(unit_lane() % 16, unit_lane() / 16));
#endif
    return a;
}

template <typename At>
NORMA_DEVICE unit_b unit_load_b(const At &at) {
    unit_b b;
#if NORMA_UNIT_NONE
    b.part[0] = load16(at(unit_lane() % 16, 0));
#elif NORMA_UNIT_WMMA_TWICE
    NORMA_UNROLL
    for (int i = 0; i < 2; i++) b.part[i] = load16(at(unit_lane() % 16, i));
#else
    b.part[0] = load16(at(unit_lane() % 16, unit_lane() / 16));
#endif
    return b;
}

/* ---- The product ---- */

typedef _Float16 unit_f16x2 __attribute__((ext_vector_type(2)));
typedef _Float16 unit_f16x4 __attribute__((ext_vector_type(4)));
typedef _Float16 unit_f16x8 __attribute__((ext_vector_type(8)));
typedef _Float16 unit_f16x16 __attribute__((ext_vector_type(16)));
typedef short unit_s16x4 __attribute__((ext_vector_type(4)));
typedef short unit_s16x8 __attribute__((ext_vector_type(8)));
typedef short unit_s16x16 __attribute__((ext_vector_type(16)));
typedef __bf16 unit_bf16x8 __attribute__((ext_vector_type(8)));

/* Half dtypes as the builtins want them. */
template <typename T, int count>
struct unit_vector;
template <>
struct unit_vector<f16, 4> {
    typedef unit_f16x4 type;
};
template <>
struct unit_vector<f16, 8> {
    typedef unit_f16x8 type;
};
template <>
struct unit_vector<f16, 16> {
    typedef unit_f16x16 type;
};
template <>
struct unit_vector<bf16, 4> {
    typedef unit_s16x4 type;
};
template <>
struct unit_vector<bf16, 8> {
#if defined(__gfx950__)
    typedef unit_bf16x8 type;
#else
    typedef unit_s16x8 type;
#endif
};
template <>
struct unit_vector<bf16, 16> {
    typedef unit_s16x16 type;
};

/* D as one vector, which stays in registers. */
struct unit_sum {
    typedef float vector __attribute__((ext_vector_type(unit_values)));
    vector value;

    NORMA_DEVICE void clear() {
        NORMA_UNROLL
        for (int i = 0; i < unit_values; i++) value[i] = 0.0f;
    }
};

/* sum + a b of two pairs of halves. */
template <typename T>
NORMA_DEVICE float unit_dot(unsigned a, unsigned b, float sum) {
#if NORMA_UNIT_NONE
    if constexpr (dtype_traits<T>::value == NORMA_F16)
        return __builtin_amdgcn_fdot2(__builtin_bit_cast(unit_f16x2, a), __builtin_bit_cast(unit_f16x2, b), sum, false);
#endif
    sum = fma_rn(unpack_low<T>(a), unpack_low<T>(b), sum);
    return fma_rn(unpack_high<T>(a), unpack_high<T>(b), sum);
}

template <typename T>
NORMA_DEVICE void unit_multiply(unit_sum &d, const unit_a &a, const unit_b &b) {
    [[maybe_unused]] constexpr bool is_f16 = dtype_traits<T>::value == NORMA_F16;
#if defined(__gfx950__)
    typedef typename unit_vector<T, 8>::type halves;
    const halves x = __builtin_bit_cast(halves, a.part[0]), y = __builtin_bit_cast(halves, b.part[0]);
    if constexpr (is_f16)
        d.value = __builtin_amdgcn_mfma_f32_16x16x32_f16(x, y, d.value, 0, 0, 0);
    else
        d.value = __builtin_amdgcn_mfma_f32_16x16x32_bf16(x, y, d.value, 0, 0, 0);
#elif NORMA_UNIT_MFMA
    typedef typename unit_vector<T, 4>::type halves;
    struct two {
        halves half[2];
    };
    const two x = __builtin_bit_cast(two, a.part[0]), y = __builtin_bit_cast(two, b.part[0]);
    NORMA_UNROLL
    for (int i = 0; i < 2; i++) {
        if constexpr (is_f16)
            d.value = __builtin_amdgcn_mfma_f32_16x16x16f16(x.half[i], y.half[i], d.value, 0, 0, 0);
        else
            d.value = __builtin_amdgcn_mfma_f32_16x16x16bf16_1k(x.half[i], y.half[i], d.value, 0, 0, 0);
    }
#elif NORMA_UNIT_WMMA_TWICE
    typedef typename unit_vector<T, 16>::type halves;
    const halves x = __builtin_bit_cast(halves, a), y = __builtin_bit_cast(halves, b);
    if constexpr (is_f16)
        d.value = __builtin_amdgcn_wmma_f32_16x16x16_f16_w32(x, y, d.value);
    else
        d.value = __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32(x, y, d.value);
#elif NORMA_UNIT_WMMA
    typedef typename unit_vector<T, 8>::type halves;
    const halves x = __builtin_bit_cast(halves, a.part[0]), y = __builtin_bit_cast(halves, b.part[0]);
    if constexpr (is_f16)
        d.value = __builtin_amdgcn_wmma_f32_16x16x16_f16_w32_gfx12(x, y, d.value);
    else
        d.value = __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32_gfx12(x, y, d.value);
#else
    NORMA_UNROLL
    for (int i = 0; i < unit_values; i++) {
        float sum = d.value[i];
        NORMA_UNROLL
        for (int j = 0; j < 4; j++) sum = unit_dot<T>(a.part[i].word[j], b.part[0].word[j], sum);
        d.value[i] = sum;
    }
#endif
}

/* gfx11 deals D's lines out in turn: this lane's are 2i + l / 16. Afterwards they are neighbours, as everywhere. */
NORMA_DEVICE unit_sum unit_settled(const unit_sum &d) {
#if NORMA_UNIT_WMMA_TWICE
    const bool upper = unit_lane() >= 16;
    unit_sum settled;
    NORMA_UNROLL
    for (int i = 0; i < unit_values / 2; i++) {
        const float kept = upper ? d.value[i + 4] : d.value[i], sent = upper ? d.value[i] : d.value[i + 4];
        const float got = wave_xor(sent, 16);
        settled.value[2 * i] = upper ? got : kept;
        settled.value[2 * i + 1] = upper ? kept : got;
    }
    return settled;
#else
    return d;
#endif
}

/* ---- Products of chunks that lanes hold: lane l has chunk l / 16 of line l % 16, of W in `a` and of x in `b` ---- */

template <typename T>
constexpr bool unit_takes = unit_is_matrix && (sizeof(T) == 2 || NORMA_WAVE == 64);

/* What a wave accumulates of D. Without matrix units each half of the wave sums its own chunks, for line l % 16 of W and all
 * lines of x. */
template <typename T, bool matrix = unit_takes<T>>
struct unit_lane_sum;

template <typename T>
struct unit_lane_sum<T, true> {
    unit_sum d;

    NORMA_DEVICE void clear() {
        d.clear();
    }

    NORMA_DEVICE void multiply(const vec16 &a, const vec16 &b, int) {
#if NORMA_UNIT_MFMA
        if constexpr (sizeof(T) == 4) {
            NORMA_UNROLL
            for (int j = 0; j < 4; j++)
                d.value = __builtin_amdgcn_mfma_f32_16x16x4f32(float_from_bits(a.word[j]), float_from_bits(b.word[j]),
                                                               d.value, 0, 0, 0);
            return;
        }
#endif
        if constexpr (sizeof(T) == 2) unit_multiply<T>(d, whole(a), whole(b));
    }

    /* The whole line, of which on gfx11 the other half of the wave has the other chunk. */
    static NORMA_DEVICE unit_a whole(const vec16 &mine) {
#if NORMA_UNIT_WMMA_TWICE
        const bool upper = unit_lane() >= 16;
        unit_a line;
        NORMA_UNROLL
        for (int j = 0; j < 4; j++) {
            const unsigned own = mine.word[j];
            const unsigned other = __builtin_amdgcn_permlanex16(own, own, 0x76543210u, 0xfedcba98u, true, false);
            line.part[0].word[j] = upper ? other : own;
            line.part[1].word[j] = upper ? own : other;
        }
        return line;
#else
        unit_a line = {};
        line.part[0] = mine;
        return line;
#endif
    }

    /* Writes D as [n][m] of 16 x 16 floats and clears it. */
    NORMA_DEVICE void keep(float *to) {
        const unit_sum settled = unit_settled(d);
        NORMA_UNROLL
        for (int i = 0; i < unit_values; i++) to[(unit_n() + i) * 16 + unit_m()] = settled.value[i];
        clear();
    }
};

#if NORMA_WAVE == 32
/* `word` of lane `from` of each sixteen. */
template <int from>
NORMA_DEVICE unsigned unit_share(unsigned word) {
    return __builtin_amdgcn_permlane16(word, word, 0x11111111u * from, 0x11111111u * from, true, false);
}

template <typename T>
struct unit_lane_sum<T, false> {
    static constexpr int few = 4;
    float value[16];

    NORMA_DEVICE void clear() {
        NORMA_UNROLL
        for (int m = 0; m < 16; m++) value[m] = 0.0f;
    }

    template <int m>
    NORMA_DEVICE void multiply_line(const vec16 &a, const vec16 &b) {
        NORMA_UNROLL
        for (int j = 0; j < 4; j++) {
            const unsigned x = unit_share<m>(b.word[j]);
            if constexpr (sizeof(T) == 4)
                value[m] = fma_rn(float_from_bits(a.word[j]), float_from_bits(x), value[m]);
            else
                value[m] = unit_dot<T>(a.word[j], x, value[m]);
        }
        value[m] = renewed(value[m]); /* now, and not when all shares are there */
    }

    template <int m, int end>
    NORMA_DEVICE void multiply_lines(const vec16 &a, const vec16 &b) {
        if constexpr (m < end) {
            multiply_line<m>(a, b);
            multiply_lines<m + 1, end>(a, b);
        }
    }

    /* `lines` of x: a few, or all. Shares of b, which the caller may keep, are not to be made ahead and kept, too. */
    NORMA_DEVICE void multiply(const vec16 &a, vec16 b, int lines) {
        renew(b);
        multiply_lines<0, few>(a, b);
        if (lines > few) multiply_lines<few, 16>(a, b);
    }

    NORMA_DEVICE void keep(float *to) {
        const bool upper = unit_lane() >= 16;
        float *const line = to + unit_lane() % 16 * 16 + (upper ? 8 : 0);
        NORMA_UNROLL
        for (int i = 0; i < 8; i++) {
            const float kept = upper ? value[i + 8] : value[i], sent = upper ? value[i] : value[i + 8];
            line[i] = add_rn(kept, wave_xor(sent, 16));
        }
        clear();
    }
};
#endif

#endif
