/* What the judge's two halves share: formats and their spacing, and access to strided tensors of any dtype. */
#ifndef NORMA_CPU_REFERENCE_ACCESS_H
#define NORMA_CPU_REFERENCE_ACCESS_H

#include <float.h>
#include <math.h>

#include "../dtype.h"
#include "../tiling/tile_index.h"
#include "reference.h"

/* Where values are subnormal an intermediate rounding has an absolute error, which is then multiplied by gamma or a weight.
 * The bounds hold for |gamma + offset| and 1 + |W| up to this. */
#define FACTOR_LIMIT 8.0

/* A binary floating-point format: bits of precision, exponent of the smallest positive value, largest finite value. */
typedef struct format {
    int precision;
    int min_exponent;
    double largest;
} format;

static inline format format_of(norma_dtype dtype) {
    if (dtype == NORMA_F16) return (format){11, -24, 65504.0};
    if (dtype == NORMA_BF16) return (format){8, -133, 0x1.fep127};
    return (format){24, -149, FLT_MAX};
}

/* By the bits, since the judge asks for millions of these: 2^exponent, and the largest exponent with 2^exponent <= |value|.
 */
static inline double power_of_two(int exponent) {
    const uint64_t bits = (uint64_t)(exponent + 1023) << 52;
    double power;
    memcpy(&power, &bits, sizeof power);
    return power;
}

static inline int exponent_of(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (int)(bits >> 52 & 0x7ff) - 1023;
}

/* Distance between the values of a dtype around `value`. */
static inline double spacing(const format *format, double value) {
    const int exponent = exponent_of(value) - format->precision + 1;
    return power_of_two(exponent < format->min_exponent ? format->min_exponent : exponent);
}

static inline const void *tensor_data(const norma_tensor *tensor) {
    return (const char *)tensor->buffer.data + tensor->buffer.offset_bytes;
}

static inline int64_t element_at(const norma_problem *problem, const norma_tensor *tensor, int64_t row, int64_t col) {
    const norma_layout *layout = &tensor->layout;
    return norma_element_at(row, col, problem->m, layout->batch_stride, layout->row_stride, layout->col_stride);
}

static inline float load(const norma_problem *problem, const norma_tensor *tensor, int64_t row, int64_t col) {
    return norma_load(tensor_data(tensor), tensor->layout.dtype, element_at(problem, tensor, row, col));
}

static inline void store(const norma_problem *problem, const norma_tensor *tensor, int64_t row, int64_t col, double value) {
    const norma_dtype dtype = tensor->layout.dtype;
    norma_store((char *)tensor->buffer.data + tensor->buffer.offset_bytes, dtype, element_at(problem, tensor, row, col),
                (float)norma_round_double(dtype, value));
}

/* A weight has rows and columns but no batch. */
static inline float load_weight(const norma_tensor *weight, int64_t k, int64_t col) {
    return norma_load(tensor_data(weight), weight->layout.dtype,
                      k * weight->layout.row_stride + col * weight->layout.col_stride);
}

static inline float load_vector(const norma_tensor *vector, int64_t index) {
    return norma_load(tensor_data(vector), vector->layout.dtype, index * vector->layout.col_stride);
}

/* gamma + offset, as fp32 gives it. */
static inline float gamma_at(const norma_problem *problem, int64_t k) {
    return norma_tensor_present(&problem->gamma) ? load_vector(&problem->gamma, k) + problem->gamma_offset : 1.0F;
}

/* The residual sum is an fp32 sum rounded to h's dtype. */
static inline float h_at(const norma_problem *problem, int64_t row, int64_t k) {
    const float x = load(problem, &problem->x, row, k);
    if (!norma_tensor_present(&problem->residual)) return x;
    return norma_round(problem->residual.layout.dtype, x + load(problem, &problem->residual, row, k));
}

/* Half the spacing of `dtype` at `value`: the largest error of one rounding there. */
static inline double half_spacing(norma_dtype dtype, double value) {
    const format format = format_of(dtype);
    return spacing(&format, value) / 2;
}

/* The error of rounding to `dtype` a value that is itself within `error` of `value`. */
static inline double with_rounding(norma_dtype dtype, double value, double error) {
    return error + half_spacing(dtype, fabs(value) + error);
}

#endif
