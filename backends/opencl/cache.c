/* The cache of binaries (cache.h): keys as texts for the front's cache on disk. */
#include "cache.h"

#include <stdio.h>
#include <stdlib.h>

#include "../front/disk_cache.h"

static const char kind[] = "opencl";

/* The key as one text, which the caller frees; NULL if there is no memory. */
static char *key_text(const opencl_cache_key *key) {
    static const char format[] = "%s\n%s\n%s\n%s";
    const int bytes = snprintf(NULL, 0, format, key->identity, key->options, key->stem, key->source);
    char *text = bytes < 0 ? NULL : malloc((size_t)bytes + 1);
    if (text) snprintf(text, (size_t)bytes + 1, format, key->identity, key->options, key->stem, key->source);
    return text;
}

bool norma_opencl_cache_read(const opencl_cache_key *key, unsigned char **out_binary, size_t *out_bytes) {
    char *text = key_text(key);
    const bool found = text && norma_disk_cache_read(kind, text, out_binary, out_bytes);
    free(text);
    return found;
}

bool norma_opencl_cache_write(const opencl_cache_key *key, const unsigned char *binary, size_t bytes, char *why,
                              size_t why_bytes) {
    char *text = key_text(key);
    if (!text) snprintf(why, why_bytes, "no host memory for the key");
    const bool written = text && norma_disk_cache_write(kind, text, binary, bytes, why, why_bytes);
    free(text);
    return written;
}
