/* An open OpenCL device, and what the files of this folder share: finding devices, building programs, and launching kernels.
 *
 * An operation is one file launch_<kernel>.c, as in backends/gpu: it decides geometry and arguments. A kernel's arguments
 * are its buffers, in the order of kernels_cl, and then one struct of params.clh by value. */
#ifndef NORMA_OPENCL_OPENCL_H
#define NORMA_OPENCL_OPENCL_H

#include "../../kernels_cl/params.clh"
#include "../backend.h"
#include "api.h"

/* One device of one platform, as norma-info counts them. */
typedef struct opencl_place {
    cl_platform_id platform;
    cl_device_id id;
} opencl_place;

#define OPENCL_MAX_PLACES 32

/* Lists the devices that can run this library's kernels; 0, with the reason in `why`, if there is none. */
int norma_opencl_list(const opencl_api **out_api, opencl_place places[OPENCL_MAX_PLACES], char *why, size_t why_bytes);

/* Name, arch, units and memory of a device. */
norma_status norma_opencl_describe_place(const opencl_api *api, const opencl_place *place, norma_device_info *out_info);

/* A kernel of a built program. */
typedef struct opencl_kernel {
    struct opencl_kernel *next;
    const struct opencl_program *program;
    cl_kernel handle;
    const char *name;
    size_t max_threads; /* of a work-group, as the compiler made it */
    bool works;         /* a kernel that uses matrix units has shown that it does */
} opencl_kernel;

typedef struct opencl_device {
    norma_device base;
    const opencl_api *api;
    opencl_place place;
    cl_context context;
    cl_command_queue queue;
    bool is_cpu;
    bool is_nvidia;
    int capability;     /* NVIDIA's compute capability, times ten; 0 elsewhere */
    bool rounds_divide; /* the device divides and takes roots correctly rounded, if asked to */
    bool single_values; /* a CPU whose compiler makes work-items into lanes: vectors would only be more code to compile */
    bool has_own_cache; /* PoCL keeps what it compiles, and takes as long again to give a binary away */
    char identity[512]; /* names device and driver, for the cache of binaries */

    cl_command_queue timed_queue; /* with profiling, for replays; made when first needed */
    bool timing;                  /* the first and the last launch keep their events */
    int64_t launches;             /* of this replay so far */
    int64_t last_launch;          /* of those that are timed */
    cl_event first, last;

    bool cache_is_bad;               /* and the log says so already */
    bool no_matrix;                  /* the matrix units were tried in vain */
    bool no_sm90a, no_copies;        /* so were those of sm_90a, and asynchronous copies for fp32 */
    struct opencl_program *programs; /* built so far */
    opencl_kernel *kernels;
} opencl_device;

/* What a program's loads and stores are made for: `matrix` x, all that is as large, and weights; `other` gamma, bias and the
 * output. NORMA_NONE: the kernel is told by its arguments. */
typedef struct opencl_dtypes {
    norma_dtype matrix, other;
} opencl_dtypes;

/* The dtypes that a problem's program is made for: the one of all its matrices, and of all else if that is the same.
 * Mixtures share the programs that are told, so that there are few. */
opencl_dtypes norma_opencl_dtypes_of(const norma_problem *problem);

/* The kernel `name` of file `stem` built for `dtypes` with `options`, built when first asked for. Kernels live as long as
 * the device, and so must the first two texts. */
norma_status norma_opencl_find(opencl_device *device, const char *stem, const char *name, opencl_dtypes dtypes,
                               const char *options, opencl_kernel **out_kernel);

/* The kernel `name` of a layer in its shape for CPUs. */
norma_status norma_opencl_find_cpu(opencl_device *device, const char *name, opencl_dtypes dtypes,
                                   opencl_kernel **out_kernel);

/* The same for a kernel that takes its work-group's size as -DTHREADS: of `threads`, or the nearest half of it, and half of
 * that, that the device can run. `more` are further options, each after a space. */
norma_status norma_opencl_find_threads(opencl_device *device, const char *stem, opencl_dtypes dtypes, const char *more,
                                       int threads, opencl_kernel **out_kernel, int *out_threads);

/* The most rows of rmsnorm_linear_skinny. */
#define OPENCL_SKINNY_ROWS 16

/* The option of programs that hold instructions of sm_90a. */
#define OPENCL_SM90A " -DNORMA_SM90A"

/* Builds a program with this option anew, now that the compiler has made sm_90's code of its source, and replaces it. */
norma_status norma_opencl_uncover_sm90a(opencl_device *device, const char *stem, const char *options, cl_program *program);

/* Frees every program. */
void norma_opencl_unload(opencl_device *device);

/* One argument of a kernel: a cl_mem or a struct. */
typedef struct opencl_argument {
    size_t bytes;
    const void *value;
} opencl_argument;

/* Enqueues `groups` work-groups of `threads`. */
norma_status norma_opencl_enqueue(opencl_device *device, const opencl_kernel *kernel, int64_t groups, int64_t threads,
                                  const opencl_argument *arguments, int count);

/* Whether the next launch is one whose event a timed replay needs. Others have none: an event costs the device more time
 * than a launch does. */
bool norma_opencl_wants_event(opencl_device *device);

/* Keeps the event of enqueued work while a replay is timed; takes over the reference. */
void norma_opencl_keep_event(opencl_device *device, cl_event event);

/* Keeps the present place in the queue as the start of what is timed, if nothing is kept yet: for work whose own events do
 * not cover it. */
norma_status norma_opencl_keep_start(opencl_device *device);

/* Structs of params.clh from a problem. */
norma_cl_view norma_opencl_view(const norma_tensor *tensor);
norma_cl_norm norma_opencl_norm_params(const norma_problem *problem);
norma_cl_linear norma_opencl_linear_params(const norma_problem *problem);

/* How many values are a run of kernels_cl/run.clh in the device's program for `dtypes`, and whether a tensor, if it is
 * there, lies in aligned runs of so many along its rows. */
int norma_opencl_run_width(const opencl_device *device, opencl_dtypes dtypes);
bool norma_opencl_in_runs(const norma_tensor *tensor, int width);

/* The arguments of a Linear's kernel: x, gamma, rstd, then weight, bias and out of each part, then `params`. */
#define OPENCL_LINEAR_ARGUMENTS (3 + 3 * NORMA_MAX_PARTS + 1)
void norma_opencl_linear_arguments(const norma_problem *problem, const void *params, size_t params_bytes,
                                   opencl_argument arguments[OPENCL_LINEAR_ARGUMENTS]);

/* A buffer for an argument: an absent tensor gets `instead`, since not every driver takes NULL; kernels do not touch it. */
opencl_argument norma_opencl_buffer(const norma_tensor *tensor, const norma_tensor *instead);

/* column_sums, as this and other operations launch it; found by norma_opencl_sums_find, which is for prepare. `from` and
 * `to` are cl_mem. */
typedef struct opencl_sums {
    opencl_kernel *kernel;
    int columns, threads; /* of a work-group */
    int width;            /* of a run, on a GPU */
} opencl_sums;

norma_status norma_opencl_sums_find(opencl_device *device, norma_dtype from, norma_dtype to, opencl_sums *out_sums);
norma_status norma_opencl_sums_enqueue(opencl_device *device, const opencl_sums *sums, void *from, void *to,
                                       const norma_cl_sums *params);

/* prepare sizes and builds, launch enqueues; launch->native is freed by free(). */
typedef struct opencl_operation {
    norma_kernel kernel;
    norma_status (*prepare)(opencl_device *device, norma_launch *launch);
    norma_status (*launch)(opencl_device *device, const norma_launch *launch);
} opencl_operation;

extern const opencl_operation norma_opencl_rmsnorm_rows;
extern const opencl_operation norma_opencl_rmsnorm_linear_skinny;
extern const opencl_operation norma_opencl_rmsnorm_linear_tiled;
extern const opencl_operation norma_opencl_linear_blas;
extern const opencl_operation norma_opencl_fold_gamma;
extern const opencl_operation norma_opencl_rmsnorm_rows_backward;
extern const opencl_operation norma_opencl_column_sums;
extern const opencl_operation norma_opencl_stream;

/* Slots of the backend, as backend.h says. */
void norma_opencl_probe(norma_backend_info *out_info);
norma_status norma_opencl_describe(int index, norma_device_info *out_info);
norma_status norma_opencl_open(const norma_open_desc *desc, norma_device **out_device);
void norma_opencl_close(norma_device *base);
norma_status norma_opencl_alloc(norma_device *base, size_t bytes, void **out_data);
norma_status norma_opencl_release(norma_device *base, void *data);
norma_status norma_opencl_upload(norma_device *base, norma_buffer to, const void *from, size_t bytes);
norma_status norma_opencl_download(norma_device *base, void *to, norma_buffer from, size_t bytes);
norma_status norma_opencl_prepare(norma_device *base, norma_launch *launch);
void norma_opencl_discard(norma_device *base, norma_launch *launch);
norma_status norma_opencl_launch(norma_device *base, const norma_launch *launch);
norma_status norma_opencl_sync(norma_device *base);
void norma_opencl_versions(norma_device *base, char *text, size_t text_bytes);
norma_status norma_opencl_record(norma_device *base, norma_work_fn work, void *user, void **out_recording);
norma_status norma_opencl_replay(norma_device *base, void *recording, double *out_us);
void norma_opencl_forget(norma_device *base, void *recording);

/* A CPU as an OpenCL device is slower than the CPU backend, so that nobody gets it without asking. */
bool norma_opencl_yields(int index);

#endif
