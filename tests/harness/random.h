/* Random numbers for tests: counter-based, so that value `index` of a stream depends on the seed, the stream and the index
 * alone, never on the order of generation. The mixing function is splitmix64's (Steele, Lea, Flood 2014). */
#ifndef NORMA_TESTS_RANDOM_H
#define NORMA_TESTS_RANDOM_H

#include <math.h>
#include <stdint.h>

static inline uint64_t test_mix(uint64_t value) {
    value += UINT64_C(0x9e3779b97f4a7c15);
    value = (value ^ (value >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ (value >> 27)) * UINT64_C(0x94d049bb133111eb);
    return value ^ (value >> 31);
}

static inline uint64_t test_bits(uint64_t seed, uint64_t stream, uint64_t index) {
    return test_mix(test_mix(test_mix(seed) ^ stream) ^ index);
}

/* In [0, 1). */
static inline float test_uniform(uint64_t bits) {
    return (float)(bits >> 40) * 0x1p-24F;
}

/* Normal with mean 0 and deviation 1, by Box and Muller. */
static inline float test_normal(uint64_t bits) {
    const float radius = sqrtf(-2 * logf(1 - test_uniform(bits)));
    return radius * cosf(6.2831853F * test_uniform(bits << 24));
}

/* A sequence, for choices: each call gives the next value. */
typedef struct test_sequence {
    uint64_t seed;
    uint64_t index;
} test_sequence;

static inline uint64_t test_next(test_sequence *sequence) {
    return test_bits(sequence->seed, 0, sequence->index++);
}

/* From 0 to count - 1. */
static inline int test_pick(test_sequence *sequence, int count) {
    return (int)(test_next(sequence) % (uint64_t)count);
}

static inline int test_chance(test_sequence *sequence, double share) {
    return (double)test_uniform(test_next(sequence)) < share;
}

/* From 1 to `largest`, log-uniform: as many problems of 1 to 4 as of 64 to 256. */
static inline int64_t test_size(test_sequence *sequence, int64_t largest) {
    return (int64_t)exp(log((double)largest + 1) * (double)test_uniform(test_next(sequence)));
}

#endif
