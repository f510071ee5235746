/* Routes: which kernels can compute a problem, and in which order to try them. Everything that was tuned by measurement
 * stands in the constants below; the rest of the front does not know one kernel from another. */
#include "route.h"

#include "../tiling/tile_walk.h"

/* Up to this many rows a CPU streams W once for all of them rather than packing it into tiles. */
#define CPU_SKINNY_ROWS 8

/* An OpenCL kernel on a GPU keeps the sums of so many rows beside one another. */
#define OPENCL_SKINNY_ROWS 16

/* On a CPU whose vector instructions this build does not use, fp32 goes through the system's BLAS from this many rows and
 * multiplications on, after a norm of its own. With AVX2 and AVX-512 the tiled kernel is as fast as a BLAS that knows the
 * processor, and many times faster than one that does not. */
#define CPU_PAIR_ROWS     64
#define CPU_PAIR_MULTIPLY (INT64_C(1) << 27)

/* On a GPU, up to so many rows a kernel that streams W is the one to have where the vendor's product is not to be had. */
#define GPU_SKINNY_ROWS 16

/* Up to so many rows rmsnorm_linear_hopper is bound by W, unless K is short, and then wants so much of the device filled. */
#define HOPPER_STREAMING_ROWS 256
#define HOPPER_SHORT_K        1024
#define HOPPER_FILL           0.9

/* More than so many rows, and up to so many, are for rmsnorm_linear_narrow. */
#define NARROW_FROM 8
#define NARROW_ROWS 64

/* Beyond so many outputs it has been seen to fall behind: 0.79 of the pair's speed at 16384 x 57344, for a reason not found.
 */
#define HOPPER_OUTPUTS (INT64_C(1) << 29)

/* Splitting W costs as much whatever the rows, and tiles of 128 x 128 want a device filled. */
#define SPLIT_ROWS     256
#define SPLIT_COLUMNS  512
#define SPLIT_K        256
#define SPLIT_MULTIPLY (INT64_C(1) << 29)

typedef struct route_list {
    int count;
    norma_route *routes;
} route_list;

static void add(route_list *list, norma_route_form form, norma_kernel kernel, const norma_tile *tile, const char *reason) {
    if (list->count == NORMA_MAX_ROUTES) return;
    list->routes[list->count++] = (norma_route){form, kernel, tile, reason};
}

static norma_shape shape_of(const norma_problem *problem, int64_t rows) {
    const norma_shape shape = {.rows = rows,
                               .k = problem->k,
                               .n = norma_problem_columns(problem),
                               .x_dtype = norma_problem_h_dtype(problem),
                               .weight_dtype = problem->part[0].weight.layout.dtype};
    return shape;
}

static bool is_gpu(const norma_limits *limits) {
    return limits->target == NORMA_TARGET_CUDA || limits->target == NORMA_TARGET_HIP;
}

/* A kernel on the whole problem, or, where it takes no residual and says so in prepare(), on h after a launch that adds it.
 */
static void add_linear(route_list *list, const norma_problem *problem, norma_kernel kernel, const norma_tile *tile,
                       const char *reason) {
    add(list, NORMA_FORM_DIRECT, kernel, tile, reason);
    if (norma_tensor_present(&problem->residual)) add(list, NORMA_FORM_RESIDUAL_FIRST, kernel, tile, reason);
}

/* On a GPU every block of the skinny kernel would add the residual anew, which costs more than a launch that adds it once.
 */
static void add_gpu_skinny(route_list *list, const norma_problem *problem, const char *reason) {
    const bool residual = norma_tensor_present(&problem->residual);
    add(list, residual ? NORMA_FORM_RESIDUAL_FIRST : NORMA_FORM_DIRECT, NORMA_KERNEL_RMSNORM_LINEAR_SKINNY, NULL, reason);
}

static void add_tiled(route_list *list, const norma_problem *problem, int64_t rows, const norma_limits *limits) {
    const norma_shape shape = shape_of(problem, norma_problem_tile_rows(problem, rows));
    const char *reason;
    const norma_tile *tile = norma_tile_select(NORMA_KERNEL_RMSNORM_LINEAR_TILED, &shape, limits, &reason);
    if (tile) add_linear(list, problem, NORMA_KERNEL_RMSNORM_LINEAR_TILED, tile, reason);
}

static bool all_fp32(const norma_problem *problem) {
    bool fp32 = norma_problem_h_dtype(problem) == NORMA_F32;
    for (int p = 0; p < problem->parts; p++) fp32 = fp32 && problem->part[p].weight.layout.dtype == NORMA_F32;
    return fp32;
}

/* rows * k * n, or INT64_MAX past it. */
static int64_t multiplications(const norma_problem *problem, int64_t rows) {
    int64_t count;
    if (__builtin_mul_overflow(rows, problem->k, &count) ||
        __builtin_mul_overflow(count, norma_problem_columns(problem), &count))
        return INT64_MAX;
    return count;
}

static bool columns_are_contiguous(const norma_problem *problem) {
    bool contiguous = true;
    for (int p = 0; p < problem->parts; p++) contiguous = contiguous && problem->part[p].weight.layout.row_stride == 1;
    return contiguous;
}

/* Is the kernel that streams W ahead of the pair? Measured on an H200 (bench/results) with weights of 2 to 1880 MB. Both
 * sides stream W there, so the answer should carry over to other GPUs. */
static bool gpu_skinny_is_ahead(const norma_problem *problem, int64_t rows) {
    if (!columns_are_contiguous(problem)) return false;
    if (all_fp32(problem)) return rows >= 2 && rows <= 8 && problem->k >= 2048;
    const int64_t columns = norma_problem_columns(problem);
    const bool long_rows = problem->k > 4096;
    if (rows <= 2) return true;
    if (rows <= 4) return !long_rows || columns <= 16384;
    if (rows <= 8) return !long_rows;
    return rows <= 16 && problem->k <= 1024 && columns <= 2048 && problem->contract == NORMA_ROUND_DEFERRED;
}

/* Might the wgmma kernel take it? */
static bool hopper_takes(const norma_problem *problem, const norma_limits *limits) {
    return limits->wgmma && norma_problem_h_dtype(problem) != NORMA_F32;
}

/* Is it ahead of the pair? Where gamma or a rounding stands before the product it writes the normalised rows itself, which
 * takes 3 to 10 % longer than the pair. Where nothing does, it is, but for some shapes of few rows and much W: both stream W
 * there, and the vendor's product does so better unless the tiles happen to fill the device. */
static bool hopper_is_ahead(const norma_problem *problem, int64_t rows, const norma_limits *limits) {
    if (rows <= GPU_SKINNY_ROWS || problem->contract != NORMA_ROUND_DEFERRED || norma_tensor_present(&problem->gamma))
        return false;
    if (rows > HOPPER_OUTPUTS / norma_problem_columns(problem)) return false;
    if (rows > HOPPER_STREAMING_ROWS || (problem->k <= HOPPER_SHORT_K && rows > NARROW_ROWS)) return true;
    norma_walk_shape shape = {.rows = rows, .k = problem->k, .parts = problem->parts};
    for (int p = 0; p < problem->parts; p++) shape.n[p] = problem->part[p].n;
    const norma_walk walk = norma_walk_choose(&shape, limits);
    return rows <= HOPPER_STREAMING_ROWS / 2 && norma_walk_fill(&walk, limits) >= HOPPER_FILL;
}

/* Might fp32 go through matrix units? */
static bool split_takes(const norma_problem *problem, const norma_limits *limits) {
    return limits->wgmma && (problem->flags & NORMA_FP32_TENSOR) && all_fp32(problem);
}

static bool split_is_ahead(const norma_problem *problem, int64_t rows) {
    return rows >= SPLIT_ROWS && norma_problem_columns(problem) >= SPLIT_COLUMNS && problem->k >= SPLIT_K &&
           multiplications(problem, rows) >= SPLIT_MULTIPLY;
}

/* Might the wgmma kernel for some rows take it? */
static bool narrow_takes(const norma_problem *problem, int64_t rows, const norma_limits *limits) {
    return rows <= NARROW_ROWS && hopper_takes(problem, limits);
}

/* Up to how many rows it is ahead of the pair, for K from and to, and up to so many columns for each multiprocessor: if
 * nothing stands before the product, if gamma does, and for the exact contracts. The first line that fits decides. Measured
 * on an H200 with bf16. Of large weights both take as long as it takes to read them, and at many rows the vendor's product
 * has to fetch less of x. */
static const struct narrow_limit {
    int64_t k_from, k_to, columns;
    int plain, gamma, exact;
} narrow_limits[] = {
    {1, 1024, 16, 64, 64, 32},
    {1025, 4096, 32, 64, 32, 16},
    {1025, 4096, 48, 32, 16, 16},
    {4097, 16384, 32, 64, 0, 0},
};

/* Several parts are one launch here, and several products there. */
enum { NARROW_PARTS_K = 4096, NARROW_PARTS_COLUMNS = 48 };

static bool narrow_is_ahead(const norma_problem *problem, int64_t rows, const norma_limits *limits) {
    const int64_t columns = norma_problem_columns(problem);
    if (rows <= NARROW_FROM || !columns_are_contiguous(problem)) return false;
    if (problem->parts > 1 && problem->k <= NARROW_PARTS_K && columns <= (int64_t)NARROW_PARTS_COLUMNS * limits->units)
        return true;
    const bool gamma = norma_tensor_present(&problem->gamma);
    const bool exact = problem->contract != NORMA_ROUND_DEFERRED || (gamma && norma_problem_h_dtype(problem) == NORMA_F16);
    for (size_t i = 0; i < sizeof narrow_limits / sizeof narrow_limits[0]; i++) {
        const struct narrow_limit *limit = &narrow_limits[i];
        if (problem->k >= limit->k_from && problem->k <= limit->k_to && columns <= limit->columns * limits->units)
            return rows <= (exact ? limit->exact : gamma ? limit->gamma : limit->plain);
    }
    return false;
}

static void add_gpu_rmsnorm_linear(route_list *list, const norma_problem *problem, int64_t rows,
                                   const norma_limits *limits) {
    const norma_kernel hopper = NORMA_KERNEL_RMSNORM_LINEAR_HOPPER;
    const bool takes = hopper_takes(problem, limits), fuses = takes && hopper_is_ahead(problem, rows, limits);
    const bool ahead = gpu_skinny_is_ahead(problem, rows);
    const bool narrow = narrow_takes(problem, rows, limits), streams = narrow && narrow_is_ahead(problem, rows, limits);
    const bool few = !ahead && rows <= GPU_SKINNY_ROWS;
    if (streams)
        add_linear(list, problem, NORMA_KERNEL_RMSNORM_LINEAR_NARROW, NULL, "W streams through the matrix units once");
    if (ahead) add_gpu_skinny(list, problem, "few rows: W streams through once");
    if (fuses) add_linear(list, problem, hopper, NULL, "the norm costs next to nothing beside the product");
    const bool splits = split_takes(problem, limits), split_first = splits && split_is_ahead(problem, rows);
    if (split_first)
        add(list, NORMA_FORM_NORM_FIRST, NORMA_KERNEL_LINEAR_SPLIT, NULL, "fp32 is multiplied in two parts by matrix units");
    add(list, NORMA_FORM_NORM_FIRST, NORMA_KERNEL_LINEAR_BLAS, NULL, "a product that the vendor does faster");
    if (few) add_gpu_skinny(list, problem, "few rows, and no vendor product");
    if (narrow && !streams) add_linear(list, problem, NORMA_KERNEL_RMSNORM_LINEAR_NARROW, NULL, "no vendor product");
    if (takes && !fuses) add_linear(list, problem, hopper, NULL, "no vendor product");
    if (splits && !split_first) add(list, NORMA_FORM_NORM_FIRST, NORMA_KERNEL_LINEAR_SPLIT, NULL, "no vendor product");
    add_tiled(list, problem, rows, limits);
    if (!ahead && !few) add_gpu_skinny(list, problem, "no tiled kernel takes it");
}

static void add_cpu_rmsnorm_linear(route_list *list, const norma_problem *problem, int64_t rows,
                                   const norma_limits *limits) {
    const bool skinny_first = rows <= (limits->target == NORMA_TARGET_OPENCL_GPU ? OPENCL_SKINNY_ROWS : CPU_SKINNY_ROWS);
    const bool pair_first = limits->target == NORMA_TARGET_CPU_PLAIN && rows >= CPU_PAIR_ROWS && all_fp32(problem) &&
                            multiplications(problem, rows) >= CPU_PAIR_MULTIPLY;
    if (skinny_first)
        add_linear(list, problem, NORMA_KERNEL_RMSNORM_LINEAR_SKINNY, NULL, "few rows: W streams through once");
    if (pair_first)
        add(list, NORMA_FORM_NORM_FIRST, NORMA_KERNEL_LINEAR_BLAS, NULL, "a product that the vendor does faster");
    add_tiled(list, problem, rows, limits);
    if (!skinny_first) add_linear(list, problem, NORMA_KERNEL_RMSNORM_LINEAR_SKINNY, NULL, "no tiled kernel takes it");
    if (!pair_first) add(list, NORMA_FORM_NORM_FIRST, NORMA_KERNEL_LINEAR_BLAS, NULL, "no fused kernel takes it");
}

/* A CPU's own kernel comes first where its vector instructions are used, as for a whole Linear. */
static void add_product(route_list *list, const norma_problem *problem, int64_t rows, const norma_limits *limits) {
    if (problem->flags & NORMA_BATCH_INVARIANT) {
        add_tiled(list, problem, rows, limits);
        return;
    }
    const bool vendor_first = is_gpu(limits) || limits->target == NORMA_TARGET_CPU_PLAIN;
    if (!vendor_first) add_tiled(list, problem, rows, limits);
    add(list, NORMA_FORM_DIRECT, NORMA_KERNEL_LINEAR_BLAS, NULL, "the vendor's product");
    if (vendor_first) add_tiled(list, problem, rows, limits);
}

static void add_rmsnorm_linear(route_list *list, const norma_problem *problem, int64_t rows, const norma_limits *limits) {
    if (problem->flags & NORMA_BATCH_INVARIANT) {
        if (hopper_takes(problem, limits))
            add_linear(list, problem, NORMA_KERNEL_RMSNORM_LINEAR_HOPPER, NULL, "a row's bits depend on the row alone");
        add_tiled(list, problem, rows, limits);
    } else if (is_gpu(limits))
        add_gpu_rmsnorm_linear(list, problem, rows, limits);
    else
        add_cpu_rmsnorm_linear(list, problem, rows, limits);
    add(list, NORMA_FORM_DIRECT, NORMA_KERNEL_REFERENCE, NULL, "no faster kernel takes it");
}

/* With no part left, a Linear is a norm that writes only its side outputs. */
static norma_op effective_op(const norma_problem *problem) {
    return problem->op == NORMA_OP_RMSNORM_LINEAR && problem->parts == 0 ? NORMA_OP_RMSNORM : problem->op;
}

int norma_routes_for(const norma_problem *problem, int64_t rows, const norma_limits *limits,
                     norma_route routes[NORMA_MAX_ROUTES]) {
    route_list list = {.count = 0, .routes = routes};
    const char *only = "the only one for this operation";
    switch (effective_op(problem)) {
    case NORMA_OP_RMSNORM:
        add(&list, NORMA_FORM_DIRECT, NORMA_KERNEL_RMSNORM_ROWS, NULL, "rows are independent");
        add(&list, NORMA_FORM_DIRECT, NORMA_KERNEL_REFERENCE, NULL, "no faster kernel takes it");
        break;
    case NORMA_OP_RMSNORM_LINEAR: add_rmsnorm_linear(&list, problem, rows, limits); break;
    case NORMA_OP_LINEAR:
        add(&list, NORMA_FORM_DIRECT, NORMA_KERNEL_LINEAR_BLAS, NULL, "the vendor's product");
        if (hopper_takes(problem, limits))
            add(&list, NORMA_FORM_DIRECT, NORMA_KERNEL_RMSNORM_LINEAR_HOPPER, NULL, "no vendor product");
        add_tiled(&list, problem, rows, limits);
        add(&list, NORMA_FORM_DIRECT, NORMA_KERNEL_REFERENCE, NULL, "no faster kernel takes it");
        break;
    case NORMA_OP_FOLD_GAMMA:
        add(&list, NORMA_FORM_DIRECT, NORMA_KERNEL_FOLD_GAMMA, NULL, only);
        add(&list, NORMA_FORM_DIRECT, NORMA_KERNEL_REFERENCE, NULL, "no faster kernel takes it");
        break;
    case NORMA_OP_RMSNORM_BACKWARD:
        add(&list, NORMA_FORM_DIRECT, NORMA_KERNEL_RMSNORM_ROWS_BACKWARD, NULL, "rows are independent");
        add(&list, NORMA_FORM_DIRECT, NORMA_KERNEL_REFERENCE, NULL, "no faster kernel takes it");
        break;
    case NORMA_OP_RMSNORM_LINEAR_BACKWARD:
        add(&list, NORMA_FORM_BACKWARD, NORMA_KERNEL_RMSNORM_ROWS_BACKWARD, NULL, "products, and what is left of the norm");
        add(&list, NORMA_FORM_DIRECT, NORMA_KERNEL_REFERENCE, NULL, "no faster kernel takes it");
        break;
    case NORMA_OP_PRODUCT:
        add_product(&list, problem, rows, limits);
        add(&list, NORMA_FORM_DIRECT, NORMA_KERNEL_REFERENCE, NULL, "no faster kernel takes it");
        break;
    case NORMA_OP_COLUMN_SUMS:
        add(&list, NORMA_FORM_DIRECT, NORMA_KERNEL_COLUMN_SUMS, NULL, only);
        add(&list, NORMA_FORM_DIRECT, NORMA_KERNEL_REFERENCE, NULL, "no faster kernel takes it");
        break;
    case NORMA_OP_STREAM_COPY:
    case NORMA_OP_STREAM_READ: add(&list, NORMA_FORM_DIRECT, NORMA_KERNEL_STREAM, NULL, only); break;
    }
    return list.count;
}

static const char pair_name[] = "pair", steps_name[] = "steps";

const char *norma_route_name(const norma_route *route) {
    if (route->form == NORMA_FORM_BACKWARD) return steps_name;
    return route->form == NORMA_FORM_NORM_FIRST && route->kernel == NORMA_KERNEL_LINEAR_BLAS
               ? pair_name
               : norma_kernel_name(route->kernel);
}

bool norma_route_admits(const norma_route *route, const char *name) {
    if (route->form == NORMA_FORM_BACKWARD) return strcmp(name, norma_kernel_name(NORMA_KERNEL_REFERENCE)) != 0;
    return strcmp(name, norma_route_name(route)) == 0;
}

const char *norma_route_find(const char *text) {
    if (strcmp(text, pair_name) == 0) return pair_name;
    for (int kernel = 0; kernel < NORMA_KERNEL_COUNT; kernel++)
        if (strcmp(text, norma_kernel_name((norma_kernel)kernel)) == 0) return norma_kernel_name((norma_kernel)kernel);
    return NULL;
}

static bool is_stream(norma_op op) {
    return op == NORMA_OP_STREAM_COPY || op == NORMA_OP_STREAM_READ;
}

/* The products of a backward, or the operation that consists of them. */
static bool has_products(norma_op op) {
    return op == NORMA_OP_PRODUCT || op == NORMA_OP_RMSNORM_LINEAR_BACKWARD;
}

bool norma_route_concerns(const char *name, const norma_problem *problem) {
    const norma_op op = effective_op(problem);
    int kernel = 0;
    while (kernel < NORMA_KERNEL_COUNT && strcmp(name, norma_kernel_name((norma_kernel)kernel)) != 0) kernel++;
    switch (kernel) {
    case NORMA_KERNEL_REFERENCE: return !is_stream(op);
    case NORMA_KERNEL_RMSNORM_ROWS: return op == NORMA_OP_RMSNORM;
    case NORMA_KERNEL_LINEAR_BLAS: return op == NORMA_OP_LINEAR || has_products(op);
    case NORMA_KERNEL_RMSNORM_LINEAR_TILED: return op == NORMA_OP_RMSNORM_LINEAR || has_products(op);
    case NORMA_KERNEL_FOLD_GAMMA: return op == NORMA_OP_FOLD_GAMMA;
    case NORMA_KERNEL_RMSNORM_ROWS_BACKWARD: return op == NORMA_OP_RMSNORM_BACKWARD;
    case NORMA_KERNEL_COLUMN_SUMS: return op == NORMA_OP_COLUMN_SUMS;
    case NORMA_KERNEL_STREAM: return is_stream(op);
    default: return op == NORMA_OP_RMSNORM_LINEAR; /* the pair, and kernels that only it has */
    }
}

static const int64_t bracket_rows[NORMA_BRACKET_COUNT] = {
    1,    2,    4,    8,    16,   24,   32,   48,    64,    96,    128,   192,   256,   384,   512,    768,
    1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384, 24576, 32768, 49152, 65536, 98304, 131072, INT64_MAX};

int norma_bracket_of(int64_t rows) {
    int bracket = 0;
    while (rows > bracket_rows[bracket]) bracket++;
    return bracket;
}

int64_t norma_bracket_rows(int bracket) {
    return bracket_rows[bracket];
}
