/* What only a driver shows: capture into a graph, streams and threads, the caller's current context, and a device that runs
 * out of memory or faults. Runs on the first CUDA device; skipped, with exit status 77, where there is none, unless
 * NORMA_REQUIRE names cuda. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dtype.h"
#include "expect.h"
#include "front/context.h"
#include "gpu/device.h"

enum { K = 256, N = 96, LARGE_M = 100, SKIPPED = 77, CAPTURE_GLOBAL = 0 };

/* One context with a norm and a Linear planned on it. */
typedef struct fixture {
    norma_context *context;
    const gpu_driver *driver;
    norma_plan *norm, *linear;
    void *x, *gamma, *weight, *y, *out;
} fixture;

typedef struct results {
    uint16_t y[LARGE_M * K];
    uint16_t out[LARGE_M * N];
} results;

static void fill(uint16_t *values, int count, uint32_t seed) {
    for (int i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        values[i] = norma_bf16_from_f32((float)(seed >> 8) * 0x1p-23f - 1.0f);
    }
}

static void upload(fixture *f, void *to, int count, uint32_t seed) {
    uint16_t *values = malloc((size_t)count * sizeof *values);
    assert_non_null(values);
    fill(values, count, seed);
    EXPECT_OK(norma_upload(f->context, (norma_buffer){to, 0}, values, (size_t)count * sizeof *values));
    free(values);
}

static void open_fixture(fixture *f, void *stream) {
    norma_context_desc desc = norma_context_desc_init();
    desc.backend = "cuda";
    desc.stream = stream;
    EXPECT_OK(norma_context_create(&desc, &f->context));
    f->driver = ((gpu_device *)f->context->device)->driver;
    EXPECT_OK(norma_alloc(f->context, LARGE_M * K * 2, &f->x));
    EXPECT_OK(norma_alloc(f->context, K * 2, &f->gamma));
    EXPECT_OK(norma_alloc(f->context, K * N * 2, &f->weight));
    EXPECT_OK(norma_alloc(f->context, LARGE_M * K * 2, &f->y));
    EXPECT_OK(norma_alloc(f->context, LARGE_M * N * 2, &f->out));
    upload(f, f->x, LARGE_M * K, 1);
    upload(f, f->gamma, K, 2);
    upload(f, f->weight, K * N, 3);

    norma_rmsnorm_desc norm = norma_rmsnorm_desc_init();
    norm.k = K;
    norm.x.dtype = norm.gamma.dtype = norm.out.dtype = NORMA_BF16;
    norm.max_rows = LARGE_M;
    EXPECT_OK(norma_rmsnorm_plan_create(f->context, &norm, &f->norm));
    norma_rmsnorm_linear_desc linear = norma_rmsnorm_linear_desc_init();
    linear.k = K;
    linear.x.dtype = linear.gamma.dtype = NORMA_BF16;
    linear.part[0].n = N;
    linear.part[0].weight = norma_layout_transposed(NORMA_BF16, K);
    linear.part[0].out.dtype = NORMA_BF16;
    linear.max_rows = LARGE_M;
    EXPECT_OK(norma_rmsnorm_linear_plan_create(f->context, &linear, &f->linear));
}

static void close_fixture(fixture *f) {
    norma_plan_destroy(f->norm);
    norma_plan_destroy(f->linear);
    void *const blocks[] = {f->x, f->gamma, f->weight, f->y, f->out};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) EXPECT_OK(norma_free(f->context, blocks[i]));
    norma_context_destroy(f->context);
}

static norma_status run_norm(fixture *f, int64_t m) {
    norma_rmsnorm_args args = norma_rmsnorm_args_init();
    args.m = m;
    args.x.data = f->x;
    args.gamma.data = f->gamma;
    args.out.data = f->y;
    return norma_rmsnorm_plan_run(f->norm, &args);
}

static norma_status run_linear(fixture *f, int64_t m) {
    norma_rmsnorm_linear_args args = norma_rmsnorm_linear_args_init();
    args.m = m;
    args.x.data = f->x;
    args.gamma.data = f->gamma;
    args.part[0].weight.data = f->weight;
    args.part[0].out.data = f->out;
    return norma_rmsnorm_linear_plan_run(f->linear, &args);
}

static void run_both(fixture *f, int64_t m) {
    EXPECT_OK(run_norm(f, m));
    EXPECT_OK(run_linear(f, m));
}

static void download(fixture *f, results *to) {
    EXPECT_OK(norma_download(f->context, to->y, (norma_buffer){f->y, 0}, sizeof to->y));
    EXPECT_OK(norma_download(f->context, to->out, (norma_buffer){f->out, 0}, sizeof to->out));
}

/* A stream of the caller's, made in the primary context. */
static void *create_stream(fixture *f) {
    gpu_device *device = (gpu_device *)f->context->device;
    void *previous, *stream;
    EXPECT_OK(norma_gpu_enter(device, &previous));
    assert_int_equal(f->driver->stream_create(&stream, GPU_STREAM_NON_BLOCKING), GPU_SUCCESS);
    norma_gpu_leave(device, previous);
    return stream;
}

/* ---- Graphs ---- */

static void captured_runs_replay_with_what_the_memory_then_holds(void **state) {
    (void)state;
    static const int64_t row_counts[] = {1, 5, 33, LARGE_M};
    fixture plain = {0}, captured = {0};
    open_fixture(&plain, NULL);
    const gpu_driver *driver = plain.driver;
    gpu_device *device = (gpu_device *)plain.context->device;
    void *const stream = create_stream(&plain);
    void *previous;
    open_fixture(&captured, stream);
    EXPECT_OK(norma_gpu_enter(device, &previous));
    for (size_t i = 0; i < sizeof row_counts / sizeof *row_counts; i++) {
        void *graph, *exec;
        const int64_t m = row_counts[i];
        /* The strictest mode: nothing that could block or allocate is allowed in any thread. */
        assert_int_equal(driver->capture_begin(stream, CAPTURE_GLOBAL), GPU_SUCCESS);
        run_both(&captured, m);
        assert_int_equal(driver->capture_end(stream, &graph), GPU_SUCCESS);
        assert_int_equal(driver->graph_instantiate(&exec, graph, 0), GPU_SUCCESS);
        for (uint32_t seed = 10; seed < 13; seed++) {
            static results expected, replayed;
            upload(&plain, plain.x, LARGE_M * K, seed);
            run_both(&plain, m);
            download(&plain, &expected);
            upload(&captured, captured.x, LARGE_M * K, seed);
            upload(&captured, captured.y, LARGE_M * K, 99);
            upload(&plain, plain.y, LARGE_M * K, 99);
            assert_int_equal(driver->graph_launch(exec, stream), GPU_SUCCESS);
            download(&captured, &replayed);
            assert_memory_equal(replayed.y, expected.y, (size_t)(m * K * 2));
            assert_memory_equal(replayed.out, expected.out, (size_t)(m * N * 2));
        }
        driver->graph_exec_destroy(exec);
        driver->graph_destroy(graph);
    }
    close_fixture(&captured);
    driver->stream_destroy(stream);
    norma_gpu_leave(device, previous);
    close_fixture(&plain);
}

/* ---- Threads ---- */

enum { THREADS = 2, RUNS = 20 };

typedef struct worker {
    fixture f;
    bool same;
    results first;
} worker;

static void *work(void *user) {
    worker *w = user;
    static const int64_t row_counts[] = {LARGE_M, 3, 17, LARGE_M};
    w->same = true;
    for (int run = 0; run < RUNS; run++) {
        for (size_t i = 0; i < sizeof row_counts / sizeof *row_counts; i++)
            if (run_norm(&w->f, row_counts[i]) || run_linear(&w->f, row_counts[i])) w->same = false;
        results *now = malloc(sizeof *now);
        if (!now) return NULL;
        if (norma_download(w->f.context, now->y, (norma_buffer){w->f.y, 0}, sizeof now->y) ||
            norma_download(w->f.context, now->out, (norma_buffer){w->f.out, 0}, sizeof now->out))
            w->same = false;
        if (run == 0) w->first = *now;
        if (memcmp(now, &w->first, sizeof *now) != 0) w->same = false;
        free(now);
    }
    return NULL;
}

static void two_contexts_on_two_streams_give_the_same_bits(void **state) {
    (void)state;
    static worker workers[THREADS];
    fixture owner = {0};
    open_fixture(&owner, NULL);
    void *streams[THREADS];
    pthread_t threads[THREADS];
    for (int t = 0; t < THREADS; t++) {
        streams[t] = create_stream(&owner);
        open_fixture(&workers[t].f, streams[t]);
    }
    for (int t = 0; t < THREADS; t++) assert_int_equal(pthread_create(&threads[t], NULL, work, &workers[t]), 0);
    for (int t = 0; t < THREADS; t++) assert_int_equal(pthread_join(threads[t], NULL), 0);
    for (int t = 0; t < THREADS; t++) {
        assert_true(workers[t].same);
        assert_memory_equal(&workers[t].first, &workers[0].first, sizeof workers[0].first);
        close_fixture(&workers[t].f);
        owner.driver->stream_destroy(streams[t]);
    }
    close_fixture(&owner);
}

/* ---- The thread's current context ---- */

static void calls_leave_the_current_context_alone(void **state) {
    (void)state;
    fixture f = {0};
    open_fixture(&f, NULL);
    void *current = &f;
    assert_int_equal(f.driver->context_set(NULL), GPU_SUCCESS);
    run_both(&f, 5);
    upload(&f, f.x, K, 4);
    EXPECT_OK(norma_synchronize(f.context));
    assert_int_equal(f.driver->context_get(&current), GPU_SUCCESS);
    assert_null(current);

    void *const primary = ((gpu_device *)f.context->device)->context;
    assert_int_equal(f.driver->context_set(primary), GPU_SUCCESS);
    run_both(&f, 5);
    assert_int_equal(f.driver->context_get(&current), GPU_SUCCESS);
    assert_ptr_equal(current, primary);
    close_fixture(&f);
    f.driver->context_set(NULL);
}

/* ---- Refusals ---- */

static void a_host_pointer_is_refused_or_right(void **state) {
    (void)state;
    fixture f = {0};
    open_fixture(&f, NULL);
    static results expected, now;
    run_both(&f, 5);
    download(&f, &expected);
    uint16_t *host = malloc(LARGE_M * K * sizeof *host);
    assert_non_null(host);
    fill(host, LARGE_M * K, 1);
    void *const x = f.x;
    f.x = host;
    if (((gpu_device *)f.context->device)->reads_host_memory) {
        print_message("this device reads host memory\n");
        EXPECT_OK(run_norm(&f, 5));
    } else {
        EXPECT_FAILURE(run_norm(&f, 5), NORMA_ERROR_DEVICE, "x is at 0x");
    }
    f.x = x;
    run_both(&f, 5);
    download(&f, &now);
    assert_memory_equal(&now, &expected, sizeof now);
    free(host);
    close_fixture(&f);
}

static void too_large_an_allocation_leaves_the_context_usable(void **state) {
    (void)state;
    fixture f = {0};
    open_fixture(&f, NULL);
    void *data = &f;
    EXPECT_FAILURE(norma_alloc(f.context, (size_t)1 << 46, &data), NORMA_ERROR_OUT_OF_MEMORY, "memory");
    assert_null(data);
    run_both(&f, 5);
    EXPECT_OK(norma_synchronize(f.context));
    close_fixture(&f);
}

/* ---- Faults ---- */

/* Runs in a process of its own: a norm in place over 32 GiB of rows where only a page is allocated. Returns an exit status.
 */
static int fault(void) {
    norma_context_desc context_desc = norma_context_desc_init();
    context_desc.backend = "cuda";
    norma_context *context;
    void *x, *data;
    if (norma_context_create(&context_desc, &context) || norma_alloc(context, 4096, &x)) return 1;
    norma_rmsnorm_desc desc = norma_rmsnorm_desc_init();
    desc.k = 4096;
    desc.x.dtype = desc.out.dtype = NORMA_BF16;
    norma_rmsnorm_args args = norma_rmsnorm_args_init();
    args.m = 1 << 22;
    args.x.data = args.out.data = x;
    norma_status status = norma_rmsnorm(context, &desc, &args);
    if (!status) status = norma_synchronize(context);
    if (status != NORMA_ERROR_DEVICE_LOST) return 2;
    if (norma_synchronize(context) != NORMA_ERROR_DEVICE_LOST) return 3;
    if (norma_alloc(context, 16, &data) != NORMA_ERROR_DEVICE_LOST) return 4;
    args.m = 1;
    if (norma_rmsnorm(context, &desc, &args) != NORMA_ERROR_DEVICE_LOST) return 5;
    if (!strstr(norma_last_error(), "lost")) return 6;
    norma_context_destroy(context);
    return 0;
}

static int fault_status;

static void a_fault_is_reported_and_remembered(void **state) {
    (void)state;
    if (fault_status < 0) skip();
    assert_true(WIFEXITED(fault_status));
    assert_int_equal(WEXITSTATUS(fault_status), 0);
}

/* The child must begin before this process has touched the driver, which does not survive a fork. */
static int status_of_faulting_child(void) {
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        const int status = fault();
        if (status) fprintf(stderr, "step %d of the fault test: %s\n", status, norma_last_error());
        _exit(status);
    }
    int status = -1;
    return child > 0 && waitpid(child, &status, 0) == child ? status : 1;
}

/* Looks in a child, for the same reason: 0 if there is a CUDA device, 2 if it is the stand-in of tests/simt, else 1. */
static int look_for_device(void) {
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        for (int i = 0; i < norma_backend_count(); i++) {
            norma_backend_info info = {.struct_size = sizeof info};
            if (norma_backend_get_info(i, &info) || strcmp(info.name, "cuda") != 0) continue;
            printf("backend cuda: %s%s\n", info.devices == 0 ? "skipped: " : "", info.detail);
            fflush(stdout);
            _exit(info.devices == 0 ? 1 : strncmp(info.detail, "kernels on the host", 19) == 0 ? 2 : 0);
        }
        _exit(1);
    }
    int status = 0;
    return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int main(void) {
    const int found = look_for_device();
    const char *required = getenv("NORMA_REQUIRE");
    if (found == 1) return required && strstr(required, "cuda") ? 1 : SKIPPED;
    /* The stand-in's device memory is this process's own: a fault would end it. */
    fault_status = found == 2 ? -1 : status_of_faulting_child();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fault_is_reported_and_remembered),
        cmocka_unit_test(captured_runs_replay_with_what_the_memory_then_holds),
        cmocka_unit_test(two_contexts_on_two_streams_give_the_same_bits),
        cmocka_unit_test(calls_leave_the_current_context_alone),
        cmocka_unit_test(a_host_pointer_is_refused_or_right),
        cmocka_unit_test(too_large_an_allocation_leaves_the_context_usable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
