/* The cache on disk (disk_cache.h). A file is a header, the key and the content:
 *
 *     [ magic 16 | key bytes 8 | content bytes 8 | sum of both 8 | key | content ]
 *
 * and is written under another name first, so that nobody ever sees half of it. Only files that belong to the user, and that
 * nobody else may write, are read: what is in them may be code that will run. */
#include "disk_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "option.h"

enum { PATH_BYTES = 1024, MOST_BYTES = 1 << 28 };

typedef struct header {
    char magic[16];
    uint64_t key_bytes, content_bytes, sum;
} header;

static const char magic[16] = "norma cache 1\n";

/* FNV-1a. */
static uint64_t add_bytes(uint64_t sum, const void *data, size_t bytes) {
    const unsigned char *byte = data;
    for (size_t i = 0; i < bytes; i++) sum = (sum ^ byte[i]) * UINT64_C(0x100000001b3);
    return sum;
}

static uint64_t sum_of(const void *data, size_t bytes) {
    return add_bytes(UINT64_C(0xcbf29ce484222325), data, bytes);
}

/* The cache's folder; false if the environment names none. */
static bool folder(char path[PATH_BYTES]) {
    const char *own = norma_option_text("NORMA_CACHE_DIR");
    const char *shared = norma_option_text("XDG_CACHE_HOME");
    const char *home = norma_option_text("HOME");
    const char *base = own ? own : shared ? shared : home;
    if (!base) return false;
    const int bytes = snprintf(path, PATH_BYTES, "%s%s", base, own ? "" : shared ? "/norma" : "/.cache/norma");
    return bytes > 0 && bytes < PATH_BYTES;
}

static bool file_path(const char *kind, const char *key, char path[PATH_BYTES]) {
    if (!folder(path)) return false;
    const size_t used = strlen(path);
    const int bytes =
        snprintf(path + used, PATH_BYTES - used, "/%s-%016llx.bin", kind, (unsigned long long)sum_of(key, strlen(key)));
    return bytes > 0 && (size_t)bytes < PATH_BYTES - used;
}

static bool read_all(int file, void *to, size_t bytes) {
    char *at = to;
    while (bytes > 0) {
        const ssize_t got = read(file, at, bytes);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        at += got;
        bytes -= (size_t)got;
    }
    return true;
}

static bool write_all(int file, const void *from, size_t bytes) {
    const char *at = from;
    while (bytes > 0) {
        const ssize_t put = write(file, at, bytes);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return false;
        at += put;
        bytes -= (size_t)put;
    }
    return true;
}

static bool is_trusted(int file, size_t *out_bytes) {
    struct stat about;
    if (fstat(file, &about) != 0 || !S_ISREG(about.st_mode)) return false;
    if (about.st_uid != geteuid() || (about.st_mode & (S_IWGRP | S_IWOTH))) return false;
    if (about.st_size < (off_t)sizeof(header) || about.st_size > MOST_BYTES) return false;
    *out_bytes = (size_t)about.st_size;
    return true;
}

/* Reads `file`, and its content if it was made from `key`. */
static bool read_file(int file, const char *key, unsigned char **out_content, size_t *out_bytes) {
    size_t bytes;
    header head;
    const size_t key_bytes = strlen(key);
    if (!is_trusted(file, &bytes) || !read_all(file, &head, sizeof head)) return false;
    bytes -= sizeof head;
    if (memcmp(head.magic, magic, sizeof magic) != 0 || head.key_bytes != key_bytes || bytes <= key_bytes ||
        head.content_bytes != bytes - key_bytes)
        return false;
    unsigned char *content = malloc(bytes);
    if (!content) return false;
    if (!read_all(file, content, bytes) || sum_of(content, bytes) != head.sum || memcmp(content, key, key_bytes) != 0) {
        free(content);
        return false;
    }
    memmove(content, content + key_bytes, bytes - key_bytes);
    *out_content = content;
    *out_bytes = bytes - key_bytes;
    return true;
}

bool norma_disk_cache_read(const char *kind, const char *key, unsigned char **out_content, size_t *out_bytes) {
    char path[PATH_BYTES];
    if (!file_path(kind, key, path)) return false;
    const int file = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (file < 0) return false;
    const bool found = read_file(file, key, out_content, out_bytes);
    close(file);
    return found;
}

/* Makes a folder and those above it. */
static bool make_folder(const char *path) {
    char part[PATH_BYTES];
    for (size_t i = 1; path[i]; i++) {
        if (path[i] != '/') continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, 0700) != 0 && errno != EEXIST && errno != EROFS && errno != EACCES) return false;
    }
    return mkdir(path, 0700) == 0 || errno == EEXIST;
}

static bool write_file(const char *path, const char *key, const void *content, size_t bytes) {
    char draft[PATH_BYTES + 16];
    header head = {.key_bytes = strlen(key), .content_bytes = bytes};
    memcpy(head.magic, magic, sizeof magic);
    head.sum = add_bytes(sum_of(key, strlen(key)), content, bytes);
    snprintf(draft, sizeof draft, "%s.XXXXXX", path);
    const int file = mkstemp(draft);
    if (file < 0) return false;
    bool written =
        write_all(file, &head, sizeof head) && write_all(file, key, strlen(key)) && write_all(file, content, bytes);
    written = close(file) == 0 && written;
    if (written && rename(draft, path) == 0) return true;
    const int error = errno;
    unlink(draft);
    errno = error;
    return false;
}

bool norma_disk_cache_write(const char *kind, const char *key, const void *content, size_t bytes, char *why,
                            size_t why_bytes) {
    char path[PATH_BYTES], place[PATH_BYTES];
    if (!folder(place) || !file_path(kind, key, path)) {
        snprintf(why, why_bytes, "neither NORMA_CACHE_DIR nor HOME names a folder");
        return false;
    }
    if (make_folder(place) && write_file(path, key, content, bytes)) return true;
    snprintf(why, why_bytes, "%s: %s", place, strerror(errno));
    return false;
}
