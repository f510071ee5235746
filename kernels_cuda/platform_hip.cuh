/* The AMD side of platform.cuh: clang's -x hip -nogpuinc -nogpulib, __builtin_amdgcn_* only, no ROCm header. Waves have 64
 * lanes on gfx9 and 32 from gfx10 on. There is no m16n8k16 step here: kernels that multiply by it are replaced by those over
 * unit_hip.cuh. Copies to shared memory go through registers, at once. Sources: LLVM's AMDGPU usage manual. */
#ifndef NORMA_PLATFORM_HIP_CUH
#define NORMA_PLATFORM_HIP_CUH

#define __host__        __attribute__((host))
#define __device__      __attribute__((device))
#define __global__      __attribute__((global))
#define __shared__      __attribute__((shared))
#define __forceinline__ inline __attribute__((always_inline))

#define NORMA_PLATFORM_HIP 1
#if defined(__GFX9__)
#define NORMA_WAVE 64
#else
#define NORMA_WAVE 32
#endif
#define NORMA_DEVICE         __device__ __forceinline__
#define NORMA_DEVICE_SPECIAL __device__ __forceinline__
#define NORMA_SHARED         __shared__
#define NORMA_UNROLL         _Pragma("unroll")
#define NORMA_UNROLL4        _Pragma("unroll 4")
#define NORMA_NO_UNROLL      _Pragma("nounroll")

/* How many waves a SIMD, of which a unit has four, is to hold at least: those of up to two blocks, or two of small blocks,
 * whose waves do little each. */
#define NORMA_WAVES_PER_SIMD(threads, blocks) \
    ((threads) < 256 ? 2 : ((threads) * ((blocks) < 2 ? 1 : 2) + 4 * NORMA_WAVE - 1) / (4 * NORMA_WAVE))
#define NORMA_KERNEL(name, type, threads, blocks)                                                          \
    extern "C" __global__ __attribute__((amdgpu_flat_work_group_size(1, threads),                          \
                                         amdgpu_waves_per_eu(NORMA_WAVES_PER_SIMD(threads, blocks)))) void \
    name(const type params)

/* An address of global memory, which converts to any pointer: what is read through it is not taken for shared memory. */
#define NORMA_IN_GLOBAL __attribute__((address_space(1)))
struct global_address {
    NORMA_IN_GLOBAL void *at;

    template <typename T>
    NORMA_DEVICE operator T *() const {
        return (T *)(NORMA_IN_GLOBAL T *)at;
    }
    NORMA_DEVICE explicit operator bool() const {
        return at != nullptr;
    }
    NORMA_DEVICE explicit operator unsigned long long() const {
        return (unsigned long long)at;
    }
    NORMA_DEVICE bool operator==(const global_address &other) const {
        return at == other.at;
    }
    NORMA_DEVICE bool operator!=(decltype(nullptr)) const {
        return at != nullptr;
    }
};
#define NORMA_ADDRESS global_address

NORMA_DEVICE int thread_id() {
    return (int)__builtin_amdgcn_workitem_id_x();
}
NORMA_DEVICE int block_threads() {
    return (int)__builtin_amdgcn_workgroup_size_x();
}
NORMA_DEVICE long long block_id() {
    return __builtin_amdgcn_workgroup_id_x();
}
NORMA_DEVICE long long block_id_y() {
    return __builtin_amdgcn_workgroup_id_y();
}
NORMA_DEVICE long long grid_blocks() {
    return *(const unsigned __attribute__((address_space(4))) *)__builtin_amdgcn_implicitarg_ptr(); /* the first of them */
}

NORMA_DEVICE void block_sync() {
    __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup");
    __builtin_amdgcn_s_barrier();
    __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup");
}
NORMA_DEVICE void wave_sync() {
    __builtin_amdgcn_fence(__ATOMIC_RELEASE, "wavefront");
    __builtin_amdgcn_wave_barrier();
    __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "wavefront");
}
/* There are no barriers for a part of a block: only the whole block may ask for one. */
NORMA_DEVICE void group_sync(int, int) {
    block_sync();
}

template <typename T>
NORMA_DEVICE T wave_get(T value, int lane) {
    static_assert(sizeof(T) == 4, "four bytes a lane");
    return __builtin_bit_cast(T, __builtin_amdgcn_ds_bpermute(lane * 4, __builtin_bit_cast(int, value)));
}
/* The first lane's value, which the compiler then knows to be one for all. */
NORMA_DEVICE int wave_first(int value) {
    return __builtin_amdgcn_readfirstlane(value);
}
template <typename T>
NORMA_DEVICE T wave_xor(T value, int mask) {
    return wave_get(value, ((int)__builtin_amdgcn_workitem_id_x() % NORMA_WAVE) ^ mask);
}

NORMA_DEVICE void grid_wait() {
}
NORMA_DEVICE void grid_launch_dependents() {
}

/* There are no clusters: a block is alone. */
NORMA_DEVICE int cluster_rank() {
    return 0;
}
struct cluster_box {
    unsigned long long state;
};
NORMA_DEVICE void cluster_sync() {
    block_sync();
}
NORMA_DEVICE void cluster_arrive() {
}
NORMA_DEVICE void cluster_wait() {
}
NORMA_DEVICE float cluster_read(const float *shared, int) {
    return *shared;
}
NORMA_DEVICE void cluster_open(cluster_box *) {
}
NORMA_DEVICE void cluster_expect(cluster_box *, int) {
}
NORMA_DEVICE void cluster_post(cluster_box *, float *shared, int, float value) {
    *shared = value;
}
NORMA_DEVICE void cluster_collect(cluster_box *, int) {
    block_sync();
}
NORMA_DEVICE void cluster_copy(cluster_box *, void *shared, const void *from, int bytes) {
    for (int at = 0; at < bytes; at += 16) *(vec16 *)((char *)shared + at) = *(const vec16 *)((const char *)from + at);
}

NORMA_DEVICE void need(int value) {
    __asm__ volatile("" ::"s"(value));
}

NORMA_DEVICE void prefetch_line(const void *) {
}

NORMA_DEVICE void renew(vec16 &v) {
    __asm__ volatile("" : "+v"(v.word[0]), "+v"(v.word[1]), "+v"(v.word[2]), "+v"(v.word[3]));
}

/* Likewise for one value: what is made from it is not made ahead of a loop, and what makes it is not put off. */
template <typename T>
NORMA_DEVICE T renewed(T value) {
    __asm__ volatile("" : "+v"(value));
    return value;
}

/* The kernel's arguments, to be read anew from here on: scalar registers do not hold them all. */
template <typename T>
NORMA_DEVICE const T &arguments_anew() {
    auto at = __builtin_amdgcn_kernarg_segment_ptr();
    __asm__ volatile("" : "+s"(at));
    return *(const T *)at;
}

/* The compiler keeps the order of what stands before and after: it would rather have all loads at once than registers. */
NORMA_DEVICE void schedule_barrier() {
    __builtin_amdgcn_sched_barrier(0);
}

NORMA_DEVICE float mul_rn(float a, float b) {
#pragma clang fp contract(off)
    return a * b;
}
NORMA_DEVICE float add_rn(float a, float b) {
#pragma clang fp contract(off)
    return a + b;
}
NORMA_DEVICE float fma_rn(float a, float b, float c) {
    return __builtin_fmaf(a, b, c);
}
/* Rounded as IEEE 754 says by clang's default, -fhip-fp32-correctly-rounded-divide-sqrt. */
NORMA_DEVICE float div_rn(float a, float b) {
    return a / b;
}
NORMA_DEVICE float sqrt_rn(float a) {
    return __builtin_sqrtf(a);
}
/* Two steps of Newton's method take the hardware's 24 bits past the 53 of a double, and one rounding follows. */
NORMA_DEVICE float rsqrt_rn(float a) {
    const double root = __builtin_amdgcn_rsq((double)a);
    if (root == 0 || root == __builtin_inf()) return (float)root;
    double r = root;
    NORMA_UNROLL
    for (int step = 0; step < 2; step++) {
        const double error = __builtin_fma(-(double)a * r, r, 1.0);
        r = __builtin_fma(0.5 * r, error, r);
    }
    return (float)r;
}
NORMA_DEVICE float rsqrt_near(float a) {
    return rsqrt_rn(a);
}

NORMA_DEVICE unsigned float_bits(float value) {
    return __builtin_bit_cast(unsigned, value);
}
NORMA_DEVICE float float_from_bits(unsigned bits) {
    return __builtin_bit_cast(float, bits);
}

NORMA_DEVICE float to_float(f16 value) {
    return (float)__builtin_bit_cast(_Float16, value.bits);
}
NORMA_DEVICE float to_float(bf16 value) {
    return float_from_bits((unsigned)value.bits << 16);
}
NORMA_DEVICE unsigned short f16_bits(float value) {
    return __builtin_bit_cast(unsigned short, (_Float16)value);
}
/* Rounded to bf16 in the high half; the low half is of no use. */
NORMA_DEVICE unsigned bf16_rounded(float value) {
    const unsigned bits = float_bits(value);
    const unsigned rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
    return (bits & 0x7fffffffu) > 0x7f800000u ? bits | 0x400000u : rounded; /* a NaN stays one, and quiet */
}
NORMA_DEVICE unsigned short bf16_bits(float value) {
    return (unsigned short)(bf16_rounded(value) >> 16);
}

/* Two values rounded into one word, the first in the low half. */
NORMA_DEVICE unsigned pack_pair(f16, float low, float high) {
    return (unsigned)f16_bits(low) | (unsigned)f16_bits(high) << 16;
}
NORMA_DEVICE unsigned pack_pair(bf16, float low, float high) {
    return __builtin_amdgcn_perm(bf16_rounded(high), bf16_rounded(low), 0x07060302u);
}

extern __shared__ __attribute__((aligned(128))) unsigned char norma_shared_bytes[];
NORMA_DEVICE unsigned char *shared_memory() {
    return norma_shared_bytes;
}
NORMA_DEVICE unsigned shared_address(const void *pointer) {
    return (unsigned)((const unsigned char *)pointer - norma_shared_bytes);
}

NORMA_DEVICE vec16 load16(const void *from) {
    return *(const vec16 *)from;
}
/* Sixteen bytes of global memory at any address of a half: the hardware's vector loads ask for no more. */
typedef unsigned global_words __attribute__((ext_vector_type(4)));
typedef global_words global_words_anywhere __attribute__((aligned(2)));
NORMA_DEVICE vec16 load16_any(const void *from) {
    return __builtin_bit_cast(vec16, (global_words) * (NORMA_IN_GLOBAL const global_words_anywhere *)from);
}
NORMA_DEVICE vec16 load16_stream(const void *from) {
    return __builtin_bit_cast(vec16,
                              (global_words)__builtin_nontemporal_load((NORMA_IN_GLOBAL const global_words_anywhere *)from));
}
NORMA_DEVICE vec16 load16_once(const void *from) {
    return __builtin_bit_cast(vec16, __builtin_nontemporal_load((NORMA_IN_GLOBAL const global_words *)from));
}
NORMA_DEVICE vec16 load16_constant(const void *from) {
    return load16_once(from);
}
NORMA_DEVICE vec16 load16_reused(const void *from) {
    return __builtin_bit_cast(vec16, *(NORMA_IN_GLOBAL const global_words *)from);
}
NORMA_DEVICE void store16(void *to, vec16 v) {
    *(vec16 *)to = v;
}
NORMA_DEVICE void store16_once(void *to, vec16 v) {
    __builtin_nontemporal_store(__builtin_bit_cast(global_words, v), (NORMA_IN_GLOBAL global_words *)to);
}

NORMA_DEVICE void copy16_async_cut(unsigned to, const void *from, int bytes) {
    vec16 v = {{0, 0, 0, 0}};
    if (bytes == 16)
        v = load16_reused(from);
    else
        for (int i = 0; i < bytes / 2; i++) v.word[i / 2] |= (unsigned)((const unsigned short *)from)[i] << i % 2 * 16;
    *(vec16 *)(norma_shared_bytes + to) = v;
}
NORMA_DEVICE void copy16_async(unsigned to, const void *from, bool inside) {
    copy16_async_cut(to, from, inside ? 16 : 0);
}
NORMA_DEVICE void copy_async_commit() {
}
template <int pending>
NORMA_DEVICE void copy_async_wait() {
}

#endif
