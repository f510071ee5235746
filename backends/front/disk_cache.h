/* What is kept between processes: contents of any kind, each in a file of its own in one folder, NORMA_CACHE_DIR, else norma
 * in the user's cache folder. A file carries all that its contents were made from, and is used only if every bit of that
 * agrees and its sum is right; whatever else stands there is as good as nothing, and is written over. Any number of threads
 * and processes may read and write at the same time. */
#ifndef NORMA_FRONT_DISK_CACHE_H
#define NORMA_FRONT_DISK_CACHE_H

#include <stdbool.h>
#include <stddef.h>

/* Reads what was kept under a key; the caller frees it. `kind` is what the file's name begins with. */
bool norma_disk_cache_read(const char *kind, const char *key, unsigned char **out_content, size_t *out_bytes);

/* Keeps `bytes` bytes, at least one, under a key. On failure says why. */
bool norma_disk_cache_write(const char *kind, const char *key, const void *content, size_t bytes, char *why,
                            size_t why_bytes);

#endif
