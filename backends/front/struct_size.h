/* The caller's structs, which begin with struct_size and grow only at their end. A program built with an older header
 * passes a shorter struct: what it lacks reads as zero, and is not written. */
#ifndef NORMA_FRONT_STRUCT_SIZE_H
#define NORMA_FRONT_STRUCT_SIZE_H

#include <stddef.h>

#include "norma/norma.h"

/* The bytes of `type` up to and including `member`: its size when `member` was the last one. */
#define NORMA_BYTES_TO(type, member) (offsetof(type, member) + sizeof(((type *)0)->member))

/* Refuses NULL and a struct_size that this library does not know. */
norma_status norma_struct_check(const char *name, const void *given, size_t v1_bytes, size_t bytes);

/* Copies the caller's struct `from`, called `name` in sentences, into `to`, which is of this library's size `bytes`.
 * v1_bytes is the size that the struct had when it first appeared. */
norma_status norma_struct_read(const char *name, const void *from, size_t v1_bytes, void *to, size_t bytes);

/* Copies as much of `from` as the caller's struct `to` holds, keeping its struct_size. */
norma_status norma_struct_write(const char *name, void *to, size_t v1_bytes, const void *from, size_t bytes);

#endif
