/* Whether strided tensors share memory. Both questions are answered safely: "no" is always true, and "yes" may be said of
 * strides that nest in no order, but never of rows and columns in any order, of padded rows, or of slices of one array. */
#ifndef NORMA_FRONT_OVERLAP_H
#define NORMA_FRONT_OVERLAP_H

#include <stdbool.h>
#include <stdint.h>

#define NORMA_SPAN_DIMS 3

/* Elements of element_bytes at start + i * stride[0] + j * stride[1] + ..., with 0 <= i < size[0] and so on, all in bytes.
 * Sizes are at least 1, strides at least 0, and the whole spans less than 2^63 bytes. */
typedef struct norma_span {
    const void *space; /* the handle whose offsets `start` counts (cl_mem); NULL: start is an address */
    uint64_t start;
    int64_t element_bytes;
    int64_t size[NORMA_SPAN_DIMS];
    int64_t stride[NORMA_SPAN_DIMS];
} norma_span;

/* May two of the view's elements share a byte? */
bool norma_span_self_overlaps(const norma_span *view);

/* May an element of a and one of b share a byte? */
bool norma_spans_overlap(const norma_span *a, const norma_span *b);

/* Are they the same elements at the same places? */
bool norma_spans_equal(const norma_span *a, const norma_span *b);

#endif
