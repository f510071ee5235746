/* A stand-in for librocblas: products of fp32 in host memory, and what it was asked last. */
#include "rocblas_stand_in.h"

#include <stddef.h>
#include <stdio.h>

#include "blas/rocblas_api.h"

#define EXPORT __attribute__((visibility("default")))

static rocblas_stand_in_state state;

EXPORT rocblas_stand_in_state *rocblas_stand_in_control(void) {
    return &state;
}

EXPORT int rocblas_create_handle(void **out_handle) {
    *out_handle = &state;
    state.live_handles++;
    return state.create_status;
}

EXPORT int rocblas_destroy_handle(void *handle) {
    (void)handle;
    state.live_handles--;
    return ROC_SUCCESS;
}

EXPORT int rocblas_get_version_string(char *text, size_t bytes) {
    return snprintf(text, bytes, "4.5.6.stand-in") < (int)bytes ? ROC_SUCCESS : ROC_MEMORY_ERROR;
}

EXPORT int rocblas_set_stream(void *handle, void *stream) {
    (void)handle;
    state.stream = stream;
    return ROC_SUCCESS;
}

EXPORT int rocblas_set_atomics_mode(void *handle, int mode) {
    (void)handle;
    state.atomics = mode;
    return ROC_SUCCESS;
}

EXPORT const char *rocblas_status_to_string(int status) {
    return status == ROC_MEMORY_ERROR ? "rocblas_status_memory_error" : "rocblas_status_stand_in";
}

EXPORT int rocblas_gemm_strided_batched_ex(void *handle, int a_operation, int b_operation, int32_t m, int32_t n, int32_t k,
                                           const void *alpha, const void *a, int a_dtype, int32_t a_ld, int64_t a_stride,
                                           const void *b, int b_dtype, int32_t b_ld, int64_t b_stride, const void *beta,
                                           const void *c, int c_dtype, int32_t c_ld, int64_t c_stride, void *d, int d_dtype,
                                           int32_t d_ld, int64_t d_stride, int32_t batch, int compute_dtype, int algorithm,
                                           int32_t solution, uint32_t flags) {
    (void)handle, (void)c_ld, (void)c_stride, (void)c_dtype, (void)solution;
    state.multiplications++;
    state.a_dtype = a_dtype;
    state.d_dtype = d_dtype;
    if (state.multiply_status) return state.multiply_status;
    if (b_operation != ROC_NONE || b_dtype != a_dtype || c != d || compute_dtype != ROC_F32 || algorithm != 0 || flags != 0)
        return ROC_NOT_IMPLEMENTED;
    if (a_dtype != ROC_F32) return ROC_SUCCESS;
    for (int32_t s = 0; s < batch; s++)
        for (int32_t column = 0; column < n; column++)
            for (int32_t row = 0; row < m; row++) {
                float sum = 0;
                for (int32_t i = 0; i < k; i++) {
                    const int64_t at = a_operation == ROC_TRANSPOSED ? i + (int64_t)row * a_ld : row + (int64_t)i * a_ld;
                    sum += ((const float *)a)[s * a_stride + at] *
                           ((const float *)b)[s * b_stride + i + (int64_t)column * b_ld];
                }
                float *const to = (float *)d + s * d_stride + row + (int64_t)column * d_ld;
                *to = *(const float *)alpha * sum + (*(const float *)beta == 0 ? 0 : *(const float *)beta * *to);
            }
    return ROC_SUCCESS;
}
