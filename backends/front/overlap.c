/* Overlap of strided views.
 *
 * One view: with its dimensions sorted by stride, no two elements meet if each stride reaches past everything inside it.
 *
 * Two views: let S be the larger of their outermost strides. If what each holds below S fits into S bytes, memory falls into
 * lanes of S bytes counted from a's start: a's index i lies in lane i, and b's index j begins in lane j + q at byte r, where
 * q * S + r is the distance of the starts. So index j can meet only a's index j + q, at distance r, or j + q + 1, at
 * distance r - S: the same question with one dimension less. A view without a dimension of stride S has one index there. */
#include "overlap.h"

#include <stddef.h>

typedef struct shape {
    int64_t element_bytes;
    int dims; /* of size 2 and more, by descending stride */
    int64_t size[NORMA_SPAN_DIMS];
    int64_t stride[NORMA_SPAN_DIMS];
} shape;

static shape shape_of(const norma_span *view) {
    shape sorted = {.element_bytes = view->element_bytes};
    for (int d = 0; d < NORMA_SPAN_DIMS; d++) {
        if (view->size[d] <= 1) continue;
        int at = sorted.dims++;
        for (; at > 0 && sorted.stride[at - 1] < view->stride[d]; at--) {
            sorted.size[at] = sorted.size[at - 1];
            sorted.stride[at] = sorted.stride[at - 1];
        }
        sorted.size[at] = view->size[d];
        sorted.stride[at] = view->stride[d];
    }
    return sorted;
}

/* Bytes from the first to one past the last. */
static int64_t extent(const shape *s) {
    int64_t bytes = s->element_bytes;
    for (int d = 0; d < s->dims; d++) bytes += (s->size[d] - 1) * s->stride[d];
    return bytes;
}

/* Takes the outermost dimension off if its stride is `stride`, and returns its size; otherwise 1. */
static int64_t peel(shape *s, int64_t stride) {
    if (s->dims == 0 || s->stride[0] != stride) return 1;
    const int64_t size = s->size[0];
    s->dims--;
    for (int d = 0; d < s->dims; d++) {
        s->size[d] = s->size[d + 1];
        s->stride[d] = s->stride[d + 1];
    }
    return size;
}

/* Does b, beginning `distance` bytes after a, share a byte with it? */
static bool shapes_meet(shape a, shape b, int64_t distance) {
    if (distance >= extent(&a) || -distance >= extent(&b)) return false;
    const int64_t stride_a = a.dims ? a.stride[0] : 0;
    const int64_t stride_b = b.dims ? b.stride[0] : 0;
    const int64_t lane = stride_a > stride_b ? stride_a : stride_b;
    if (lane == 0) return true;

    const int64_t size_a = peel(&a, lane);
    const int64_t size_b = peel(&b, lane);
    if (extent(&a) > lane || extent(&b) > lane) return true;
    int64_t q = distance / lane;
    int64_t r = distance % lane;
    if (r < 0) {
        r += lane;
        q--;
    }
    const bool same_lane = q < size_a && -q < size_b;
    const bool next_lane = q + 1 < size_a && -(q + 1) < size_b;
    return (same_lane && shapes_meet(a, b, r)) || (next_lane && shapes_meet(a, b, r - lane));
}

/* Bytes from the view's first to one past its last. */
static uint64_t span(const norma_span *view) {
    int64_t bytes = view->element_bytes;
    for (int d = 0; d < NORMA_SPAN_DIMS; d++) bytes += (view->size[d] - 1) * view->stride[d];
    return (uint64_t)bytes;
}

bool norma_span_self_overlaps(const norma_span *view) {
    const shape sorted = shape_of(view);
    int64_t inside = sorted.element_bytes;
    for (int d = sorted.dims - 1; d >= 0; d--) {
        if (sorted.stride[d] < inside) return true;
        inside += (sorted.size[d] - 1) * sorted.stride[d];
    }
    return false;
}

bool norma_spans_overlap(const norma_span *a, const norma_span *b) {
    if (a->space != b->space) return false;
    /* Most tensors lie apart; of the others, the distance fits an int64. */
    if (a->start < b->start ? b->start - a->start >= span(a) : a->start - b->start >= span(b)) return false;
    return shapes_meet(shape_of(a), shape_of(b), (int64_t)(b->start - a->start));
}

bool norma_spans_equal(const norma_span *a, const norma_span *b) {
    if (a->space != b->space || a->start != b->start || a->element_bytes != b->element_bytes) return false;
    for (int d = 0; d < NORMA_SPAN_DIMS; d++) {
        if (a->size[d] != b->size[d]) return false;
        if (a->size[d] > 1 && a->stride[d] != b->stride[d]) return false;
    }
    return true;
}
