/* The steps of backward.h. */
#include "backward.h"

#include "../dtype.h"

#define FORWARD_FLAGS (NORMA_WEIGHTS_STATIC | NORMA_BATCH_INVARIANT | NORMA_TIME_ROUTES)

typedef enum step_kind {
    NORMALISE,
    WEIGHT_GRADIENT,
    BIAS_GRADIENT,
    ROW_GRADIENT,
    NORM_GRADIENT,
    EMPTY_DGAMMA,
    EMPTY_DWEIGHT,
    EMPTY_DBIAS
} step_kind;

typedef struct step {
    step_kind kind;
    int part;
} step;

typedef struct step_list {
    int count;
    step steps[NORMA_MAX_BACKWARD_STEPS];
} step_list;

static void add(step_list *list, step_kind kind, int part) {
    list->steps[list->count++] = (step){kind, part};
}

static bool is_zeroed(const norma_problem *problem, const norma_tensor *sum, uint64_t accumulates) {
    return norma_tensor_present(sum) && !(problem->flags & accumulates);
}

static step_list list_empty_sums(const norma_problem *problem) {
    step_list list = {.count = 0};
    if (is_zeroed(problem, &problem->dgamma, NORMA_ACCUMULATE_DGAMMA)) add(&list, EMPTY_DGAMMA, 0);
    for (int p = 0; p < problem->parts; p++) {
        const norma_part *part = &problem->part[p];
        if (is_zeroed(problem, &part->dweight, NORMA_ACCUMULATE_DWEIGHT)) add(&list, EMPTY_DWEIGHT, p);
        if (is_zeroed(problem, &part->dbias, NORMA_ACCUMULATE_DBIAS)) add(&list, EMPTY_DBIAS, p);
    }
    return list;
}

static step_list list_steps(const norma_problem *problem) {
    if (problem->batch * problem->m == 0) return list_empty_sums(problem);
    step_list list = {.count = 0};
    bool weights = false;
    for (int p = 0; p < problem->parts; p++) weights = weights || norma_tensor_present(&problem->part[p].dweight);
    if (weights) add(&list, NORMALISE, 0);
    for (int p = 0; p < problem->parts; p++)
        if (norma_tensor_present(&problem->part[p].dweight)) add(&list, WEIGHT_GRADIENT, p);
    for (int p = 0; p < problem->parts; p++)
        if (norma_tensor_present(&problem->part[p].dbias)) add(&list, BIAS_GRADIENT, p);
    if (!norma_tensor_present(&problem->dx) && !norma_tensor_present(&problem->dgamma)) return list;
    for (int p = 0; p < problem->parts; p++) add(&list, ROW_GRADIENT, p);
    add(&list, NORM_GRADIENT, 0);
    return list;
}

static bool room_is_dx(const norma_problem *problem) {
    return problem->dx.layout.dtype == problem->x.layout.dtype;
}

static norma_tensor room_of(const norma_problem *problem, norma_buffer room) {
    if (room_is_dx(problem)) return problem->dx;
    norma_tensor tensor = {.buffer = room};
    tensor.layout.dtype = problem->x.layout.dtype;
    tensor.layout.row_stride = problem->k;
    tensor.layout.col_stride = 1;
    tensor.layout.batch_stride = problem->batch > 1 ? problem->m * problem->k : 0;
    return tensor;
}

static norma_tensor transposed(const norma_tensor *tensor) {
    norma_tensor turned = *tensor;
    turned.layout.row_stride = tensor->layout.col_stride;
    turned.layout.col_stride = tensor->layout.row_stride;
    turned.layout.batch_stride = 0;
    return turned;
}

static norma_tensor batch_of(const norma_tensor *tensor, int64_t batch) {
    norma_tensor one = *tensor;
    one.buffer.offset_bytes += (size_t)(batch * one.layout.batch_stride) * norma_dtype_bytes(one.layout.dtype);
    one.layout.batch_stride = 0;
    return one;
}

/* The sizes and flags that every step has; no tensors. */
static norma_problem blank(const norma_problem *problem, norma_op op) {
    return (norma_problem){
        .op = op,
        .contract = problem->contract,
        .flags = problem->flags & FORWARD_FLAGS,
        .eps = problem->eps,
        .gamma_offset = problem->gamma_offset,
        .opaque_buffers = problem->opaque_buffers,
        .batch = problem->batch,
        .m = problem->m,
        .k = problem->k,
    };
}

/* A sum over rows depends on their number, whatever was promised of each. */
static void sum_over_rows(norma_problem *step) {
    step->flags &= ~NORMA_BATCH_INVARIANT;
}

static void normalise(const norma_problem *problem, norma_tensor room, norma_problem *out) {
    *out = blank(problem, NORMA_OP_RMSNORM);
    out->x = problem->x;
    out->gamma = problem->gamma;
    out->out = room;
}

/* (K x M) (M x n), of one batch; turned to (n x M) (M x K) where dweight is stored (n, K), so that the rows of a product's
 * output are contiguous. */
static void weight_gradient(const norma_problem *problem, const norma_part *part, int64_t batch, norma_tensor room,
                            norma_problem *out) {
    *out = blank(problem, NORMA_OP_PRODUCT);
    sum_over_rows(out);
    const norma_tensor y = batch_of(&room, batch), dout = batch_of(&part->dout, batch);
    const bool turned = part->dweight.layout.row_stride < part->dweight.layout.col_stride;
    out->batch = 1;
    out->m = turned ? part->n : problem->k;
    out->k = problem->m;
    out->x = transposed(turned ? &dout : &y);
    out->desc_parts = out->parts = 1;
    out->part[0] = (norma_part){.n = turned ? problem->k : part->n,
                                .weight = turned ? y : dout,
                                .out = turned ? transposed(&part->dweight) : part->dweight};
    out->accumulate = (problem->flags & NORMA_ACCUMULATE_DWEIGHT) || batch > 0;
}

static void bias_gradient(const norma_problem *problem, const norma_part *part, norma_problem *out) {
    *out = blank(problem, NORMA_OP_COLUMN_SUMS);
    sum_over_rows(out);
    out->k = part->n;
    out->x = part->dout;
    out->out = part->dbias;
    out->accumulate = (problem->flags & NORMA_ACCUMULATE_DBIAS) != 0;
}

/* (M x n) (n x K). */
static void row_gradient(const norma_problem *problem, int p, norma_tensor room, norma_problem *out) {
    const norma_part *part = &problem->part[p];
    *out = blank(problem, NORMA_OP_PRODUCT);
    out->k = part->n;
    out->x = part->dout;
    out->desc_parts = out->parts = 1;
    out->part[0] = (norma_part){.n = problem->k, .weight = transposed(&part->weight), .out = room};
    out->accumulate = p > 0;
}

static void norm_gradient(const norma_problem *problem, norma_tensor room, norma_problem *out) {
    *out = blank(problem, NORMA_OP_RMSNORM_BACKWARD);
    out->x = problem->x;
    out->rstd = problem->rstd;
    out->gamma = problem->gamma;
    if (problem->parts > 0) out->dout = room;
    out->dresidual_out = problem->dresidual_out;
    out->dx = problem->dx;
    out->dgamma = problem->dgamma;
    out->accumulate = (problem->flags & NORMA_ACCUMULATE_DGAMMA) != 0;
}

/* Elements of a matrix as runs at one stride. */
typedef struct run_list {
    int64_t count, apart, length, stride;
} run_list;

/* Whether `count` runs of `length` elements at `stride`, `apart` from one to the next, are one. */
static bool is_one_run(int64_t apart, int64_t length, int64_t stride) {
    int64_t end;
    return !__builtin_mul_overflow(length, stride, &end) && apart == end;
}

static run_list runs_of(const norma_layout *layout, int64_t rows, int64_t cols) {
    const int64_t down = layout->row_stride, across = layout->col_stride;
    if (is_one_run(down, cols, across)) return (run_list){1, 0, rows * cols, across};
    if (is_one_run(across, rows, down)) return (run_list){1, 0, rows * cols, down};
    return rows < cols ? (run_list){rows, down, cols, across} : (run_list){cols, across, rows, down};
}

static run_list vector_run(const norma_tensor *vector, int64_t length) {
    return (run_list){1, 0, length, vector->layout.col_stride};
}

static run_list dweight_runs(const norma_problem *problem, const norma_part *part) {
    return runs_of(&part->dweight.layout, problem->k, part->n);
}

/* Run `index` of `sum` as the column sums of no rows: of no batches of one, which keeps m a divisor. */
static void empty_sum(const norma_problem *problem, const norma_tensor *sum, run_list runs, int64_t index,
                      norma_problem *out) {
    *out = blank(problem, NORMA_OP_COLUMN_SUMS);
    sum_over_rows(out);
    out->batch = 0;
    out->m = 1;
    out->k = runs.length;
    out->out = *sum;
    out->out.buffer.offset_bytes += (size_t)(index * runs.apart) * norma_dtype_bytes(sum->layout.dtype);
    out->out.layout.row_stride = 0;
    out->out.layout.col_stride = runs.stride;
    /* Nothing of it is read; fp32 is what the lines of sums of other steps have. */
    out->x = out->out;
    out->x.layout.dtype = NORMA_F32;
}

int norma_backward_step_count(const norma_problem *problem) {
    return list_steps(problem).count;
}

int64_t norma_backward_step_passes(const norma_problem *problem, int step) {
    const step_list list = list_steps(problem);
    if (list.steps[step].kind == WEIGHT_GRADIENT) return problem->batch;
    if (list.steps[step].kind == EMPTY_DWEIGHT) return dweight_runs(problem, &problem->part[list.steps[step].part]).count;
    return 1;
}

void norma_backward_step(const norma_problem *problem, int step, int64_t pass, norma_buffer room,
                         norma_problem *out_problem) {
    const step_list list = list_steps(problem);
    const int p = list.steps[step].part;
    const norma_part *part = &problem->part[p];
    const norma_tensor matrix = room_of(problem, room);
    switch (list.steps[step].kind) {
    case NORMALISE: normalise(problem, matrix, out_problem); break;
    case WEIGHT_GRADIENT: weight_gradient(problem, part, pass, matrix, out_problem); break;
    case BIAS_GRADIENT: bias_gradient(problem, part, out_problem); break;
    case ROW_GRADIENT: row_gradient(problem, p, matrix, out_problem); break;
    case NORM_GRADIENT: norm_gradient(problem, matrix, out_problem); break;
    case EMPTY_DGAMMA: empty_sum(problem, &problem->dgamma, vector_run(&problem->dgamma, problem->k), 0, out_problem); break;
    case EMPTY_DWEIGHT: empty_sum(problem, &part->dweight, dweight_runs(problem, part), pass, out_problem); break;
    case EMPTY_DBIAS: empty_sum(problem, &part->dbias, vector_run(&part->dbias, part->n), 0, out_problem); break;
    }
}

int64_t norma_backward_room_bytes(const norma_problem *problem, int64_t rows) {
    const step_list list = list_steps(problem);
    const bool alone = list.count == 1 && list.steps[0].kind == NORM_GRADIENT; /* no part: nothing goes through room */
    bool used = false;
    for (int i = 0; i < list.count; i++) used = used || (list.steps[i].kind != BIAS_GRADIENT && !alone);
    if (!used || room_is_dx(problem)) return 0;
    return rows * problem->k * (int64_t)norma_dtype_bytes(problem->x.layout.dtype);
}
