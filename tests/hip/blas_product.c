/* The product, by plain loops in fp32. */
#include "blas_product.h"

#include <stdlib.h>

#include "../unit/expect.h"
#include "dtype.h"

enum { M = BLAS_PRODUCT_M, N = BLAS_PRODUCT_N, K = BLAS_PRODUCT_K };

blas_product blas_product_make(norma_context *context, blas_product_form form) {
    blas_product p = {.problem = {.op = NORMA_OP_LINEAR,
                                  .batch = form.batch,
                                  .m = M,
                                  .k = K,
                                  .parts = 1,
                                  .desc_parts = 1,
                                  .accumulate = form.accumulate}};
    p.problem.part[0].n = N;
    const bool columns = form.weight_columns;
    const int64_t out_stride = N + (form.out_padding ? form.out_padding : 1);
    const int64_t out_values = BLAS_PRODUCT_BATCH * (M + 1) * out_stride;
    const struct {
        norma_tensor *tensor;
        void **data;
        norma_dtype dtype;
        int64_t values, row_stride, col_stride, batch_stride;
    } tensors[] = {
        {&p.problem.x, &p.x, form.dtype, BLAS_PRODUCT_BATCH * (M + 1) * (K + 1), K + 1, 1, form.batch_rows * (K + 1)},
        {&p.problem.part[0].weight, &p.weight, form.dtype, (N + 1) * (K + 1), columns ? 1 : N + 1, columns ? K + 1 : 1, 0},
        {&p.problem.part[0].bias, &p.bias, form.bias ? form.out_dtype : NORMA_NONE, N, 0, 1, 0},
        {&p.problem.part[0].out, &p.out, form.out_dtype, out_values, out_stride, 1, form.batch_rows * out_stride},
    };
    for (size_t t = 0; t < sizeof tensors / sizeof *tensors; t++) {
        if (tensors[t].dtype == NORMA_NONE) continue;
        EXPECT_OK(norma_alloc(context, (size_t)tensors[t].values * norma_dtype_bytes(tensors[t].dtype), tensors[t].data));
        for (int64_t i = 0; i < tensors[t].values; i++)
            norma_store(*tensors[t].data, tensors[t].dtype, i, (float)((i * 7 + (int64_t)t) % 11 - 5));
        *tensors[t].tensor = (norma_tensor){
            .buffer.data = *tensors[t].data,
            .layout = {tensors[t].dtype, tensors[t].row_stride, tensors[t].col_stride, tensors[t].batch_stride},
        };
    }
    p.old = malloc((size_t)out_values * sizeof *p.old);
    assert_non_null(p.old);
    for (int64_t i = 0; i < out_values; i++) p.old[i] = norma_load(p.out, form.out_dtype, i);
    return p;
}

void blas_product_free(norma_context *context, blas_product *product) {
    void *const blocks[] = {product->x, product->weight, product->bias, product->out};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        if (blocks[i]) EXPECT_OK(norma_free(context, blocks[i]));
    free(product->old);
}

norma_status blas_product_run(norma_context *context, const norma_problem *problem) {
    norma_device *device = context->device;
    norma_launch launch = {.kernel = NORMA_KERNEL_LINEAR_BLAS, .problem = problem};
    norma_status status = device->backend->prepare(device, &launch);
    if (status) return status;
    void *workspace = NULL;
    if (launch.workspace_bytes) status = norma_alloc(context, launch.workspace_bytes, &workspace);
    launch.workspace.data = workspace;
    if (!status) status = device->backend->launch(device, &launch);
    device->backend->discard(device, &launch);
    if (workspace) norma_free(context, workspace);
    return status;
}

static float value_at(const norma_tensor *tensor, int64_t batch, int64_t row, int64_t col) {
    const norma_layout *layout = &tensor->layout;
    return norma_load(tensor->buffer.data, layout->dtype,
                      batch * layout->batch_stride + row * layout->row_stride + col * layout->col_stride);
}

void blas_product_expect_right(const blas_product *product) {
    const norma_problem *problem = &product->problem;
    const norma_part *part = &problem->part[0];
    const norma_layout *out = &part->out.layout;
    for (int64_t b = 0; b < problem->batch; b++)
        for (int64_t m = 0; m < M; m++)
            for (int64_t n = 0; n < N; n++) {
                float sum = norma_tensor_present(&part->bias) ? value_at(&part->bias, 0, 0, n) : 0;
                if (problem->accumulate) sum += product->old[b * out->batch_stride + m * out->row_stride + n];
                for (int64_t k = 0; k < K; k++) sum += value_at(&problem->x, b, m, k) * value_at(&part->weight, 0, k, n);
                assert_true(value_at(&part->out, b, m, n) == sum);
            }
}
