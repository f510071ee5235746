/* What sm_90 adds to platform_cuda.cuh: barriers in shared memory that count bytes (mbarrier), tensor copies between global
 * and shared memory (TMA), and registers that move from one warpgroup to another. Addresses of shared memory are those of
 * shared_address(). Source: the PTX ISA manual. */
#ifndef NORMA_PLATFORM_SM90_CUH
#define NORMA_PLATFORM_SM90_CUH

#include "platform.cuh"

#if defined(NORMA_SIMT)
#include "simt_sm90.h"
#else

/* ---- Barriers: 8 bytes of shared memory each ---- */

/* Each phase ends when `arrivals` have been counted and every expected byte has come. */
NORMA_DEVICE void barrier_init(unsigned barrier, int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}
/* After the last barrier_init() of a thread: other blocks and the copy engine see them. */
NORMA_DEVICE void barrier_init_done() {
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
NORMA_DEVICE void barrier_arrive(unsigned barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
NORMA_DEVICE void barrier_arrive_expecting(unsigned barrier, int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
/* Waits until the phase of this parity has ended; phases count from 0. */
NORMA_DEVICE void barrier_wait(unsigned barrier, unsigned parity) {
    unsigned done;
    do {
        asm volatile("{\n\t.reg .pred p;\n\tmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n\t"
                     "selp.u32 %0, 1, 0, p;\n\t}"
                     : "=r"(done)
                     : "r"(barrier), "r"(parity)
                     : "memory");
    } while (!done);
}

/* The same for what other blocks of the cluster send, as cluster_collect() does it. */
NORMA_DEVICE void barrier_wait_cluster(unsigned barrier, unsigned parity) {
    unsigned done;
    do {
        asm volatile("{\n\t.reg .pred p;\n\t" CLUSTER_WAIT "selp.u32 %0, 1, 0, p;\n\t}"
                     : "=r"(done)
                     : "r"(barrier), "r"(parity)
                     : "memory");
    } while (!done);
    asm volatile(CLUSTER_ACQUIRE ::: "memory");
}

/* ---- Tensor copies: one thread issues them ---- */

NORMA_DEVICE void tensor_prefetch(const norma_tensor_map *map) {
    asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}
/* The box at (x, y), x counting along the rows, to shared memory; its bytes are counted by the barrier. */
NORMA_DEVICE void tensor_load(unsigned to, const norma_tensor_map *map, int x, int y, unsigned barrier) {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(to),
        "l"(map), "r"(x), "r"(y), "r"(barrier)
        : "memory");
}
/* From shared memory; what lies outside the tensor is not written. */
NORMA_DEVICE void tensor_store(const norma_tensor_map *map, int x, int y, unsigned from) {
    asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%1, %2}], [%3];" ::"l"(map), "r"(x), "r"(y),
                 "r"(from)
                 : "memory");
}
NORMA_DEVICE void tensor_store_commit() {
    asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
/* Waits until all but the latest `pending` commits of this thread have read their shared memory. */
template <int pending>
NORMA_DEVICE void tensor_store_wait() {
    asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(pending) : "memory");
}
/* Between ordinary writes to shared memory and a copy, or product, that reads them. */
NORMA_DEVICE void shared_fence() {
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

/* Four 8x8 matrices of 16-bit values, as load_matrices(), the other way. */
NORMA_DEVICE void store_matrices(unsigned address, const unsigned word[4]) {
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(word[0]),
                 "r"(word[1]), "r"(word[2]), "r"(word[3])
                 : "memory");
}

/* An 8x8 matrix of 16-bit values, lane l with elements (l / 4, l % 4 * 2) and the next, turned: elements (l % 4 * 2, l / 4)
 * and the one below. */
NORMA_DEVICE unsigned transpose_matrix(unsigned word) {
    unsigned turned;
    asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(turned) : "r"(word));
    return turned;
}

/* ---- Clusters ---- */

/* An address of block `rank`'s shared memory. */
NORMA_DEVICE unsigned cluster_address(unsigned address, int rank) {
    unsigned there;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(rank));
    return there;
}
/* Sixteen bytes to a cluster_address(); its barrier there counts them. */
NORMA_DEVICE void cluster_send16(unsigned to, vec16 v, unsigned barrier) {
    asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [%0], {%1, %2, %3, %4}, [%5];" ::"r"(to),
                 "r"(v.word[0]), "r"(v.word[1]), "r"(v.word[2]), "r"(v.word[3]), "r"(barrier)
                 : "memory");
}
NORMA_DEVICE void cluster_send(unsigned to, float value, unsigned barrier) {
    asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.b32 [%0], %1, [%2];" ::"r"(to),
                 "r"(__float_as_uint(value)), "r"(barrier)
                 : "memory");
}
/* At a barrier whose cluster_address() this is. */
NORMA_DEVICE void cluster_arrive_at(unsigned barrier) {
    asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(barrier) : "memory");
}

/* ---- Warpgroups ---- */

template <int registers>
NORMA_DEVICE void registers_grow() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(registers));
}
template <int registers>
NORMA_DEVICE void registers_shrink() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(registers));
}
/* The other half of group_sync(): counts as having come, and does not wait. */
NORMA_DEVICE void group_arrive(int id, int threads) {
    asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

NORMA_DEVICE bool wave_all(bool value) {
    return __all_sync(0xffffffffu, value) != 0;
}
NORMA_DEVICE float bits_float(unsigned bits) {
    return __uint_as_float(bits);
}

/* ---- What blocks exchange through global memory ---- */

/* Writes before it are seen by whoever sees, and fences after, a write behind it. */
NORMA_DEVICE void device_fence() {
    __threadfence();
}
/* Between ordinary accesses to global memory and the copy engine's. */
NORMA_DEVICE void copies_fence() {
    asm volatile("fence.proxy.async.global;" ::: "memory");
}
NORMA_DEVICE unsigned long long load_word(const unsigned long long *from) {
    unsigned long long word;
    asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];" : "=l"(word) : "l"(from) : "memory");
    return word;
}
NORMA_DEVICE void store_word(unsigned long long *to, unsigned long long word) {
    asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(to), "l"(word) : "memory");
}
NORMA_DEVICE unsigned load_counter(const unsigned *from) {
    unsigned value;
    asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(from) : "memory");
    return value;
}
NORMA_DEVICE void store_counter(unsigned *to, unsigned value) {
    asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(to), "r"(value) : "memory");
}
/* The value before. */
NORMA_DEVICE unsigned add_counter(unsigned *to, unsigned value) {
    unsigned before;
    asm volatile("atom.add.acq_rel.gpu.global.u32 %0, [%1], %2;" : "=r"(before) : "l"(to), "r"(value) : "memory");
    return before;
}

#endif

#endif
