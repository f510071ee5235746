/* What NVIDIA's matrix units make of c += a b with fp32 sums. Products are exact. They and c are cut to whole multiples of
 * one power of two, which lies `fraction` bits below the largest exponent among them (of a product: the sum of its factors'
 * exponents), then added up without error, and what does not fit fp32 is cut off again. Nothing is rounded to nearest. A
 * step of 16 is one such sum on compute capability 9, and two of 8 before.
 *
 * Measured, for no manual says it, by Fasi, Higham, Mikaitis and Pranesh, "Numerical behavior of NVIDIA tensor cores", PeerJ
 * Computer Science 7:e330, 2021; Khattak and Mikaitis, "Accurate models of NVIDIA tensor cores", arXiv:2512.07004, 2025; and
 * Xie, Wang, Yang and Yang, "MMA-Sim", arXiv:2511.10909, 2025, whose figures for mma.sync and wgmma are the same. */
#include <cmath>

#include "../../kernels_cuda/platform.cuh"

namespace {

struct matrix_units {
    int block, fraction;
};

constexpr matrix_units units_of[] = {{8, 24}, {16, 25}}; /* by simt_units */

matrix_units units = units_of[SIMT_AMPERE];

int exponent_of(float value, int smallest) {
    const int exponent = static_cast<int>(norma_f32_bits(value) >> 23 & 255) - 127;
    return exponent > smallest ? exponent : smallest;
}

/* Toward zero, but for what lies beyond the range. */
float cut_to_float(double exact) {
    if (std::fabs(exact) >= 0x1p128) return static_cast<float>(exact);
    const float nearest = static_cast<float>(exact);
    return std::fabs(static_cast<double>(nearest)) > std::fabs(exact) ? std::nextafter(nearest, 0.0f) : nearest;
}

struct products {
    double value[16];
    int exponent[16];
};

float add_block(float c, const products &all, int first) {
    int top = c == 0 ? -1000 : exponent_of(c, -126);
    double plain = static_cast<double>(c);
    for (int k = first; k < first + units.block; k++) {
        plain += all.value[k];
        if (all.value[k] != 0 && all.exponent[k] > top) top = all.exponent[k];
    }
    if (!std::isfinite(plain)) return static_cast<float>(plain);
    if (top == -1000) return 0.0f;
    const double quanta = std::ldexp(1.0, units.fraction - top);
    std::int64_t sum = static_cast<std::int64_t>(static_cast<double>(c) * quanta);
    for (int k = first; k < first + units.block; k++) sum += static_cast<std::int64_t>(all.value[k] * quanta);
    return cut_to_float(static_cast<double>(sum) / quanta);
}

} // namespace

void simt_set_units(simt_units which) {
    units = units_of[which];
}

/* Half of the emulator's time, on memory that is its own: not worth watching. */
__attribute__((no_sanitize("address", "undefined"))) void simt::multiply(float c[4], const float *operands, int smallest,
                                                                         int lane) {
    const int row = lane / 4, col = lane % 4 * 2;
    for (int i = 0; i < 4; i++) {
        products all;
        for (int k = 0; k < 16; k++) {
            const int from = k % 8 / 2, low = k % 2;
            const float x = operands[(row * 4 + from) * 12 + (i / 2 + k / 8 * 2) * 2 + low];
            const float w = operands[((col + i % 2) * 4 + from) * 12 + 8 + k / 8 * 2 + low];
            all.value[k] = static_cast<double>(x) * static_cast<double>(w);
            all.exponent[k] = exponent_of(x, smallest) + exponent_of(w, smallest);
        }
        for (int first = 0; first < 16; first += units.block) c[i] = add_block(c[i], all, first);
    }
}

__attribute__((no_sanitize("address", "undefined"))) float simt::multiply_add(float c, const float a[16], const float b[16],
                                                                              int smallest) {
    products all;
    bool zeros = true;
    for (int k = 0; k < 16; k++) {
        all.value[k] = static_cast<double>(a[k]) * static_cast<double>(b[k]);
        all.exponent[k] = exponent_of(a[k], smallest) + exponent_of(b[k], smallest);
        zeros = zeros && all.value[k] == 0;
    }
    if (zeros && c == 0) return 0.0f; /* most of a tile at an edge */
    for (int first = 0; first < 16; first += units.block) c = add_block(c, all, first);
    return c;
}
