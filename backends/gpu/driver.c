/* Fills the table of driver functions from a library that is opened at run time, by soname, from the system's search path
 * alone. */
#include "driver.h"

#include <dlfcn.h>
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

bool gpu_driver_load(gpu_driver *driver, const char *const *sonames, const gpu_symbol *symbols, gpu_resolve_fn resolve,
                     char *why, size_t why_bytes) {
    void *library = open_first(sonames);
    if (!library) {
        snprintf(why, why_bytes, "no driver: %s was not found", sonames[0]);
        return false;
    }
    memset(driver, 0, sizeof *driver);
    driver->symbols = symbols;
    for (int i = 0; i < GPU_FUNCTION_COUNT; i++) {
        void *address = resolve(library, &symbols[i]);
        if (!address && members[i].required) {
            snprintf(why, why_bytes, "the driver is too old: it has no %s", symbols[i].name);
            return false;
        }
        memcpy((char *)driver + members[i].offset, &address, sizeof address);
    }
    return true;
}
