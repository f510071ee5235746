/* Device code: programs built from the embedded sources when first asked for, by way of the cache of binaries, and the
 * kernels in them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../front/option.h"
#include "cache.h"
#include "opencl.h"
#include "sources.h"

enum { OPTION_BYTES = 512, LOG_BYTES = 16384 };

typedef struct opencl_program {
    struct opencl_program *next;
    const char *stem;
    cl_program handle;
    char options[OPTION_BYTES];
} opencl_program;

static const opencl_source *source_of(const char *stem) {
    for (int i = 0; i < OPENCL_SOURCE_COUNT; i++)
        if (strcmp(norma_opencl_sources[i].stem, stem) == 0) return &norma_opencl_sources[i];
    return NULL;
}

/* The compiler's whole log goes to the error log, and as much of it as fits into the sentence. */
static norma_status fail_build(const opencl_device *device, cl_program program, const char *stem, const char *options,
                               cl_int result) {
    char *log = calloc(1, LOG_BYTES);
    if (log) device->api->GetProgramBuildInfo(program, device->place.id, CL_PROGRAM_BUILD_LOG, LOG_BYTES - 1, log, NULL);
    norma_log(&device->base.log, NORMA_LOG_ERROR, "building %s.cl with \"%s\":\n%s", stem, options, log ? log : "");
    const norma_status status =
        norma_fail(NORMA_ERROR_DEVICE, "the compiler of OpenCL device %d fails on %s.cl with %s (%d): %.300s",
                   device->base.index, stem, norma_opencl_error_name(result), result, log ? log : "");
    free(log);
    return status;
}

static norma_status build_source(opencl_device *device, const opencl_source *source, const char *options,
                                 cl_program *out_program) {
    cl_int result;
    cl_program program =
        device->api->CreateProgramWithSource(device->context, 1, (const char *[]){source->text}, NULL, &result);
    const norma_status status = norma_opencl_check(result, OPENCL_FN_CreateProgramWithSource);
    if (status) return status;
    result = device->api->BuildProgram(program, 1, &device->place.id, options, NULL, NULL);
    if (result == CL_SUCCESS) {
        *out_program = program;
        return NORMA_OK;
    }
    const norma_status failed = fail_build(device, program, source->stem, options, result);
    device->api->ReleaseProgram(program);
    return failed;
}

/* A binary that the driver does not take is as good as none. */
static bool build_binary(opencl_device *device, const opencl_cache_key *key, const char *options, cl_program *out_program) {
    unsigned char *binary;
    size_t bytes;
    if (!norma_opencl_cache_read(key, &binary, &bytes)) return false;
    const unsigned char *binaries[] = {binary};
    cl_int status, result;
    cl_program program =
        device->api->CreateProgramWithBinary(device->context, 1, &device->place.id, &bytes, binaries, &status, &result);
    free(binary);
    if (result != CL_SUCCESS) return false;
    if (status == CL_SUCCESS &&
        device->api->BuildProgram(program, 1, &device->place.id, options, NULL, NULL) == CL_SUCCESS) {
        *out_program = program;
        return true;
    }
    device->api->ReleaseProgram(program);
    return false;
}

/* Keeps the program's binary, if the driver gives one. */
static void keep_binary(opencl_device *device, const opencl_cache_key *key, cl_program program) {
    size_t bytes = 0;
    if (device->api->GetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, sizeof bytes, &bytes, NULL) != CL_SUCCESS ||
        bytes == 0)
        return;
    unsigned char *binary = malloc(bytes);
    unsigned char *binaries[] = {binary};
    char why[512];
    if (binary && device->api->GetProgramInfo(program, CL_PROGRAM_BINARIES, sizeof binaries, binaries, NULL) == CL_SUCCESS &&
        !norma_opencl_cache_write(key, binary, bytes, why, sizeof why) && !device->cache_is_bad) {
        norma_log(&device->base.log, NORMA_LOG_WARN, "device code cannot be kept, and every process builds its own: %s",
                  why);
        device->cache_is_bad = true;
    }
    free(binary);
}

static norma_status build(opencl_device *device, const char *stem, const char *options, cl_program *out_program) {
    const opencl_source *source = source_of(stem);
    if (!source) return norma_fail(NORMA_ERROR_UNSUPPORTED, "backend opencl has no kernel %s", stem);
    char all[OPTION_BYTES + 128];
    snprintf(all, sizeof all, "-cl-std=CL1.2%s%s%s %s",
             device->rounds_divide ? " -cl-fp32-correctly-rounded-divide-sqrt -DNORMA_ROUNDS_DIVIDE" : "",
             device->is_cpu ? " -DNORMA_OUTLINED" : "", device->single_values ? " -DSINGLE_VALUES" : "", options);
    const opencl_cache_key key = {.identity = device->identity, .options = all, .stem = stem, .source = source->text};
    const bool caches = !device->has_own_cache || norma_option_text("NORMA_CACHE_DIR");
    if (caches && build_binary(device, &key, all, out_program)) return NORMA_OK;
    norma_status status = build_source(device, source, all, out_program);
    if (!status && strstr(all, OPENCL_SM90A)) status = norma_opencl_uncover_sm90a(device, stem, all, out_program);
    if (!status && caches) keep_binary(device, &key, *out_program);
    return status;
}

static norma_status find_program(opencl_device *device, const char *stem, const char *options,
                                 opencl_program **out_program) {
    opencl_program *program = device->programs;
    while (program && (strcmp(program->stem, stem) != 0 || strcmp(program->options, options) != 0)) program = program->next;
    *out_program = program;
    if (program) return NORMA_OK;
    program = calloc(1, sizeof *program);
    if (!program) return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory for %s.cl", stem);
    program->stem = stem;
    snprintf(program->options, sizeof program->options, "%s", options);
    const norma_status status = build(device, stem, options, &program->handle);
    if (status) {
        free(program);
        return status;
    }
    program->next = device->programs;
    device->programs = program;
    *out_program = program;
    return NORMA_OK;
}

static norma_status make_kernel(opencl_device *device, const opencl_program *program, const char *name,
                                opencl_kernel *out_kernel) {
    cl_int result;
    out_kernel->program = program;
    out_kernel->name = name;
    out_kernel->handle = device->api->CreateKernel(program->handle, name, &result);
    const norma_status status = norma_opencl_check(result, OPENCL_FN_CreateKernel);
    if (status) return status;
    return OPENCL_CALL(device->api, GetKernelWorkGroupInfo, out_kernel->handle, device->place.id, CL_KERNEL_WORK_GROUP_SIZE,
                       sizeof out_kernel->max_threads, &out_kernel->max_threads, NULL);
}

norma_status norma_opencl_find(opencl_device *device, const char *stem, const char *name, opencl_dtypes dtypes,
                               const char *options, opencl_kernel **out_kernel) {
    char matrix[32] = "", other[32] = "", all[OPTION_BYTES];
    if (dtypes.matrix) snprintf(matrix, sizeof matrix, " -DMATRIX_DTYPE=%d", (int)dtypes.matrix);
    if (dtypes.other) snprintf(other, sizeof other, " -DOTHER_DTYPE=%d", (int)dtypes.other);
    snprintf(all, sizeof all, "%s%s%s", options, matrix, other);
    opencl_program *program = NULL;
    norma_status status = find_program(device, stem, all, &program);
    if (status) return status;
    opencl_kernel *kernel = device->kernels;
    while (kernel && (kernel->program != program || strcmp(kernel->name, name) != 0)) kernel = kernel->next;
    *out_kernel = kernel;
    if (kernel) return NORMA_OK;
    kernel = calloc(1, sizeof *kernel);
    if (!kernel) return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory for kernel %s", name);
    status = make_kernel(device, program, name, kernel);
    if (status) {
        if (kernel->handle) device->api->ReleaseKernel(kernel->handle);
        free(kernel);
        return status;
    }
    kernel->next = device->kernels;
    device->kernels = kernel;
    *out_kernel = kernel;
    return NORMA_OK;
}

norma_status norma_opencl_find_threads(opencl_device *device, const char *stem, opencl_dtypes dtypes, const char *more,
                                       int threads, opencl_kernel **out_kernel, int *out_threads) {
    for (*out_threads = threads; *out_threads > 0; *out_threads /= 2) {
        char options[OPTION_BYTES];
        if (*out_threads > device->base.limits.max_threads) continue;
        snprintf(options, sizeof options, "-DTHREADS=%d%s", *out_threads, more);
        const norma_status status = norma_opencl_find(device, stem, stem, dtypes, options, out_kernel);
        if (status || (size_t)*out_threads <= (*out_kernel)->max_threads) return status;
    }
    return norma_fail(NORMA_ERROR_UNSUPPORTED, "%s: device %d runs no work-group", stem, device->base.index);
}

norma_status norma_opencl_find_cpu(opencl_device *device, const char *name, opencl_dtypes dtypes,
                                   opencl_kernel **out_kernel) {
    const norma_tile *tile = &norma_tiles[NORMA_TILE_opencl_cpu];
    char options[OPTION_BYTES];
    snprintf(options, sizeof options,
             "-DTILED_BM=%d -DTILED_BN=%d -DTILED_BK=%d -DTILED_TM=%d -DTILED_TN=%d -DSKINNY_ROWS=%d", tile->bm, tile->bn,
             tile->bk, tile->tm, tile->tn, OPENCL_SKINNY_ROWS);
    return norma_opencl_find(device, "cpu", name, dtypes, options, out_kernel);
}

void norma_opencl_unload(opencl_device *device) {
    while (device->kernels) {
        opencl_kernel *kernel = device->kernels;
        device->kernels = kernel->next;
        if (kernel->handle) device->api->ReleaseKernel(kernel->handle);
        free(kernel);
    }
    while (device->programs) {
        opencl_program *program = device->programs;
        device->programs = program->next;
        device->api->ReleaseProgram(program->handle);
        free(program);
    }
}
