/* The host code that CUDA and HIP share: everything that goes through the driver's table of functions (driver.h), the
 * kernels' arguments, and what a launch looks like. A backend of this kind supplies a gpu_platform: the table, the device
 * code and what really differs.
 *
 * This header is what the files launch_<kernel>.c see; device.h holds what only the host code itself needs. */
#ifndef NORMA_GPU_GPU_H
#define NORMA_GPU_GPU_H

#include "../../kernels_cuda/params.h"
#include "../backend.h"

typedef struct gpu_driver gpu_driver;
typedef struct gpu_platform gpu_platform;

/* Device code of one kernel file, as embedded by the build. Every kernel's name begins with its file's stem. */
typedef struct gpu_image {
    const char *stem;
    const void *data;
} gpu_image;

#define GPU_MAX_IMAGES      12
#define GPU_KNOWN_ADDRESSES 256

typedef struct gpu_device {
    norma_device base;
    const gpu_platform *platform;
    const gpu_driver *driver;
    int ordinal;            /* the driver's device handle */
    void *context;          /* primary context, retained */
    void *stream;           /* the caller's, or NULL for the default stream; the capture stream while record() runs */
    int arch;               /* 90 for sm_90 */
    bool reads_host_memory; /* the device reaches pageable host memory, so such addresses are right too */

    void *own_stream;               /* for searching algorithms; made when first needed */
    void *modules[GPU_MAX_IMAGES];  /* one per image of the platform, loaded when first needed */
    struct gpu_function *functions; /* kernels found so far */
    int function_count;
    uintptr_t known[GPU_KNOWN_ADDRESSES]; /* that the driver has confirmed, see address.c */
    void *lt, *rocblas;                   /* what backends/blas keeps of the vendor's libraries */
    struct norma_gpu_words *words;        /* see norma_gpu_words_reserve() */
} gpu_device;

/* One kernel launch, ready but for its arguments. */
typedef struct gpu_kernel {
    void *function;
    unsigned grid[3];
    unsigned block[3];
    unsigned shared_bytes;
    unsigned cluster; /* blocks of a cluster along x; 0 or 1: none */
    bool overlap;     /* programmatic dependent launch: may start before the work ahead of it has finished */
} gpu_kernel;

/* Finds an extern "C" kernel by name and raises its limit of dynamic shared memory; NORMA_ERROR_UNSUPPORTED if the module
 * has none. */
norma_status norma_gpu_find(gpu_device *device, const char *name, unsigned shared_bytes, void **out_function);

/* Whether blocks can come in clusters, and a launch overlap the one before it: both need the extended call. */
bool norma_gpu_launches_clusters(const gpu_device *device);

/* Enqueues; `params` is one of the structs of params.h. */
norma_status norma_gpu_enqueue(gpu_device *device, const gpu_kernel *kernel, const void *params, size_t params_bytes);

/* The most blocks of so many threads that a launch may have. */
int64_t norma_gpu_most_blocks(const gpu_device *device, int threads);

/* In prepare(): makes sure of so many bytes of zeros, which kernels may count and mark their values in. They are there for
 * every launch of the device, as the launch before left them, at an address that stays valid until the device is closed. */
norma_status norma_gpu_words_reserve(gpu_device *device, size_t bytes);

/* In launch(): where they are. */
void *norma_gpu_words(const gpu_device *device);

/* params.h structs from a problem. */
norma_norm_params norma_gpu_norm_params(const norma_problem *problem);
norma_linear_params norma_gpu_linear_params(const norma_problem *problem);
norma_view norma_gpu_view(const norma_tensor *tensor);

/* The kernels of column_sums for one dtype, and their launch, which chooses between them and fills params.lanes. */
typedef struct gpu_sums {
    void *vectors, *elements;
} gpu_sums;

norma_status norma_gpu_sums_find(gpu_device *device, norma_dtype dtype, gpu_sums *out_sums);
norma_status norma_gpu_sums_enqueue(gpu_device *device, const gpu_sums *sums, norma_sums_params params);

/* One file per kernel decides geometry and arguments: prepare finds the function and sizes the workspace, launch enqueues.
 * launch->native is the operation's own, in the host's memory: discard frees it, or free() where an operation has no
 * discard. close frees what an operation keeps in the device, and may be NULL too; so may version, which names a vendor's
 * library behind the operation. The device's context is current in all of them. */
typedef struct gpu_operation {
    norma_kernel kernel;
    norma_status (*prepare)(gpu_device *device, norma_launch *launch);
    norma_status (*launch)(gpu_device *device, const norma_launch *launch);
    void (*discard)(gpu_device *device, norma_launch *launch);
    void (*close)(gpu_device *device);
    void (*version)(gpu_device *device, char *text, size_t text_bytes);
} gpu_operation;

extern const gpu_operation norma_gpu_rmsnorm_rows;
extern const gpu_operation norma_gpu_rmsnorm_linear_skinny;
extern const gpu_operation norma_gpu_rmsnorm_linear_skinny_units;
extern const gpu_operation norma_gpu_rmsnorm_linear_tiled;
extern const gpu_operation norma_gpu_rmsnorm_linear_hopper;
extern const gpu_operation norma_gpu_rmsnorm_linear_narrow;
extern const gpu_operation norma_gpu_fold_gamma;
extern const gpu_operation norma_gpu_linear_split;
extern const gpu_operation norma_gpu_rmsnorm_rows_backward;
extern const gpu_operation norma_gpu_column_sums;
extern const gpu_operation norma_gpu_stream;

#endif
