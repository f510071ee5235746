/* linear_blas against a cuBLASLt that multiplies nothing: what is asked of the library, which algorithm is kept, and what
 * happens when the library or the driver refuses. */
#include <stdlib.h>

#include "blas/lt_product.h"
#include "expect.h"
#include "gpu_fake_driver.h"
#include "gpu_fake_lt.h"

typedef struct fixture {
    norma_context *context;
    norma_problem problem;
    norma_launch launch;
    char *data; /* room for any operand; addresses are only handed on */
} fixture;

/* x (m, 64) bf16, W transposed, out (m, n) bf16. The process remembers shapes, so each test has its own n. */
static norma_problem product(int64_t m, int64_t n) {
    enum { K = 64 };
    norma_problem problem = {.op = NORMA_OP_LINEAR, .batch = 1, .m = m, .k = K, .parts = 1};
    problem.x.layout = (norma_layout){NORMA_BF16, K, 1, 0};
    problem.part[0].n = n;
    problem.part[0].weight.layout = (norma_layout){NORMA_BF16, 1, K, 0};
    problem.part[0].out.layout = (norma_layout){NORMA_BF16, n, 1, 0};
    return problem;
}

static int set_up(void **state) {
    fake_gpu_reset();
    memset(&fake_lt, 0, sizeof fake_lt);
    fake_lt.candidates = 3;
    for (int i = 0; i < FAKE_LT_ALGORITHMS; i++) fake_lt.ms[i] = 1.0f + (float)i;
    fake_gpu_platform.linear_blas = &norma_cublaslt_linear;

    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    *state = f;
    EXPECT_OK(fake_gpu_context(NULL, &f->context));
    lt_session *session = calloc(1, sizeof *session);
    assert_non_null(session);
    session->vendor = &norma_cublaslt_vendor;
    session->api = &fake_lt_api;
    fake_lt_api.create(&session->handle);
    ((gpu_device *)f->context->device)->lt = session;
    void *data;
    EXPECT_OK(norma_alloc(f->context, 1 << 16, &data));
    f->data = data;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    norma_free(f->context, f->data);
    norma_context_destroy(f->context);
    free(f);
    fake_gpu_platform.linear_blas = NULL;
    assert_int_equal(fake_lt.live, 0);
    fake_gpu_expect_clean("blas", NULL);
    return 0;
}

static norma_status prepare(fixture *f, norma_problem problem) {
    f->problem = problem;
    f->launch = (norma_launch){.kernel = NORMA_KERNEL_LINEAR_BLAS, .problem = &f->problem};
    return fake_gpu_backend.prepare(f->context->device, &f->launch);
}

/* By how many bytes each operand's address is off a multiple of 1024. */
typedef struct shifts {
    size_t x, weight, bias, out;
} shifts;

/* Binds the operands at distinct addresses, shifted, and launches. */
static norma_status launch_shifted(fixture *f, int64_t batch, int64_t m, shifts by) {
    f->problem.batch = batch;
    f->problem.m = m;
    f->problem.x.buffer = (norma_buffer){f->data, 1024 + by.x};
    for (int p = 0; p < f->problem.parts; p++) {
        norma_part *part = &f->problem.part[p];
        part->weight.buffer = (norma_buffer){f->data, 2048 + 4096 * (size_t)p + by.weight};
        part->bias.buffer = (norma_buffer){f->data, 3072 + 4096 * (size_t)p + by.bias};
        part->out.buffer = (norma_buffer){f->data, 4096 + 4096 * (size_t)p + by.out};
    }
    f->launch.workspace = (norma_buffer){f->data, 32768};
    return fake_gpu_backend.launch(f->context->device, &f->launch);
}

static norma_status launch(fixture *f, int64_t batch, int64_t m, size_t x_shift) {
    return launch_shifted(f, batch, m, (shifts){.x = x_shift});
}

static void discard(fixture *f) {
    fake_gpu_backend.discard(f->context->device, &f->launch);
}

static void expect_matrix(const fake_lt_matrix *matrix, int dtype, int64_t rows, int64_t cols, int64_t ld) {
    assert_int_equal(matrix->dtype, dtype);
    assert_int_equal(matrix->rows, rows);
    assert_int_equal(matrix->cols, cols);
    assert_int_equal(matrix->ld, ld);
}

static void expect_alignments(const fake_lt_search *search, uint32_t weight, uint32_t x, uint32_t out) {
    assert_int_equal(search->alignment[0], weight);
    assert_int_equal(search->alignment[1], x);
    assert_int_equal(search->alignment[2], out);
    assert_int_equal(search->alignment[3], out);
}

static void the_version_is_told(void **state) {
    fixture *f = *state;
    char text[64];
    fake_gpu_backend.versions(f->context->device, text, sizeof text);
    assert_non_null(strstr(text, ", cuBLASLt 130000"));
}

static void transposed_weight_and_bias(void **state) {
    fixture *f = *state;
    norma_problem problem = product(8, 32);
    problem.part[0].weight.layout.col_stride = 80;
    problem.part[0].bias.layout = (norma_layout){NORMA_BF16, 0, 1, 0};
    EXPECT_OK(prepare(f, problem));
    EXPECT_OK(launch(f, 1, 8, 0));
    expect_matrix(&fake_lt.a, CU_LT_BF16, 64, 32, 80);
    expect_matrix(&fake_lt.b, CU_LT_BF16, 64, 8, 64);
    expect_matrix(&fake_lt.d, CU_LT_BF16, 32, 8, 32);
    assert_int_equal(fake_lt.operation.transposed, CU_LT_TRANSPOSED);
    assert_int_equal(fake_lt.operation.epilogue, CU_LT_EPILOGUE_BIAS);
    assert_ptr_equal(fake_lt.operation.bias, f->data + 3072);
    assert_ptr_equal(fake_lt.a_data, f->data + 2048);
    assert_ptr_equal(fake_lt.b_data, f->data + 1024);
    assert_ptr_equal(fake_lt.d_data, f->data + 4096);
    assert_ptr_equal(fake_lt.workspace, f->data + 32768);
    assert_null(fake_lt.stream);
    discard(f);
}

static void row_major_weight_and_fp32_output(void **state) {
    fixture *f = *state;
    norma_problem problem = product(8, 33);
    problem.part[0].weight.layout = (norma_layout){NORMA_BF16, 40, 1, 0};
    problem.part[0].out.layout = (norma_layout){NORMA_F32, 50, 1, 0};
    EXPECT_OK(prepare(f, problem));
    EXPECT_OK(launch(f, 1, 8, 0));
    expect_matrix(&fake_lt.a, CU_LT_BF16, 33, 64, 40);
    expect_matrix(&fake_lt.d, CU_LT_F32, 33, 8, 50);
    assert_int_equal(fake_lt.operation.transposed, 0);
    assert_int_equal(fake_lt.operation.epilogue, 0);
    assert_true(fake_lt.old == 0);
    discard(f);
}

/* A product of a backward: x is the transpose of a matrix of M rows, and M, which is k here, changes between launches. */
static void product_that_sums_over_rows(void **state) {
    fixture *f = *state;
    norma_problem problem = product(37, 48);
    problem.op = NORMA_OP_PRODUCT;
    problem.k = 100;
    problem.x.layout = (norma_layout){NORMA_BF16, 1, 40, 0};
    problem.part[0].weight.layout = (norma_layout){NORMA_BF16, 56, 1, 0};
    problem.accumulate = true;
    EXPECT_OK(prepare(f, problem));
    f->problem.k = 90;
    EXPECT_OK(launch(f, 1, 37, 0));
    expect_matrix(&fake_lt.a, CU_LT_BF16, 48, 90, 56);
    expect_matrix(&fake_lt.b, CU_LT_BF16, 37, 90, 40);
    expect_matrix(&fake_lt.d, CU_LT_BF16, 48, 37, 48);
    assert_int_equal(fake_lt.operation.transposed, 0);
    assert_int_equal(fake_lt.operation.x_transposed, CU_LT_TRANSPOSED);
    assert_true(fake_lt.old == 1);
    discard(f);

    problem.op = NORMA_OP_LINEAR; /* a Linear with such an x is for kernels of our own */
    EXPECT_FAILURE(prepare(f, problem), NORMA_ERROR_UNSUPPORTED, "rows of x that are not contiguous");
}

static void every_part_is_a_product(void **state) {
    fixture *f = *state;
    norma_problem problem = product(4, 34);
    problem.parts = 3;
    problem.part[1] = problem.part[0];
    problem.part[1].n = 0;
    problem.part[2] = problem.part[0];
    problem.part[2].n = 20;
    EXPECT_OK(prepare(f, problem));
    fake_lt.multiplications = 0;
    EXPECT_OK(launch(f, 1, 4, 0));
    assert_int_equal(fake_lt.multiplications, 2);
    assert_ptr_equal(fake_lt.a_data, f->data + 2048 + 2 * 4096);
    discard(f);
}

static void the_fastest_candidate_is_kept(void **state) {
    fixture *f = *state;
    fake_lt.candidates = 5;
    fake_lt.ms[3] = 0.5f;
    fake_lt.ms[4] = 0.1f;
    fake_lt.refuses[4] = true;
    fake_lt.workspace_bytes[3] = 12345;
    fake_lt.workspace_bytes[2] = (size_t)64 << 20;
    EXPECT_OK(prepare(f, product(8, 35)));
    assert_int_equal(fake_lt.first_search.workspace_bytes, 32 << 20);
    assert_int_equal(fake_lt.first_search.reductions, CU_LT_REDUCE_IN_COMPUTE_TYPE);
    expect_alignments(&fake_lt.first_search, 16, 16, 16);
    assert_int_equal(f->launch.workspace_bytes, 12345);
    assert_int_equal(fake_gpu.live_blocks, 1); /* the fixture's: nothing that was timed on is left */
    EXPECT_OK(launch(f, 1, 8, 0));
    assert_int_equal(fake_lt.algorithm, FAKE_LT_FIRST + 3);
    discard(f);
}

static void a_shape_is_searched_for_once(void **state) {
    fixture *f = *state;
    EXPECT_OK(prepare(f, product(8, 36)));
    discard(f);
    fake_lt.multiplications = 0;
    fake_lt.ms[2] = 0.1f; /* would win another race */
    EXPECT_OK(prepare(f, product(8, 36)));
    assert_int_equal(fake_lt.multiplications, 0);
    EXPECT_OK(launch(f, 1, 8, 0));
    assert_int_equal(fake_lt.algorithm, FAKE_LT_FIRST);
    discard(f);
    EXPECT_OK(prepare(f, product(9, 36)));
    assert_true(fake_lt.multiplications > 1);
    discard(f);
}

static void other_rows_keep_the_algorithm_if_it_serves_them(void **state) {
    fixture *f = *state;
    fake_lt.ms[1] = 0.1f;
    EXPECT_OK(prepare(f, product(8, 37)));
    const int searches = fake_lt.searches;
    EXPECT_OK(launch(f, 1, 5, 0));
    expect_matrix(&fake_lt.b, CU_LT_BF16, 64, 5, 64);
    expect_matrix(&fake_lt.d, CU_LT_BF16, 37, 5, 37);
    assert_int_equal(fake_lt.algorithm, FAKE_LT_FIRST + 1);
    assert_int_equal(fake_lt.searches, searches);

    fake_lt.refuses_other_shapes = true;
    EXPECT_OK(launch(f, 1, 6, 0));
    assert_int_equal(fake_lt.algorithm, FAKE_LT_FIRST);
    assert_int_equal(fake_lt.searches, searches + 1);

    /* What ran in between leaves no trace. */
    fake_lt.refuses_other_shapes = false;
    EXPECT_OK(launch(f, 1, 8, 0));
    assert_int_equal(fake_lt.algorithm, FAKE_LT_FIRST + 1);
    EXPECT_OK(launch(f, 1, 8, 0));
    assert_int_equal(fake_lt.searches, searches + 1);
    discard(f);
}

static void misaligned_addresses_get_an_algorithm_of_their_own(void **state) {
    fixture *f = *state;
    fake_lt.ms[1] = 0.1f;
    EXPECT_OK(prepare(f, product(8, 38)));
    EXPECT_OK(launch(f, 1, 8, 2));
    expect_alignments(&fake_lt.last_search, 16, 2, 16);
    assert_int_equal(fake_lt.algorithm, FAKE_LT_FIRST);
    EXPECT_OK(launch(f, 1, 8, 8));
    expect_alignments(&fake_lt.last_search, 16, 8, 16);
    EXPECT_OK(launch(f, 1, 8, 0));
    assert_int_equal(fake_lt.algorithm, FAKE_LT_FIRST + 1);
    discard(f);
}

/* fp32 outputs beside halves: no address of theirs is less than a multiple of 4, whatever the halves' are. */
static void an_operand_is_asked_for_by_its_own_alignment(void **state) {
    fixture *f = *state;
    norma_problem problem = product(17, 42);
    problem.part[0].out.layout.dtype = NORMA_F32;
    problem.part[0].bias.layout = (norma_layout){NORMA_F32, 0, 1, 0};
    EXPECT_OK(prepare(f, problem));
    expect_alignments(&fake_lt.last_search, 2, 2, 4);
    EXPECT_OK(launch_shifted(f, 1, 17, (shifts){.x = 8, .weight = 2}));
    expect_alignments(&fake_lt.last_search, 2, 8, 16);
    EXPECT_OK(launch_shifted(f, 1, 17, (shifts){.x = 2, .weight = 2, .bias = 4, .out = 4}));
    expect_alignments(&fake_lt.last_search, 2, 2, 4);
    discard(f);
}

/* When the search has nothing for a call, what the plan found for any alignment serves it. */
static void what_the_plan_found_serves_every_call(void **state) {
    fixture *f = *state;
    fake_lt.ms[1] = 0.1f;
    EXPECT_OK(prepare(f, product(8, 43)));
    fake_lt.candidates = 0;
    EXPECT_OK(launch(f, 1, 8, 2));
    assert_int_equal(fake_lt.algorithm, FAKE_LT_FIRST);
    EXPECT_OK(launch(f, 1, 5, 2));
    assert_int_equal(fake_lt.algorithm, FAKE_LT_FIRST);
    EXPECT_OK(launch(f, 1, 8, 0));
    assert_int_equal(fake_lt.algorithm, FAKE_LT_FIRST + 1);

    /* Refused outright: an error, and the next aligned call works. */
    fake_lt.refuses_other_shapes = true;
    EXPECT_FAILURE(launch(f, 1, 8, 2), NORMA_ERROR_UNSUPPORTED, "FAKE_NOT_SUPPORTED");
    EXPECT_FAILURE(launch(f, 1, 8, 2), NORMA_ERROR_UNSUPPORTED, "FAKE_NOT_SUPPORTED");
    fake_lt.refuses_other_shapes = false;
    EXPECT_OK(launch(f, 1, 8, 0));
    discard(f);
}

/* A call must not find out what the plan could: addresses of least alignment that no algorithm takes are another route's. */
static void a_product_that_calls_could_not_run_is_refused_by_the_plan(void **state) {
    fixture *f = *state;
    fake_lt.least_alignment = 4;
    EXPECT_FAILURE(prepare(f, product(8, 44)), NORMA_ERROR_UNSUPPORTED, "FAKE_NOT_SUPPORTED");
    norma_problem problem = product(8, 44);
    problem.x.layout.dtype = problem.part[0].weight.layout.dtype = problem.part[0].out.layout.dtype = NORMA_F32;
    EXPECT_OK(prepare(f, problem));
    discard(f);
}

static void batches_join_where_their_rows_line_up(void **state) {
    fixture *f = *state;
    norma_problem problem = product(12, 39);
    problem.x.layout.batch_stride = 4 * 64;
    problem.part[0].out.layout.batch_stride = 4 * 39;
    EXPECT_OK(prepare(f, problem));
    EXPECT_OK(launch(f, 3, 4, 0));
    assert_int_equal(fake_lt.b.cols, 12);
    assert_int_equal(fake_lt.b.batch, 1);

    f->problem.x.layout.batch_stride = 500;
    EXPECT_OK(launch(f, 3, 4, 0));
    assert_int_equal(fake_lt.b.cols, 4);
    assert_int_equal(fake_lt.a.batch, 3);
    assert_int_equal(fake_lt.a.batch_stride, 0);
    assert_int_equal(fake_lt.b.batch, 3);
    assert_int_equal(fake_lt.b.batch_stride, 500);
    assert_int_equal(fake_lt.d.batch_stride, 4 * 39);

    fake_lt.refuses_batches = true;
    fake_lt.multiplications = 0;
    f->problem.x.layout.batch_stride = 504;
    EXPECT_OK(launch(f, 3, 4, 0));
    assert_int_equal(fake_lt.multiplications, 3);
    assert_int_equal(fake_lt.b.batch, 1);
    assert_ptr_equal(fake_lt.b_data, f->data + 1024 + 2 * 504 * 2);
    assert_ptr_equal(fake_lt.d_data, f->data + 4096 + 2 * 4 * 39 * 2);
    discard(f);
}

static void what_the_library_does_not_take_is_unsupported(void **state) {
    fixture *f = *state;
    norma_problem problem = product(8, 40);
    problem.x.layout = (norma_layout){NORMA_BF16, 1, 8, 0};
    EXPECT_FAILURE(prepare(f, problem), NORMA_ERROR_UNSUPPORTED, "rows of x");
    problem = product(8, 40);
    problem.part[0].weight.layout.dtype = NORMA_F32;
    EXPECT_FAILURE(prepare(f, problem), NORMA_ERROR_UNSUPPORTED, "another dtype than x");
    problem = product(8, 40);
    problem.part[0].weight.layout = (norma_layout){NORMA_BF16, 2, 200, 0};
    EXPECT_FAILURE(prepare(f, problem), NORMA_ERROR_UNSUPPORTED, "neither contiguous");
    problem = product(8, 40);
    problem.part[0].out.layout.dtype = NORMA_F16;
    EXPECT_FAILURE(prepare(f, problem), NORMA_ERROR_UNSUPPORTED, "another half dtype");
    problem = product(8, 40);
    problem.part[0].out.layout = (norma_layout){NORMA_BF16, 1, 8, 0};
    EXPECT_FAILURE(prepare(f, problem), NORMA_ERROR_UNSUPPORTED, "rows of the output");
    problem = product(8, 40);
    problem.part[0].bias.layout = (norma_layout){NORMA_F32, 0, 1, 0};
    EXPECT_FAILURE(prepare(f, problem), NORMA_ERROR_UNSUPPORTED, "a bias of another dtype");
    problem = product(8, 40);
    problem.part[0].bias.layout = (norma_layout){NORMA_BF16, 0, 2, 0};
    EXPECT_FAILURE(prepare(f, problem), NORMA_ERROR_UNSUPPORTED, "a bias that is not contiguous");
    problem = product(8, 40);
    problem.flags = NORMA_BATCH_INVARIANT;
    EXPECT_FAILURE(prepare(f, problem), NORMA_ERROR_UNSUPPORTED, "number of rows");
    problem = product(8, 40);
    problem.op = NORMA_OP_RMSNORM_LINEAR;
    EXPECT_FAILURE(prepare(f, problem), NORMA_ERROR_UNSUPPORTED, "plain products");
    fake_lt.candidates = 0;
    EXPECT_FAILURE(prepare(f, product(8, 40)), NORMA_ERROR_UNSUPPORTED, "FAKE_NOT_SUPPORTED");
    fake_lt.candidates = 1;
    fake_lt.refuses[0] = true;
    EXPECT_FAILURE(prepare(f, product(8, 40)), NORMA_ERROR_UNSUPPORTED, "no algorithm");
}

/* Of the driver calls that prepare() makes, each fails once. */
static void prepare_survives_every_driver_failure(void **state) {
    fixture *f = *state;
    for (int next = 1;; next++) {
        const int before = fake_gpu.calls;
        fake_gpu.fail_at = before + next;
        fake_gpu.fail_result = 999;
        const norma_status status = prepare(f, product(8, 1000 + next));
        const bool reached = fake_gpu.calls >= fake_gpu.fail_at;
        fake_gpu.fail_at = 0;
        if (status == NORMA_OK)
            discard(f);
        else
            expect_sentence("prepare", status, NORMA_ERROR_DEVICE, NULL);
        assert_int_equal(fake_gpu.live_blocks, 1);
        assert_int_equal(fake_gpu.live_events, 0);
        assert_int_equal(fake_lt.live, 1);
        if (reached) continue;
        assert_int_equal(status, NORMA_OK);
        assert_true(next > 30);
        return;
    }
}

/* The search has a stream of its own, and memory that it frees again, also where it fails. */
static void a_search_does_not_end_a_capture(void **state) {
    fixture *f = *state;
    char stream;
    for (int next = 1;; next++) {
        fake_gpu.capturing = &stream;
        fake_gpu.fail_at = fake_gpu.calls + next;
        fake_gpu.fail_result = GPU_ERROR_OUT_OF_MEMORY;
        const norma_status status = prepare(f, product(8, 4000 + next));
        const bool reached = fake_gpu.calls >= fake_gpu.fail_at;
        fake_gpu.fail_at = 0;
        if (status == NORMA_OK) discard(f);
        /* A driver without modes cannot be asked for one. */
        if (reached && fake_gpu.failed == GPU_FN_capture_mode) fake_gpu.capture_mode = fake_gpu.capture_broken = 0;
        assert_false(fake_gpu.capture_broken);
        fake_gpu.capturing = NULL;
        if (!reached) break;
    }
}

/* Until there is memory. */
static void without_memory_to_time_in_the_first_candidate_serves(void **state) {
    fixture *f = *state;
    fake_lt.ms[1] = 0.1f;
    int next = 0;
    do { /* up to the first allocation */
        const int before = fake_gpu.calls;
        fake_gpu.fail_at = before + ++next;
        fake_gpu.fail_result = GPU_ERROR_OUT_OF_MEMORY;
        if (next > 1 && f->launch.native) discard(f);
        (void)prepare(f, product(8, 2000 + next));
        assert_true(next < 30);
    } while (fake_gpu.failed != GPU_FN_memory_alloc);
    fake_gpu.fail_at = 0;
    EXPECT_OK(launch(f, 1, 8, 0));
    assert_int_equal(fake_lt.algorithm, FAKE_LT_FIRST);
    discard(f);
    EXPECT_OK(prepare(f, product(8, 2000 + next)));
    EXPECT_OK(launch(f, 1, 8, 0));
    assert_int_equal(fake_lt.algorithm, FAKE_LT_FIRST + 1);
    discard(f);
}

/* Whatever a product takes, the search ends after some 100 ms of runs that count, and as many to warm up, or after the runs
 * that are under way then. */
static void a_slow_product_is_not_run_over_and_over(void **state) {
    fixture *f = *state;
    static const struct {
        float ms;
        int runs;
    } rows[] = {{0.01f, 5 * 2 + 4 * 5}, {8, 5 * 2 + 4 * 4}, {30, 4 * 2 + 4}, {60, 2 * 2 + 2}, {150, 2}};
    fake_lt.candidates = 5;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (int c = 0; c < fake_lt.candidates; c++) fake_lt.ms[c] = rows[i].ms * (c == 1 ? 0.99f : 1);
        fake_lt.multiplications = 0;
        EXPECT_OK(prepare(f, product(8, 3000 + (int64_t)i)));
        assert_int_equal(fake_lt.multiplications, rows[i].runs);
        EXPECT_OK(launch(f, 1, 8, 0));
        assert_int_equal(fake_lt.algorithm, FAKE_LT_FIRST + (rows[i].runs > 2));
        discard(f);
    }
}

/* Its bits may not depend on what was fastest. */
static void a_product_of_gradients_is_not_timed(void **state) {
    fixture *f = *state;
    fake_lt.ms[1] = 0.1f;
    fake_lt.workspace_bytes[0] = 4321;
    norma_problem problem = product(8, 3100);
    for (int known = 0; known < 2; known++) {
        problem.op = NORMA_OP_PRODUCT;
        fake_lt.multiplications = fake_lt.searches = 0;
        EXPECT_OK(prepare(f, problem));
        assert_int_equal(fake_lt.multiplications, 0);
        assert_int_equal(fake_lt.first_search.workspace_bytes, 32 << 20);
        assert_int_equal(f->launch.workspace_bytes, 4321);
        EXPECT_OK(launch(f, 1, 8, 0));
        assert_int_equal(fake_lt.algorithm, FAKE_LT_FIRST);
        discard(f);

        /* Nor does it follow from a Linear of the same shape, or lead it. */
        problem.op = NORMA_OP_LINEAR;
        EXPECT_OK(prepare(f, problem));
        EXPECT_OK(launch(f, 1, 8, 0));
        assert_int_equal(fake_lt.algorithm, FAKE_LT_FIRST + 1);
        discard(f);
    }
}

static void a_failed_product_asks_the_driver_whether_the_device_is_lost(void **state) {
    fixture *f = *state;
    EXPECT_OK(prepare(f, product(8, 41)));
    fake_lt.multiply_status = 13;
    EXPECT_FAILURE(launch(f, 1, 8, 0), NORMA_ERROR_DEVICE, "cublasLtMatmul failed with FAKE_FAILURE (13)");
    fake_lt.multiply_status = 0;
    EXPECT_OK(launch(f, 1, 8, 0));

    fake_lt.multiply_status = 13;
    norma_status status = NORMA_OK;
    for (int next = 1; next < 20 && fake_gpu.failed != GPU_FN_stream_sync; next++) {
        fake_gpu.fail_at = fake_gpu.calls + next;
        fake_gpu.fail_result = 700;
        status = launch(f, 1, 8, 0);
    }
    fake_gpu.fail_at = 0;
    assert_int_equal(fake_gpu.failed, GPU_FN_stream_sync);
    assert_int_equal(status, NORMA_ERROR_DEVICE_LOST);
    discard(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_version_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(transposed_weight_and_bias, set_up, tear_down),
        cmocka_unit_test_setup_teardown(row_major_weight_and_fp32_output, set_up, tear_down),
        cmocka_unit_test_setup_teardown(product_that_sums_over_rows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_part_is_a_product, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_fastest_candidate_is_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_shape_is_searched_for_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(other_rows_keep_the_algorithm_if_it_serves_them, set_up, tear_down),
        cmocka_unit_test_setup_teardown(misaligned_addresses_get_an_algorithm_of_their_own, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_operand_is_asked_for_by_its_own_alignment, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_the_plan_found_serves_every_call, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_product_that_calls_could_not_run_is_refused_by_the_plan, set_up, tear_down),
        cmocka_unit_test_setup_teardown(batches_join_where_their_rows_line_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_the_library_does_not_take_is_unsupported, set_up, tear_down),
        cmocka_unit_test_setup_teardown(prepare_survives_every_driver_failure, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_search_does_not_end_a_capture, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_memory_to_time_in_the_first_candidate_serves, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_slow_product_is_not_run_over_and_over, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_product_of_gradients_is_not_timed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_failed_product_asks_the_driver_whether_the_device_is_lost, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
