/* Staging (stage.h): the contracts of norma.h as two factors and two roundings. */
#include "stage.h"

static simd_norm norm_of(const norma_problem *problem) {
    const norma_dtype h_dtype = norma_problem_h_dtype(problem);
    const bool exact = problem->contract != NORMA_ROUND_DEFERRED && !norma_problem_is_plain(problem);
    return (simd_norm){
        .inner = exact && problem->contract == NORMA_ROUND_TWICE ? h_dtype : NORMA_F32,
        /* A norm's own output is rounded once more, to its dtype, when it is stored. */
        .outer = exact && problem->op == NORMA_OP_RMSNORM_LINEAR ? h_dtype : NORMA_F32,
    };
}

norma_stage norma_stage_begin(const norma_cpu_launch *launch, float *room) {
    const norma_problem *problem = launch->problem;
    norma_stage stage = {.simd = launch->simd, .problem = problem, .norm = norm_of(problem)};
    if (norma_problem_is_plain(problem) || !norma_tensor_present(&problem->gamma)) return stage;
    const norma_tensor *gamma = &problem->gamma;
    if (problem->gamma_offset == 0 && norma_is_staged(&gamma->layout, problem->k)) {
        stage.gamma = norma_tensor_element(gamma, 0);
        return stage;
    }
    launch->simd->load(norma_tensor_element(gamma, 0), gamma->layout.dtype, gamma->layout.col_stride, problem->k, room);
    if (problem->gamma_offset != 0)
        for (int64_t k = 0; k < problem->k; k++) room[k] += problem->gamma_offset;
    stage.gamma = room;
    return stage;
}

norma_factors norma_stage_row(const norma_stage *stage, int64_t row, float *room, const float **out_h) {
    const norma_problem *problem = stage->problem;
    const float *h = *out_h = stage->simd->stage_row(problem, row, room);
    if (norma_problem_is_plain(problem)) return (norma_factors){1, 1};
    const float rstd = norma_rstd(problem, stage->simd->sum_squares(h, problem->k));
    if (norma_tensor_present(&problem->rstd)) *(float *)norma_tensor_at(&problem->rstd, problem->m, row, 0) = rstd;
    return problem->contract == NORMA_ROUND_DEFERRED ? (norma_factors){1, rstd} : (norma_factors){rstd, 1};
}

void norma_stage_columns(const norma_stage *stage, const float *h, norma_factors factors, int64_t begin, int64_t count,
                         float *y) {
    stage->simd->normalise(&stage->norm, stage->gamma ? stage->gamma + begin : NULL, h + begin, factors.before, count, y);
}

const float *norma_stage_bias(const simd_table *simd, const norma_part *part, int64_t col, int64_t cols, float *room) {
    if (!norma_tensor_present(&part->bias)) return NULL;
    const norma_layout *layout = &part->bias.layout;
    simd->load(norma_tensor_element(&part->bias, col * layout->col_stride), layout->dtype, layout->col_stride, cols, room);
    return room;
}

/* A product that is added to its output has no bias: the old values take its place. */
void norma_finish_row(const norma_stage *stage, const norma_part *part, int64_t row, int64_t col, int64_t cols, float after,
                      const float *bias, float *sums) {
    _Alignas(SIMD_ALIGN_BYTES) float old[SIMD_SLAB];
    const norma_layout *layout = &part->out.layout;
    char *out = norma_tensor_at(&part->out, stage->problem->m, row, col);
    const int64_t step = stage->problem->accumulate ? SIMD_SLAB : cols;
    for (int64_t begin = 0; begin < cols; begin += step) {
        const int64_t count = norma_tile_extent(begin, step, cols);
        char *to = out + begin * layout->col_stride * (int64_t)norma_dtype_bytes(layout->dtype);
        const float *added = bias;
        if (stage->problem->accumulate) {
            stage->simd->load(to, layout->dtype, layout->col_stride, count, old);
            added = old;
        }
        stage->simd->finish(sums + begin, after, added, count, to, layout->dtype, layout->col_stride);
    }
}
