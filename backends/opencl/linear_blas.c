/* The kernel linear_blas: an fp32 product by CLBlast, without a bias, for matrices that are contiguous in one direction.
 * CLBlast compiles for a device when it is first used, which is not in prepare(): it is the bench's peer, and no route of
 * this backend prefers it. */
#include "../blas/clblast.h"
#include "opencl.h"

typedef struct matrix {
    bool row_major;
    size_t ld;
} matrix;

static norma_status refuse(const char *why) {
    return norma_fail(NORMA_ERROR_UNSUPPORTED, "linear_blas %s", why);
}

static bool matrix_of(const norma_layout *layout, int64_t rows, int64_t cols, matrix *out_matrix) {
    if (layout->dtype != NORMA_F32) return false;
    *out_matrix = layout->col_stride == 1 ? (matrix){true, (size_t)(rows == 1 ? cols : layout->row_stride)}
                                          : (matrix){false, (size_t)(cols == 1 ? rows : layout->col_stride)};
    return out_matrix->row_major ? (int64_t)out_matrix->ld >= cols
                                 : layout->row_stride == 1 && (int64_t)out_matrix->ld >= rows;
}

static norma_status prepare(opencl_device *device, norma_launch *launch) {
    const norma_problem *problem = launch->problem;
    matrix ignored;
    (void)device;
    if (!norma_problem_is_plain(problem)) return refuse("computes a plain product");
    if (!norma_clblast_get()) return refuse("finds no CLBlast library on this machine");
    if (!matrix_of(&problem->x.layout, problem->m, problem->k, &ignored))
        return refuse("needs x in f32, contiguous in one direction");
    for (int p = 0; p < problem->parts; p++) {
        const norma_part *part = &problem->part[p];
        if (norma_tensor_present(&part->bias)) return refuse("adds no bias");
        if (!matrix_of(&part->weight.layout, problem->k, part->n, &ignored))
            return refuse("needs each weight in f32, contiguous in one direction");
        if (!matrix_of(&part->out.layout, problem->m, part->n, &ignored) || !ignored.row_major)
            return refuse("needs each out in f32, with contiguous rows");
    }
    return NORMA_OK;
}

static size_t offset_of(const norma_tensor *tensor, int64_t batch) {
    return tensor->buffer.offset_bytes / sizeof(float) + (size_t)(batch * tensor->layout.batch_stride);
}

static norma_status multiply(opencl_device *device, const norma_problem *problem, const norma_part *part, int64_t batch) {
    matrix a, b, c;
    if (!matrix_of(&problem->x.layout, problem->m, problem->k, &a) ||
        !matrix_of(&part->weight.layout, problem->k, part->n, &b) || !matrix_of(&part->out.layout, problem->m, part->n, &c))
        return refuse("cannot take this many rows");
    void *queue = device->queue, *event = NULL;
    const int result = norma_clblast_get()->sgemm(
        CLBLAST_ROW_MAJOR, a.row_major ? CLBLAST_NO_TRANS : CLBLAST_TRANS, b.row_major ? CLBLAST_NO_TRANS : CLBLAST_TRANS,
        (size_t)problem->m, (size_t)part->n, (size_t)problem->k, 1.0F, problem->x.buffer.data, offset_of(&problem->x, batch),
        a.ld, part->weight.buffer.data, offset_of(&part->weight, 0), b.ld, problem->accumulate ? 1.0F : 0.0F,
        part->out.buffer.data, offset_of(&part->out, batch), c.ld, &queue, norma_opencl_wants_event(device) ? &event : NULL);
    if (result) return norma_fail(NORMA_ERROR_DEVICE, "CLBlastSgemm failed with %d", result);
    if (event) norma_opencl_keep_event(device, event);
    return NORMA_OK;
}

static norma_status enqueue(opencl_device *device, const norma_launch *launch) {
    const norma_problem *problem = launch->problem;
    norma_status status = norma_opencl_keep_start(device);
    for (int p = 0; p < problem->parts && !status; p++)
        for (int64_t batch = 0; batch < problem->batch && !status; batch++)
            status = multiply(device, problem, &problem->part[p], batch);
    return status;
}

const opencl_operation norma_opencl_linear_blas = {
    .kernel = NORMA_KERNEL_LINEAR_BLAS,
    .prepare = prepare,
    .launch = enqueue,
};
