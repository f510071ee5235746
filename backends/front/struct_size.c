/* Reading and writing the caller's versioned structs. */
#include "struct_size.h"

#include "status.h"

static norma_status check(const char *name, const void *given, size_t v1_bytes, size_t bytes, size_t *out_struct_size) {
    if (!given) return norma_fail(NORMA_ERROR_NULL_POINTER, "%s is NULL", name);
    memcpy(out_struct_size, given, sizeof *out_struct_size);
    if (*out_struct_size < v1_bytes)
        return norma_fail(NORMA_ERROR_STRUCT_SIZE, "%s.struct_size is %zu; it must be the sizeof of the struct, here %zu",
                          name, *out_struct_size, bytes);
    if (*out_struct_size > bytes)
        return norma_fail(NORMA_ERROR_STRUCT_SIZE,
                          "%s.struct_size is %zu, but norma %s knows %zu bytes: the program was built with a newer header",
                          name, *out_struct_size, norma_version(), bytes);
    return NORMA_OK;
}

norma_status norma_struct_check(const char *name, const void *given, size_t v1_bytes, size_t bytes) {
    size_t struct_size = 0;
    return check(name, given, v1_bytes, bytes, &struct_size);
}

norma_status norma_struct_read(const char *name, const void *from, size_t v1_bytes, void *to, size_t bytes) {
    size_t struct_size = 0;
    const norma_status status = check(name, from, v1_bytes, bytes, &struct_size);
    if (status) return status;
    memset(to, 0, bytes);
    memcpy(to, from, struct_size);
    return NORMA_OK;
}

norma_status norma_struct_write(const char *name, void *to, size_t v1_bytes, const void *from, size_t bytes) {
    size_t struct_size = 0;
    const norma_status status = check(name, to, v1_bytes, bytes, &struct_size);
    if (status) return status;
    memcpy((char *)to + sizeof struct_size, (const char *)from + sizeof struct_size, struct_size - sizeof struct_size);
    return NORMA_OK;
}
