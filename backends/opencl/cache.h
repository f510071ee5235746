/* Binaries of built programs, kept between processes in the front's cache on disk (front/disk_cache.h) under all that they
 * were made from. */
#ifndef NORMA_OPENCL_CACHE_H
#define NORMA_OPENCL_CACHE_H

#include <stdbool.h>
#include <stddef.h>

typedef struct opencl_cache_key {
    const char *identity; /* device and driver */
    const char *options;
    const char *stem;
    const char *source;
} opencl_cache_key;

/* Reads the binary for a key; the caller frees it. */
bool norma_opencl_cache_read(const opencl_cache_key *key, unsigned char **out_binary, size_t *out_bytes);

/* Keeps a binary. On failure says why. */
bool norma_opencl_cache_write(const opencl_cache_key *key, const unsigned char *binary, size_t bytes, char *why,
                              size_t why_bytes);

#endif
