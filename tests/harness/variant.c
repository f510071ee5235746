/* The variants under test (variant.h). */
#include "harness/variant.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/cpu_device.h"
#include "front/context.h"
#include "front/route.h"
#include "front/select.h"
#if NORMA_WITH_OPENCL
#include "opencl/force.h"
#endif

enum { MAX_VARIANTS = 64 };

static test_variant variants[MAX_VARIANTS];
static int count;

static norma_backend_info backend_info(int index) {
    norma_backend_info info = {.struct_size = sizeof info};
    norma_backend_get_info(index, &info);
    return info;
}

static bool available(const char *name) {
    for (int i = 0; i < norma_backend_count(); i++) {
        const norma_backend_info info = backend_info(i);
        if (strcmp(info.name, name) == 0) return info.built && info.devices > 0;
    }
    return false;
}

bool test_require(const char *list, bool (*is_available)(const char *name), char *sentence, size_t sentence_bytes) {
    while (list && *list) {
        const size_t length = strcspn(list, ",");
        char name[32];
        snprintf(name, sizeof name, "%.*s", (int)length, list);
        if (length >= sizeof name || !is_available(name)) {
            snprintf(sentence, sentence_bytes, "NORMA_REQUIRE names \"%.*s\", which cannot be tested here", (int)length,
                     list);
            return false;
        }
        list += length;
        if (*list) list++;
    }
    return true;
}

static bool force_target(const test_variant *variant, norma_context *context) {
#if NORMA_WITH_OPENCL
    if (strcmp(variant->backend, "opencl") == 0)
        return norma_opencl_force_target(context->device, (norma_target)variant->target);
#endif
    return norma_cpu_force_target(context->device, (norma_target)variant->target);
}

norma_context *test_variant_context(const test_variant *variant) {
    norma_context_desc desc = norma_context_desc_init();
    desc.backend = variant->backend;
    desc.threads = variant->threads;
    norma_context *context;
    if (variant->kernel) setenv("NORMA_KERNEL", variant->kernel, 1);
    const norma_status status = norma_context_create(&desc, &context);
    if (variant->kernel) unsetenv("NORMA_KERNEL");
    if (status) {
        fprintf(stderr, "tests: cannot open %s: %s: %s\n", variant->name, norma_status_name(status), norma_last_error());
        exit(2);
    }
    if (variant->target >= 0 && !force_target(variant, context)) {
        fprintf(stderr, "tests: %s is listed but refused\n", variant->name);
        exit(2);
    }
    return context;
}

/* Whether a variant tells the thread sanitizer something: by more than one thread, and not as another variant does. */
static bool is_threaded(const char *kernel, int threads, int target) {
    return threads != 1 && target < 0 && !(kernel && strcmp(kernel, "reference") == 0);
}

static bool is_set(const char *name) {
    const char *text = getenv(name);
    return text && strcmp(text, "1") == 0;
}

static void add(const char *backend, const char *kernel, int threads, int target, const char *suffix) {
    if (is_set("NORMA_TEST_THREADED") && !is_threaded(kernel, threads, target)) return;
    if (is_set("NORMA_TEST_CHOSEN") && kernel) return;
    test_variant *variant = &variants[count++];
    *variant = (test_variant){.backend = backend, .kernel = kernel, .threads = threads, .target = target};
    snprintf(variant->name, sizeof variant->name, "%s%s%s%s", backend, kernel ? "/" : "", kernel ? kernel : "", suffix);
    variant->context = test_variant_context(variant);
}

/* Every route that a program can force. rmsnorm_rows and fold_gamma are the only ones of their operations but for the
 * reference, and are the library's own choice there. */
static void add_routes(const char *backend) {
    static const char *const kernels[] = {"reference", "rmsnorm_linear_tiled", "rmsnorm_linear_skinny", "pair",
                                          "linear_blas"};
    static const char *const of_warpgroups[] = {"rmsnorm_linear_narrow", "linear_split"};
    add(backend, NULL, 0, -1, "");
    for (size_t i = 0; i < sizeof kernels / sizeof kernels[0]; i++) add(backend, kernels[i], 0, -1, "");
    if (!variants[count - 1].context->device->limits.wgmma) return;
    for (size_t i = 0; i < sizeof of_warpgroups / sizeof of_warpgroups[0]; i++) add(backend, of_warpgroups[i], 0, -1, "");
}

static void add_cpu_targets(void) {
    static const struct {
        norma_target target;
        const char *suffix;
    } targets[] = {
        {NORMA_TARGET_CPU_PLAIN, " plain"}, {NORMA_TARGET_CPU_AVX2, " avx2"}, {NORMA_TARGET_CPU_AVX512, " avx512"}};
    const simd_table *best = norma_simd_best();
    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        const simd_table *table = norma_simd_for(targets[i].target);
        if (!table) {
            printf("variant cpu%s: skipped: this build or processor lacks it\n", targets[i].suffix);
        } else if (table != best) {
            add("cpu", NULL, 0, (int)targets[i].target, targets[i].suffix);
            add("cpu", "rmsnorm_linear_tiled", 0, (int)targets[i].target, targets[i].suffix);
            add("cpu", "rmsnorm_linear_skinny", 0, (int)targets[i].target, targets[i].suffix);
        }
    }
    add("cpu", NULL, 1, -1, " 1 thread");
    add("cpu", NULL, 5, -1, " 5 threads");
}

/* A CPU under OpenCL runs the kernels of GPUs too. */
static void add_opencl_shapes(void) {
    const int target = NORMA_TARGET_OPENCL_GPU;
    if (variants[count - 1].context->device->limits.target != NORMA_TARGET_OPENCL_CPU) return;
    add("opencl", NULL, 0, target, " as a GPU");
    add("opencl", "rmsnorm_linear_tiled", 0, target, " as a GPU");
    add("opencl", "rmsnorm_linear_skinny", 0, target, " as a GPU");
}

void test_variants_open(void) {
    char sentence[160];
    if (!test_require(getenv("NORMA_REQUIRE"), available, sentence, sizeof sentence)) {
        fprintf(stderr, "tests: %s\n", sentence);
        exit(2);
    }
    unsetenv("NORMA_KERNEL");
    const char *only = getenv("NORMA_TEST_BACKEND");
    for (int i = 0; i < norma_backend_count(); i++) {
        const norma_backend_info info = backend_info(i);
        if (only && strcmp(only, info.name) != 0) continue;
        if (!info.built || info.devices == 0) {
            printf("backend %s: skipped: %s\n", info.name, info.detail);
            continue;
        }
        const norma_backend *backend = norma_backends.entries[i].backend;
        if (!only && backend->yields && backend->yields(0)) {
            printf("backend %s: left to the tests that name it: %s\n", info.name, info.detail);
            continue;
        }
        add_routes(info.name);
        if (strcmp(info.name, "cpu") == 0) add_cpu_targets();
        if (strcmp(info.name, "opencl") == 0) add_opencl_shapes();
    }
    if (count > 0) return;
    fprintf(stderr, "tests: no backend can be tested here\n");
    exit(2);
}

void test_variants_close(void) {
    for (int i = 0; i < count; i++) norma_context_destroy(variants[i].context);
    count = 0;
}

void test_variants_summary(void) {
    for (int i = 0; i < count; i++) {
        const test_variant *variant = &variants[i];
        if (variant->ran + variant->refused == 0) continue;
        printf("%-36s %6" PRId64 " runs, largest error %.3f of what is allowed beyond the last rounding", variant->name,
               variant->ran, variant->worst);
        if (variant->refused) printf(", %" PRId64 " refused by the forced kernel", variant->refused);
        printf("\n");
    }
}

bool test_variant_concerns(const test_variant *variant, norma_op op) {
    return !variant->kernel || norma_route_concerns(variant->kernel, &(norma_problem){.op = op, .parts = 1});
}

int test_variant_count(void) {
    return count;
}

test_variant *test_variant_at(int index) {
    return &variants[index];
}

test_variant *test_variant_default(const char *backend) {
    for (int i = 0; i < count; i++)
        if (strcmp(variants[i].backend, backend) == 0 && !variants[i].kernel) return &variants[i];
    return NULL;
}
