/* Failure everywhere: a program's whole life, open to close, in which the Nth call to the backend fails, or the Nth host
 * allocation, for every N. The failure comes out with its status, outputs that no launch reached are untouched, the same
 * call succeeds when repeated (unless the device is lost), and nothing leaks. */
#include "front/plan.h"

#include <stdlib.h>

#include "expect.h"
#include "fake_backend.h"

/* ---- Host allocations ---- */

static struct {
    bool armed;
    int calls;
    int fail_at;
} host;

static bool host_call_fails(void) {
    return host.armed && ++host.calls == host.fail_at;
}

/* The linker sends the library's calls here. */
void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);

void *__wrap_malloc(size_t bytes) {
    return host_call_fails() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes) {
    return host_call_fails() ? NULL : __real_calloc(count, bytes);
}

/* ---- A program ---- */

enum { K = 16, N = 8, ROWS = 5 };

typedef struct program {
    norma_context *context;
    norma_plan *norm_plan, *linear_plan;
    float x[ROWS][K], residual[ROWS][K], gamma[K], weight[K][N];
    float out[ROWS * K]; /* of whichever operation runs */
    void *data;
} program;

static norma_buffer here(void *data) {
    return (norma_buffer){data, 0};
}

static norma_status open_context(program *p) {
    return fake_context_create(&p->context);
}

static norma_status allocate(program *p) {
    return norma_alloc(p->context, sizeof p->x, &p->data);
}

static norma_status upload(program *p) {
    return norma_upload(p->context, here(p->data), p->x, sizeof p->x);
}

static norma_rmsnorm_desc norm_desc(void) {
    norma_rmsnorm_desc desc = norma_rmsnorm_desc_init();
    desc.k = K;
    desc.x.dtype = desc.gamma.dtype = desc.out.dtype = NORMA_F32;
    return desc;
}

static norma_rmsnorm_args norm_args(program *p) {
    norma_rmsnorm_args args = norma_rmsnorm_args_init();
    args.m = ROWS;
    args.x = here(p->x);
    args.gamma = here(p->gamma);
    args.out = here(p->out);
    return args;
}

static norma_status norm(program *p) {
    const norma_rmsnorm_desc desc = norm_desc();
    const norma_rmsnorm_args args = norm_args(p);
    return norma_rmsnorm(p->context, &desc, &args);
}

static norma_status norm_plan_create(program *p) {
    norma_rmsnorm_desc desc = norm_desc();
    desc.max_rows = ROWS;
    return norma_rmsnorm_plan_create(p->context, &desc, &p->norm_plan);
}

static norma_status norm_plan_run(program *p) {
    const norma_rmsnorm_args args = norm_args(p);
    return norma_rmsnorm_plan_run(p->norm_plan, &args);
}

/* With a residual that is not kept: two launches and an intermediate. */
static norma_rmsnorm_linear_desc linear_desc(void) {
    norma_rmsnorm_linear_desc desc = norma_rmsnorm_linear_desc_init();
    desc.k = K;
    desc.x.dtype = desc.residual.dtype = NORMA_F32;
    desc.part[0].n = N;
    desc.part[0].weight.dtype = desc.part[0].out.dtype = NORMA_F32;
    return desc;
}

static norma_rmsnorm_linear_args linear_args(program *p) {
    norma_rmsnorm_linear_args args = norma_rmsnorm_linear_args_init();
    args.m = ROWS;
    args.x = here(p->x);
    args.residual = here(p->residual);
    args.part[0].weight = here(p->weight);
    args.part[0].out = here(p->out);
    return args;
}

static norma_status linear(program *p) {
    const norma_rmsnorm_linear_desc desc = linear_desc();
    const norma_rmsnorm_linear_args args = linear_args(p);
    return norma_rmsnorm_linear(p->context, &desc, &args);
}

static norma_status linear_plan_create(program *p) {
    norma_rmsnorm_linear_desc desc = linear_desc();
    desc.max_rows = ROWS;
    return norma_rmsnorm_linear_plan_create(p->context, &desc, &p->linear_plan);
}

static norma_status linear_plan_run(program *p) {
    const norma_rmsnorm_linear_args args = linear_args(p);
    return norma_rmsnorm_linear_plan_run(p->linear_plan, &args);
}

static norma_status fold(program *p) {
    norma_fold_gamma_desc desc = norma_fold_gamma_desc_init();
    desc.k = K;
    desc.n = ROWS;
    desc.gamma.dtype = desc.weight.dtype = desc.out.dtype = NORMA_F32;
    norma_fold_gamma_args args = norma_fold_gamma_args_init();
    args.gamma = here(p->gamma);
    args.weight = here(p->x);
    args.out = here(p->out);
    return norma_fold_gamma(p->context, &desc, &args);
}

static norma_status synchronize(program *p) {
    return norma_synchronize(p->context);
}

static norma_status download(program *p) {
    return norma_download(p->context, p->out, here(p->data), sizeof p->x);
}

static norma_status release(program *p) {
    void *data = p->data;
    p->data = NULL;
    return norma_free(p->context, data);
}

typedef struct step {
    const char *name;
    norma_status (*run)(program *p);
} step;

static const step steps[] = {
    {"open", open_context},
    {"allocate", allocate},
    {"upload", upload},
    {"norm", norm},
    {"linear", linear},
    {"norm plan", norm_plan_create},
    {"norm plan run", norm_plan_run},
    {"linear plan", linear_plan_create},
    {"linear plan run", linear_plan_run},
    {"fold", fold},
    {"synchronize", synchronize},
    {"download", download},
    {"release", release},
};

static void close_program(program *p) {
    norma_plan_destroy(p->norm_plan);
    norma_plan_destroy(p->linear_plan);
    if (p->data) (void)norma_free(p->context, p->data);
    norma_context_destroy(p->context);
}

static void poison(program *p) {
    memset(p->out, 0x5a, sizeof p->out);
}

static bool untouched(const program *p) {
    const unsigned char *bytes = (const unsigned char *)p->out;
    for (size_t i = 0; i < sizeof p->out; i++)
        if (bytes[i] != 0x5a) return false;
    return true;
}

/* Runs the steps to the first failure, which it repeats; after a lost device nothing more is tried. */
static norma_status live(program *p, const char **out_step) {
    norma_status failure = NORMA_OK;
    memset(p, 0, sizeof *p);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        *out_step = steps[i].name;
        poison(p);
        norma_status status = steps[i].run(p);
        if (status) {
            failure = status;
            if (!fake.failed || strcmp(fake.failed, "launch") != 0)
                if (!untouched(p)) fail_msg("%s failed and wrote its output", steps[i].name);
            if (status == NORMA_ERROR_DEVICE_LOST) break;
            status = steps[i].run(p);
            if (status) fail_msg("%s, repeated: %s", steps[i].name, norma_last_error());
        }
    }
    close_program(p);
    return failure;
}

static void each_call_to_the_backend_fails_once(void **state) {
    (void)state;
    static const norma_status failures[] = {NORMA_ERROR_OUT_OF_MEMORY, NORMA_ERROR_DEVICE, NORMA_ERROR_DEVICE_LOST};
    for (size_t f = 0; f < sizeof failures / sizeof failures[0]; f++) {
        int reported = 0;
        for (int fail_at = 1;; fail_at++) {
            fake_reset();
            fake.compute = true;
            fake.workspace_bytes[NORMA_KERNEL_RMSNORM_LINEAR_SKINNY] = 64;
            fake.fail_at = fail_at;
            fake.fail_status = failures[f];
            program p;
            const char *name;
            const norma_status status = live(&p, &name);
            fake_expect_nothing_live(name);
            if (!fake.failed) break;
            reported += status != NORMA_OK;
            /* A workspace that cannot be freed while it grows is no failure of the call. */
            if (status != failures[f] && strcmp(fake.failed, "release") != 0)
                fail_msg("call %d, %s, failed, and the program saw %s", fail_at, fake.failed, norma_status_name(status));
        }
        assert_true(reported > 30);
    }
}

static void each_refusal_leads_to_another_route(void **state) {
    (void)state;
    for (int fail_at = 1;; fail_at++) {
        fake_reset();
        fake.compute = true;
        fake.fail_at = fail_at;
        fake.fail_status = NORMA_ERROR_UNSUPPORTED;
        program p;
        const char *name;
        const norma_status status = live(&p, &name);
        fake_expect_nothing_live(name);
        if (!fake.failed) break;
        if (strcmp(fake.failed, "prepare") == 0) assert_int_equal(status, NORMA_OK);
    }
}

static void each_host_allocation_fails_once(void **state) {
    (void)state;
    int allocations = 0;
    for (int fail_at = 1;; fail_at++) {
        fake_reset();
        fake.compute = true;
        host.calls = 0;
        host.fail_at = fail_at;
        host.armed = true;
        program p;
        const char *name;
        const norma_status status = live(&p, &name);
        host.armed = false;
        fake_expect_nothing_live(name);
        if (host.calls < fail_at) break;
        allocations++;
        if (status != NORMA_ERROR_OUT_OF_MEMORY)
            fail_msg("allocation %d failed in %s, and the program saw %s", fail_at, name, norma_status_name(status));
    }
    assert_true(allocations > 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_call_to_the_backend_fails_once),
        cmocka_unit_test(each_refusal_leads_to_another_route),
        cmocka_unit_test(each_host_allocation_fails_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
