/* The host side of kernels_cuda/platform.cuh: kernels compile as C++17, and a block's threads run as fibers, one at a time,
 * each until it must wait for others. What needs a whole wave (shuffles, ldmatrix, mma) is exchanged through it and worked
 * out from PTX's lane layout. What a GPU leaves undefined is a reported error: threads of a wave at different places, a
 * barrier that not all reach, misaligned access, shared memory written out of bounds or read before it is written or
 * before its copy has been waited for (it holds NaNs until then). Blocks run one after another, with threads in rising and
 * falling order by turns, so that a missing barrier shows. */
#ifndef NORMA_TESTS_SIMT_H
#define NORMA_TESTS_SIMT_H

#include <cmath>
#include <cstdint>
#include <cstring>

#include "../../backends/dtype.h"
#include "simt_launch.h"

#define NORMA_PLATFORM_HOST  1
#define NORMA_WAVE           32
#define NORMA_DEVICE         inline
#define NORMA_DEVICE_SPECIAL inline
#define NORMA_SHARED         static
#define NORMA_UNROLL
#define NORMA_UNROLL4
#define NORMA_NO_UNROLL

#define NORMA_KERNEL(name, type, threads, blocks) SIMT_KERNEL(name, type, threads)
#define SIMT_KERNEL(name, type, threads)                                                                     \
    extern "C" void name(const type params);                                                                 \
    static const simt::registration registered_##name(                                                       \
        #name, [](const void *params) { name(*static_cast<const type *>(params)); }, threads, sizeof(type)); \
    extern "C" void name(const type params)

namespace simt {

/* A kernel that simt_find() finds. */
struct registration {
    registration(const char *name, void (*run)(const void *params), int threads, std::size_t params_bytes);
};

/* Of the running fiber. */
int thread();
int threads();
long long block(int axis);
long long blocks();
unsigned char *shared();

void barrier(int id, int expected);
void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
void require(bool condition, const char *what);

/* Gives `bytes` (at most 48) to the wave under the name `what` and returns what its 32 lanes gave, 48 bytes apart. */
enum { SLOT_BYTES = 48 };
const unsigned char *exchange(const char *what, const void *mine, std::size_t bytes);

template <typename T>
T of_lane(const unsigned char *slots, int lane) {
    T value;
    std::memcpy(&value, slots + lane * SLOT_BYTES, sizeof value);
    return value;
}

/* `bytes` at a shared address. */
unsigned char *shared_at(unsigned address, unsigned bytes, unsigned alignment);

/* Lets others run until one of them calls wake(). */
void sleep();
void wake();

void copy_async(unsigned to, const void *from, int bytes);
void copy_async_commit();
void copy_async_wait(int pending);

/* c of one lane in c += a b, from what mma_m16n8k16() exchanges, as the units that simt_set_units() names compute it; the
 * smallest normal number of the operands' dtype has the exponent `smallest`. */
void multiply(float c[4], const float *operands, int smallest, int lane);

/* The same of one value: c plus the sum of sixteen products. */
float multiply_add(float c, const float a[16], const float b[16], int smallest);

template <typename T>
T aligned(T pointer) {
    require(reinterpret_cast<std::uintptr_t>(pointer) % 16 == 0, "a 16-byte access is misaligned");
    return pointer;
}

} // namespace simt

inline int thread_id() {
    return simt::thread();
}
inline int block_threads() {
    return simt::threads();
}
inline long long block_id() {
    return simt::block(0);
}
inline long long block_id_y() {
    return simt::block(1);
}
inline long long grid_blocks() {
    return simt::blocks();
}

inline void block_sync() {
    simt::barrier(0, simt::threads());
}
inline void group_sync(int id, int threads) {
    simt::barrier(id, threads);
}
inline void wave_sync() {
    simt::exchange("wave_sync", "", 1);
}

template <typename T>
T wave_get(T value, int lane) {
    return simt::of_lane<T>(simt::exchange("wave_get", &value, sizeof value), lane % 32);
}
template <typename T>
T wave_xor(T value, int mask) {
    return simt::of_lane<T>(simt::exchange("wave_xor", &value, sizeof value), simt::thread() % 32 ^ mask);
}

inline void grid_wait() {
}
inline void grid_launch_dependents() {
}

/* A block is alone in its cluster. */
inline int cluster_rank() {
    return 0;
}
struct cluster_box {
    unsigned long long state;
};
inline void cluster_sync() {
    block_sync();
}
inline void cluster_arrive() {
}
inline void cluster_wait() {
}
inline float cluster_read(const float *shared, int) {
    return *shared;
}
inline void cluster_open(cluster_box *) {
}
inline void cluster_expect(cluster_box *, int) {
}
inline void cluster_post(cluster_box *, float *shared, int, float value) {
    *shared = value;
}
inline void cluster_collect(cluster_box *, int) {
    block_sync();
}
inline void cluster_copy(cluster_box *, void *shared, const void *from, int bytes) {
    __builtin_memcpy(simt::aligned(shared), simt::aligned(from), static_cast<unsigned long>(bytes));
}

/* Built without contraction. */
inline float mul_rn(float a, float b) {
    return a * b;
}
inline float add_rn(float a, float b) {
    return a + b;
}
inline float fma_rn(float a, float b, float c) {
    return std::fma(a, b, c);
}
inline float div_rn(float a, float b) {
    return a / b;
}
inline float sqrt_rn(float a) {
    return std::sqrt(a);
}
inline float rsqrt_rn(float a) {
    return (float)(1.0 / sqrt((double)a));
}
inline float rsqrt_near(float a) {
    return rsqrt_rn(a);
}

inline unsigned float_bits(float value) {
    return norma_f32_bits(value);
}
inline float float_from_bits(unsigned bits) {
    return norma_f32_from_bits(bits);
}
inline float to_float(f16 value) {
    return norma_f16_to_f32(value.bits);
}
inline float to_float(bf16 value) {
    return norma_bf16_to_f32(value.bits);
}
/* Of the dtype's normal numbers. */
inline int smallest_exponent(f16) {
    return -14;
}
inline int smallest_exponent(bf16) {
    return -126;
}
inline unsigned short f16_bits(float value) {
    return norma_f16_from_f32(value);
}
inline unsigned short bf16_bits(float value) {
    return norma_bf16_from_f32(value);
}

inline unsigned char *shared_memory() {
    return simt::shared();
}
inline unsigned shared_address(const void *pointer) {
    return static_cast<unsigned>(static_cast<const unsigned char *>(pointer) - simt::shared());
}

inline vec16 load16(const void *from) {
    return *static_cast<const vec16 *>(simt::aligned(from));
}
inline vec16 load16_once(const void *from) {
    return load16(from);
}
inline vec16 load16_constant(const void *from) {
    return load16(from);
}
inline vec16 load16_reused(const void *from) {
    return load16(from);
}
inline void store16(void *to, vec16 v) {
    *static_cast<vec16 *>(simt::aligned(to)) = v;
}
inline void store16_once(void *to, vec16 v) {
    store16(to, v);
}
inline void prefetch_line(const void *) {
}
inline void need(int) {
}
inline void renew(vec16 &) {
}

inline void copy16_async_cut(unsigned to, const void *from, int bytes) {
    simt::copy_async(to, from, bytes);
}
inline void copy16_async(unsigned to, const void *from, bool inside) {
    simt::copy_async(to, from, inside ? 16 : 0);
}
inline void copy_async_commit() {
    simt::copy_async_commit();
}
template <int pending>
void copy_async_wait() {
    simt::copy_async_wait(pending);
}

inline void load_matrices(unsigned word[4], unsigned address) {
    const unsigned char *const rows = simt::exchange("load_matrices", &address, sizeof address);
    const int lane = simt::thread() % 32;
    for (int i = 0; i < 4; i++)
        std::memcpy(&word[i], simt::shared_at(simt::of_lane<unsigned>(rows, 8 * i + lane / 4), 16, 16) + lane % 4 * 4, 4);
}

inline void load_matrices_transposed(unsigned word[4], unsigned address) {
    const unsigned char *const rows = simt::exchange("load_matrices_transposed", &address, sizeof address);
    const int lane = simt::thread() % 32;
    for (int i = 0; i < 4; i++) {
        std::uint16_t pair[2];
        for (int e = 0; e < 2; e++) {
            const unsigned row = simt::of_lane<unsigned>(rows, 8 * i + lane % 4 * 2 + e);
            std::memcpy(&pair[e], simt::shared_at(row, 16, 16) + lane / 4 * 2, 2);
        }
        word[i] = pair[0] | static_cast<unsigned>(pair[1]) << 16;
    }
}

/* Lanes exchange their operands as floats: of a, two for each of four words, then of b. */
template <typename T>
void mma_m16n8k16(float c[4], const unsigned a[4], const unsigned b[2]) {
    constexpr int operands = 12;
    static_assert(operands * sizeof(float) == simt::SLOT_BYTES, "a slot to a lane");
    float mine[operands];
    for (int i = 0; i < operands; i++) {
        const unsigned word = i < 8 ? a[i / 2] : b[(i - 8) / 2];
        mine[i] = to_float(T{static_cast<unsigned short>(word >> i % 2 * 16)});
    }
    simt::multiply(c, reinterpret_cast<const float *>(simt::exchange("mma", mine, sizeof mine)), smallest_exponent(T{}),
                   thread_id() % 32);
}

#endif
