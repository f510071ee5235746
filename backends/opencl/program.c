/* Device code: programs built from the embedded sources when first asked for, by way of the cache of binaries, and the
 * kernels in them. A kernel file has one kernel for each set of options, so that nothing is compiled that is not run. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache.h"
#include "opencl.h"
#include "sources.h"

enum { OPTION_BYTES = 512, LOG_BYTES = 16384 };

typedef struct opencl_program {
    char *options;
    cl_program handle;
    opencl_kernel *kernel; /* of its own memory: launches keep its address */
} opencl_program;

static const opencl_source *source_of(const char *stem) {
    for (int i = 0; i < OPENCL_SOURCE_COUNT; i++)
        if (strcmp(opencl_sources[i].stem, stem) == 0) return &opencl_sources[i];
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
                   device->base.index, stem, opencl_error_name(result), result, log ? log : "");
    free(log);
    return status;
}

static norma_status build_source(opencl_device *device, const opencl_source *source, const char *options,
                                 cl_program *out_program) {
    cl_int result;
    cl_program program =
        device->api->CreateProgramWithSource(device->context, 1, (const char *[]){source->text}, NULL, &result);
    const norma_status status = opencl_check(result, OPENCL_FN_CreateProgramWithSource);
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
    if (!opencl_cache_read(key, &binary, &bytes)) return false;
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
        !opencl_cache_write(key, binary, bytes, why, sizeof why) && !device->cache_is_bad) {
        norma_log(&device->base.log, NORMA_LOG_WARN, "device code cannot be kept, and every process builds its own: %s",
                  why);
        device->cache_is_bad = true;
    }
    free(binary);
}

static norma_status build(opencl_device *device, const char *stem, const char *options, cl_program *out_program) {
    const opencl_source *source = source_of(stem);
    if (!source) return norma_fail(NORMA_ERROR_UNSUPPORTED, "backend opencl has no kernel %s", stem);
    char all[OPTION_BYTES];
    snprintf(all, sizeof all, "-cl-std=CL1.2%s%s%s",
             device->rounds_divide ? " -cl-fp32-correctly-rounded-divide-sqrt -DNORMA_ROUNDS_DIVIDE" : "",
             options[0] ? " " : "", options);
    const opencl_cache_key key = {.identity = device->identity, .options = all, .stem = stem, .source = source->text};
    if (build_binary(device, &key, all, out_program)) return NORMA_OK;
    const norma_status status = build_source(device, source, all, out_program);
    if (!status) keep_binary(device, &key, *out_program);
    return status;
}

static norma_status make_kernel(opencl_device *device, cl_program program, const char *name, opencl_kernel *out_kernel) {
    cl_int result;
    out_kernel->handle = device->api->CreateKernel(program, name, &result);
    const norma_status status = opencl_check(result, OPENCL_FN_CreateKernel);
    if (status) return status;
    out_kernel->name = name;
    return OPENCL_CALL(device->api, GetKernelWorkGroupInfo, out_kernel->handle, device->place.id, CL_KERNEL_WORK_GROUP_SIZE,
                       sizeof out_kernel->max_threads, &out_kernel->max_threads, NULL);
}

static void free_program(const opencl_device *device, opencl_program *program) {
    if (program->kernel && program->kernel->handle) device->api->ReleaseKernel(program->kernel->handle);
    if (program->handle) device->api->ReleaseProgram(program->handle);
    free(program->kernel);
    free(program->options);
}

static norma_status add(opencl_device *device, const char *stem, const char *name, const char *options,
                        const opencl_kernel **out_kernel) {
    const size_t count = (size_t)device->program_count;
    opencl_program *programs = realloc(device->programs, (count + 1) * sizeof *programs);
    if (programs) device->programs = programs;
    opencl_program program = {.options = strdup(options), .kernel = calloc(1, sizeof *program.kernel)};
    norma_status status = NORMA_OK;
    if (!programs || !program.options || !program.kernel)
        status = norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory for kernel %s", name);
    if (!status) status = build(device, stem, options, &program.handle);
    if (!status) status = make_kernel(device, program.handle, name, program.kernel);
    if (status) {
        free_program(device, &program);
        return status;
    }
    programs[device->program_count++] = program;
    *out_kernel = program.kernel;
    return NORMA_OK;
}

norma_status opencl_find(opencl_device *device, const char *stem, const char *name, const char *options,
                         const opencl_kernel **out_kernel) {
    for (int i = 0; i < device->program_count; i++) {
        const opencl_program *program = &device->programs[i];
        if (strcmp(program->kernel->name, name) != 0 || strcmp(program->options, options) != 0) continue;
        *out_kernel = program->kernel;
        return NORMA_OK;
    }
    return add(device, stem, name, options, out_kernel);
}

void opencl_unload(opencl_device *device) {
    for (int i = 0; i < device->program_count; i++) free_program(device, &device->programs[i]);
    free(device->programs);
    device->programs = NULL;
    device->program_count = 0;
}
