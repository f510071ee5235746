/* CLBlast found at run time (clblast.h). It stays open for the life of the process: it keeps compiled kernels. */
#include "clblast.h"

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

static norma_clblast found;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void search(void) {
    void *library = dlopen("libclblast.so.1", RTLD_NOW | RTLD_LOCAL);
    void *address = library ? dlsym(library, "CLBlastSgemm") : NULL;
    memcpy(&found.sgemm, &address, sizeof address);
}

const norma_clblast *norma_clblast_get(void) {
    pthread_once(&once, search);
    return found.sgemm ? &found : NULL;
}
