/* The OpenCL functions that are used, resolved at run time from the ICD loader's library: nothing is linked. The types are
 * those of the Khronos headers, which are needed at build time only. */
#ifndef NORMA_OPENCL_API_H
#define NORMA_OPENCL_API_H

#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>

#include <stdbool.h>
#include <stddef.h>

#include "norma/norma.h"

#define OPENCL_API_LIST(X)       \
    X(GetPlatformIDs)            \
    X(GetPlatformInfo)           \
    X(GetDeviceIDs)              \
    X(GetDeviceInfo)             \
    X(CreateContext)             \
    X(RetainContext)             \
    X(ReleaseContext)            \
    X(CreateCommandQueue)        \
    X(RetainCommandQueue)        \
    X(ReleaseCommandQueue)       \
    X(GetCommandQueueInfo)       \
    X(Finish)                    \
    X(CreateBuffer)              \
    X(ReleaseMemObject)          \
    X(EnqueueReadBuffer)         \
    X(EnqueueWriteBuffer)        \
    X(CreateProgramWithSource)   \
    X(CreateProgramWithBinary)   \
    X(BuildProgram)              \
    X(GetProgramInfo)            \
    X(GetProgramBuildInfo)       \
    X(ReleaseProgram)            \
    X(CreateKernel)              \
    X(ReleaseKernel)             \
    X(SetKernelArg)              \
    X(GetKernelWorkGroupInfo)    \
    X(EnqueueNDRangeKernel)      \
    X(EnqueueMarkerWithWaitList) \
    X(GetEventProfilingInfo)     \
    X(ReleaseEvent)

typedef enum opencl_function {
#define OPENCL_FUNCTION_ENUM(name) OPENCL_FN_##name,
    OPENCL_API_LIST(OPENCL_FUNCTION_ENUM)
#undef OPENCL_FUNCTION_ENUM
        OPENCL_FUNCTION_COUNT
} opencl_function;

typedef struct opencl_api {
#define OPENCL_API_MEMBER(name) __typeof__(cl##name) *name;
    OPENCL_API_LIST(OPENCL_API_MEMBER)
#undef OPENCL_API_MEMBER
} opencl_api;

/* The process's table, loaded on first use; NULL, with the reason in `why`, if there is no usable loader. */
const opencl_api *norma_opencl_load(char *why, size_t why_bytes);

/* Turns a result into a status and a sentence that names the call. */
norma_status norma_opencl_check(cl_int result, opencl_function function);

/* The name of a result, "CL_OUT_OF_RESOURCES". */
const char *norma_opencl_error_name(cl_int result);

#define OPENCL_CALL(api, function, ...) norma_opencl_check((api)->function(__VA_ARGS__), OPENCL_FN_##function)

#endif
