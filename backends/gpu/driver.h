/* The driver's functions, under one neutral name each. CUDA's and HIP's drivers have the same signatures on the 64-bit
 * machines that both support: handles and device addresses are pointers, devices and results are ints. A backend fills the
 * table from its own names (gpu_symbol) when the driver's library is opened at run time, so no vendor header is needed.
 *
 * The numbers below are those that CUDA and HIP share; what differs stands in gpu_platform. */
#ifndef NORMA_GPU_DRIVER_H
#define NORMA_GPU_DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "norma/norma.h"

struct gpu_launch_config;

/* X(name, need, arguments): the driver is too old without the functions that are REQUIRED; OPTIONAL ones may be NULL. */
#define GPU_DRIVER_LIST(X)                                                                                    \
    X(init, REQUIRED, (unsigned flags))                                                                       \
    X(version, REQUIRED, (int *out_version))                                                                  \
    X(error_name, REQUIRED, (int result, const char **out_text))                                              \
    X(error_string, REQUIRED, (int result, const char **out_text))                                            \
    X(device_count, REQUIRED, (int *out_count))                                                               \
    X(device_get, REQUIRED, (int *out_device, int index))                                                     \
    X(device_name, REQUIRED, (char *out_name, int bytes, int device))                                         \
    X(device_memory, REQUIRED, (size_t * out_bytes, int device))                                              \
    X(device_attribute, REQUIRED, (int *out_value, int attribute, int device))                                \
    X(primary_retain, REQUIRED, (void **out_context, int device))                                             \
    X(primary_release, REQUIRED, (int device))                                                                \
    X(context_get, REQUIRED, (void **out_context))                                                            \
    X(context_set, REQUIRED, (void *context))                                                                 \
    X(module_load, REQUIRED, (void **out_module, const void *image))                                          \
    X(module_unload, REQUIRED, (void *module))                                                                \
    X(module_function, REQUIRED, (void **out_function, void *module, const char *name))                       \
    X(function_get, OPTIONAL, (int *out_value, int attribute, void *function))                                \
    X(function_set, OPTIONAL, (void *function, int attribute, int value))                                     \
    X(memory_alloc, REQUIRED, (void **out_data, size_t bytes))                                                \
    X(memory_free, REQUIRED, (void *data))                                                                    \
    X(copy_to_device, REQUIRED, (void *to, const void *from, size_t bytes, void *stream))                     \
    X(copy_to_host, REQUIRED, (void *to, const void *from, size_t bytes, void *stream))                       \
    X(copy_on_device, REQUIRED, (void *to, const void *from, size_t bytes, void *stream))                     \
    X(pointer_attribute, OPTIONAL, (void *out_value, int attribute, const void *data))                        \
    X(stream_create, REQUIRED, (void **out_stream, unsigned flags))                                           \
    X(stream_destroy, REQUIRED, (void *stream))                                                               \
    X(stream_sync, REQUIRED, (void *stream))                                                                  \
    X(event_create, REQUIRED, (void **out_event, unsigned flags))                                             \
    X(event_destroy, REQUIRED, (void *event))                                                                 \
    X(event_record, REQUIRED, (void *event, void *stream))                                                    \
    X(event_sync, REQUIRED, (void *event))                                                                    \
    X(event_elapsed, REQUIRED, (float *out_ms, void *start, void *stop))                                      \
    X(capture_begin, REQUIRED, (void *stream, int mode))                                                      \
    X(capture_end, REQUIRED, (void *stream, void **out_graph))                                                \
    X(capture_mode, OPTIONAL, (int *inout_mode))                                                              \
    X(capture_status, OPTIONAL, (void *stream, int *out_status))                                              \
    X(graph_destroy, REQUIRED, (void *graph))                                                                 \
    X(graph_instantiate, REQUIRED, (void **out_exec, void *graph, unsigned long long flags))                  \
    X(graph_exec_destroy, REQUIRED, (void *exec))                                                             \
    X(graph_launch, REQUIRED, (void *exec, void *stream))                                                     \
    X(launch, REQUIRED,                                                                                       \
      (void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y, \
       unsigned block_z, unsigned shared_bytes, void *stream, void **params, void **extra))                   \
    X(tensor_map_encode, OPTIONAL,                                                                            \
      (void *out_map, int dtype, unsigned rank, void *data, const uint64_t *sizes, const uint64_t *bytes,     \
       const uint32_t *box, const uint32_t *steps, int interleave, int swizzle, int promotion, int fill))     \
    X(launch_extended, OPTIONAL, (const struct gpu_launch_config *config, void *function, void **params, void **extra))

typedef enum gpu_function_id {
#define GPU_FUNCTION_ENUM(name, need, arguments) GPU_FN_##name,
    GPU_DRIVER_LIST(GPU_FUNCTION_ENUM)
#undef GPU_FUNCTION_ENUM
        GPU_FUNCTION_COUNT
} gpu_function_id;

/* A function's native name, the version of the interface whose signature is meant, and the name under which the library
 * exports that version (CUDA renames a function when its signature changes). */
typedef struct gpu_symbol {
    const char *name;
    int version;
    const char *exported; /* NULL: as name */
} gpu_symbol;

typedef struct gpu_driver {
#define GPU_FUNCTION_MEMBER(name, need, arguments) int(*name) arguments;
    GPU_DRIVER_LIST(GPU_FUNCTION_MEMBER)
#undef GPU_FUNCTION_MEMBER
    const gpu_symbol *symbols; /* GPU_FUNCTION_COUNT of them */
} gpu_driver;

/* Finds one function in an opened library; NULL if it is not there. */
typedef void *(*gpu_resolve_fn)(void *library, const gpu_symbol *symbol);

/* A driver's library and the process's table of its functions. */
typedef struct gpu_driver_library {
    const char *const *sonames; /* newest first; NULL ends the list */
    const gpu_symbol *symbols;
    gpu_resolve_fn resolve;

    /* Replaces functions that only resemble those of the table; NULL, or the name of one that is missing. May be NULL. */
    const char *(*adapt)(gpu_driver *driver);

    /* norma_gpu_driver_get()'s own. */
    bool tried, usable;
    gpu_driver driver;
    char why[128];
} gpu_driver_library;

/* The table. The first call in the process opens the first of the sonames that the system's search path has, which stays
 * open, as drivers cannot be unloaded safely. NULL, with what is missing in `why`, if there is no usable library. */
const gpu_driver *norma_gpu_driver_get(gpu_driver_library *library, char *why, size_t why_bytes);

/* Turns a driver's result into a status and a sentence that names the call. */
norma_status norma_gpu_check(const gpu_driver *driver, int result, gpu_function_id function);

/* The same for a call that is not in the table. */
norma_status norma_gpu_check_call(const gpu_driver *driver, int result, const char *call);

#define GPU_CALL(driver, function, ...) norma_gpu_check((driver), (driver)->function(__VA_ARGS__), GPU_FN_##function)

/* Results. */
enum {
    GPU_SUCCESS = 0,
    GPU_ERROR_INVALID_VALUE = 1,
    GPU_ERROR_OUT_OF_MEMORY = 2,
    GPU_ERROR_NO_DEVICE = 100,
    GPU_ERROR_INVALID_DEVICE = 101,
    GPU_ERROR_INVALID_IMAGE = 200,
    GPU_ERROR_NO_BINARY = 209,
    GPU_ERROR_PTX_VERSION = 222,
    GPU_ERROR_NOT_FOUND = 500
};

/* Flags and attributes. */
enum {
    GPU_STREAM_NON_BLOCKING = 1,
    GPU_EVENT_TIMED = 0,
    GPU_CAPTURE_NONE = 0,    /* a stream that is not being captured */
    GPU_CAPTURE_RELAXED = 2, /* the capturing thread may still allocate and load modules */
    GPU_POINTER_MEMORY_TYPE = 2,
    GPU_FUNCTION_DYNAMIC_SHARED_LIMIT = 8,
    GPU_LAUNCH_CLUSTER = 4,
    GPU_LAUNCH_OVERLAP = 6 /* programmatic stream serialization */
};

/* What tensor_map_encode takes: dtypes; in rows of how many bytes the copy engine permutes chunks of 16 bytes; and whether
 * a copy brings whole pieces of 256 bytes into L2. */
enum {
    GPU_TENSOR_F16 = 6,
    GPU_TENSOR_BF16 = 9,
    GPU_SWIZZLE_32 = 1,
    GPU_SWIZZLE_64 = 2,
    GPU_SWIZZLE_128 = 3,
    GPU_PROMOTION_256 = 3
};

/* An attribute of an extended launch, laid out as CUlaunchAttribute. */
typedef struct gpu_launch_attribute {
    int id;
    int reserved;
    union {
        char bytes[64];
        unsigned cluster[3];
        int allowed;
    } value;
} gpu_launch_attribute;

/* Laid out as CUlaunchConfig. */
typedef struct gpu_launch_config {
    unsigned grid[3];
    unsigned block[3];
    unsigned shared_bytes;
    void *stream;
    gpu_launch_attribute *attributes;
    unsigned attribute_count;
} gpu_launch_config;

#endif
