/* norma: RMSNorm, and RMSNorm followed by a Linear layer in one pass, on CUDA, HIP, OpenCL and the CPU.
 *
 * This is the only header a program needs. It is C11, clean from C++, and names no vendor type.
 *
 * WHAT IS COMPUTED, for each row i of x (M rows of K values), with h = x, or h = round(x + residual):
 *
 *     rstd[i]  = 1 / sqrt( mean_k h[i,k]^2 + eps )
 *     RMSNorm:            out[i,k] = h[i,k] * rstd[i] * (gamma[k] + gamma_offset)
 *     RMSNorm + Linear:   out[i,n] = rstd[i] * sum_k h[i,k] * (gamma[k] + gamma_offset) * W[k,n] + bias[n]
 *
 * and, for training, the gradients of both (norma_rmsnorm_backward, norma_rmsnorm_linear_backward).
 *
 * A FIRST PROGRAM (link with -lnorma; examples/minimal.c is a complete one):
 *
 *     norma_context *ctx;
 *     norma_context_create(NULL, &ctx);                             // NORMA_BACKEND, else the best one here
 *
 *     norma_rmsnorm_linear_desc desc = norma_rmsnorm_linear_desc_init();    // what stays from call to call
 *     desc.k = 4096;
 *     desc.x.dtype = desc.gamma.dtype = NORMA_BF16;                 // a tensor without a dtype is absent
 *     desc.part[0].n = 1024;
 *     desc.part[0].weight = norma_layout_transposed(NORMA_BF16, 4096);      // stored (N, K), as in nn.Linear
 *     desc.part[0].out.dtype = NORMA_BF16;
 *
 *     norma_rmsnorm_linear_args args = norma_rmsnorm_linear_args_init();    // what changes: M and the pointers
 *     args.m = 8;
 *     args.x.data = x;  args.gamma.data = gamma;                    // device pointers on a GPU, host on the CPU
 *     args.part[0].weight.data = w;  args.part[0].out.data = out;
 *
 *     if (norma_rmsnorm_linear(ctx, &desc, &args)) puts(norma_last_error());
 *     norma_synchronize(ctx);
 *     norma_context_destroy(ctx);
 *
 * OBJECTS. A context is one backend on one device with one stream. A plan is one description prepared on a context:
 * kernels chosen, workspace allocated, device code loaded. A one-shot call is a plan looked up in the context. Destroy
 * plans before their context.
 *
 * TENSORS are two things. A norma_layout in the description says dtype and strides, and by having a dtype that the tensor
 * takes part. A norma_buffer in the arguments says where it is. Strides count elements; row-major, column-major, transposed,
 * padded rows and column slices are all just strides, and a stride of 0 means "densely packed". The pointer is a device
 * pointer (CUDA, HIP), a cl_mem (OpenCL) or host memory (CPU), plus a byte offset. Any element-aligned address and any
 * size work; 16-byte aligned addresses and strides are the fast ones.
 *
 * OWNERSHIP. The library never frees or keeps what the caller passes; it copies descriptions and arguments. Tensors must
 * live until the work that uses them has finished on the stream. Strings that the library returns are its own.
 *
 * STREAMS. On GPUs a call enqueues work on the context's stream and returns; norma_synchronize waits. On the CPU a call
 * has finished when it returns. Running a plan with max_rows > 0 allocates no device memory, never blocks on the device and
 * may be captured into a CUDA or HIP graph. A plan for any number of rows, and a one-shot call, prepares where it first
 * meets a number of rows: it may then allocate, load device code and wait for work of its own, and does none of that when it
 * meets that number again, so it is to be run once before it is captured.
 *
 * GRAPHS keep the addresses that they were captured with: the tensors', and those of memory of the plan and the context,
 * which stay valid as long as the plan lives, or for one-shot calls the context. All calls of a context and all graphs
 * captured from them share that memory, so they must run one after another: two such graphs, or a graph and other calls of
 * its context, must not run at the same time on different streams. Give each stream a context of its own.
 *
 * THREADS. A context, with its plans, is used by one thread at a time. Different contexts may be used at the same time,
 * also on one device. Functions that take no context may be called from any thread at any time.
 *
 * ERRORS. Every call that can fail returns a norma_status, 0 being success. norma_last_error() then gives a sentence for
 * the calling thread that names the argument and its value. On an argument error nothing was read or written. The library
 * never exits, aborts or prints to standard output; it logs to standard error or to a callback (NORMA_LOG).
 *
 * STRUCTS begin with struct_size. Descriptions and arguments are made by their _init function, which also fills defaults; of
 * an info to be filled, the caller sets struct_size. They grow only at the end; a zero field means its default. A program
 * built with an older header keeps working with a newer library.
 *
 * ENVIRONMENT: NORMA_BACKEND, NORMA_LOG, NORMA_KERNEL, NORMA_CACHE_DIR, NORMA_THREADS, NORMA_BATCH_INVARIANT,
 * NORMA_TIME_ROUTES; README.md has the table.
 */
#ifndef NORMA_NORMA_H
#define NORMA_NORMA_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define NORMA_VERSION_MAJOR 0
#define NORMA_VERSION_MINOR 1
#define NORMA_VERSION_PATCH 0
/* For #if: 100 is 0.1.0. */
#define NORMA_VERSION (NORMA_VERSION_MAJOR * 10000 + NORMA_VERSION_MINOR * 100 + NORMA_VERSION_PATCH)

#if defined(_WIN32)
#define NORMA_API
#else
#define NORMA_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Status ------------------------------------------------------------------------------------------------------- */

typedef enum norma_status {
    NORMA_OK = 0,
    NORMA_ERROR_NULL_POINTER = 1,       /* a required pointer is NULL, or a pointer is given for an absent tensor */
    NORMA_ERROR_STRUCT_SIZE = 2,        /* struct_size is not one that this library knows */
    NORMA_ERROR_DTYPE = 3,              /* unknown dtype, or one that is not allowed at this place */
    NORMA_ERROR_CONTRACT = 4,           /* unknown rounding contract */
    NORMA_ERROR_FLAGS = 5,              /* unknown flag bits */
    NORMA_ERROR_SIZE = 6,               /* a size is negative, or zero where that is meaningless (K, a part count above 4) */
    NORMA_ERROR_STRIDE = 7,             /* a stride is negative, or given to a weight or vector for batches */
    NORMA_ERROR_OVERFLOW = 8,           /* a tensor would span more bytes than an int64 counts */
    NORMA_ERROR_SELF_OVERLAP = 9,       /* the strides of an output make two of its elements share memory */
    NORMA_ERROR_ALIAS = 10,             /* an output overlaps another tensor where that is not allowed */
    NORMA_ERROR_ALIGNMENT = 11,         /* an address is not a multiple of the element size */
    NORMA_ERROR_EPS = 12,               /* eps is not a finite positive number */
    NORMA_ERROR_OFFSET = 13,            /* gamma_offset is not finite */
    NORMA_ERROR_ROWS = 14,              /* more rows than the plan's max_rows */
    NORMA_ERROR_PLAN_KIND = 15,         /* a plan run with the other operation's arguments */
    NORMA_ERROR_BACKEND_UNKNOWN = 16,   /* no backend of that name, or a malformed backend string */
    NORMA_ERROR_BACKEND_NOT_BUILT = 17, /* the backend is known, but not in this build of the library */
    NORMA_ERROR_NO_DEVICE = 18,         /* the backend finds no driver or no device on this machine */
    NORMA_ERROR_DEVICE_INDEX = 19,      /* the backend has fewer devices than that */
    NORMA_ERROR_OPTION = 20,            /* an environment variable or an option has a value that is not understood */
    NORMA_ERROR_UNSUPPORTED = 21,       /* this backend, or a kernel forced by NORMA_KERNEL, cannot do this */
    NORMA_ERROR_OUT_OF_MEMORY = 22,     /* host or device memory; the context stays usable */
    NORMA_ERROR_DEVICE = 23,            /* a driver call failed; the sentence names the call and its code */
    NORMA_ERROR_DEVICE_LOST = 24        /* the device faulted; this context answers nothing else from now on, and on CUDA
                                           and HIP no other on that device until the process has ended */
} norma_status;

/* The name of a status, "NORMA_ERROR_DTYPE"; "unknown status" for other values. Never NULL. */
NORMA_API const char *norma_status_name(norma_status status);

/* A sentence on the calling thread's latest failed call; "" if none failed. Valid until that thread's next failed call. */
NORMA_API const char *norma_last_error(void);

/* "0.1.0", of the library that runs, which may be newer than this header. */
NORMA_API const char *norma_version(void);

/* ---- Log ---------------------------------------------------------------------------------------------------------- */

typedef enum norma_log_level {
    NORMA_LOG_DEFAULT = 0, /* NORMA_LOG=error|warn|info|debug, else warn */
    NORMA_LOG_ERROR = 1,
    NORMA_LOG_WARN = 2,
    NORMA_LOG_INFO = 3, /* which backend and device were chosen, and why */
    NORMA_LOG_DEBUG = 4 /* every launch: kernel, grid, block, shared bytes, tile, sizes, dtypes */
} norma_log_level;

/* Receives one line without its newline, valid during the call, on the thread that called the library. */
typedef void (*norma_log_fn)(void *user, norma_log_level level, const char *line);

/* ---- Backends and devices ----------------------------------------------------------------------------------------- */

typedef struct norma_backend_info {
    size_t struct_size;
    const char *name; /* "cuda", "hip", "opencl", "cpu" */
    int32_t built;    /* 1 if this library contains it */
    int32_t devices;  /* how many devices it finds; 0 if none or not built */
    char detail[256]; /* what was found, or why nothing was */
} norma_backend_info;

typedef struct norma_device_info {
    size_t struct_size;
    const char *backend;   /* "cpu" */
    int32_t index;         /* of the device within its backend */
    int32_t compute_units; /* multiprocessors, compute units or threads */
    uint64_t memory_bytes; /* 0 if unknown */
    char name[128];        /* the driver's name for the device */
    char arch[64];         /* "sm_90", "gfx942", "avx512" */
} norma_device_info;

/* The number of backends that the library knows, built or not. They are numbered in order of preference. */
NORMA_API int norma_backend_count(void);

/* Describes backend `index` (0 to norma_backend_count() - 1). Looks for its driver; opens nothing.
 * Errors: NULL_POINTER, STRUCT_SIZE, BACKEND_UNKNOWN (index out of range). */
NORMA_API norma_status norma_backend_get_info(int index, norma_backend_info *out_info);

/* Describes device `device_index` of backend `index`. Errors: as above, and BACKEND_NOT_BUILT, NO_DEVICE, DEVICE_INDEX. */
NORMA_API norma_status norma_device_get_info(int index, int device_index, norma_device_info *out_info);

/* ---- Context ------------------------------------------------------------------------------------------------------ */

typedef struct norma_context norma_context;

typedef struct norma_context_desc {
    size_t struct_size;
    /* "cuda", "cuda:1", "opencl:0", "cpu", "auto", or a list "cuda,cpu" whose first usable entry is taken.
     * NULL: NORMA_BACKEND, else "auto", which is the list of all backends in order of preference. A backend named alone
     * that cannot be opened is an error; nothing else is tried in its place. */
    const char *backend;
    void *stream;         /* CUstream, hipStream_t or cl_command_queue to work on; NULL: CUDA's and HIP's default stream,
                             or a queue of the context's own. The CPU takes NULL only, and so do "auto"
                             and lists: whose handle it is must be said by naming the backend alone. */
    void *native_context; /* cl_context that the caller's buffers belong to (with native_device); NULL elsewhere */
    void *native_device;  /* cl_device_id; NULL elsewhere */
    int32_t threads;      /* CPU: threads to use; 0: NORMA_THREADS, else the processors this process may run on */
    norma_log_level log_level;
    norma_log_fn log; /* NULL: lines go to standard error */
    void *log_user;   /* handed to log */
} norma_context_desc;

static inline norma_context_desc norma_context_desc_init(void) {
    norma_context_desc desc;
    memset(&desc, 0, sizeof desc);
    desc.struct_size = sizeof desc;
    return desc;
}

/* Opens a backend on a device. desc may be NULL for all defaults. The caller destroys *out_context; on an error it is NULL.
 * May block while device code loads. Errors: NULL_POINTER, STRUCT_SIZE, BACKEND_UNKNOWN, BACKEND_NOT_BUILT, NO_DEVICE,
 * DEVICE_INDEX, SIZE (threads), OPTION, OUT_OF_MEMORY, DEVICE. */
NORMA_API norma_status norma_context_create(const norma_context_desc *desc, norma_context **out_context);

/* Waits for the context's work, then frees it. NULL is fine. Plans made from it must have been destroyed. */
NORMA_API void norma_context_destroy(norma_context *context);

/* The device that the context runs on. Errors: NULL_POINTER, STRUCT_SIZE. */
NORMA_API norma_status norma_context_get_info(const norma_context *context, norma_device_info *out_info);

/* Blocks until all work enqueued through the context has finished. Errors: NULL_POINTER, DEVICE, DEVICE_LOST. */
NORMA_API norma_status norma_synchronize(norma_context *context);

/* ---- Memory, for programs that are to run on any backend; memory of the caller's own serves as well --------------- */

/* Where a tensor begins: data plus offset_bytes. data is what norma_alloc gave, a device pointer, a cl_mem or host memory.
 */
typedef struct norma_buffer {
    void *data;
    size_t offset_bytes;
} norma_buffer;

/* Allocates `bytes` of the device's memory, contents undefined, aligned to 256 bytes or better. bytes = 0 gives a pointer
 * that may only be freed. The caller frees it. Errors: NULL_POINTER, OUT_OF_MEMORY, DEVICE, DEVICE_LOST. */
NORMA_API norma_status norma_alloc(norma_context *context, size_t bytes, void **out_data);

/* Frees memory from norma_alloc on the same context, after the work enqueued so far, for which it waits: not while the
 * stream is being captured. NULL data is fine. */
NORMA_API norma_status norma_free(norma_context *context, void *data);

/* Copies `bytes` between host and device, ordered after the work enqueued so far; returns when the copy has finished.
 * Errors: NULL_POINTER, DEVICE, DEVICE_LOST. */
NORMA_API norma_status norma_upload(norma_context *context, norma_buffer to, const void *from, size_t bytes);
NORMA_API norma_status norma_download(norma_context *context, void *to, norma_buffer from, size_t bytes);

/* ---- Tensors ------------------------------------------------------------------------------------------------------ */

typedef enum norma_dtype {
    NORMA_NONE = 0, /* the tensor is absent */
    NORMA_F32 = 1,
    NORMA_F16 = 2, /* IEEE binary16 */
    NORMA_BF16 = 3
} norma_dtype;

/* How a tensor lies in memory. Element (b, i, j) is at data + offset_bytes + (b * batch_stride + i * row_stride +
 * j * col_stride) * element size. A stride of 0 means packed: col_stride 1, or K for a weight of row_stride 1; row_stride
 * the number of columns; batch_stride m * row_stride. A vector over columns (gamma, bias) uses col_stride only, one over
 * rows (rstd) row_stride and batch_stride, a weight no batch_stride. */
typedef struct norma_layout {
    norma_dtype dtype;
    int64_t row_stride;
    int64_t col_stride;
    int64_t batch_stride;
} norma_layout;

static inline norma_layout norma_layout_strided(norma_dtype dtype, int64_t row_stride, int64_t col_stride) {
    norma_layout layout;
    layout.dtype = dtype;
    layout.row_stride = row_stride;
    layout.col_stride = col_stride;
    layout.batch_stride = 0;
    return layout;
}

/* A matrix whose columns are contiguous: a weight W[k,n] stored as (N, K), as torch.nn.Linear does, with ld = K or 0. */
static inline norma_layout norma_layout_transposed(norma_dtype dtype, int64_t ld) {
    return norma_layout_strided(dtype, 1, ld);
}

/* Where rounding happens between the input and the output. docs/numerics.md defines each to the bit. */
typedef enum norma_contract {
    NORMA_ROUND_DEFERRED = 0, /* no intermediate rounding is promised; rstd is applied to the fp32 sum: the fastest */
    NORMA_ROUND_TWICE = 1,    /* y = round(round(h * rstd) * (gamma + offset)): Llama, Mistral, Qwen, Phi-3, Granite */
    NORMA_ROUND_ONCE = 2      /* y = round(h * rstd * (gamma + offset)): OLMo2; Gemma with gamma_offset 1 */
} norma_contract;

/* Flags of a description. */
#define NORMA_WEIGHTS_STATIC                                                                    \
    UINT64_C(1) /* no work in flight writes W or gamma while the call runs, so they may be read \
                   before the work ahead in the stream has finished */
#define NORMA_BATCH_INVARIANT                                                                 \
    UINT64_C(2) /* a row's result has the same bits whatever the other rows and their number; \
                   NORMA_BATCH_INVARIANT=1 sets it for every call */

#define NORMA_TIME_ROUTES                                                                                 \
    UINT64_C(32) /* choose by timing: where several kernels can do it, the first plan of a description on \
                    a device times them, and the fastest is kept in NORMA_CACHE_DIR for all later ones;   \
                    NORMA_TIME_ROUTES=1 sets it for every call */

/* Of a Linear's forward description: where x and weights are fp32, the product may be computed by matrix units of a narrower
 * dtype, from operands split in two. It is a permission: where there are no such units, or it would not be faster, fp32 is
 * multiplied as without the flag. The bounds of docs/numerics.md hold all the same, but that what lies below 2^-50 of the
 * largest magnitude in its row of the normalised x, or in its column of W, may count as zero. CUDA uses it on devices of
 * compute capability 9.0, with up to 81 MiB of a plan's workspace. Batch-invariant calls take no notice of it. */
#define NORMA_FP32_TENSOR UINT64_C(64)

/* Flags of a backward description: the gradient is added to what its tensor holds; without the flag it replaces that. */
#define NORMA_ACCUMULATE_DGAMMA  UINT64_C(4)
#define NORMA_ACCUMULATE_DWEIGHT UINT64_C(8)
#define NORMA_ACCUMULATE_DBIAS   UINT64_C(16)

#define NORMA_DEFAULT_EPS 1e-6f
#define NORMA_MAX_PARTS   4

/* ---- RMSNorm ------------------------------------------------------------------------------------------------------ */

/* Tensors, with M and batch from the arguments: x, residual, residual_out, out (batch, M, K); gamma (K); rstd (batch, M).
 * Required: x and out. residual is added first: h = x + residual, rounded to residual's dtype, written to residual_out if
 * that is present, and normalised from the rounded value. residual_out has residual's dtype; rstd is NORMA_F32.
 * In place: out may be x, and residual_out may be residual or x, if address, dtype and strides are the same. Otherwise
 * outputs overlap nothing; they may interleave with other tensors as slices of one array with one row stride. */
typedef struct norma_rmsnorm_desc {
    size_t struct_size;
    int64_t k;          /* columns of x, the hidden size; at least 1 */
    int64_t max_rows;   /* the largest batch * m, for which a plan is prepared; 0: any */
    float eps;          /* finite and > 0; NORMA_DEFAULT_EPS from _init */
    float gamma_offset; /* added to gamma before use: 0, or 1 for Gemma. Not used when gamma is absent. */
    norma_contract contract;
    uint64_t flags;
    norma_layout x, gamma, residual, residual_out, rstd, out;
} norma_rmsnorm_desc;

typedef struct norma_rmsnorm_args {
    size_t struct_size;
    int64_t m;     /* rows; 0 succeeds and does nothing */
    int64_t batch; /* blocks of m rows; 0 means 1 */
    norma_buffer x, gamma, residual, residual_out, rstd, out;
} norma_rmsnorm_args;

static inline norma_rmsnorm_desc norma_rmsnorm_desc_init(void) {
    norma_rmsnorm_desc desc;
    memset(&desc, 0, sizeof desc);
    desc.struct_size = sizeof desc;
    desc.eps = NORMA_DEFAULT_EPS;
    return desc;
}

static inline norma_rmsnorm_args norma_rmsnorm_args_init(void) {
    norma_rmsnorm_args args;
    memset(&args, 0, sizeof args);
    args.struct_size = sizeof args;
    return args;
}

/* RMSNorm of the rows of x. Enqueues; the first call with a description and a number of rows may allocate and load device
 * code, later ones do not. (A context keeps 256 descriptions; one that is used again after so many others is new to it.)
 * Errors: any argument status above, OPTION, UNSUPPORTED, OUT_OF_MEMORY, DEVICE, DEVICE_LOST. */
NORMA_API norma_status norma_rmsnorm(norma_context *context, const norma_rmsnorm_desc *desc, const norma_rmsnorm_args *args);

/* ---- RMSNorm + Linear --------------------------------------------------------------------------------------------- */

/* One Linear that shares the pass over x: out (batch, M, n) = RMSNorm(x) W + bias, weight (K, n), bias (n) or absent. */
typedef struct norma_linear_part_desc {
    int64_t n;
    norma_layout weight, bias, out;
} norma_linear_part_desc;

typedef struct norma_linear_part_args {
    norma_buffer weight, bias, out;
} norma_linear_part_args;

/* As norma_rmsnorm_desc, but with parts in place of out: q, k, v or gate, up each keep their own tensors. With an exact
 * contract the normalised row y is rounded to h's dtype before the product. Outputs overlap nothing, but residual_out may
 * be residual or x as above. */
typedef struct norma_rmsnorm_linear_desc {
    size_t struct_size;
    int64_t k;
    int64_t max_rows;
    float eps;
    float gamma_offset;
    norma_contract contract;
    uint64_t flags;
    norma_layout x, gamma, residual, residual_out, rstd;
    int64_t parts; /* 1 to NORMA_MAX_PARTS; 0 means 1 */
    norma_linear_part_desc part[NORMA_MAX_PARTS];
} norma_rmsnorm_linear_desc;

typedef struct norma_rmsnorm_linear_args {
    size_t struct_size;
    int64_t m;
    int64_t batch;
    norma_buffer x, gamma, residual, residual_out, rstd;
    norma_linear_part_args part[NORMA_MAX_PARTS];
} norma_rmsnorm_linear_args;

static inline norma_rmsnorm_linear_desc norma_rmsnorm_linear_desc_init(void) {
    norma_rmsnorm_linear_desc desc;
    memset(&desc, 0, sizeof desc);
    desc.struct_size = sizeof desc;
    desc.eps = NORMA_DEFAULT_EPS;
    return desc;
}

static inline norma_rmsnorm_linear_args norma_rmsnorm_linear_args_init(void) {
    norma_rmsnorm_linear_args args;
    memset(&args, 0, sizeof args);
    args.struct_size = sizeof args;
    return args;
}

/* RMSNorm and one to four Linears in one pass over x. As norma_rmsnorm. Where a vendor's product is part of it, the fastest
 * of its algorithms is found by timing, once in a process: without NORMA_BATCH_INVARIANT another process may get other bits,
 * within the same bound. */
NORMA_API norma_status norma_rmsnorm_linear(norma_context *context, const norma_rmsnorm_linear_desc *desc,
                                            const norma_rmsnorm_linear_args *args);

/* ---- Gradients ---------------------------------------------------------------------------------------------------- */

/* The gradient of a loss with respect to a tensor has the tensor's name with a d in front. Of the forward call only two
 * things must be kept: h, which is called x here (the forward call's x, or its residual_out if it had a residual), and its
 * rstd. With g = gamma + gamma_offset, or 1 without gamma, n = x * rstd, and `mean` over a row's K values:
 *
 *     dx     = rstd * (t * g - n * mean(t * g * n)) + dresidual_out        t = dout, or the sum over parts of dout W^T
 *     dgamma = sum over rows of t * n
 *     dweight = (n * g)^T dout,   dbias = sum over rows of dout            for each part
 *
 * dx is the gradient of h, so of the forward call's x and of its residual alike. Roundings count as the identity, and there
 * is none but at the outputs, except as docs/numerics.md says. Sums run in an order that depends on sizes (max_rows among
 * them), layouts, addresses modulo 16 bytes, the device and the versions of norma and of the vendor's library alone, without
 * floating-point atomics and, unless NORMA_TIME_ROUTES asks for it, without regard to time: the same call gives the same
 * bits, in any process. One exception: in a call or a plan for any number of rows, more than 131072 rows may be summed in
 * another order after a call with yet more.
 *
 * Every output may be absent, and then costs nothing. With m = 0 a gradient that is a sum over rows becomes zero, or keeps
 * what it holds if it is added to; only what is written then needs an address. */

/* Tensors, with M and batch from the arguments: x, dout, dresidual_out, dx (batch, M, K); rstd (batch, M), NORMA_F32; gamma,
 * dgamma (K). Required: x, rstd and dout. dresidual_out is the gradient that comes back through residual_out. dgamma needs
 * gamma. In place: dx may be dout or dresidual_out if address, dtype and strides are the same. Otherwise outputs overlap
 * nothing. Flags: NORMA_ACCUMULATE_DGAMMA, and those of norma_rmsnorm. */
typedef struct norma_rmsnorm_backward_desc {
    size_t struct_size;
    int64_t k;
    int64_t max_rows;
    float gamma_offset;
    uint64_t flags;
    norma_layout x, rstd, gamma, dout, dresidual_out, dx, dgamma;
} norma_rmsnorm_backward_desc;

typedef struct norma_rmsnorm_backward_args {
    size_t struct_size;
    int64_t m;
    int64_t batch;
    norma_buffer x, rstd, gamma, dout, dresidual_out, dx, dgamma;
} norma_rmsnorm_backward_args;

static inline norma_rmsnorm_backward_desc norma_rmsnorm_backward_desc_init(void) {
    norma_rmsnorm_backward_desc desc;
    memset(&desc, 0, sizeof desc);
    desc.struct_size = sizeof desc;
    return desc;
}

static inline norma_rmsnorm_backward_args norma_rmsnorm_backward_args_init(void) {
    norma_rmsnorm_backward_args args;
    memset(&args, 0, sizeof args);
    args.struct_size = sizeof args;
    return args;
}

/* The gradients of norma_rmsnorm. Enqueues, and fails, as norma_rmsnorm does. */
NORMA_API norma_status norma_rmsnorm_backward(norma_context *context, const norma_rmsnorm_backward_desc *desc,
                                              const norma_rmsnorm_backward_args *args);

/* Of one Linear: weight, dweight (K, n), dout (batch, M, n), dbias (n). Required: weight and dout. */
typedef struct norma_linear_backward_part_desc {
    int64_t n;
    norma_layout weight, dout, dweight, dbias;
} norma_linear_backward_part_desc;

typedef struct norma_linear_backward_part_args {
    norma_buffer weight, dout, dweight, dbias;
} norma_linear_backward_part_args;

/* As norma_rmsnorm_backward_desc, but with parts in place of dout. eps and contract are those of the forward call: the
 * normalised rows, which dweight needs, are computed anew from x as it computed them. Outputs overlap nothing. If dx is
 * present, of x's dtype, it also serves as room for a matrix of M x K values on the way; if not, the call has that room in
 * its workspace. Flags: NORMA_ACCUMULATE_DGAMMA, _DWEIGHT, _DBIAS, and those of norma_rmsnorm. */
typedef struct norma_rmsnorm_linear_backward_desc {
    size_t struct_size;
    int64_t k;
    int64_t max_rows;
    float eps;
    float gamma_offset;
    norma_contract contract;
    uint64_t flags;
    norma_layout x, rstd, gamma, dresidual_out, dx, dgamma;
    int64_t parts; /* 1 to NORMA_MAX_PARTS; 0 means 1 */
    norma_linear_backward_part_desc part[NORMA_MAX_PARTS];
} norma_rmsnorm_linear_backward_desc;

typedef struct norma_rmsnorm_linear_backward_args {
    size_t struct_size;
    int64_t m;
    int64_t batch;
    norma_buffer x, rstd, gamma, dresidual_out, dx, dgamma;
    norma_linear_backward_part_args part[NORMA_MAX_PARTS];
} norma_rmsnorm_linear_backward_args;

static inline norma_rmsnorm_linear_backward_desc norma_rmsnorm_linear_backward_desc_init(void) {
    norma_rmsnorm_linear_backward_desc desc;
    memset(&desc, 0, sizeof desc);
    desc.struct_size = sizeof desc;
    desc.eps = NORMA_DEFAULT_EPS;
    return desc;
}

static inline norma_rmsnorm_linear_backward_args norma_rmsnorm_linear_backward_args_init(void) {
    norma_rmsnorm_linear_backward_args args;
    memset(&args, 0, sizeof args);
    args.struct_size = sizeof args;
    return args;
}

/* The gradients of norma_rmsnorm_linear. As norma_rmsnorm_backward. */
NORMA_API norma_status norma_rmsnorm_linear_backward(norma_context *context, const norma_rmsnorm_linear_backward_desc *desc,
                                                     const norma_rmsnorm_linear_backward_args *args);

/* ---- Plans -------------------------------------------------------------------------------------------------------- */

typedef struct norma_plan norma_plan;

typedef struct norma_plan_info {
    size_t struct_size;
    uint64_t workspace_bytes; /* device memory that the plan holds */
    char kernel[64];          /* the kernel, or kernels joined by "+", that run for the m asked for */
    char reason[128];         /* why they were chosen */
} norma_plan_info;

/* Prepares a description for every m up to desc->max_rows, or with max_rows = 0 for none yet. The caller destroys *out_plan
 * before the context; on an error it is NULL. May block. Errors: as norma_rmsnorm.
 *
 * With NORMA_TIME_ROUTES, for each bracket of m the kernels that take the description run in turn, on operands that the
 * library allocates, fills and frees, and the fastest stays. That blocks for 0.1 s or more a bracket, takes device memory
 * for the operands (several sets of small ones, an eighth of the memory at most), and is done once: a file in
 * NORMA_CACHE_DIR keeps the choice for this version, device, driver and description. What is not there, damaged or no longer
 * possible is timed anew. Where timing is not possible - too little memory, a stream that is being captured - the choice is
 * the one without the flag, and the log says so. A plan for any number of rows and a one-shot call time a bracket when they
 * first meet it. Results keep their contract and bounds, but which kernel's bits they are may change when it is timed anew.
 * A kernel that NORMA_KERNEL forces is not timed, nor are batch-invariant calls. */
NORMA_API norma_status norma_rmsnorm_plan_create(norma_context *context, const norma_rmsnorm_desc *desc,
                                                 norma_plan **out_plan);
NORMA_API norma_status norma_rmsnorm_linear_plan_create(norma_context *context, const norma_rmsnorm_linear_desc *desc,
                                                        norma_plan **out_plan);
NORMA_API norma_status norma_rmsnorm_backward_plan_create(norma_context *context, const norma_rmsnorm_backward_desc *desc,
                                                          norma_plan **out_plan);
NORMA_API norma_status norma_rmsnorm_linear_backward_plan_create(norma_context *context,
                                                                 const norma_rmsnorm_linear_backward_desc *desc,
                                                                 norma_plan **out_plan);

/* Runs a plan. Enqueues; with max_rows > 0 allocates no device memory, and may be captured; with max_rows = 0 both hold for
 * numbers of rows that it has run with (STREAMS, above). Errors: NULL_POINTER, STRUCT_SIZE, PLAN_KIND, ROWS, SIZE, OVERFLOW,
 * SELF_OVERLAP, ALIAS, ALIGNMENT, UNSUPPORTED (the vendor's product does not take such addresses, or with max_rows = 0
 * nothing takes so many rows), OUT_OF_MEMORY, DEVICE, DEVICE_LOST. */
NORMA_API norma_status norma_rmsnorm_plan_run(norma_plan *plan, const norma_rmsnorm_args *args);
NORMA_API norma_status norma_rmsnorm_linear_plan_run(norma_plan *plan, const norma_rmsnorm_linear_args *args);
NORMA_API norma_status norma_rmsnorm_backward_plan_run(norma_plan *plan, const norma_rmsnorm_backward_args *args);
NORMA_API norma_status norma_rmsnorm_linear_backward_plan_run(norma_plan *plan,
                                                              const norma_rmsnorm_linear_backward_args *args);

/* What runs for `m` rows. A plan for any number of rows prepares for m now, as a run would. Errors: NULL_POINTER,
 * STRUCT_SIZE, SIZE, ROWS, DEVICE_LOST; in that case also those of norma_rmsnorm_plan_create. */
NORMA_API norma_status norma_plan_get_info(const norma_plan *plan, int64_t m, norma_plan_info *out_info);

/* Frees a plan after the work it enqueued, for which it waits: not while the stream is being captured, and not before the
 * last replay of a graph that was captured from it. NULL is fine. */
NORMA_API void norma_plan_destroy(norma_plan *plan);

/* ---- Folding gamma into W ----------------------------------------------------------------------------------------- */

/* W_out[k,n] = round((gamma[k] + gamma_offset) * W[k,n]), once, after which the Linear is called without gamma: the fastest
 * form at large M. It rounds W once more, and a tied embedding must not be folded in place. In place: out may be weight if
 * address, dtype and strides are the same. gamma (k), weight and out (k, n). */
typedef struct norma_fold_gamma_desc {
    size_t struct_size;
    int64_t k, n;
    float gamma_offset;
    norma_layout gamma, weight, out;
} norma_fold_gamma_desc;

typedef struct norma_fold_gamma_args {
    size_t struct_size;
    norma_buffer gamma, weight, out;
} norma_fold_gamma_args;

static inline norma_fold_gamma_desc norma_fold_gamma_desc_init(void) {
    norma_fold_gamma_desc desc;
    memset(&desc, 0, sizeof desc);
    desc.struct_size = sizeof desc;
    return desc;
}

static inline norma_fold_gamma_args norma_fold_gamma_args_init(void) {
    norma_fold_gamma_args args;
    memset(&args, 0, sizeof args);
    args.struct_size = sizeof args;
    return args;
}

/* Enqueues the folding. Errors: as norma_rmsnorm. */
NORMA_API norma_status norma_fold_gamma(norma_context *context, const norma_fold_gamma_desc *desc,
                                        const norma_fold_gamma_args *args);

#ifdef __cplusplus
}
#endif

#endif
