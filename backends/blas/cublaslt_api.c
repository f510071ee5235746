/* Opens cuBLASLt by soname from the system's search path, once per process. Several versions may be installed, of which the
 * driver may be too old for some, so the caller tries them in turn. */
#include "cublaslt_api.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#define VERSIONS 3

static pthread_once_t load_once = PTHREAD_ONCE_INIT;
static lt_api loaded[VERSIONS];
static int loaded_count;

static const struct {
    const char *name;
    size_t offset;
} members[] = {
#define MEMBER(member, name, result, arguments) {#name, offsetof(lt_api, member)},
    LT_LIST(MEMBER)
#undef MEMBER
};

static bool resolve(void *library, lt_api *api) {
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        void *const address = dlsym(library, members[i].name);
        if (!address) return false;
        memcpy((char *)api + members[i].offset, &address, sizeof address);
    }
    return true;
}

static void load(void) {
    static const char *const sonames[VERSIONS] = {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so.11"};
    bool tried[VERSIONS] = {false};
    for (int pass = 0; pass < 2; pass++) {
        const int flags = RTLD_NOW | RTLD_LOCAL | (pass == 0 ? RTLD_NOLOAD : 0);
        for (int i = 0; i < VERSIONS; i++) {
            void *const library = tried[i] ? NULL : dlopen(sonames[i], flags);
            if (!library) continue;
            tried[i] = true;
            if (resolve(library, &loaded[loaded_count])) loaded_count++;
        }
    }
}

const lt_api *lt_api_get(int index) {
    pthread_once(&load_once, load);
    return index < loaded_count ? &loaded[index] : NULL;
}
