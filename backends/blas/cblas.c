/* CBLAS found at run time (cblas.h). Libraries are named by soname alone, so the loader searches the system's path and never
 * the current directory. A library stays open for the life of the process: its threads cannot be unloaded. */
#include "cblas.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>

/* The functions that are used, once: X(member, symbol). */
#define CBLAS_SYMBOLS(X)    \
    X(sgemm, "cblas_sgemm") \
    X(sgemv, "cblas_sgemv")

static const char *const sonames[] = {"libopenblas.so.0", "libmkl_rt.so.2", "libblis.so.4", "libcblas.so.3", "libblas.so.3"};

static norma_cblas found;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* POSIX gives functions as object pointers, which C cannot convert. */
static int resolve(void *handle, const char *symbol, void *out_function) {
    void *address = dlsym(handle, symbol);
    memcpy(out_function, &address, sizeof address);
    return address != NULL;
}

static int open_library(const char *soname) {
    void *handle = dlopen(soname, RTLD_NOW | RTLD_LOCAL);
    if (!handle) return 0;
    norma_cblas library = {.library = soname};
#define CBLAS_RESOLVE(member, symbol) &&resolve(handle, symbol, &library.member)
    if (1 CBLAS_SYMBOLS(CBLAS_RESOLVE)) {
        if (!resolve(handle, "openblas_get_config", &library.config)) library.config = NULL;
        found = library;
        return 1;
    }
#undef CBLAS_RESOLVE
    dlclose(handle);
    return 0;
}

static void search(void) {
    for (size_t i = 0; i < sizeof sonames / sizeof sonames[0]; i++)
        if (open_library(sonames[i])) return;
}

const norma_cblas *norma_cblas_get(void) {
    pthread_once(&once, search);
    return found.library ? &found : NULL;
}
