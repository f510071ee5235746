/* The NVIDIA side of platform.cuh: sm_80 and newer, inline PTX, no CUDA library header. Sources: the PTX ISA manual. */
#ifndef NORMA_PLATFORM_CUDA_CUH
#define NORMA_PLATFORM_CUDA_CUH

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#error "kernels need sm_80 or newer"
#endif

#define NORMA_PLATFORM_CUDA  1
#define NORMA_WAVE           32
#define NORMA_DEVICE         __device__ __forceinline__
#define NORMA_DEVICE_SPECIAL __device__ __forceinline__
#define NORMA_SHARED         __shared__
#define NORMA_UNROLL         _Pragma("unroll")
#define NORMA_UNROLL4        _Pragma("unroll 4")
#define NORMA_NO_UNROLL      _Pragma("unroll 1")

/* The threads of a multiprocessor. Code for sm_80 also runs on sm_86 and sm_89, PTX on whatever comes. */
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define NORMA_UNIT_THREADS 2048
#else
#define NORMA_UNIT_THREADS 1536
#endif

/* Defines an extern "C" kernel that takes `params`; blocks of `threads` threads, at least `blocks` of them per unit, or as
 * many as it can have. */
#define NORMA_KERNEL(name, type, threads, blocks)                                                        \
    extern "C" __global__ void __launch_bounds__(                                                        \
        threads, (blocks) * (threads) <= NORMA_UNIT_THREADS ? (blocks) : NORMA_UNIT_THREADS / (threads)) \
        name(const __grid_constant__ type params)

NORMA_DEVICE int thread_id() {
    return (int)threadIdx.x;
}
NORMA_DEVICE int block_threads() {
    return (int)blockDim.x;
}
NORMA_DEVICE long long block_id() {
    return blockIdx.x;
}
NORMA_DEVICE long long block_id_y() {
    return blockIdx.y;
}
NORMA_DEVICE long long grid_blocks() {
    return gridDim.x;
}

NORMA_DEVICE void block_sync() {
    __syncthreads();
}
NORMA_DEVICE void wave_sync() {
    __syncwarp();
}
/* A barrier among `threads` threads of the block, whole waves, that name the same `id` (1 to 15). */
NORMA_DEVICE void group_sync(int id, int threads) {
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

template <typename T>
NORMA_DEVICE T wave_xor(T value, int mask) {
    return __shfl_xor_sync(0xffffffffu, value, mask);
}
template <typename T>
NORMA_DEVICE T wave_get(T value, int lane) {
    return __shfl_sync(0xffffffffu, value, lane);
}

/* Programmatic dependent launch: wait until the work ahead has finished and its writes are visible; let the next launch
 * begin. Without such a launch, and before sm_90, both do nothing. */
NORMA_DEVICE void grid_wait() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
NORMA_DEVICE void grid_launch_dependents() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/* Blocks that share work as a cluster: one before sm_90. A block has a box in shared memory for what the others post: it
 * opens the box before a cluster_sync(), and each time it expects floats and waits until all are there, by turns of parity 0
 * and 1. Unlike a barrier of the cluster, this does not wait for stores to global memory. */
struct cluster_box {
    unsigned long long state;
};
NORMA_DEVICE int cluster_rank() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    unsigned rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return (int)rank;
#else
    return 0;
#endif
}
NORMA_DEVICE void cluster_sync() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("barrier.cluster.arrive.aligned;\n\tbarrier.cluster.wait.aligned;" ::: "memory");
#else
    __syncthreads();
#endif
}
/* The two halves of a cluster_sync() that orders nothing in memory. */
NORMA_DEVICE void cluster_arrive() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("barrier.cluster.arrive.relaxed;" ::: "memory");
#endif
}
NORMA_DEVICE void cluster_wait() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("barrier.cluster.wait;" ::: "memory");
#endif
}
/* What block `rank` has at the same shared address. */
NORMA_DEVICE float cluster_read(const float *shared, int rank) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    float value;
    asm volatile("{\n\t.reg .u32 at;\n\tmapa.shared::cluster.u32 at, %1, %2;\n\tld.shared::cluster.f32 %0, [at];\n\t}"
                 : "=f"(value)
                 : "r"((unsigned)__cvta_generic_to_shared(shared)), "r"(rank)
                 : "memory");
    return value;
#else
    (void)rank;
    return *shared;
#endif
}
NORMA_DEVICE void cluster_open(cluster_box *box) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;\n\tfence.mbarrier_init.release.cluster;" ::"r"(
                     (unsigned)__cvta_generic_to_shared(box))
                 : "memory");
#else
    (void)box;
#endif
}
NORMA_DEVICE void cluster_expect(cluster_box *box, int floats) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"((unsigned)__cvta_generic_to_shared(box)),
                 "r"(floats * 4)
                 : "memory");
#else
    (void)box;
    (void)floats;
#endif
}
/* Posts `value` to the same shared address in block `rank`. */
NORMA_DEVICE void cluster_post(cluster_box *box, float *shared, int rank, float value) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("{\n\t.reg .u32 to, remote;\n\tmapa.shared::cluster.u32 to, %0, %2;\n\t"
                 "mapa.shared::cluster.u32 remote, %1, %2;\n\t"
                 "st.async.shared::cluster.mbarrier::complete_tx::bytes.b32 [to], %3, [remote];\n\t}" ::"r"(
                     (unsigned)__cvta_generic_to_shared(shared)),
                 "r"((unsigned)__cvta_generic_to_shared(box)), "r"(rank), "r"(__float_as_uint(value))
                 : "memory");
#else
    (void)box;
    (void)rank;
    *shared = value;
#endif
}
/* What other blocks of a cluster post is acquired within the cluster, where a wait by itself acquires within the block. A
 * wait with that scope would empty the first-level cache of global memory; with the fence, which is for shared memory alone,
 * the instructions stay the same. Compilers before 12.8 do not know it. */
#if __CUDACC_VER_MAJOR__ * 100 + __CUDACC_VER_MINOR__ >= 1208
#define CLUSTER_WAIT    "mbarrier.try_wait.parity.relaxed.cluster.shared::cta.b64 p, [%1], %2;\n\t"
#define CLUSTER_ACQUIRE "fence.acquire.sync_restrict::shared::cluster.cluster;"
#else
#define CLUSTER_WAIT    "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n\t"
#define CLUSTER_ACQUIRE ""
#endif
NORMA_DEVICE void cluster_collect(cluster_box *box, int parity) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    unsigned done = 0;
    while (!done)
        asm volatile("{\n\t.reg .pred p;\n\t" CLUSTER_WAIT "selp.u32 %0, 1, 0, p;\n\t}"
                     : "=r"(done)
                     : "r"((unsigned)__cvta_generic_to_shared(box)), "r"(parity)
                     : "memory");
    asm volatile(CLUSTER_ACQUIRE ::: "memory");
#else
    (void)box;
    (void)parity;
    __syncthreads();
#endif
}

/* One thread copies: `bytes`, a multiple of 16, from global to this block's shared memory, both aligned to 16. The box,
 * which expects them, collects them as it does what is posted. */
NORMA_DEVICE void cluster_copy(cluster_box *box, void *shared, const void *from, int bytes) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                     (unsigned)__cvta_generic_to_shared(shared)),
                 "l"(from), "r"(bytes), "r"((unsigned)__cvta_generic_to_shared(box))
                 : "memory");
#else
    (void)box;
    NORMA_NO_UNROLL
    for (int at = 0; at < bytes; at += 16) *(vec16 *)((char *)shared + at) = *(const vec16 *)((const char *)from + at);
#endif
}

/* The compiler takes `v` as new from here on: what was computed from it before cannot be kept in registers for later. */
NORMA_DEVICE void renew(vec16 &v) {
    asm volatile("" : "+r"(v.word[0]), "+r"(v.word[1]), "+r"(v.word[2]), "+r"(v.word[3]));
}

/* Has `value` computed here. */
NORMA_DEVICE void need(int value) {
    asm volatile("" ::"r"(value));
}

NORMA_DEVICE float mul_rn(float a, float b) {
    return __fmul_rn(a, b);
}
NORMA_DEVICE float add_rn(float a, float b) {
    return __fadd_rn(a, b);
}
NORMA_DEVICE float fma_rn(float a, float b, float c) {
    return __fmaf_rn(a, b, c);
}
NORMA_DEVICE float div_rn(float a, float b) {
    return __fdiv_rn(a, b);
}
NORMA_DEVICE float sqrt_rn(float a) {
    return __fsqrt_rn(a);
}
NORMA_DEVICE float rsqrt_rn(float a) {
    return __frsqrt_rn(a);
}

/* Within two units in the last place. */
NORMA_DEVICE float rsqrt_near(float a) {
    float result;
    asm("rsqrt.approx.f32 %0, %1;" : "=f"(result) : "f"(a));
    return result;
}

NORMA_DEVICE unsigned float_bits(float value) {
    return __float_as_uint(value);
}
NORMA_DEVICE float float_from_bits(unsigned bits) {
    return __uint_as_float(bits);
}

NORMA_DEVICE float to_float(f16 value) {
    float result;
    asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value.bits));
    return result;
}
NORMA_DEVICE float to_float(bf16 value) {
    return __uint_as_float((unsigned)value.bits << 16);
}
NORMA_DEVICE unsigned short f16_bits(float value) {
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}
NORMA_DEVICE unsigned short bf16_bits(float value) {
    unsigned pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(0.0f), "f"(value));
    return (unsigned short)pair;
}

/* Two values rounded into one word, the first in the low half. */
NORMA_DEVICE unsigned pack_pair(f16, float low, float high) {
    unsigned pair;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}
NORMA_DEVICE unsigned pack_pair(bf16, float low, float high) {
    unsigned pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

/* Two products in one word, each rounded once. */
template <typename T>
NORMA_DEVICE unsigned mul_pairs(unsigned a, unsigned b);
template <>
NORMA_DEVICE_SPECIAL unsigned mul_pairs<f16>(unsigned a, unsigned b) {
    unsigned c;
    asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(c) : "r"(a), "r"(b));
    return c;
}
template <>
NORMA_DEVICE_SPECIAL unsigned mul_pairs<bf16>(unsigned a, unsigned b) {
    unsigned c;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(c) : "r"(a), "r"(b), "r"(0x80008000u)); /* plus -0 changes nothing */
    return c;
}

/* a b + c in each half, rounded once. */
template <typename T>
NORMA_DEVICE unsigned fma_pairs(unsigned a, unsigned b, unsigned c);
template <>
NORMA_DEVICE_SPECIAL unsigned fma_pairs<f16>(unsigned a, unsigned b, unsigned c) {
    unsigned d;
    asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
    return d;
}
template <>
NORMA_DEVICE_SPECIAL unsigned fma_pairs<bf16>(unsigned a, unsigned b, unsigned c) {
    unsigned d;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
    return d;
}

/* The start of dynamic shared memory, aligned to 128 bytes. */
extern __shared__ __align__(128) unsigned char norma_shared_bytes[];
NORMA_DEVICE unsigned char *shared_memory() {
    return norma_shared_bytes;
}
/* An address within shared memory for the functions below. */
NORMA_DEVICE unsigned shared_address(const void *pointer) {
    return (unsigned)__cvta_generic_to_shared(pointer);
}

/* Sixteen bytes from a 16-byte aligned address: cached as usual; once only (not kept in L1); and once only from memory that
 * nothing writes while the kernel runs. The last two bring whole 128-byte lines into L2. */
NORMA_DEVICE vec16 load16(const void *from) {
    return *(const vec16 *)from;
}
NORMA_DEVICE vec16 load16_once(const void *from) {
    vec16 v;
    asm volatile("ld.global.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.word[0]), "=r"(v.word[1]), "=r"(v.word[2]), "=r"(v.word[3])
                 : "l"(from)
                 : "memory");
    return v;
}
NORMA_DEVICE vec16 load16_constant(const void *from) {
    vec16 v;
    asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.word[0]), "=r"(v.word[1]), "=r"(v.word[2]), "=r"(v.word[3])
                 : "l"(from));
    return v;
}
/* From memory that nothing writes while the kernel runs and that other blocks read, too. Not moved past a barrier. */
NORMA_DEVICE vec16 load16_reused(const void *from) {
    vec16 v;
    asm volatile("ld.global.nc.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.word[0]), "=r"(v.word[1]), "=r"(v.word[2]), "=r"(v.word[3])
                 : "l"(from));
    return v;
}
NORMA_DEVICE void store16(void *to, vec16 v) {
    *(vec16 *)to = v;
}
/* Written once and not read again soon. */
NORMA_DEVICE void store16_once(void *to, vec16 v) {
    asm volatile("st.global.cs.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(v.word[0]), "r"(v.word[1]), "r"(v.word[2]),
                 "r"(v.word[3])
                 : "memory");
}

/* Brings a line to the second-level cache. */
NORMA_DEVICE void prefetch_line(const void *at) {
    asm volatile("prefetch.global.L2 [%0];" ::"l"(at));
}

/* Sixteen bytes from global to shared memory without passing registers, of which the first `bytes` (0 to 16) are read and
 * the rest are zeros. The data is there after a wait for the commit that follows. */
NORMA_DEVICE void copy16_async_cut(unsigned to, const void *from, int bytes) {
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}
NORMA_DEVICE void copy16_async(unsigned to, const void *from, bool inside) {
    copy16_async_cut(to, from, inside ? 16 : 0);
}
NORMA_DEVICE void copy_async_commit() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}
/* Waits until at most `pending` of this thread's commits are unfinished. */
template <int pending>
NORMA_DEVICE void copy_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

/* Four 8x8 matrices of 16-bit values: lane 8i + r gives the address of row r of matrix i (16 bytes, aligned); lane l gets
 * elements (l / 4, l % 4 * 2) and the next in word i, or with `transposed` elements (l % 4 * 2, l / 4) and the one below. */
NORMA_DEVICE void load_matrices(unsigned word[4], unsigned address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(word[0]), "=r"(word[1]), "=r"(word[2]), "=r"(word[3])
                 : "r"(address)
                 : "memory");
}
NORMA_DEVICE void load_matrices_transposed(unsigned word[4], unsigned address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(word[0]), "=r"(word[1]), "=r"(word[2]), "=r"(word[3])
                 : "r"(address)
                 : "memory");
}

/* c += a b for a 16x16, b 16x8, fp32 c, by lane l with g = l / 4 and t = l % 4 * 2:
 *     a[0] = (g, t..t+1)  a[1] = (g+8, t..)  a[2] = (g, t+8..)  a[3] = (g+8, t+8..)      row of x, k
 *     b[0] = (t..t+1, g)  b[1] = (t+8.., g)                                              k, column of W
 *     c[0], c[1] = (g, t), (g, t+1)          c[2], c[3] = (g+8, t), (g+8, t+1) */
template <typename T>
NORMA_DEVICE void mma_m16n8k16(float c[4], const unsigned a[4], const unsigned b[2]);
template <>
NORMA_DEVICE_SPECIAL void mma_m16n8k16<f16>(float c[4], const unsigned a[4], const unsigned b[2]) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
template <>
NORMA_DEVICE_SPECIAL void mma_m16n8k16<bf16>(float c[4], const unsigned a[4], const unsigned b[2]) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

#endif
