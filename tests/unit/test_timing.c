/* Plans that time their routes, on a backend whose kernels take known times: what is chosen, what is kept on disk and when
 * it is believed, and what happens where nothing can be timed. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dtype.h"
#include "expect.h"
#include "fake_backend.h"
#include "front/disk_cache.h"
#include "front/plan.h"
#include "front/scratch.h"
#include "front/slots.h"
#include "front/validate.h"
#include "harness/cache_folder.h"

enum { K = 64, N = 32, TILED = NORMA_KERNEL_RMSNORM_LINEAR_TILED, SKINNY = NORMA_KERNEL_RMSNORM_LINEAR_SKINNY };
enum { ROWS = NORMA_KERNEL_RMSNORM_ROWS, BLAS = NORMA_KERNEL_LINEAR_BLAS, REFERENCE = NORMA_KERNEL_REFERENCE };

static const char tiled[] = "rmsnorm_linear_tiled", skinny[] = "rmsnorm_linear_skinny";
static const char pair[] = "rmsnorm_rows+linear_blas";
static const char when_timed[] = "the fastest when timed", when_timed_before[] = "the fastest when timed before";

/* ---- A context, and what it logs ---- */

static char logged[2048];

static void keep_line(void *user, norma_log_level level, const char *line) {
    (void)user;
    (void)level;
    const size_t used = strlen(logged);
    snprintf(logged + used, sizeof logged - used, "%s\n", line);
}

static norma_context *open_context(void) {
    norma_context *context;
    EXPECT_OK(fake_context_create(&context));
    context->device->log = (norma_logger){NORMA_LOG_INFO, keep_line, NULL};
    logged[0] = '\0';
    return context;
}

/* The tiled kernel is the table's choice, and the slowest but for the reference. */
static void set_times(void) {
    fake.us[TILED] = 40;
    fake.us[SKINNY] = 20;
    fake.us[ROWS] = 1;
    fake.us[BLAS] = 29;
    fake.us[REFERENCE] = 1;
}

static int begin(void **state) {
    fake_reset();
    set_times();
    unsetenv("NORMA_KERNEL");
    unsetenv("NORMA_BATCH_INVARIANT");
    unsetenv("NORMA_TIME_ROUTES");
    if (test_cache_make()) return -1;
    *state = open_context();
    return 0;
}

static int end(void **state) {
    norma_context_destroy(*state);
    fake_expect_nothing_live("at the end");
    unsetenv("NORMA_KERNEL");
    unsetenv("NORMA_BATCH_INVARIANT");
    unsetenv("NORMA_TIME_ROUTES");
    return test_cache_drop();
}

/* Another context in place of the test's own, after the environment or the device has changed. */
static norma_context *reopen(void **state) {
    norma_context_destroy(*state);
    *state = open_context();
    return *state;
}

/* ---- Plans ---- */

/* For any number of rows, so that one bracket is prepared when it is asked for. */
static norma_rmsnorm_linear_desc timed_desc(void) {
    norma_rmsnorm_linear_desc desc = norma_rmsnorm_linear_desc_init();
    desc.k = K;
    desc.flags = NORMA_TIME_ROUTES;
    desc.x.dtype = desc.gamma.dtype = NORMA_F32;
    desc.part[0].n = N;
    desc.part[0].weight.dtype = desc.part[0].out.dtype = NORMA_F32;
    return desc;
}

typedef struct outcome {
    norma_status status;
    norma_plan_info info;
    int replays;
} outcome;

/* What a new plan says of `m` rows. */
static outcome plan_for(norma_context *context, const norma_rmsnorm_linear_desc *desc, int64_t m) {
    const int replayed = fake.replayed;
    outcome found = {.info = {.struct_size = sizeof found.info}};
    norma_plan *plan;
    found.status = norma_rmsnorm_linear_plan_create(context, desc, &plan);
    if (!found.status) found.status = norma_plan_get_info(plan, m, &found.info);
    norma_plan_destroy(plan);
    found.replays = fake.replayed - replayed;
    return found;
}

static void expect_choice(const char *label, const outcome *found, const char *kernel, const char *reason) {
    if (found->status) fail_msg("%s: %s", label, norma_last_error());
    if (strcmp(found->info.kernel, kernel) != 0) fail_msg("%s: chose %s, not %s", label, found->info.kernel, kernel);
    const bool timed = strcmp(found->info.reason, when_timed) == 0,
               kept = strcmp(found->info.reason, when_timed_before) == 0;
    if (reason ? strcmp(found->info.reason, reason) != 0 : timed || kept)
        fail_msg("%s: chose it as \"%s\"", label, found->info.reason);
    if (timed != (found->replays > 0)) fail_msg("%s: %s, after %d replays", label, found->info.reason, found->replays);
}

static void expect_plan(const char *label, norma_context *context, const char *kernel, const char *reason) {
    const norma_rmsnorm_linear_desc desc = timed_desc();
    const outcome found = plan_for(context, &desc, 100);
    expect_choice(label, &found, kernel, reason);
}

static void expect_logged(const char *needle) {
    if (!strstr(logged, needle)) fail_msg("\"%s\" is not in: %s", needle, logged);
}

/* ---- What is chosen ---- */

static void the_fastest_route_is_taken(void **state) {
    static const struct {
        const char *label;
        double tiled, skinny, rows, blas;
        int refused;
        const char *kernel;
    } rows[] = {
        {"the table's", 10, 20, 1, 30, NORMA_KERNEL_COUNT, tiled},
        {"another", 40, 20, 1, 30, NORMA_KERNEL_COUNT, skinny},
        {"two launches", 40, 20, 1, 10, NORMA_KERNEL_COUNT, pair},
        {"two launches, the first slow", 40, 20, 15, 10, NORMA_KERNEL_COUNT, skinny},
        {"all equal", 10, 10, 5, 5, NORMA_KERNEL_COUNT, tiled},
        {"a little faster", 100, 98.5, 100, 100, NORMA_KERNEL_COUNT, tiled},
        {"enough faster", 100, 97.5, 100, 100, NORMA_KERNEL_COUNT, skinny},
        {"the fastest refused", 40, 20, 1, 10, BLAS, skinny},
        {"the table's refused", 10, 20, 1, 30, TILED, skinny},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char version[8];
        fake_state kept = fake;
        snprintf(version, sizeof version, "%zu", i); /* so that nothing is known yet */
        fake.versions = version;
        fake.us[TILED] = rows[i].tiled;
        fake.us[SKINNY] = rows[i].skinny;
        fake.us[ROWS] = rows[i].rows;
        fake.us[BLAS] = rows[i].blas;
        if (rows[i].refused < NORMA_KERNEL_COUNT) fake.refuse[rows[i].refused] = true;
        expect_plan(rows[i].label, *state, rows[i].kernel, when_timed);
        assert_int_equal(fake.most_rows[REFERENCE], 0);
        memcpy(fake.refuse, kept.refuse, sizeof kept.refuse);
    }
    expect_logged("timed for 128 rows of 64: rmsnorm_linear_tiled 12800.00 us, rmsnorm_linear_skinny 12608.00 us, pair ");
}

static void every_bracket_is_timed_for_itself(void **state) {
    norma_rmsnorm_linear_desc desc = timed_desc();
    desc.max_rows = 20;
    norma_plan *plan;
    EXPECT_OK(norma_rmsnorm_linear_plan_create(*state, &desc, &plan));
    char path[TEST_CACHE_PATH_BYTES];
    assert_int_equal(test_cache_files(path), 6); /* 20, 16, 8, 4, 2, 1 */
    const int replayed = fake.replayed, prepared = fake.prepared;
    for (int64_t m = 1; m <= 20; m++) {
        norma_plan_info info = {.struct_size = sizeof info};
        EXPECT_OK(norma_plan_get_info(plan, m, &info));
        assert_string_equal(info.kernel, skinny);
    }
    assert_int_equal(fake.replayed, replayed);
    assert_int_equal(fake.prepared, prepared);
    norma_plan_destroy(plan);
    assert_int_equal(fake.live_buffers, 0);
}

static void one_shot_calls_time_once(void **state) {
    float x[3 * K], gamma[K], weight[K * N], out[3 * N];
    const norma_rmsnorm_linear_desc desc = timed_desc();
    norma_rmsnorm_linear_args args = norma_rmsnorm_linear_args_init();
    args.m = 3;
    args.x.data = x;
    args.gamma.data = gamma;
    args.part[0].weight.data = weight;
    args.part[0].out.data = out;
    EXPECT_OK(norma_rmsnorm_linear(*state, &desc, &args));
    const int replayed = fake.replayed, launched = fake.launched;
    assert_true(replayed > 0);
    EXPECT_OK(norma_rmsnorm_linear(*state, &desc, &args));
    assert_int_equal(fake.replayed, replayed);
    assert_int_equal(fake.launched, launched + 1);
}

static void nothing_is_timed_where_there_is_nothing_to_choose(void **state) {
    static const struct {
        const char *label, *variable, *value;
        uint64_t flags;
        const char *kernel;
    } rows[] = {
        {"no flag", NULL, NULL, 0, tiled},
        {"batch-invariant", NULL, NULL, NORMA_TIME_ROUTES | NORMA_BATCH_INVARIANT, tiled},
        {"batch-invariant by the environment", "NORMA_BATCH_INVARIANT", "1", NORMA_TIME_ROUTES, tiled},
        {"forced", "NORMA_KERNEL", "rmsnorm_linear_tiled", NORMA_TIME_ROUTES, tiled},
        {"forced to the reference", "NORMA_KERNEL", "reference", NORMA_TIME_ROUTES, "reference"},
        {"switched off", "NORMA_TIME_ROUTES", "0", 0, tiled},
    };
    char path[TEST_CACHE_PATH_BYTES];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].variable) setenv(rows[i].variable, rows[i].value, 1);
        norma_context *context = reopen(state);
        norma_rmsnorm_linear_desc desc = timed_desc();
        desc.flags = rows[i].flags;
        const outcome found = plan_for(context, &desc, 100);
        expect_choice(rows[i].label, &found, rows[i].kernel, NULL);
        assert_int_equal(test_cache_files(path), 0);
        if (rows[i].variable) unsetenv(rows[i].variable);
    }

    norma_rmsnorm_desc norm = norma_rmsnorm_desc_init();
    norm.k = K;
    norm.max_rows = 100;
    norm.flags = NORMA_TIME_ROUTES;
    norm.x.dtype = norm.out.dtype = NORMA_F32;
    norma_plan *plan;
    EXPECT_OK(norma_rmsnorm_plan_create(*state, &norm, &plan));
    norma_plan_destroy(plan);
    assert_int_equal(fake.replayed, 0);
    assert_int_equal(test_cache_files(path), 0);

    fake.refuse[SKINNY] = fake.refuse[BLAS] = true;
    expect_plan("a single one prepares", *state, tiled, NULL);
    fake.refuse[TILED] = true;
    expect_plan("only the reference does", *state, "reference", NULL);
}

static void the_environment_times_every_call(void **state) {
    setenv("NORMA_TIME_ROUTES", "1", 1);
    norma_context *context = reopen(state);
    norma_rmsnorm_linear_desc desc = timed_desc();
    desc.flags = 0;
    const outcome found = plan_for(context, &desc, 100);
    expect_choice("by the environment", &found, skinny, when_timed);
}

static void products_of_a_backward_are_timed(void **state) {
    norma_rmsnorm_linear_backward_desc desc = norma_rmsnorm_linear_backward_desc_init();
    desc.k = K;
    desc.flags = NORMA_TIME_ROUTES;
    desc.x.dtype = desc.gamma.dtype = desc.rstd.dtype = desc.dx.dtype = desc.dgamma.dtype = NORMA_F32;
    desc.part[0].n = N;
    desc.part[0].weight.dtype = desc.part[0].dout.dtype = desc.part[0].dweight.dtype = NORMA_F32;
    static const struct {
        double tiled, blas;
        const char *product;
    } rows[] = {{40, 20, "linear_blas"}, {20, 40, "rmsnorm_linear_tiled"}};
    for (size_t i = 0; i < 2; i++) {
        fake.versions = i ? "other" : "one";
        fake.us[TILED] = rows[i].tiled;
        fake.us[BLAS] = rows[i].blas;
        norma_plan *plan;
        EXPECT_OK(norma_rmsnorm_linear_backward_plan_create(*state, &desc, &plan));
        norma_plan_info info = {.struct_size = sizeof info};
        EXPECT_OK(norma_plan_get_info(plan, 100, &info));
        char kernels[128];
        snprintf(kernels, sizeof kernels, "rmsnorm_rows+%s+rmsnorm_rows_backward", rows[i].product);
        assert_string_equal(info.kernel, kernels);
        norma_plan_destroy(plan);
        char path[TEST_CACHE_PATH_BYTES];
        assert_int_equal(test_cache_files(path), 2 * ((int)i + 1)); /* of weights and of rows */
    }
}

/* ---- How it is timed ---- */

static void what_would_take_long_is_left_out_after_few_rows(void **state) {
    fake.us[SKINNY] = 200; /* 0.8 s for 4096 rows, five times the next */
    const norma_rmsnorm_linear_desc desc = timed_desc();
    outcome found = plan_for(*state, &desc, 4096);
    expect_choice("large", &found, pair, when_timed);
    assert_int_equal(fake.most_rows[SKINNY], 64);
    assert_int_equal(fake.most_rows[TILED], 4096);
    expect_logged("rmsnorm_linear_skinny not timed");

    found = plan_for(*state, &desc, 1024); /* 0.2 s */
    expect_choice("smaller", &found, pair, when_timed);
    assert_int_equal(fake.most_rows[SKINNY], 1024);
}

static void operands_rotate_through_more_than_the_cache(void **state) {
    enum { CACHE_BYTES = 1 << 20, X_BYTES = 100 * K * 4 };
    fake.cache_bytes = CACHE_BYTES;
    norma_context *context = reopen(state);
    expect_plan("cold", context, skinny, when_timed);
    assert_true(fake.largest_alloc_bytes > 2 * CACHE_BYTES);
    assert_true(fake.largest_alloc_bytes < 3 * CACHE_BYTES);
}

static float value_at(const norma_scratch *scratch, const norma_problem *problem, int64_t i) {
    const unsigned char *data = (const unsigned char *)scratch->data + problem->x.buffer.offset_bytes;
    return norma_load(data, problem->x.layout.dtype, i);
}

/* Every tensor in each set has a place of its own, to its last byte, and normal values. */
static void operands_lie_apart_and_are_normal(void **state) {
    norma_context *context = *state;
    norma_rmsnorm_linear_desc desc = timed_desc();
    desc.x.dtype = desc.residual.dtype = desc.residual_out.dtype = NORMA_BF16;
    desc.x.row_stride = 3 * K;
    desc.rstd.dtype = NORMA_F32;
    desc.parts = 2;
    desc.part[0].bias.dtype = NORMA_F16;
    desc.part[1] = desc.part[0];
    desc.part[1].weight = norma_layout_transposed(NORMA_F16, K + 8);
    norma_problem problem;
    EXPECT_OK(norma_problem_from_rmsnorm_linear(&desc, &problem));
    norma_scratch scratch;
    context->device->limits.cache_bytes = 1 << 17;
    EXPECT_OK(norma_scratch_create(context, &problem, 50, &scratch));
    assert_true(scratch.sets > 2);
    int64_t end = 0;
    for (int set = 0; set < scratch.sets; set++) {
        norma_problem bound;
        norma_scratch_problem(&scratch, set, &bound);
        assert_int_equal(bound.m, 50);
        assert_int_equal(bound.batch, 1);
        const norma_slot_list list = norma_slots_of(&bound);
        assert_true(list.count > 8);
        for (int i = 0; i < list.count; i++) {
            const norma_tensor *tensor = list.slots[i].tensor;
            if (!norma_tensor_present(tensor)) continue;
            assert_ptr_equal(tensor->buffer.data, scratch.data);
            assert_int_equal(tensor->buffer.offset_bytes % 256, 0);
            assert_true((int64_t)tensor->buffer.offset_bytes >= end);
            assert_true(norma_slot_span(&list.slots[i], &end));
        }
        double sum = 0, squares = 0;
        for (int64_t i = 0; i < 49 * 3 * K + K; i++) {
            const double value = (double)value_at(&scratch, &bound, i);
            sum += value;
            squares += value * value;
        }
        const double count = 49 * 3 * K + K;
        assert_true(sum / count < 0.1 && sum / count > -0.1);
        assert_true(squares / count < 1.1 && squares / count > 0.9);
    }
    assert_true(end <= scratch.sets * scratch.set_bytes);
    norma_scratch_free(context, &scratch);
    assert_int_equal(fake.live_buffers, 0);
}

/* ---- What is kept ---- */

static void a_kept_choice_is_taken_and_nothing_is_timed(void **state) {
    expect_plan("first", *state, skinny, when_timed);
    const int prepared = fake.prepared;
    expect_plan("again", *state, skinny, when_timed_before);
    assert_int_equal(fake.prepared, prepared + 1);
    fake.us[TILED] = 1; /* what was found stands */
    norma_context *context = reopen(state);
    expect_plan("in another context", context, skinny, when_timed_before);
    norma_rmsnorm_linear_desc limited = timed_desc();
    limited.max_rows = 500;
    const outcome found = plan_for(context, &limited, 100);
    assert_string_equal(found.info.reason, when_timed_before);
}

static void whatever_may_change_the_choice_is_timed_anew(void **state) {
    expect_plan("first", *state, skinny, when_timed);
    fake.versions = "another driver";
    expect_plan("versions", *state, skinny, when_timed);
    norma_context *context = *state;
    context->device->limits.units++;
    expect_plan("units", context, skinny, when_timed);
    snprintf(context->info.name, sizeof context->info.name, "another device");
    expect_plan("name", context, skinny, when_timed);
    snprintf(context->info.arch, sizeof context->info.arch, "another");
    expect_plan("arch", context, skinny, when_timed);
    context->info.backend = "another";
    expect_plan("backend", context, skinny, when_timed);
    expect_plan("nothing", context, skinny, when_timed_before);

    const norma_rmsnorm_linear_desc base = timed_desc();
    norma_rmsnorm_linear_desc changed[] = {base, base, base, base, base, base};
    changed[0].k++;
    changed[1].part[0].n++;
    changed[2].contract = NORMA_ROUND_ONCE;
    changed[3].part[0].weight = norma_layout_transposed(NORMA_F32, K);
    changed[4].flags |= NORMA_WEIGHTS_STATIC;
    changed[5].gamma.dtype = NORMA_NONE;
    for (size_t i = 0; i < sizeof changed / sizeof changed[0]; i++) {
        char label[32];
        snprintf(label, sizeof label, "description %zu", i);
        outcome found = plan_for(context, &changed[i], 100);
        expect_choice(label, &found, skinny, when_timed);
        found = plan_for(context, &changed[i], 100);
        expect_choice(label, &found, skinny, when_timed_before);
    }
    const outcome found = plan_for(context, &base, 130);
    expect_choice("another bracket", &found, skinny, when_timed);
}

static void a_damaged_file_is_timed_anew_and_replaced(void **state) {
    char path[TEST_CACHE_PATH_BYTES];
    expect_plan("first", *state, skinny, when_timed);
    for (int which = 0; which < DAMAGE_COUNT; which++) {
        char label[32];
        snprintf(label, sizeof label, "damage %d", which);
        assert_int_equal(test_cache_files(path), 1);
        test_cache_damage((test_damage)which, path);
        expect_plan(label, *state, skinny, when_timed);
        expect_plan(label, *state, skinny, when_timed_before);
    }
}

/* Puts another content under the key of the only file. */
static void forge(const char *content) {
    static char file[16384];
    char path[TEST_CACHE_PATH_BYTES], why[256];
    uint64_t key_bytes;
    assert_int_equal(test_cache_files(path), 1);
    FILE *from = fopen(path, "rb");
    assert_non_null(from);
    const size_t bytes = fread(file, 1, sizeof file, from);
    fclose(from);
    memcpy(&key_bytes, file + 16, sizeof key_bytes);
    assert_true(40 + key_bytes < bytes);
    file[40 + key_bytes] = '\0';
    assert_true(norma_disk_cache_write("route", file + 40, content, strlen(content), why, sizeof why));
}

static void a_kept_route_that_is_no_longer_possible_is_timed_anew(void **state) {
    static const char *const contents[] = {"direct, rmsnorm_linear_warp, no tile\n",
                                           "direct, rmsnorm_linear_tiled, tile_x\n",
                                           "norm first, rmsnorm_linear_skinny, no tile\n",
                                           "direct, rmsnorm_linear_skinny",
                                           "x",
                                           "direct, linear_blas, no tile\n"};
    expect_plan("first", *state, skinny, when_timed);
    for (size_t i = 0; i < sizeof contents / sizeof contents[0]; i++) {
        forge(contents[i]);
        expect_plan(contents[i], *state, skinny, when_timed);
        expect_plan(contents[i], *state, skinny, when_timed_before);
    }
    forge("norm first, linear_blas, no tile\n");
    expect_plan("forged", *state, pair, when_timed_before);
    fake.refuse[BLAS] = true;
    expect_plan("refused", *state, skinny, when_timed);
    fake.refuse[BLAS] = false;
    expect_plan("replaced", *state, skinny, when_timed_before);
}

static void a_folder_that_cannot_be_written_is_said_once(void **state) {
    setenv("NORMA_CACHE_DIR", "/proc/norma/cache", 1);
    expect_plan("first", *state, skinny, when_timed);
    expect_logged("cannot be kept, and every plan times anew: /proc/norma/cache");
    logged[0] = '\0';
    expect_plan("second", *state, skinny, when_timed);
    assert_null(strstr(logged, "cannot be kept"));
}

/* Each process times or reads, whichever comes first; all agree, and the next one reads. */
static void processes_share_what_they_find(void **state) {
    enum { CHILDREN = 2 };
    pid_t children[CHILDREN];
    for (int i = 0; i < CHILDREN; i++) {
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (children[i] > 0) continue;
        const norma_rmsnorm_linear_desc desc = timed_desc();
        bool right = true;
        for (int64_t m = 1; m <= 4096; m *= 2) {
            const outcome found = plan_for(*state, &desc, m);
            right = right && !found.status && strcmp(found.info.kernel, skinny) == 0;
        }
        _exit(!right);
    }
    for (int i = 0; i < CHILDREN; i++) {
        int result;
        assert_int_equal(waitpid(children[i], &result, 0), children[i]);
        assert_true(WIFEXITED(result) && WEXITSTATUS(result) == 0);
    }
    const norma_rmsnorm_linear_desc desc = timed_desc();
    for (int64_t m = 1; m <= 4096; m *= 2) {
        const outcome found = plan_for(*state, &desc, m);
        expect_choice("after both", &found, skinny, when_timed_before);
    }
}

/* ---- Where nothing can be timed ---- */

static void too_little_memory_leaves_the_tables_choice(void **state) {
    char path[TEST_CACHE_PATH_BYTES];
    fake.memory_bytes = 8 * 30000; /* x, W and out of 100 rows take 59648 bytes */
    norma_context *context = reopen(state);
    expect_plan("a small device", context, tiled, NULL);
    expect_logged("routes cannot be timed, and the table's is taken");
    assert_int_equal(test_cache_files(path), 0);

    fake.memory_bytes = 0;
    context = reopen(state);
    norma_rmsnorm_linear_desc desc = timed_desc();
    desc.part[0].out.row_stride = INT64_MAX / 512;
    const outcome found = plan_for(context, &desc, 128);
    expect_choice("more than there can be", &found, tiled, NULL);
    assert_int_equal(test_cache_files(path), 0);
}

static void a_captured_stream_is_left_alone(void **state) {
    fake.capturing = true;
    expect_plan("captured", *state, tiled, NULL);
    expect_logged("the stream is being captured");
    assert_int_equal(fake.synchronized + fake.launched + fake.live_buffers, 0);
    fake.capturing = false;
    expect_plan("no longer", *state, skinny, when_timed);
    fake.capturing = true;
    expect_plan("known by now", *state, skinny, when_timed_before);
}

/* What fails while routes are timed costs a route, or the timing, but never the plan; a lost device is said. */
static void each_call_to_the_backend_fails_once(void **state) {
    static const norma_status failures[] = {NORMA_ERROR_OUT_OF_MEMORY, NORMA_ERROR_DEVICE, NORMA_ERROR_DEVICE_LOST};
    static const char *const names[] = {"alloc", "upload", "record", "replay", "launch", "release"};
    const norma_rmsnorm_linear_desc desc = timed_desc();
    for (size_t f = 0; f < sizeof failures / sizeof failures[0]; f++)
        for (size_t n = 0; n < sizeof names / sizeof names[0]; n++) {
            int tried = 0;
            for (int fail_at = 1;; fail_at++, tried++) {
                char version[64];
                norma_context_destroy(*state);
                fake_expect_nothing_live(names[n]);
                fake_reset();
                set_times();
                *state = open_context();
                snprintf(version, sizeof version, "%zu %zu %d", f, n, fail_at);
                fake.versions = version;
                fake.calls = 0;
                fake.fail_only = names[n];
                fake.fail_at = fail_at;
                fake.fail_status = failures[f];
                const outcome found = plan_for(*state, &desc, 100);
                if (!fake.failed) break;
                const bool lost = failures[f] == NORMA_ERROR_DEVICE_LOST;
                if (lost && strcmp(names[n], "release") != 0)
                    assert_int_equal(found.status, NORMA_ERROR_DEVICE_LOST);
                else if (!lost && found.status)
                    fail_msg("%s %d: %s", names[n], fail_at, norma_last_error());
                fake.versions = NULL;
            }
            if (tried == 0) fail_msg("%s was never called, %zu", names[n], f);
        }
}

int main(void) {
#define TIMING_TEST(test) cmocka_unit_test_setup_teardown(test, begin, end)
    const struct CMUnitTest tests[] = {
        TIMING_TEST(the_fastest_route_is_taken),
        TIMING_TEST(every_bracket_is_timed_for_itself),
        TIMING_TEST(one_shot_calls_time_once),
        TIMING_TEST(nothing_is_timed_where_there_is_nothing_to_choose),
        TIMING_TEST(the_environment_times_every_call),
        TIMING_TEST(products_of_a_backward_are_timed),
        TIMING_TEST(what_would_take_long_is_left_out_after_few_rows),
        TIMING_TEST(operands_rotate_through_more_than_the_cache),
        TIMING_TEST(operands_lie_apart_and_are_normal),
        TIMING_TEST(a_kept_choice_is_taken_and_nothing_is_timed),
        TIMING_TEST(whatever_may_change_the_choice_is_timed_anew),
        TIMING_TEST(a_damaged_file_is_timed_anew_and_replaced),
        TIMING_TEST(a_kept_route_that_is_no_longer_possible_is_timed_anew),
        TIMING_TEST(a_folder_that_cannot_be_written_is_said_once),
        TIMING_TEST(processes_share_what_they_find),
        TIMING_TEST(too_little_memory_leaves_the_tables_choice),
        TIMING_TEST(a_captured_stream_is_left_alone),
        TIMING_TEST(each_call_to_the_backend_fails_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
