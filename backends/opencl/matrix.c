/* NVIDIA's matrix units, by inline PTX that its OpenCL compiler takes: a kernel that uses them is built for that vendor
 * alone, and used only after it has computed a small problem to the bit. The problem has edges in every direction, and rows
 * of +-2, whose rstd is 1/2 exactly where eps is tiny. */
#include "matrix.h"

#include <stdlib.h>

#include "../dtype.h"

enum { M = 37, N = 70, K = 72, STRIDE = 72 };

typedef struct trial {
    float x[M * K]; /* all have room for any dtype */
    float weight[STRIDE * K];
    float gamma[K];
    float rstd[M];
    float out[M * STRIDE];
} trial;

static int x_at(int i, int k) {
    return (i * 7 + k * 5) % 3 ? 2 : -2;
}

static int weight_at(int k, int n) {
    return (k * 11 + n * 13) % 9 - 4;
}

static int gamma_at(int k) {
    return 1 + k % 3;
}

static void fill(trial *values, const norma_problem *problem, bool along_k) {
    const norma_dtype dtype = problem->x.layout.dtype, gamma = problem->gamma.layout.dtype;
    for (int k = 0; k < K; k++) {
        if (gamma) norma_store(values->gamma, gamma, k, (float)gamma_at(k));
        for (int i = 0; i < M; i++) norma_store(values->x, dtype, i * K + k, (float)x_at(i, k));
        for (int n = 0; n < N; n++)
            norma_store(values->weight, dtype, along_k ? n * K + k : k * STRIDE + n, (float)weight_at(k, n));
    }
}

static bool is_right(const trial *values, const norma_problem *problem) {
    const bool plain = norma_problem_is_plain(problem), gamma = norma_tensor_present(&problem->gamma);
    const norma_dtype dtype = problem->part[0].out.layout.dtype;
    for (int i = 0; i < M; i++)
        for (int n = 0; n < N; n++) {
            int sum = 0;
            for (int k = 0; k < K; k++) sum += x_at(i, k) * weight_at(k, n) * (gamma ? gamma_at(k) : 1);
            float wanted;
            norma_store(&wanted, dtype, 0, (plain ? 1.0F : 0.5F) * (float)sum);
            if (norma_load(values->out, dtype, i * STRIDE + n) != norma_load(&wanted, dtype, 0)) return false;
        }
    return true;
}

static norma_problem problem_of(const norma_problem *like, cl_mem memory, bool along_k) {
    const norma_dtype dtype = like->x.layout.dtype;
    norma_problem problem = {
        .op = like->op, .contract = like->contract, .eps = 1e-37F, .batch = 1, .m = M, .k = K, .desc_parts = 1, .parts = 1};
    if (norma_tensor_present(&like->gamma))
        problem.gamma =
            (norma_tensor){{memory, offsetof(trial, gamma)}, norma_layout_strided(like->gamma.layout.dtype, 0, 1)};
    if (norma_tensor_present(&like->rstd))
        problem.rstd = (norma_tensor){{memory, offsetof(trial, rstd)}, norma_layout_strided(NORMA_F32, 1, 1)};
    problem.x = (norma_tensor){{memory, offsetof(trial, x)}, norma_layout_strided(dtype, K, 1)};
    problem.part[0].n = N;
    problem.part[0].weight =
        (norma_tensor){{memory, offsetof(trial, weight)},
                       along_k ? norma_layout_transposed(dtype, K) : norma_layout_strided(dtype, STRIDE, 1)};
    problem.part[0].out =
        (norma_tensor){{memory, offsetof(trial, out)}, norma_layout_strided(like->part[0].out.layout.dtype, STRIDE, 1)};
    return problem;
}

static bool run(opencl_device *device, trial *values, const norma_problem *problem, opencl_matrix_launch launch,
                const void *user) {
    norma_device *base = &device->base;
    const norma_buffer memory = {problem->x.buffer.data, 0};
    return !norma_opencl_upload(base, memory, values, sizeof *values) && !launch(device, user, problem) &&
           !norma_opencl_download(base, values, memory, sizeof *values) && is_right(values, problem);
}

bool norma_opencl_matrix_works(opencl_device *device, const norma_problem *like, bool along_k, opencl_matrix_launch launch,
                               const void *user) {
    bool works = false;
    void *memory = NULL;
    trial *values = calloc(1, sizeof *values);
    if (values && !norma_opencl_alloc(&device->base, sizeof *values, &memory)) {
        const norma_problem problem = problem_of(like, memory, along_k);
        fill(values, &problem, along_k);
        works = run(device, values, &problem, launch, user);
        norma_opencl_release(&device->base, memory);
    }
    free(values);
    return works;
}

int norma_opencl_matrix_form(const norma_problem *problem) {
    if (norma_problem_is_plain(problem)) return FORM_PLAIN;
    if (problem->contract != NORMA_ROUND_DEFERRED) return FORM_EXACT;
    if (!norma_tensor_present(&problem->gamma)) return FORM_SQUARE;
    /* h * gamma may leave the range of fp16 where y does not. */
    return problem->x.layout.dtype == NORMA_BF16 ? FORM_SCALE : FORM_EXACT;
}

norma_dtype norma_opencl_matrix_dtype(const opencl_device *device, const norma_problem *problem) {
    const norma_dtype dtype = problem->x.layout.dtype;
    if (device->capability < 80 || device->no_matrix || (dtype != NORMA_F16 && dtype != NORMA_BF16)) return NORMA_NONE;
    for (int p = 0; p < problem->parts; p++)
        if (problem->part[p].weight.layout.dtype != dtype) return NORMA_NONE;
    return dtype;
}

norma_status norma_opencl_matrix_give_up(opencl_device *device, const char *name) {
    norma_log(&device->base.log, NORMA_LOG_WARN, "device %d of backend opencl: the matrix units are not used, because %s %s",
              device->base.index, name, "does not build or does not compute right");
    device->no_matrix = true;
    return norma_fail(NORMA_ERROR_UNSUPPORTED, "%s does not work on device %d", name, device->base.index);
}

static bool steps_by_chunks(const norma_tensor *tensor, int64_t stride) {
    const int64_t values = 16 / (int64_t)norma_dtype_bytes(tensor->layout.dtype);
    return (stride | tensor->layout.batch_stride) % values == 0 && tensor->buffer.offset_bytes % 16 == 0;
}

bool norma_opencl_matrix_suits(const norma_problem *problem, bool along_k) {
    if (problem->x.layout.col_stride != 1 || !steps_by_chunks(&problem->x, problem->x.layout.row_stride)) return false;
    for (int p = 0; p < problem->parts; p++) {
        const norma_layout *weight = &problem->part[p].weight.layout;
        if ((along_k ? weight->row_stride : weight->col_stride) != 1) return false;
        if (!steps_by_chunks(&problem->part[p].weight, along_k ? weight->col_stride : weight->row_stride)) return false;
    }
    return true;
}
