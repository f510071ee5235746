/* The plain product of the HIP backend with both of AMD's libraries, as stand-ins: hipBLASLt does what it takes, rocBLAS the
 * rest; whichever call of hipBLASLt fails, there is a right result or a status with a sentence, and nothing is left. */
#include <dlfcn.h>
#include <stdio.h>

#include "../unit/expect.h"
#include "../unit/gpu_life.h"
#include "backend_list.h"
#include "blas_product.h"
#include "hipblaslt_stand_in.h"
#include "rocblas_stand_in.h"

enum { ALLOC_FAILED = 2, EXECUTION_FAILED = 5, NOT_SUPPORTED = 7 };

/* Elements between the rows of outputs that have to be of a product which no other test has tuned: the process remembers. */
enum { WITH_WORKSPACE = 1000, WITHOUT_HIPBLASLT };

static hipblaslt_stand_in_state *lt;
static rocblas_stand_in_state *rocblas;
static norma_context *context;

static void *symbol_of(const char *soname, const char *name) {
    void *const library = dlopen(soname, RTLD_NOW | RTLD_LOCAL);
    return library ? dlsym(library, name) : NULL;
}

static int find_stand_ins(void **state) {
    (void)state;
    hipblaslt_stand_in_control_fn lt_control;
    rocblas_stand_in_control_fn rocblas_control;
    void *const addresses[] = {symbol_of("libhipblaslt.so.1", "hipblaslt_stand_in_control"),
                               symbol_of("librocblas.so.5", "rocblas_stand_in_control")};
    if (!addresses[0] || !addresses[1]) return -1;
    memcpy(&lt_control, &addresses[0], sizeof lt_control);
    memcpy(&rocblas_control, &addresses[1], sizeof rocblas_control);
    lt = lt_control();
    rocblas = rocblas_control();
    return 0;
}

static int open_all(void **state) {
    (void)state;
    memset(lt, 0, sizeof *lt);
    memset(rocblas, 0, sizeof *rocblas);
    norma_open_desc desc = {.index = 0};
    if (norma_logger_init(&desc.log, NORMA_LOG_ERROR, NULL, NULL)) return -1;
    return norma_context_create_on(&norma_backend_hip, &desc, &context) ? -1 : 0;
}

static int close_all(void **state) {
    (void)state;
    norma_context_destroy(context);
    return lt->live || rocblas->live_handles ? -1 : 0;
}

static const blas_product_form plain = {
    .dtype = NORMA_F32, .out_dtype = NORMA_F32, .batch = 1, .batch_rows = BLAS_PRODUCT_M, .weight_columns = true};

static void products_are_right_however_matrices_lie(void **state) {
    (void)state;
    static const norma_dtype dtypes[][2] = {
        {NORMA_F32, NORMA_F32}, {NORMA_F16, NORMA_F16}, {NORMA_BF16, NORMA_BF16}, {NORMA_BF16, NORMA_F32}};
    for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++)
        for (unsigned bits = 0; bits < 16; bits++) {
            const int padding = (bits & 2) != 0; /* batches that join, and that do not */
            blas_product p = blas_product_make(context, (blas_product_form){.dtype = dtypes[d][0],
                                                                            .out_dtype = dtypes[d][1],
                                                                            .batch = BLAS_PRODUCT_BATCH,
                                                                            .batch_rows = BLAS_PRODUCT_M + padding,
                                                                            .weight_columns = bits & 1,
                                                                            .bias = bits & 4,
                                                                            .accumulate = bits & 8});
            EXPECT_OK(blas_product_run(context, &p.problem));
            blas_product_expect_right(&p);
            assert_int_equal(lt->batch, padding ? BLAS_PRODUCT_BATCH : 1);
            blas_product_free(context, &p);
        }
    assert_int_equal(rocblas->multiplications, 0);
}

static void a_product_that_sums_over_rows(void **state) {
    (void)state;
    blas_product p = blas_product_make(context, plain);
    p.problem.op = NORMA_OP_PRODUCT;
    p.problem.x.layout = (norma_layout){NORMA_F32, 1, BLAS_PRODUCT_M, 0};
    EXPECT_OK(blas_product_run(context, &p.problem));
    blas_product_expect_right(&p);
    blas_product_free(context, &p);
}

static void a_workspace_that_it_needs_is_there(void **state) {
    (void)state;
    lt->workspace_bytes = 4096;
    blas_product_form form = plain;
    form.out_padding = WITH_WORKSPACE;
    blas_product p = blas_product_make(context, form);
    EXPECT_OK(blas_product_run(context, &p.problem));
    assert_true(lt->multiplications > 1);
    assert_int_equal(rocblas->multiplications, 0);
    blas_product_free(context, &p);
}

/* No way is known to ask whether an algorithm serves other rows, so its first choice for them is taken. */
static void other_rows_get_an_algorithm_of_their_own(void **state) {
    (void)state;
    blas_product p = blas_product_make(context, plain);
    norma_launch launch = {.kernel = NORMA_KERNEL_LINEAR_BLAS, .problem = &p.problem};
    norma_device *device = context->device;
    EXPECT_OK(device->backend->prepare(device, &launch));
    const int searches = lt->searches;
    EXPECT_OK(device->backend->launch(device, &launch));
    assert_int_equal(lt->searches, searches);
    p.problem.m--;
    EXPECT_OK(device->backend->launch(device, &launch));
    assert_int_equal(lt->searches, searches + 1);
    device->backend->discard(device, &launch);
    blas_product_free(context, &p);
}

static void a_batch_that_is_refused_is_a_product_each(void **state) {
    (void)state;
    blas_product_form form = plain;
    form.batch = BLAS_PRODUCT_BATCH;
    form.batch_rows = BLAS_PRODUCT_M + 1;
    blas_product p = blas_product_make(context, form);
    norma_problem one = p.problem; /* as a plan knows it */
    one.batch = 1;
    norma_launch launch = {.kernel = NORMA_KERNEL_LINEAR_BLAS, .problem = &one};
    norma_device *device = context->device;
    EXPECT_OK(device->backend->prepare(device, &launch));
    lt->refuses_batches = true;
    lt->multiplications = 0;
    launch.problem = &p.problem;
    EXPECT_OK(device->backend->launch(device, &launch));
    blas_product_expect_right(&p);
    assert_int_equal(lt->multiplications, BLAS_PRODUCT_BATCH);
    device->backend->discard(device, &launch);
    blas_product_free(context, &p);
}

/* What a time depends on, for those that are kept. */
static void both_versions_are_told(void **state) {
    (void)state;
    char text[256];
    context->device->backend->versions(context->device, text, sizeof text);
    assert_string_equal(text, "HIP 6.3, hipBLASLt 100000, rocBLAS 4.5.6.stand-in");
    lt->version = 600;
    norma_context_destroy(context);
    norma_open_desc desc = {.index = 0};
    EXPECT_OK(norma_logger_init(&desc.log, NORMA_LOG_ERROR, NULL, NULL));
    EXPECT_OK(norma_context_create_on(&norma_backend_hip, &desc, &context));
    context->device->backend->versions(context->device, text, sizeof text);
    assert_string_equal(text, "HIP 6.3, rocBLAS 4.5.6.stand-in");
}

/* ---- Without hipBLASLt ---- */

static void expect_rocblas(void) {
    blas_product_form form = plain;
    form.out_padding = WITHOUT_HIPBLASLT;
    blas_product p = blas_product_make(context, form);
    EXPECT_OK(blas_product_run(context, &p.problem));
    assert_int_equal(rocblas->multiplications, 1);
    assert_int_equal(lt->multiplications, 0);
    blas_product_free(context, &p);
}

static void what_it_has_no_algorithm_for_goes_to_rocblas(void **state) {
    (void)state;
    lt->finds_nothing = true;
    expect_rocblas();
    blas_product_form form = plain;
    form.bias = true;
    form.out_padding = WITHOUT_HIPBLASLT;
    blas_product p = blas_product_make(context, form);
    EXPECT_FAILURE(blas_product_run(context, &p.problem), NORMA_ERROR_UNSUPPORTED, "rocBLAS does not take a bias");
    blas_product_free(context, &p);
}

static void a_version_with_other_numbers_is_not_used(void **state) {
    (void)state;
    lt->version = 600;
    expect_rocblas();
    assert_int_equal(lt->live, 0);
}

static void a_library_that_does_not_start_is_not_used(void **state) {
    (void)state;
    lt->fail_at = 1;
    lt->fail_status = 1;
    expect_rocblas();
    assert_string_equal(lt->failed, "hipblasLtCreate");
}

/* ---- Failures ---- */

/* A device's whole use of the library with its call number `call` failing; false if there are fewer calls. Each time the
 * product is one that the process has not tuned. */
static bool live_with_failure(int call, int fail_status, norma_status expected) {
    static int64_t padding = 1;
    assert_int_equal(open_all(NULL), 0);
    lt->fail_at = call;
    lt->fail_status = fail_status;
    blas_product_form form = plain;
    form.out_padding = ++padding;
    blas_product p = blas_product_make(context, form);
    const norma_status status = blas_product_run(context, &p.problem);
    char label[96];
    snprintf(label, sizeof label, "call %d, %s, answers %d", call, lt->failed ? lt->failed : "none", fail_status);
    if (status == NORMA_OK)
        blas_product_expect_right(&p);
    else
        expect_sentence(label, status, expected, NULL);
    const bool reached = lt->calls >= call;
    lt->fail_at = 0;
    EXPECT_OK(blas_product_run(context, &p.problem));
    blas_product_expect_right(&p);
    blas_product_free(context, &p);
    norma_context_destroy(context);
    if (lt->live) fail_msg("%s: %d objects have leaked", label, lt->live);
    if (rocblas->live_handles) fail_msg("%s: rocBLAS was left open", label);
    return reached;
}

static void every_call_may_fail(void **state) {
    (void)state;
    static const struct {
        int status;
        norma_status expected;
    } rows[] = {{ALLOC_FAILED, NORMA_ERROR_OUT_OF_MEMORY},
                {EXECUTION_FAILED, NORMA_ERROR_DEVICE},
                {NOT_SUPPORTED, NORMA_ERROR_UNSUPPORTED}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int call = 1;
        while (live_with_failure(call, rows[i].status, rows[i].expected)) call++;
        assert_true(call > 30);
    }
}

/* A program's whole life takes the norm and the product where the vendor's is there. */
static void a_whole_life_leaves_nothing_behind(void **state) {
    (void)state;
    memset(lt, 0, sizeof *lt);
    EXPECT_OK(gpu_live(&norma_backend_hip));
    assert_true(lt->multiplications > 0);
    assert_int_equal(lt->live, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(products_are_right_however_matrices_lie, open_all, close_all),
        cmocka_unit_test_setup_teardown(a_product_that_sums_over_rows, open_all, close_all),
        cmocka_unit_test_setup_teardown(a_workspace_that_it_needs_is_there, open_all, close_all),
        cmocka_unit_test_setup_teardown(other_rows_get_an_algorithm_of_their_own, open_all, close_all),
        cmocka_unit_test_setup_teardown(a_batch_that_is_refused_is_a_product_each, open_all, close_all),
        cmocka_unit_test_setup_teardown(both_versions_are_told, open_all, close_all),
        cmocka_unit_test_setup_teardown(what_it_has_no_algorithm_for_goes_to_rocblas, open_all, close_all),
        cmocka_unit_test_setup_teardown(a_version_with_other_numbers_is_not_used, open_all, close_all),
        cmocka_unit_test_setup_teardown(a_library_that_does_not_start_is_not_used, open_all, close_all),
        cmocka_unit_test(every_call_may_fail),
        cmocka_unit_test(a_whole_life_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, find_stand_ins, NULL);
}
