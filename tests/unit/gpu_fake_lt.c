/* The library's functions. Objects are counted, so that a test sees what is not given back. */
#include "gpu_fake_lt.h"

#include <stdlib.h>

#include "expect.h"
#include "gpu_fake_driver.h"

/* As the library lays out what it finds. */
typedef struct fake_candidate {
    uint64_t algorithm[CUBLASLT_ALGORITHM_BYTES / sizeof(uint64_t)];
    lt_found found;
} fake_candidate;

fake_lt_state fake_lt;

static size_t get_version(void) {
    return 130000;
}

static const char *status_name(int status) {
    return status == CU_LT_NOT_SUPPORTED ? "FAKE_NOT_SUPPORTED" : "FAKE_FAILURE";
}

static int hand_out(void **out, size_t bytes) {
    *out = calloc(1, bytes);
    assert_non_null(*out);
    fake_lt.live++;
    return LT_SUCCESS;
}

static int take_back(void *object) {
    assert_non_null(object);
    free(object);
    fake_lt.live--;
    return LT_SUCCESS;
}

static int create(void **out_handle) {
    return hand_out(out_handle, 1);
}

static int operation_create(void **out_operation, int compute, int scale_dtype) {
    assert_int_equal(compute, CU_LT_COMPUTE_F32);
    assert_int_equal(scale_dtype, CU_LT_F32);
    return hand_out(out_operation, sizeof(fake_lt_operation));
}

static int operation_set(void *object, int attribute, const void *value, size_t bytes) {
    fake_lt_operation *operation = object;
    void *const field = attribute == CU_LT_OPERATION_TRANSPOSE_A   ? (void *)&operation->transposed
                        : attribute == CU_LT_OPERATION_TRANSPOSE_B ? (void *)&operation->x_transposed
                        : attribute == CU_LT_OPERATION_EPILOGUE    ? (void *)&operation->epilogue
                        : attribute == CU_LT_OPERATION_BIAS        ? (void *)&operation->bias
                                                                   : NULL;
    assert_non_null(field);
    assert_int_equal(bytes, attribute == CU_LT_OPERATION_BIAS ? sizeof(void *) : sizeof(int32_t));
    memcpy(field, value, bytes);
    return LT_SUCCESS;
}

static int matrix_create(void **out_matrix, int dtype, uint64_t rows, uint64_t cols, int64_t ld) {
    hand_out(out_matrix, sizeof(fake_lt_matrix));
    *(fake_lt_matrix *)*out_matrix = (fake_lt_matrix){dtype, (int64_t)rows, (int64_t)cols, ld, 1, 0};
    assert_true(ld >= (int64_t)rows);
    return LT_SUCCESS;
}

static int matrix_set(void *object, int attribute, const void *value, size_t bytes) {
    fake_lt_matrix *matrix = object;
    void *const field = attribute == CU_LT_MATRIX_ROWS           ? (void *)&matrix->rows
                        : attribute == CU_LT_MATRIX_COLS         ? (void *)&matrix->cols
                        : attribute == CU_LT_MATRIX_BATCH        ? (void *)&matrix->batch
                        : attribute == CU_LT_MATRIX_BATCH_STRIDE ? (void *)&matrix->batch_stride
                                                                 : NULL;
    assert_non_null(field);
    assert_int_equal(bytes, attribute == CU_LT_MATRIX_BATCH ? sizeof(int32_t) : sizeof(int64_t));
    memcpy(field, value, bytes);
    return LT_SUCCESS;
}

static int search_create(void **out_search) {
    return hand_out(out_search, sizeof(fake_lt_search));
}

static int search_set(void *object, int attribute, const void *value, size_t bytes) {
    fake_lt_search *search = object;
    void *const field = attribute == CU_LT_SEARCH_WORKSPACE_BYTES ? (void *)&search->workspace_bytes
                        : attribute == CU_LT_SEARCH_REDUCTIONS
                            ? (void *)&search->reductions
                            : (void *)&search->alignment[attribute - CU_LT_SEARCH_ALIGNMENT_A];
    memcpy(field, value, bytes);
    return LT_SUCCESS;
}

static uint32_t element_bytes(int dtype) {
    return dtype == CU_LT_F32 ? 4 : 2;
}

/* An alignment that no address of a matrix can be short of is a mistake of the caller's, as it is to the real library. */
static int search(void *handle, void *operation, void *a, void *b, void *c, void *d, void *object, int wanted,
                  void *out_candidates, int *out_count) {
    (void)handle;
    assert_ptr_equal(c, d);
    fake_lt.searches++;
    fake_lt.last_search = *(fake_lt_search *)object;
    if (fake_lt.searches == 1) fake_lt.first_search = fake_lt.last_search;
    *out_count = 0;
    const fake_lt_matrix *const matrices[] = {a, b, c, d};
    const fake_lt_operation *const asked = operation;
    for (int i = 0; i < 4; i++)
        if (fake_lt.last_search.alignment[i] < element_bytes(matrices[i]->dtype)) return CU_LT_INVALID_VALUE;
    if (asked->epilogue && (uintptr_t)asked->bias % element_bytes(matrices[3]->dtype) != 0) return CU_LT_INVALID_VALUE;
    for (int i = 0; i < 4; i++)
        if (fake_lt.last_search.alignment[i] < fake_lt.least_alignment) return CU_LT_NOT_SUPPORTED;
    if (fake_lt.refuses_batches && matrices[1]->batch > 1) return CU_LT_NOT_SUPPORTED;
    for (int i = 0; i < fake_lt.candidates && *out_count < wanted; i++) {
        if (fake_lt.workspace_bytes[i] > fake_lt.last_search.workspace_bytes) continue;
        ((fake_candidate *)out_candidates)[(*out_count)++] = (fake_candidate){
            .algorithm = {(uint64_t)(FAKE_LT_FIRST + i)}, .found.workspace_bytes = fake_lt.workspace_bytes[i]};
    }
    return *out_count ? LT_SUCCESS : CU_LT_NOT_SUPPORTED;
}

static int check(void *handle, void *operation, void *a, void *b, void *c, void *d, const void *algorithm,
                 void *out_candidate) {
    (void)handle, (void)operation, (void)a, (void)c, (void)d;
    if (fake_lt.refuses_batches && ((const fake_lt_matrix *)b)->batch > 1) return CU_LT_NOT_SUPPORTED;
    const uint64_t index = *(const uint64_t *)algorithm - FAKE_LT_FIRST;
    ((fake_candidate *)out_candidate)->found = (lt_found){.workspace_bytes = fake_lt.workspace_bytes[index]};
    return fake_lt.refuses_other_shapes ? CU_LT_NOT_SUPPORTED : LT_SUCCESS;
}

static int multiply(void *handle, void *operation, const void *alpha, const void *a, void *a_matrix, const void *b,
                    void *b_matrix, const void *beta, const void *c, void *c_matrix, void *d, void *d_matrix,
                    const void *algorithm, void *workspace, size_t workspace_bytes, void *stream) {
    (void)handle, (void)workspace_bytes;
    assert_true(*(const float *)alpha == 1.0f);
    assert_ptr_equal(c, d);
    assert_ptr_equal(c_matrix, d_matrix);
    const int index = (int)*(const uint64_t *)algorithm - FAKE_LT_FIRST;
    if (fake_lt.multiply_status) return fake_lt.multiply_status;
    if (fake_lt.refuses[index]) return CU_LT_NOT_SUPPORTED;
    fake_lt.multiplications++;
    fake_lt.operation = *(fake_lt_operation *)operation;
    fake_lt.a = *(fake_lt_matrix *)a_matrix;
    fake_lt.b = *(fake_lt_matrix *)b_matrix;
    fake_lt.d = *(fake_lt_matrix *)d_matrix;
    fake_lt.old = *(const float *)beta;
    fake_lt.a_data = a;
    fake_lt.b_data = b;
    fake_lt.d_data = d;
    fake_lt.workspace = workspace;
    fake_lt.stream = stream;
    fake_lt.algorithm = (int)*(const uint64_t *)algorithm;
    fake_gpu.elapsed_ms = fake_lt.ms[index];
    return LT_SUCCESS;
}

const lt_api fake_lt_api = {
    .version = (void (*)(void))get_version,
    .status_name = (void (*)(void))status_name,
    .create = create,
    .destroy = take_back,
    .operation_create = operation_create,
    .operation_destroy = take_back,
    .operation_set = operation_set,
    .matrix_create = matrix_create,
    .matrix_destroy = take_back,
    .matrix_set = matrix_set,
    .search_create = search_create,
    .search_destroy = take_back,
    .search_set = search_set,
    .search = search,
    .check = check,
    .multiply = multiply,
};
