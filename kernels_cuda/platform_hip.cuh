/* The AMD side of platform.cuh: clang's -x hip -nogpuinc -nogpulib, __builtin_amdgcn_* only, no ROCm header. Waves have 64
 * lanes on gfx9 and 32 from gfx10 on. Where the hardware has no counterpart of an NVIDIA primitive, the same function is
 * made of shuffles: right everywhere, and the place to put a faster one. Sources: LLVM's AMDGPU usage manual. */
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
#define NORMA_GLOBAL         __device__ /* a variable in global memory, 0 when the code is loaded */
#define NORMA_UNROLL         _Pragma("unroll")
#define NORMA_UNROLL4        _Pragma("unroll 4")
#define NORMA_NO_UNROLL      _Pragma("nounroll")

#define NORMA_KERNEL(name, type, threads, blocks) \
    extern "C" __global__ __attribute__((amdgpu_flat_work_group_size(1, threads))) void name(const type params)

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
    return __builtin_amdgcn_grid_size_x() / __builtin_amdgcn_workgroup_size_x();
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

NORMA_DEVICE unsigned count_up(unsigned *counter, unsigned last) {
    return __builtin_amdgcn_atomic_inc32(counter, last, __ATOMIC_ACQ_REL, "agent");
}

NORMA_DEVICE void need(int value) {
    __asm__ volatile("" ::"s"(value));
}

NORMA_DEVICE void prefetch_line(const void *) {
}

NORMA_DEVICE void renew(vec16 &v) {
    __asm__ volatile("" : "+v"(v.word[0]), "+v"(v.word[1]), "+v"(v.word[2]), "+v"(v.word[3]));
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
NORMA_DEVICE float rsqrt_rn(float a) {
    return (float)(1.0 / __builtin_sqrt((double)a));
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
NORMA_DEVICE unsigned short bf16_bits(float value) {
    const unsigned bits = float_bits(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (unsigned short)((bits >> 16) | 0x40u); /* a quiet NaN */
    return (unsigned short)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
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
NORMA_DEVICE vec16 load16_once(const void *from) {
    typedef unsigned words __attribute__((ext_vector_type(4)));
    return __builtin_bit_cast(vec16, __builtin_nontemporal_load((const words *)from));
}
NORMA_DEVICE vec16 load16_constant(const void *from) {
    return load16_once(from);
}
NORMA_DEVICE vec16 load16_reused(const void *from) {
    return load16(from);
}
NORMA_DEVICE void store16(void *to, vec16 v) {
    *(vec16 *)to = v;
}
NORMA_DEVICE void store16_once(void *to, vec16 v) {
    typedef unsigned words __attribute__((ext_vector_type(4)));
    __builtin_nontemporal_store(__builtin_bit_cast(words, v), (words *)to);
}

/* No such copies that also fill with zeros: through registers, at once. */
NORMA_DEVICE void copy16_async_cut(unsigned to, const void *from, int bytes) {
    vec16 v = {{0, 0, 0, 0}};
    if (bytes == 16)
        v = *(const vec16 *)from;
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

NORMA_DEVICE void load_matrices(unsigned word[4], unsigned address) {
    const int lane = (int)__builtin_amdgcn_workitem_id_x() % NORMA_WAVE, group = lane / 32 * 32, l = lane % 32;
    NORMA_UNROLL
    for (int i = 0; i < 4; i++) {
        const unsigned row = wave_get(address, group + 8 * i + l / 4);
        word[i] = *(const unsigned *)(norma_shared_bytes + row + l % 4 * 4);
    }
}
NORMA_DEVICE void load_matrices_transposed(unsigned word[4], unsigned address) {
    const int lane = (int)__builtin_amdgcn_workitem_id_x() % NORMA_WAVE, group = lane / 32 * 32, l = lane % 32;
    NORMA_UNROLL
    for (int i = 0; i < 4; i++) {
        const unsigned low = wave_get(address, group + 8 * i + l % 4 * 2);
        const unsigned high = wave_get(address, group + 8 * i + l % 4 * 2 + 1);
        word[i] = *(const unsigned short *)(norma_shared_bytes + low + l / 4 * 2) |
                  (unsigned)*(const unsigned short *)(norma_shared_bytes + high + l / 4 * 2) << 16;
    }
}

/* The layout of platform_cuda.cuh, fed by shuffles. */
template <typename T>
NORMA_DEVICE void mma_m16n8k16(float c[4], const unsigned a[4], const unsigned b[2]) {
    const int lane = (int)__builtin_amdgcn_workitem_id_x() % NORMA_WAVE, group = lane / 32 * 32, l = lane % 32;
    NORMA_UNROLL
    for (int k = 0; k < 8; k++) {
        const int from = k % 4, half = k / 4;
        const unsigned rows[2] = {wave_get(a[2 * half], group + l / 4 * 4 + from),
                                  wave_get(a[2 * half + 1], group + l / 4 * 4 + from)};
        const unsigned cols[2] = {wave_get(b[half], group + l % 4 * 8 + from),
                                  wave_get(b[half], group + l % 4 * 8 + 4 + from)};
        NORMA_UNROLL
        for (int i = 0; i < 4; i++) {
            const unsigned x = rows[i / 2], w = cols[i % 2];
            c[i] = fma_rn(to_float(T{(unsigned short)x}), to_float(T{(unsigned short)w}), c[i]);
            c[i] = fma_rn(to_float(T{(unsigned short)(x >> 16)}), to_float(T{(unsigned short)(w >> 16)}), c[i]);
        }
    }
}

#endif
