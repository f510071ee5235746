/* Expanding suites.def. Rows come grouped by dtype, so that the operands of a dtype are made once. */
#include "suite.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "dtype.h"

typedef struct shape_line {
    bench_suite suite;
    bench_scale scale;
    const char *label;
    int64_t k;
    int64_t n[BENCH_MAX_PARTS];
} shape_line;

typedef struct m_line {
    bench_suite suite;
    bench_scale scale;
    int64_t m;
} m_line;

typedef struct row_line {
    bench_suite suite;
    norma_dtype dtype;
    norma_contract contract;
    bool folded;
    const char *label;
    int64_t m, k, n;
} row_line;

#define NORMA_BENCH_SHAPE(suite, scale, label, k, ...)
#define NORMA_BENCH_M(suite, scale, m)
#define NORMA_BENCH_ROW(suite, dtype, contract, folded, label, m, k, n) \
    {BENCH_SUITE_##suite, NORMA_##dtype, NORMA_ROUND_##contract, folded, label, m, k, n},
static const row_line row_lines[] = {
#include "suites.def"
};
#undef NORMA_BENCH_ROW
#undef NORMA_BENCH_SHAPE

#define NORMA_BENCH_ROW(suite, dtype, contract, folded, label, m, k, n)
#define NORMA_BENCH_SHAPE(suite, scale, label, k, ...) {BENCH_SUITE_##suite, BENCH_SCALE_##scale, label, k, {__VA_ARGS__}},
static const shape_line shape_lines[] = {
#include "suites.def"
};
#undef NORMA_BENCH_SHAPE
#undef NORMA_BENCH_M

#define NORMA_BENCH_SHAPE(suite, scale, label, k, ...)
#define NORMA_BENCH_M(suite, scale, m) {BENCH_SUITE_##suite, BENCH_SCALE_##scale, m},
static const m_line m_lines[] = {
#include "suites.def"
};

#define COUNT(array) ((int)(sizeof(array) / sizeof(array)[0]))

typedef struct case_list {
    bench_case *cases;
    int count, capacity;
    bool failed;
} case_list;

static void add_case(case_list *list, bench_case which) {
    if (list->count == list->capacity) {
        const int capacity = list->capacity ? 2 * list->capacity : 64;
        bench_case *grown = realloc(list->cases, (size_t)capacity * sizeof *grown);
        if (!grown) {
            list->failed = true;
            return;
        }
        list->cases = grown;
        list->capacity = capacity;
    }
    list->cases[list->count++] = which;
}

static bool wanted(unsigned mask, unsigned fallback, int value) {
    return ((mask ? mask : fallback) >> value & 1u) != 0;
}

/* In the order of the option's names. */
static int op_index(norma_op op) {
    switch (op) {
    case NORMA_OP_RMSNORM: return 0;
    case NORMA_OP_RMSNORM_LINEAR: return 1;
    case NORMA_OP_RMSNORM_BACKWARD: return 2;
    default: return 3;
    }
}

static norma_op op_of(int64_t n, bool backward) {
    if (backward) return n > 0 ? NORMA_OP_RMSNORM_LINEAR_BACKWARD : NORMA_OP_RMSNORM_BACKWARD;
    return n > 0 ? NORMA_OP_RMSNORM_LINEAR : NORMA_OP_RMSNORM;
}

static bench_parts parts_of(const int64_t n[BENCH_MAX_PARTS]) {
    bench_parts parts = {0};
    for (int p = 0; p < BENCH_MAX_PARTS && n[p] > 0; p++) parts.n[parts.count++] = n[p];
    return parts;
}

static int64_t columns_of(const bench_parts *parts) {
    int64_t columns = 0;
    for (int p = 0; p < parts->count; p++) columns += parts->n[p];
    return columns;
}

/* Adds a shape in every contract and folding asked for. Folding makes sense only where there is a W, and only forward; the
 * gradients of a norm alone know no contract, and those of a Linear are taken of one part. */
static void add_shape(case_list *list, const bench_options *options, norma_dtype dtype, const char *suite, const char *label,
                      bench_shape shape, bool backward) {
    const int64_t n = columns_of(&shape.parts);
    const norma_op op = op_of(n, backward);
    if (backward && n > 0) shape.parts = (bench_parts){1, {n}};
    if (!wanted(options->ops, ~0u, op_index(op))) return;
    if (op == NORMA_OP_RMSNORM_BACKWARD) {
        add_case(list, (bench_case){.suite = suite, .label = label, .op = op, .dtype = dtype, .m = shape.m, .k = shape.k});
        return;
    }
    for (int contract = 0; contract < 3; contract++)
        for (int folded = 0; folded < 2; folded++)
            if (wanted(options->contracts, 1u << NORMA_ROUND_DEFERRED, contract) && wanted(options->foldings, 1u, folded) &&
                !(folded && op != NORMA_OP_RMSNORM_LINEAR))
                add_case(list, (bench_case){suite, label, op, dtype, (norma_contract)contract, folded != 0, shape.m, shape.k,
                                            n, shape.parts, false, false, false, false});
}

static void add_suite(case_list *list, const bench_options *options, bench_scale scale, norma_dtype dtype, int suite) {
    for (int s = 0; s < COUNT(shape_lines); s++) {
        const shape_line *shape = &shape_lines[s];
        for (int i = 0; i < COUNT(m_lines); i++) {
            const m_line *line = &m_lines[i];
            if ((int)shape->suite == suite && (int)line->suite == suite && shape->scale <= scale && line->scale <= scale)
                add_shape(list, options, dtype, bench_suite_names[suite], shape->label,
                          (bench_shape){line->m, shape->k, parts_of(shape->n)}, suite == BENCH_SUITE_backward);
        }
    }
}

static void add_rows(case_list *list, const bench_options *options, norma_dtype dtype, int suite) {
    for (int i = 0; i < COUNT(row_lines); i++) {
        const row_line *row = &row_lines[i];
        const norma_op op = row->n > 0 ? NORMA_OP_RMSNORM_LINEAR : NORMA_OP_RMSNORM;
        if ((int)row->suite == suite && row->dtype == dtype && wanted(options->ops, ~0u, op_index(op)) &&
            wanted(options->contracts, ~0u, (int)row->contract) && wanted(options->foldings, ~0u, row->folded))
            add_case(list,
                     (bench_case){bench_suite_names[suite], row->label, op, dtype, row->contract, row->folded, row->m,
                                  row->k, row->n, parts_of((int64_t[BENCH_MAX_PARTS]){row->n}), false, false, false, false});
    }
}

int bench_suite_expand(const bench_options *options, bench_scale scale, bench_case **out_cases) {
    static const norma_dtype order[] = {NORMA_F32, NORMA_BF16, NORMA_F16};
    const unsigned suites = options->suites || options->shape_count ? options->suites : 1u << BENCH_SUITE_quick;
    const unsigned usual = 1u << NORMA_F32 | 1u << NORMA_BF16;
    case_list list = {0};
    for (int d = 0; d < COUNT(order); d++) {
        if (wanted(options->dtypes, usual, (int)order[d]))
            for (int i = 0; i < options->shape_count; i++)
                for (int backward = 0; backward < 2; backward++)
                    if (!backward || options->ops)
                        add_shape(&list, options, order[d], "shape", "", options->shapes[i], backward != 0);
        for (int suite = 0; suite < BENCH_SUITE_COUNT; suite++) {
            if (!wanted(suites, 0, suite)) continue;
            if (wanted(options->dtypes, ~0u, (int)order[d])) add_rows(&list, options, order[d], suite);
            if (wanted(options->dtypes, usual, (int)order[d])) add_suite(&list, options, scale, order[d], suite);
        }
    }
    if (list.failed) {
        free(list.cases);
        return -1;
    }
    for (int i = 0; i < list.count; i++) {
        list.cases[i].weights_static = options->weights_static;
        list.cases[i].batch_invariant = options->batch_invariant;
        list.cases[i].timed = options->timed;
        list.cases[i].fp32_tensor = options->fp32_tensor;
    }
    *out_cases = list.cases;
    return list.count;
}

const char *bench_op_name(norma_op op) {
    static const char *const names[] = {"rmsnorm", "rmsnorm_linear", "rmsnorm_backward", "rmsnorm_linear_backward"};
    return names[op_index(op)];
}

void bench_parts_name(const bench_parts *parts, char *out_text, size_t bytes) {
    size_t used = 0;
    out_text[0] = '\0';
    for (int p = 0; p < parts->count && used < bytes; p++)
        used += (size_t)snprintf(out_text + used, bytes - used, "%s%" PRId64, p ? "+" : "", parts->n[p]);
}

double bench_case_bytes(const bench_case *which) {
    const double m = (double)which->m, k = (double)which->k, n = (double)which->n;
    const double element = (double)norma_dtype_bytes(which->dtype);
    /* x, dout, dx, gamma, dgamma, rstd, W, dW */
    if (bench_case_is_backward(which)) return (2 * m * k + (n > 0 ? m * n : m * k) + 2 * k + 2 * k * n) * element + 4 * m;
    const double out = which->op == NORMA_OP_RMSNORM ? m * k : m * n;
    return (m * k + k * n + out + (which->folded ? 0 : k)) * (double)norma_dtype_bytes(which->dtype);
}

double bench_case_operations(const bench_case *which) {
    const double m = (double)which->m, k = (double)which->k, n = (double)which->n;
    switch (which->op) {
    case NORMA_OP_RMSNORM: return 4 * m * k;
    case NORMA_OP_RMSNORM_BACKWARD: return 10 * m * k;
    case NORMA_OP_RMSNORM_LINEAR_BACKWARD: return 4 * m * n * k;
    default: return 2 * m * n * k;
    }
}
