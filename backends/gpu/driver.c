/* Fills the table of driver functions from a library that is opened at run time, by soname, from the system's search path
 * alone. */
#include "driver.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

typedef struct member {
    size_t offset;
    bool required;
} member;

enum { OPTIONAL = false, REQUIRED = true };

static const member members[GPU_FUNCTION_COUNT] = {
#define MEMBER(name, need, arguments) [GPU_FN_##name] = {offsetof(gpu_driver, name), need},
    GPU_DRIVER_LIST(MEMBER)
#undef MEMBER
};

static void *open_first(const char *const *sonames) {
    for (const char *const *soname = sonames; *soname; soname++) {
        void *library = dlopen(*soname, RTLD_NOW | RTLD_LOCAL);
        if (library) return library;
    }
    return NULL;
}

static bool load(gpu_driver_library *library) {
    gpu_driver *driver = &library->driver;
    void *const opened = open_first(library->sonames);
    if (!opened) {
        snprintf(library->why, sizeof library->why, "no driver: %s was not found", library->sonames[0]);
        return false;
    }
    driver->symbols = library->symbols;
    const char *missing = NULL;
    for (int i = 0; !missing && i < GPU_FUNCTION_COUNT; i++) {
        void *address = library->resolve(opened, &library->symbols[i]);
        if (!address && members[i].required) missing = library->symbols[i].name;
        memcpy((char *)driver + members[i].offset, &address, sizeof address);
    }
    if (!missing && library->adapt) missing = library->adapt(driver);
    if (missing) snprintf(library->why, sizeof library->why, "the driver is too old: it has no %s", missing);
    return !missing;
}

const gpu_driver *norma_gpu_driver_get(gpu_driver_library *library, char *why, size_t why_bytes) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&lock);
    if (!library->tried) library->usable = load(library);
    library->tried = true;
    pthread_mutex_unlock(&lock);
    if (library->usable) return &library->driver;
    snprintf(why, why_bytes, "%s", library->why);
    return NULL;
}
