/* One product of rocBLAS per part, summed in fp32 without atomics, so that a result depends on the shape alone. It takes no
 * bias, which rocBLAS could only add to what is rounded already, and sizes of up to 2^31 - 1. The library is opened by
 * soname from the system's search path; a handle keeps its own workspace. */
#include "rocblas.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "matrices.h"
#include "rocblas_api.h"

static pthread_once_t load_once = PTHREAD_ONCE_INIT;
static roc_api api;
static bool loaded;

static bool resolve(void *library) {
    static const struct {
        const char *name;
        size_t offset;
    } members[] = {
#define MEMBER(member, name, result, arguments) {#name, offsetof(roc_api, member)},
        ROC_LIST(MEMBER)
#undef MEMBER
    };
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        void *const address = dlsym(library, members[i].name);
        if (!address) return false;
        memcpy((char *)&api + members[i].offset, &address, sizeof address);
    }
    return true;
}

static void load(void) {
    static const char *const sonames[] = {"librocblas.so.5", "librocblas.so.4", "librocblas.so.3", "librocblas.so.0"};
    for (size_t i = 0; !loaded && i < sizeof sonames / sizeof *sonames; i++) {
        void *const library = dlopen(sonames[i], RTLD_NOW | RTLD_LOCAL);
        loaded = library && resolve(library);
    }
}

static norma_status check(int status, const char *call) {
    if (status == ROC_SUCCESS) return NORMA_OK;
    const norma_status mapped = status == ROC_MEMORY_ERROR      ? NORMA_ERROR_OUT_OF_MEMORY
                                : status == ROC_NOT_IMPLEMENTED ? NORMA_ERROR_UNSUPPORTED
                                                                : NORMA_ERROR_DEVICE;
    return norma_fail(mapped, "%s failed with %s (%d)", call, api.status_name(status), status);
}

/* The device's handle. */
static norma_status open_handle(gpu_device *device) {
    if (device->rocblas) return NORMA_OK;
    pthread_once(&load_once, load);
    if (!loaded) return norma_fail(NORMA_ERROR_UNSUPPORTED, "librocblas was not found");
    void *handle;
    norma_status status = check(api.create(&handle), "rocblas_create_handle");
    if (status) return status;
    status = check(api.set_atomics(handle, ROC_ATOMICS_NOT_ALLOWED), "rocblas_set_atomics_mode");
    if (status)
        api.destroy(handle);
    else
        device->rocblas = handle;
    return status;
}

static void close_handle(gpu_device *device) {
    if (device->rocblas) api.destroy(device->rocblas);
    device->rocblas = NULL;
}

static const char *objection(const norma_problem *problem, const norma_part *part) {
    const char *why = norma_blas_objection(problem, part);
    if (why) return why;
    if (norma_tensor_present(&part->bias)) return "a bias";
    const norma_layout *weight = &part->weight.layout;
    const int64_t sizes[] = {problem->k,
                             part->n,
                             problem->x.layout.row_stride,
                             problem->x.layout.col_stride,
                             part->out.layout.row_stride,
                             weight->row_stride,
                             weight->col_stride};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i] > INT32_MAX) return "sizes or strides past 2^31";
    return NULL;
}

static norma_status prepare(gpu_device *device, norma_launch *launch) {
    const norma_problem *problem = launch->problem;
    if (!norma_problem_is_plain(problem)) return norma_fail(NORMA_ERROR_UNSUPPORTED, "rocBLAS computes plain products only");
    if (problem->flags & NORMA_BATCH_INVARIANT)
        return norma_fail(NORMA_ERROR_UNSUPPORTED, "rocBLAS's results depend on the number of rows");
    for (int p = 0; p < problem->parts; p++) {
        const char *why = objection(problem, &problem->part[p]);
        if (why) return norma_fail(NORMA_ERROR_UNSUPPORTED, "rocBLAS does not take %s", why);
    }
    launch->max_rows = INT32_MAX;
    return open_handle(device);
}

static int roc_dtype(norma_dtype dtype) {
    return dtype == NORMA_F16 ? ROC_F16 : dtype == NORMA_BF16 ? ROC_BF16 : ROC_F32;
}

/* out' = W' x' in column-major matrices: what lies row by row is its transpose there. */
static norma_status multiply(const gpu_device *device, const norma_problem *problem, const norma_part *part) {
    const norma_layout *x = &problem->x.layout, *weight = &part->weight.layout, *out = &part->out.layout;
    const bool join = norma_blas_batches_join(problem, part);
    const bool transposed = !norma_blas_rows_are_contiguous(weight, part->n);
    const int64_t m = join ? problem->batch * problem->m : problem->m, batch = join ? 1 : problem->batch;
    const int dtype = roc_dtype(x->dtype), out_dtype = roc_dtype(out->dtype);
    const int32_t out_ld = (int32_t)out->row_stride;
    const bool x_transposed = norma_blas_x_is_transposed(problem);
    const int32_t x_ld = (int32_t)(x_transposed ? x->col_stride : x->row_stride);
    const float one = 1.0f, kept = problem->accumulate ? 1.0f : 0.0f;
    void *const to = norma_gpu_view(&part->out).data;
    return check(
        api.multiply(device->rocblas, transposed ? ROC_TRANSPOSED : ROC_NONE, x_transposed ? ROC_TRANSPOSED : ROC_NONE,
                     (int32_t)part->n, (int32_t)m, (int32_t)problem->k, &one, norma_gpu_view(&part->weight).data, dtype,
                     (int32_t)(transposed ? weight->col_stride : weight->row_stride), 0, norma_gpu_view(&problem->x).data,
                     dtype, x_ld, join ? 0 : x->batch_stride, &kept, to, out_dtype, out_ld, join ? 0 : out->batch_stride, to,
                     out_dtype, out_ld, join ? 0 : out->batch_stride, (int32_t)batch, ROC_F32, ROC_ALGORITHM_STANDARD, 0, 0),
        "rocblas_gemm_strided_batched_ex");
}

static norma_status enqueue(gpu_device *device, const norma_launch *launch) {
    const norma_problem *problem = launch->problem;
    norma_status status = check(api.set_stream(device->rocblas, device->stream), "rocblas_set_stream");
    for (int p = 0; !status && p < problem->parts; p++)
        if (problem->part[p].n > 0) status = multiply(device, problem, &problem->part[p]);
    return status;
}

static void version(gpu_device *device, char *text, size_t text_bytes) {
    char number[64];
    if (open_handle(device) != NORMA_OK || api.version(number, sizeof number) != ROC_SUCCESS) return;
    const size_t used = strlen(text);
    snprintf(text + used, text_bytes - used, ", rocBLAS %s", number);
}

const gpu_operation norma_rocblas_linear = {
    .kernel = NORMA_KERNEL_LINEAR_BLAS,
    .prepare = prepare,
    .launch = enqueue,
    .close = close_handle,
    .version = version,
};
