/* The host side of platform_sm90.cuh and platform_wgmma.cuh, as far as linear_split and rmsnorm_linear_narrow use them:
 * barriers that count bytes, tensor copies into shared memory, and products of a warpgroup. What a GPU does at some time,
 * before it must be done, is done here as late as that: a product when it is waited for. A copy is done at once; who does
 * not wait for it comes before it. */
#ifndef NORMA_TESTS_SIMT_SM90_H
#define NORMA_TESTS_SIMT_SM90_H

#include "simt.h"

struct norma_tensor_map;

namespace simt {

void phase_init(unsigned barrier, int arrivals);
void phase_expect(unsigned barrier, int bytes);
void phase_arrive(unsigned barrier);
void phase_wait(unsigned barrier, unsigned parity);

/* A box of a map that the stand-in driver encoded, in swizzled rows of 128 bytes. */
void tensor_load(unsigned to, const norma_tensor_map *map, int x, int y, unsigned barrier);

/* One product of this thread's part of m64n<width>k16, of operands whose normal numbers begin at 2^smallest. */
struct wgmma_step {
    float *c;
    int width;
    bool starts;
    unsigned long long a, b;
    float (*value)(unsigned short bits);
    int smallest;
};
void wgmma_issue(const wgmma_step &step);
void wgmma_commit();
void wgmma_wait(int pending);
void wgmma_run(const wgmma_step &step);

} // namespace simt

inline void barrier_init(unsigned barrier, int arrivals) {
    simt::phase_init(barrier, arrivals);
}
inline void barrier_init_done() {
}
inline void barrier_arrive(unsigned barrier) {
    simt::phase_arrive(barrier);
}
inline void barrier_arrive_expecting(unsigned barrier, int bytes) {
    simt::phase_expect(barrier, bytes);
    simt::phase_arrive(barrier);
}
inline void barrier_wait(unsigned barrier, unsigned parity) {
    simt::phase_wait(barrier, parity);
}

inline void tensor_prefetch(const norma_tensor_map *) {
}
inline void tensor_load(unsigned to, const norma_tensor_map *map, int x, int y, unsigned barrier) {
    simt::tensor_load(to, map, x, y, barrier);
}

/* A block is alone in its cluster. */
inline void barrier_wait_cluster(unsigned, unsigned) {
    simt::fail("a wait for another block of the cluster");
}
inline unsigned cluster_address(unsigned, int) {
    simt::fail("an address of another block of the cluster");
}
inline void cluster_send(unsigned, float, unsigned) {
    simt::fail("a value for another block of the cluster");
}
inline void cluster_send16(unsigned, vec16, unsigned) {
    simt::fail("values for another block of the cluster");
}
inline void cluster_arrive_at(unsigned) {
    simt::fail("an arrival at another block's barrier");
}

/* Ordinary writes are seen at once, by whomever. */
inline void shared_fence() {
}
inline float bits_float(unsigned bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}
inline unsigned transpose_matrix(unsigned word) {
    const unsigned char *const words = simt::exchange("transpose_matrix", &word, sizeof word);
    const int lane = simt::thread() % 32, row = lane / 4, column = lane % 4 * 2;
    unsigned turned = 0;
    for (int e = 0; e < 2; e++) {
        const unsigned there = simt::of_lane<unsigned>(words, (column + e) * 4 + row / 2);
        turned |= (row % 2 ? there >> 16 : there & 0xffffu) << 16 * e;
    }
    return turned;
}

template <int>
void registers_grow() {
}
template <int>
void registers_shrink() {
}

/* Addresses as they are, and of one layout alone. */
inline unsigned long long wgmma_k_major(unsigned address) {
    return address >> 4;
}
inline void wgmma_begin() {
}
inline void wgmma_commit() {
    simt::wgmma_commit();
}
template <int pending>
void wgmma_wait() {
    simt::wgmma_wait(pending);
}
template <int values>
void wgmma_clear(float (&c)[values]) {
    for (float &value : c) value = 0.0f;
}
template <int values>
void wgmma_pin(float (&)[values]) {
}

template <typename T, int width, int flipped>
struct wgmma {
    static_assert(flipped == 0, "K-major operands only");
    static float value(unsigned short bits) {
        return to_float(T{bits});
    }
    static void multiply(float (&c)[width / 2], unsigned long long a, unsigned long long b) {
        simt::wgmma_issue({c, width, false, a, b, value, smallest_exponent(T{})});
    }
    static void start(float (&c)[width / 2], unsigned long long a, unsigned long long b) {
        simt::wgmma_issue({c, width, true, a, b, value, smallest_exponent(T{})});
    }
};

#endif
