/* Opens a vendor's library by soname from the system's search path, once per process. Several versions may be installed, of
 * which the driver may be too old for some, so the caller tries them in turn. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "lt_vendor.h"

static const struct {
    const char *name;
    size_t offset;
    bool required;
} members[] = {
#define MEMBER(member, need, name, arguments) {#name, offsetof(lt_api, member), need},
    LT_LIST(MEMBER)
#undef MEMBER
        {"GetVersion", offsetof(lt_api, version), LT_REQUIRED},
    {"GetStatusName", offsetof(lt_api, status_name), LT_OPTIONAL},
};

static bool resolve(void *library, const char *prefix, lt_api *api) {
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s%s", prefix, members[i].name);
        void *const address = dlsym(library, name);
        if (!address && members[i].required) return false;
        memcpy((char *)api + members[i].offset, &address, sizeof address);
    }
    return true;
}

static void load(const lt_vendor *vendor) {
    lt_libraries *libraries = vendor->libraries;
    bool opened[LT_MAX_LIBRARIES] = {false};
    for (int pass = 0; pass < 2; pass++) {
        const int flags = RTLD_NOW | RTLD_LOCAL | (pass == 0 ? RTLD_NOLOAD : 0);
        for (int i = 0; i < LT_MAX_LIBRARIES && vendor->sonames[i]; i++) {
            void *const library = opened[i] ? NULL : dlopen(vendor->sonames[i], flags);
            if (!library) continue;
            opened[i] = true;
            if (resolve(library, vendor->prefix, &libraries->api[libraries->count])) libraries->count++;
        }
    }
}

const lt_api *norma_lt_api_get(const lt_vendor *vendor, int index) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    lt_libraries *libraries = vendor->libraries;
    pthread_mutex_lock(&lock);
    if (!libraries->tried) load(vendor);
    libraries->tried = true;
    pthread_mutex_unlock(&lock);
    return index < libraries->count ? &libraries->api[index] : NULL;
}
