/* A stand-in for libhipblaslt: products in host memory. It shares no declaration with the library under test: the numbers
 * and layouts are written down anew from hipBLASLt's public header, so that each side checks the other's. Calls that give
 * something back do so even when they are made to fail. */
#include "hipblaslt_stand_in.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "dtype.h"

#define EXPORT __attribute__((visibility("default")))

/* hipblasStatus_t. */
enum { SUCCESS = 0, INVALID_VALUE = 3, NOT_SUPPORTED = 7 };

/* hipDataType, hipblasComputeType_t and hipblasOperation_t. */
enum { R_32F = 0, R_16F = 2, R_16BF = 14, COMPUTE_32F = 2, OP_N = 111, OP_T = 112 };

/* hipblasLtMatmulDescAttributes_t and hipblasLtEpilogue_t. */
enum { DESC_TRANSA = 0, DESC_TRANSB = 1, DESC_EPILOGUE = 2, DESC_BIAS_POINTER = 3, EPILOGUE_DEFAULT = 1, EPILOGUE_BIAS = 4 };

/* hipblasLtMatrixLayoutAttribute_t and hipblasLtMatmulPreferenceAttributes_t. */
enum { LAYOUT_BATCH_COUNT = 0, LAYOUT_BATCH_OFFSET = 1, LAYOUT_ROWS = 4, LAYOUT_COLS = 5, PREF_WORKSPACE = 1 };

typedef struct operation {
    int32_t a, b;
    uint32_t epilogue;
    const void *bias;
} operation;

typedef struct layout {
    int type;
    uint64_t rows, cols;
    int64_t ld, batch_stride;
    int32_t batch;
} layout;

typedef struct preference {
    uint64_t workspace_bytes;
} preference;

typedef struct algorithm {
    uint8_t data[16];
    size_t max_workspace_bytes;
} algorithm;

typedef struct heuristic_result {
    algorithm found;
    size_t workspace_bytes;
    int state;
    float waves;
    int reserved[4];
} heuristic_result;

enum { FOUND = 2 }; /* algorithms for whatever it takes */

static hipblaslt_stand_in_state state;

EXPORT hipblaslt_stand_in_state *hipblaslt_stand_in_control(void) {
    return &state;
}

/* What the call is told to answer. */
static int answer(const char *call) {
    if (++state.calls != state.fail_at) return SUCCESS;
    state.failed = call;
    return state.fail_status;
}

static int hand_out(const char *call, void **out, const void *value, size_t bytes) {
    const int status = answer(call);
    if (status) return status;
    *out = malloc(bytes);
    memcpy(*out, value, bytes);
    state.live++;
    return SUCCESS;
}

static int take_back(const char *call, void *object) {
    const int status = answer(call);
    if (!object) return INVALID_VALUE;
    free(object);
    state.live--;
    return status;
}

typedef struct attribute {
    int number;
    size_t bytes;
    void *field;
} attribute;

static int set(const char *call, const attribute *attributes, size_t count, int number, const void *value, size_t bytes) {
    const int status = answer(call);
    for (size_t i = 0; !status && i < count; i++) {
        if (attributes[i].number != number || attributes[i].bytes != bytes) continue;
        memcpy(attributes[i].field, value, bytes);
        return SUCCESS;
    }
    return status ? status : INVALID_VALUE;
}

EXPORT int hipblasLtCreate(void **out_handle) {
    return hand_out(__func__, out_handle, "", 1);
}

EXPORT int hipblasLtDestroy(void *handle) {
    return take_back(__func__, handle);
}

EXPORT int hipblasLtGetVersion(void *handle, int *out_version) {
    const int status = answer(__func__);
    if (!handle) return INVALID_VALUE;
    if (!status) *out_version = state.version ? state.version : 100000;
    return status;
}

EXPORT int hipblasLtMatmulDescCreate(void **out_operation, int compute, int scale_type) {
    if (compute != COMPUTE_32F || scale_type != R_32F) return NOT_SUPPORTED;
    return hand_out(__func__, out_operation, &(operation){OP_N, OP_N, EPILOGUE_DEFAULT, NULL}, sizeof(operation));
}

EXPORT int hipblasLtMatmulDescDestroy(void *object) {
    return take_back(__func__, object);
}

EXPORT int hipblasLtMatmulDescSetAttribute(void *object, int number, const void *value, size_t bytes) {
    operation *o = object;
    const attribute attributes[] = {{DESC_TRANSA, sizeof o->a, &o->a},
                                    {DESC_TRANSB, sizeof o->b, &o->b},
                                    {DESC_EPILOGUE, sizeof o->epilogue, &o->epilogue},
                                    {DESC_BIAS_POINTER, sizeof o->bias, &o->bias}};
    return set(__func__, attributes, sizeof attributes / sizeof *attributes, number, value, bytes);
}

static norma_dtype dtype_of(int type) {
    return type == R_16F ? NORMA_F16 : type == R_16BF ? NORMA_BF16 : type == R_32F ? NORMA_F32 : NORMA_NONE;
}

EXPORT int hipblasLtMatrixLayoutCreate(void **out_layout, int type, uint64_t rows, uint64_t cols, int64_t ld) {
    if (dtype_of(type) == NORMA_NONE || ld < (int64_t)rows) return INVALID_VALUE;
    return hand_out(__func__, out_layout, &(layout){type, rows, cols, ld, 0, 1}, sizeof(layout));
}

EXPORT int hipblasLtMatrixLayoutDestroy(void *object) {
    return take_back(__func__, object);
}

EXPORT int hipblasLtMatrixLayoutSetAttribute(void *object, int number, const void *value, size_t bytes) {
    layout *l = object;
    const attribute attributes[] = {{LAYOUT_BATCH_COUNT, sizeof l->batch, &l->batch},
                                    {LAYOUT_BATCH_OFFSET, sizeof l->batch_stride, &l->batch_stride},
                                    {LAYOUT_ROWS, sizeof l->rows, &l->rows},
                                    {LAYOUT_COLS, sizeof l->cols, &l->cols}};
    return set(__func__, attributes, sizeof attributes / sizeof *attributes, number, value, bytes);
}

EXPORT int hipblasLtMatmulPreferenceCreate(void **out_preference) {
    return hand_out(__func__, out_preference, &(preference){0}, sizeof(preference));
}

EXPORT int hipblasLtMatmulPreferenceDestroy(void *object) {
    return take_back(__func__, object);
}

EXPORT int hipblasLtMatmulPreferenceSetAttribute(void *object, int number, const void *value, size_t bytes) {
    preference *p = object;
    const attribute attributes[] = {{PREF_WORKSPACE, sizeof p->workspace_bytes, &p->workspace_bytes}};
    return set(__func__, attributes, sizeof attributes / sizeof *attributes, number, value, bytes);
}

EXPORT int hipblasLtMatmulAlgoGetHeuristic(void *handle, void *matmul, void *a, void *b, void *c, void *d, void *preferred,
                                           int wanted, heuristic_result *results, int *out_count) {
    state.searches++;
    const int status = answer(__func__);
    if (status) return status;
    *out_count = 0;
    if (!handle || !matmul || !a || c != d || ((operation *)matmul)->epilogue == 0) return INVALID_VALUE;
    if (state.finds_nothing || (state.refuses_batches && ((layout *)b)->batch > 1)) return SUCCESS; /* none, and no error */
    for (int i = 0; i < FOUND && i < wanted; i++) {
        if (state.workspace_bytes > ((preference *)preferred)->workspace_bytes) continue;
        results[(*out_count)++] =
            (heuristic_result){.found = {.data = {(uint8_t)i}}, .workspace_bytes = state.workspace_bytes};
    }
    return SUCCESS;
}

/* Element (row, col) of a column-major matrix, or of its transpose. */
static float value_at(const void *data, const layout *l, int32_t op, int64_t batch, uint64_t row, uint64_t col) {
    const int64_t at = op == OP_T ? (int64_t)col + (int64_t)row * l->ld : (int64_t)row + (int64_t)col * l->ld;
    return norma_load(data, dtype_of(l->type), batch * l->batch_stride + at);
}

EXPORT int hipblasLtMatmul(void *handle, void *matmul, const void *alpha, const void *a, void *a_layout, const void *b,
                           void *b_layout, const void *beta, const void *c, void *c_layout, void *d, void *d_layout,
                           const algorithm *chosen, void *workspace, size_t workspace_bytes, void *stream) {
    (void)stream;
    const int status = answer(__func__);
    if (status) return status;
    const operation *o = matmul;
    const layout *la = a_layout, *lb = b_layout, *ld = d_layout;
    const uint64_t depth = o->a == OP_T ? la->rows : la->cols;
    if (!handle || c != d || c_layout != d_layout || la->batch != ld->batch || lb->batch != ld->batch) return INVALID_VALUE;
    if (ld->rows != (o->a == OP_T ? la->cols : la->rows) || ld->cols != (o->b == OP_T ? lb->rows : lb->cols) ||
        depth != (o->b == OP_T ? lb->cols : lb->rows))
        return INVALID_VALUE;
    if (state.workspace_bytes > workspace_bytes || (state.workspace_bytes && !workspace)) return INVALID_VALUE;
    state.multiplications++;
    state.algorithm = chosen->data[0];
    state.batch = ld->batch;
    for (int32_t s = 0; s < ld->batch; s++)
        for (uint64_t col = 0; col < ld->cols; col++)
            for (uint64_t row = 0; row < ld->rows; row++) {
                float sum = 0;
                for (uint64_t i = 0; i < depth; i++)
                    sum += value_at(a, la, o->a, s, row, i) * value_at(b, lb, o->b, s, i, col);
                sum *= *(const float *)alpha;
                if (*(const float *)beta != 0) sum += *(const float *)beta * value_at(d, ld, OP_N, s, row, col);
                if (o->epilogue == EPILOGUE_BIAS) sum += norma_load(o->bias, dtype_of(ld->type), (int64_t)row);
                norma_store(d, dtype_of(ld->type), s * ld->batch_stride + (int64_t)row + (int64_t)col * ld->ld, sum);
            }
    return SUCCESS;
}
