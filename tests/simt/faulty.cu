/* Kernels that do what a GPU leaves undefined, each in one way, and two that are right: the emulator must tell them apart.
 */
#include "faulty.h"

#include "../../kernels_cuda/platform_sm90.cuh"
#include "../../kernels_cuda/platform_wgmma.cuh"

/* Right: each wave hands its sum to the block. */
NORMA_KERNEL(simt_right, simt_params, 64, 1) {
    float *const sums = (float *)shared_memory();
    const float sum = wave_sum<32>((float)(thread_id() + 1));
    if (wave_lane() == 0) sums[wave_id()] = sum;
    block_sync();
    params.out[thread_id()] = add_rn(sums[0], sums[1]);
}

NORMA_KERNEL(simt_missing_barrier, simt_params, 64, 1) {
    float *const values = (float *)shared_memory();
    values[thread_id()] = 1.0f;
    params.out[64 * block_id() + thread_id()] = values[63 - thread_id()];
}

NORMA_KERNEL(simt_early_return, simt_params, 64, 1) {
    if (thread_id() == 5) return;
    block_sync();
    params.out[thread_id()] = 1.0f;
}

NORMA_KERNEL(simt_split_wave, simt_params, 64, 1) {
    params.out[thread_id()] = thread_id() % 2 ? wave_xor(1.0f, 1) : wave_get(1.0f, 0);
}

NORMA_KERNEL(simt_half_shuffle, simt_params, 64, 1) {
    params.out[thread_id()] = thread_id() % 32 < 16 ? wave_xor(1.0f, 1) : 1.0f;
}

NORMA_KERNEL(simt_barrier_count, simt_params, 64, 1) {
    group_sync(1, thread_id() < 32 ? 64 : 32);
    params.out[thread_id()] = 1.0f;
}

NORMA_KERNEL(simt_past_shared, simt_params, 64, 1) {
    load_matrices((unsigned *)params.out, shared_address(shared_memory()) + 256 + 16 * (unsigned)wave_lane());
}

NORMA_KERNEL(simt_misaligned, simt_params, 64, 1) {
    load16((const unsigned char *)params.out + 4);
}

/* Reads its copy without waiting for it, and again after waiting. */
NORMA_KERNEL(simt_copy, simt_params, 64, 1) {
    const float *const to = (const float *)shared_memory() + 4 * thread_id();
    copy16_async_cut(shared_address(to), params.in, 12);
    copy_async_commit();
    params.out[3 * thread_id()] = to[2];
    copy_async_wait<0>();
    params.out[3 * thread_id() + 1] = to[2];
    params.out[3 * thread_id() + 2] = to[3];
}

/* out (16, 8) = x (16, 16) w (16, 8), bf16 in memory as (16, 16) and, for w, as (8, 16) or (16, 8). */
template <bool transposed>
NORMA_DEVICE void multiply(const simt_params &params) {
    unsigned char *const x = shared_memory(), *const w = x + 512;
    const int lane = wave_lane();
    for (int i = lane; i < 256; i += 32) ((bf16 *)x)[i] = from_float<bf16>(params.in[i]);
    for (int i = lane; i < 128; i += 32) ((bf16 *)w)[i] = from_float<bf16>(params.in[256 + i]);
    wave_sync();
    unsigned a[4], b[4];
    float c[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    load_matrices(a, shared_address(x) + (unsigned)(lane % 16 * 32 + lane / 16 * 16));
    if (transposed)
        load_matrices_transposed(b, shared_address(w) + (unsigned)(lane % 16 * 16));
    else
        load_matrices(b, shared_address(w) + (unsigned)(lane % 8 * 32 + lane / 8 % 2 * 16));
    mma_m16n8k16<bf16>(c, a, b);
    for (int i = 0; i < 4; i++) params.out[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = c[i];
}

NORMA_KERNEL(simt_multiply, simt_params, 32, 1) {
    multiply<false>(params);
}
NORMA_KERNEL(simt_multiply_transposed, simt_params, 32, 1) {
    multiply<true>(params);
}

/* The last two threads end a phase for which the others wait; with `missing` only one does. */
template <bool missing>
NORMA_DEVICE void end_phase(const simt_params &params) {
    float *const value = (float *)(shared_memory() + 8);
    const unsigned barrier = shared_address(shared_memory());
    if (thread_id() == 0) barrier_init(barrier, 2);
    block_sync();
    if (thread_id() == 63) *value = 3.0f;
    if (thread_id() >= (missing ? 63 : 62)) barrier_arrive(barrier);
    barrier_wait(barrier, 0);
    params.out[thread_id()] = *value;
}

NORMA_KERNEL(simt_phase, simt_params, 64, 1) {
    end_phase<false>(params);
}
NORMA_KERNEL(simt_endless_phase, simt_params, 64, 1) {
    end_phase<true>(params);
}

/* A warpgroup's x (64, 16) w (64, 16)^T: the first and the last value of each thread, before the wait and after it. */
NORMA_KERNEL(simt_warpgroup, simt_params, 128, 1) {
    unsigned char *const x = shared_memory(), *const w = x + 8192;
    for (int i = thread_id(); i < 64 * 16; i += 128) {
        const int place = i / 16 * 128 + i % 16 * 2, swizzled = place ^ (place >> 7 & 7) << 4;
        *(f16 *)(x + swizzled) = from_float<f16>(params.in[i]);
        *(f16 *)(w + swizzled) = from_float<f16>(params.in[64 * 16 + i]);
    }
    block_sync();
    float c[32];
    for (float &value : c) value = -1.0f;
    const unsigned long long a = wgmma_k_major(shared_address(x)), b = wgmma_k_major(shared_address(w));
    wgmma_begin();
    wgmma<f16, 64, 0>::start(c, a, b);
    wgmma<f16, 64, 0>::multiply(c, a, b);
    wgmma_commit();
    float *const out = params.out + 4 * thread_id();
    out[0] = c[0], out[1] = c[31];
    wgmma_wait<0>();
    out[2] = c[0], out[3] = c[31];
}
