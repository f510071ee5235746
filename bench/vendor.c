/* What is known about the vendor library. OpenBLAS chooses its kernels by processor model, and a version older than the
 * processor falls back to kernels without AVX, at a tenth of the speed: a peer that must not be mistaken for a good one. */
#include "vendor.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blas/cblas.h"

/* OpenBLAS's names for x86 kernels older than AVX2. */
static const char *const old_cores[] = {"Prescott",  "Katmai",     "Coppermine",  "Northwood", "Banias", "Core2",
                                        "Penryn",    "Dunnington", "Nehalem",     "Atom",      "Athlon", "Opteron",
                                        "Barcelona", "Bobcat",     "Sandybridge", "Bulldozer", "Nano"};

static bool is_old(const char *core) {
    for (size_t i = 0; i < sizeof old_cores / sizeof old_cores[0]; i++)
        if (strncmp(core, old_cores[i], strlen(old_cores[i])) == 0) return true;
    return false;
}

/* A function of the library, which is open already, or NULL; POSIX gives functions as object pointers, which C cannot
 * convert. */
static void find_function(const char *library, const char *symbol, void *out_function) {
    void *handle = dlopen(library, RTLD_LAZY | RTLD_NOLOAD);
    void *address = handle ? dlsym(handle, symbol) : NULL;
    memcpy(out_function, &address, sizeof address);
    if (handle) dlclose(handle);
}

void bench_vendor_prepare(const norma_context *context, char name[96], char warning[256]) {
    name[0] = warning[0] = '\0';
    if (strcmp(context->info.backend, "cpu") != 0) return;
    /* Read when the library is opened, just below. Its idle threads would spin for 2^26 cycles after a product, on the very
     * cores that the next contender's threads need: 2^18 cycles bridge the calls of one sample, and no more. */
    setenv("OPENBLAS_THREAD_TIMEOUT", "18", 0);
    const norma_cblas *blas = norma_cblas_get();
    if (!blas) return;
    void (*set_threads)(int);
    char *(*get_core)(void);
    find_function(blas->library, "openblas_set_num_threads", &set_threads);
    find_function(blas->library, "openblas_get_corename", &get_core);
    if (set_threads) set_threads(context->device->limits.units);
    const char *core = get_core ? get_core() : NULL;
    const char *arch = context->info.arch;
    snprintf(name, 96, "%s%s%s%s", blas->library, core ? ", " : "", core ? core : "", core ? " kernels" : "");
    if (core && is_old(core) && strncmp(arch, "avx", 3) == 0)
        snprintf(warning, 256,
                 "%s does not know this processor and uses its %s kernels: the peers are slower than they need be; set "
                 "OPENBLAS_CORETYPE=%s",
                 blas->library, core, strcmp(arch, "avx512") == 0 ? "SkylakeX" : "Haswell");
}
