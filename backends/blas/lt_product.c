/* One product for cuBLASLt or hipBLASLt: its descriptions, its candidates and its launch. */
#include "lt_product.h"

#include <string.h>

/* Turns the library's status into one of ours, with a sentence that names the call. */
static norma_status check(gpu_device *device, int status, const char *call) {
    if (status == LT_SUCCESS) return NORMA_OK;
    const lt_session *session = device->lt;
    const lt_vendor *vendor = session->vendor;
    const int *numbers = vendor->numbers;
    const char *name = vendor->status_name(session->api, status);
    if (status == numbers[LT_ALLOC_FAILED])
        return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "%s%s failed with %s", vendor->prefix, call, name);
    if (status != numbers[LT_NOT_SUPPORTED] && status != numbers[LT_INVALID_VALUE] && status != numbers[LT_ARCH_MISMATCH]) {
        /* A device that has faulted shows here as an inner error or a failed execution: the driver knows better. */
        void *stream;
        norma_status fault = norma_gpu_own_stream(device, &stream);
        if (!fault) fault = GPU_CALL(device->driver, stream_sync, stream);
        if (fault == NORMA_ERROR_DEVICE_LOST) return fault;
        if (status != numbers[LT_INTERNAL_ERROR])
            return norma_fail(NORMA_ERROR_DEVICE, "%s%s failed with %s (%d)", vendor->prefix, call, name, status);
    }
    return norma_fail(NORMA_ERROR_UNSUPPORTED, "%s%s refuses this product with %s (%d)", vendor->prefix, call, name, status);
}

static norma_status set_matrix(gpu_device *device, void *matrix, lt_number attribute, const void *value, size_t bytes) {
    const lt_session *session = device->lt;
    return check(device, session->api->matrix_set(matrix, session->vendor->numbers[attribute], value, bytes),
                 "MatrixLayoutSetAttribute");
}

static norma_status set_operation(gpu_device *device, void *operation, lt_number attribute, const void *value,
                                  size_t bytes) {
    const lt_session *session = device->lt;
    return check(device, session->api->operation_set(operation, session->vendor->numbers[attribute], value, bytes),
                 "MatmulDescSetAttribute");
}

static norma_status create_matrix(gpu_device *device, int32_t dtype, int64_t rows, int64_t cols, int64_t ld,
                                  void **out_matrix) {
    const lt_session *session = device->lt;
    const int number = session->vendor->numbers[dtype == NORMA_F16 ? LT_F16 : dtype == NORMA_BF16 ? LT_BF16 : LT_F32];
    return check(device, session->api->matrix_create(out_matrix, number, (uint64_t)rows, (uint64_t)cols, ld),
                 "MatrixLayoutCreate");
}

static norma_status create_operation(gpu_device *device, const lt_shape *shape, void **out_operation) {
    const lt_session *session = device->lt;
    const int *numbers = session->vendor->numbers;
    norma_status status = check(
        device, session->api->operation_create(out_operation, numbers[LT_COMPUTE_F32], numbers[LT_F32]), "MatmulDescCreate");
    const int32_t transposed = numbers[LT_TRANSPOSED];
    if (!status && shape->weight_transposed)
        status = set_operation(device, *out_operation, LT_OPERATION_TRANSPOSE_A, &transposed, sizeof transposed);
    if (!status && shape->x_transposed)
        status = set_operation(device, *out_operation, LT_OPERATION_TRANSPOSE_B, &transposed, sizeof transposed);
    if (!status && shape->bias_alignment) {
        const uint32_t epilogue = (uint32_t)numbers[LT_EPILOGUE_BIAS];
        status = set_operation(device, *out_operation, LT_OPERATION_EPILOGUE, &epilogue, sizeof epilogue);
    }
    return status;
}

norma_status norma_lt_product_create(gpu_device *device, const lt_shape *shape, lt_product *out_product) {
    lt_product product = {.shape = *shape};
    norma_status status = create_operation(device, shape, &product.operation);
    if (!status && shape->weight_transposed)
        status = create_matrix(device, shape->dtype, shape->k, shape->n, shape->weight_ld, &product.weight);
    else if (!status)
        status = create_matrix(device, shape->dtype, shape->n, shape->k, shape->weight_ld, &product.weight);
    if (!status && shape->x_transposed)
        status = create_matrix(device, shape->dtype, shape->m, shape->k, shape->x_ld, &product.x);
    else if (!status)
        status = create_matrix(device, shape->dtype, shape->k, shape->m, shape->x_ld, &product.x);
    if (!status) status = create_matrix(device, shape->out_dtype, shape->n, shape->m, shape->out_ld, &product.out);
    if (!status) status = norma_lt_product_reshape(device, &product, shape);
    if (status)
        norma_lt_product_destroy(device, &product);
    else
        *out_product = product;
    return status;
}

void norma_lt_product_destroy(gpu_device *device, lt_product *product) {
    const lt_session *session = device->lt;
    if (product->operation) session->api->operation_destroy(product->operation);
    if (product->x) session->api->matrix_destroy(product->x);
    if (product->weight) session->api->matrix_destroy(product->weight);
    if (product->out) session->api->matrix_destroy(product->out);
    *product = (lt_product){0};
}

norma_status norma_lt_product_reshape(gpu_device *device, lt_product *product, const lt_shape *shape) {
    const uint64_t m = (uint64_t)shape->m, k = (uint64_t)shape->k;
    const int32_t batch = (int32_t)shape->batch;
    if (batch != shape->batch)
        return norma_fail(NORMA_ERROR_UNSUPPORTED, "%s takes no batch of %lld", shape->vendor->name,
                          (long long)shape->batch);
    const struct {
        void *matrix;
        lt_number attribute;
        const void *value;
        size_t bytes;
    } settings[] = {
        {product->x, shape->x_transposed ? LT_MATRIX_ROWS : LT_MATRIX_COLS, &m, sizeof m},
        {product->x, shape->x_transposed ? LT_MATRIX_COLS : LT_MATRIX_ROWS, &k, sizeof k},
        {product->weight, shape->weight_transposed ? LT_MATRIX_ROWS : LT_MATRIX_COLS, &k, sizeof k},
        {product->out, LT_MATRIX_COLS, &m, sizeof m},
        {product->x, LT_MATRIX_BATCH, &batch, sizeof batch},
        {product->weight, LT_MATRIX_BATCH, &batch, sizeof batch},
        {product->out, LT_MATRIX_BATCH, &batch, sizeof batch},
        {product->x, LT_MATRIX_BATCH_STRIDE, &shape->x_batch_stride, sizeof shape->x_batch_stride},
        {product->out, LT_MATRIX_BATCH_STRIDE, &shape->out_batch_stride, sizeof shape->out_batch_stride},
    };
    norma_status status = NORMA_OK;
    for (size_t i = 0; !status && i < sizeof settings / sizeof *settings; i++)
        status = set_matrix(device, settings[i].matrix, settings[i].attribute, settings[i].value, settings[i].bytes);
    /* The search reads the bias's alignment from its address. */
    const void *const address = (const void *)(uintptr_t)shape->bias_alignment;
    if (!status && address) status = set_operation(device, product->operation, LT_OPERATION_BIAS, &address, sizeof address);
    if (!status) product->shape = *shape;
    return status;
}

norma_status norma_lt_product_run(gpu_device *device, const lt_product *product, const lt_candidate *candidate,
                                  const lt_operands *operands, void *stream) {
    const lt_session *session = device->lt;
    const float one = 1, old = product->shape.accumulate ? 1 : 0;
    if (product->shape.bias_alignment) {
        const norma_status status =
            set_operation(device, product->operation, LT_OPERATION_BIAS, &operands->bias, sizeof operands->bias);
        if (status) return status;
    }
    return check(device,
                 session->api->multiply(session->handle, product->operation, &one, operands->weight, product->weight,
                                        operands->x, product->x, &old, operands->out, product->out, operands->out,
                                        product->out, candidate->algorithm, operands->workspace, operands->workspace_bytes,
                                        stream),
                 "Matmul");
}

static norma_status create_search(gpu_device *device, const lt_shape *shape, size_t workspace_bytes, void **out_search) {
    const lt_session *session = device->lt;
    const int *numbers = session->vendor->numbers;
    int status = session->api->search_create(out_search);
    if (status) return check(device, status, "MatmulPreferenceCreate");
    const uint64_t workspace = workspace_bytes;
    const uint32_t reductions = (uint32_t)numbers[LT_REDUCE_IN_COMPUTE_TYPE];
    const uint32_t x_alignment = (uint32_t)shape->x_alignment;
    const uint32_t weight_alignment = (uint32_t)shape->weight_alignment;
    const uint32_t out_alignment = (uint32_t)shape->out_alignment;
    const struct {
        lt_number attribute;
        const void *value;
        size_t bytes;
    } settings[] = {
        {LT_SEARCH_WORKSPACE_BYTES, &workspace, sizeof workspace},
        {LT_SEARCH_REDUCTIONS, &reductions, sizeof reductions},
        {LT_SEARCH_ALIGNMENT_A, &weight_alignment, sizeof weight_alignment},
        {LT_SEARCH_ALIGNMENT_B, &x_alignment, sizeof x_alignment},
        {LT_SEARCH_ALIGNMENT_C, &out_alignment, sizeof out_alignment},
        {LT_SEARCH_ALIGNMENT_D, &out_alignment, sizeof out_alignment},
    };
    for (size_t i = 0; !status && i < sizeof settings / sizeof *settings; i++) {
        const int attribute = numbers[settings[i].attribute];
        if (attribute != LT_ABSENT)
            status = session->api->search_set(*out_search, attribute, settings[i].value, settings[i].bytes);
    }
    return check(device, status, "MatmulPreferenceSetAttribute");
}

/* Room for what a search finds, in the vendor's layout. */
typedef struct found_room {
    uint64_t words[LT_MAX_CANDIDATES * (LT_MAX_ALGORITHM_BYTES + sizeof(lt_found)) / sizeof(uint64_t)];
} found_room;

/* Where the vendor's algorithm number `index` is, and what stands behind it. */
static const char *unpack(const lt_vendor *vendor, const found_room *room, int index, lt_found *out_found) {
    const char *const algorithm = (const char *)room->words + (size_t)index * (vendor->algorithm_bytes + sizeof *out_found);
    memcpy(out_found, algorithm + vendor->algorithm_bytes, sizeof *out_found);
    return algorithm;
}

norma_status norma_lt_product_candidates(gpu_device *device, const lt_product *product, size_t workspace_bytes, int wanted,
                                         lt_candidate *out_candidates, int *out_count) {
    const lt_session *session = device->lt;
    void *search = NULL;
    found_room room;
    int count = 0, usable = 0;
    norma_status status = create_search(device, &product->shape, workspace_bytes, &search);
    if (!status)
        status = check(device,
                       session->api->search(session->handle, product->operation, product->weight, product->x, product->out,
                                            product->out, search, wanted, &room, &count),
                       "MatmulAlgoGetHeuristic");
    if (search) session->api->search_destroy(search);
    if (status) return status;
    for (int i = 0; i < count; i++) {
        lt_found found;
        const char *const algorithm = unpack(session->vendor, &room, i, &found);
        if (found.status != LT_SUCCESS) continue;
        out_candidates[usable] = (lt_candidate){.workspace_bytes = found.workspace_bytes};
        memcpy(out_candidates[usable++].algorithm, algorithm, session->vendor->algorithm_bytes);
    }
    *out_count = usable;
    return usable ? NORMA_OK
                  : norma_fail(NORMA_ERROR_UNSUPPORTED, "%s has no algorithm for this product", session->vendor->name);
}

bool norma_lt_product_admits(const gpu_device *device, const lt_product *product, const lt_candidate *candidate,
                             size_t workspace_bytes) {
    const lt_session *session = device->lt;
    found_room room;
    lt_found checked;
    if (!session->api->check || session->api->check(session->handle, product->operation, product->weight, product->x,
                                                    product->out, product->out, candidate->algorithm, &room) != LT_SUCCESS)
        return false;
    unpack(session->vendor, &room, 0, &checked);
    return checked.workspace_bytes <= workspace_bytes;
}
