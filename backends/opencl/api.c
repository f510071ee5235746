/* Opens the ICD loader, libOpenCL.so.1, from the system's search path alone, and fills the table. It stays open for the life
 * of the process: drivers behind it cannot be unloaded safely. */
#include "api.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

typedef struct symbol {
    const char *name;
    size_t offset;
} symbol;

static const symbol symbols[OPENCL_FUNCTION_COUNT] = {
#define SYMBOL(name) [OPENCL_FN_##name] = {"cl" #name, offsetof(opencl_api, name)},
    OPENCL_API_LIST(SYMBOL)
#undef SYMBOL
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static opencl_api loaded;
static bool usable;
static char reason[128];

static void load(void) {
    void *library = dlopen("libOpenCL.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        snprintf(reason, sizeof reason, "no OpenCL loader: libOpenCL.so.1 was not found");
        return;
    }
    for (int i = 0; i < OPENCL_FUNCTION_COUNT; i++) {
        void *address = dlsym(library, symbols[i].name);
        if (!address) {
            snprintf(reason, sizeof reason, "the OpenCL loader is older than OpenCL 1.2: it has no %s", symbols[i].name);
            return;
        }
        memcpy((char *)&loaded + symbols[i].offset, &address, sizeof address);
    }
    usable = true;
}

const opencl_api *norma_opencl_load(char *why, size_t why_bytes) {
    pthread_once(&once, load);
    if (usable) return &loaded;
    snprintf(why, why_bytes, "%s", reason);
    return NULL;
}
