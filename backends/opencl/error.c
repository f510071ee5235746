/* The one place where OpenCL's results become statuses and sentences. */
#include "../front/status.h"
#include "api.h"

/* X(name, number): Khronos's list, and the one that NVIDIA's driver gives after an illegal access. */
#define OPENCL_ERROR_LIST(X)                             \
    X(CL_DEVICE_NOT_FOUND, -1)                           \
    X(CL_DEVICE_NOT_AVAILABLE, -2)                       \
    X(CL_COMPILER_NOT_AVAILABLE, -3)                     \
    X(CL_MEM_OBJECT_ALLOCATION_FAILURE, -4)              \
    X(CL_OUT_OF_RESOURCES, -5)                           \
    X(CL_OUT_OF_HOST_MEMORY, -6)                         \
    X(CL_PROFILING_INFO_NOT_AVAILABLE, -7)               \
    X(CL_MEM_COPY_OVERLAP, -8)                           \
    X(CL_BUILD_PROGRAM_FAILURE, -11)                     \
    X(CL_MISALIGNED_SUB_BUFFER_OFFSET, -13)              \
    X(CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST, -14) \
    X(CL_INVALID_VALUE, -30)                             \
    X(CL_INVALID_DEVICE_TYPE, -31)                       \
    X(CL_INVALID_PLATFORM, -32)                          \
    X(CL_INVALID_DEVICE, -33)                            \
    X(CL_INVALID_CONTEXT, -34)                           \
    X(CL_INVALID_QUEUE_PROPERTIES, -35)                  \
    X(CL_INVALID_COMMAND_QUEUE, -36)                     \
    X(CL_INVALID_MEM_OBJECT, -38)                        \
    X(CL_INVALID_BINARY, -42)                            \
    X(CL_INVALID_BUILD_OPTIONS, -43)                     \
    X(CL_INVALID_PROGRAM, -44)                           \
    X(CL_INVALID_PROGRAM_EXECUTABLE, -45)                \
    X(CL_INVALID_KERNEL_NAME, -46)                       \
    X(CL_INVALID_KERNEL, -48)                            \
    X(CL_INVALID_ARG_INDEX, -49)                         \
    X(CL_INVALID_ARG_VALUE, -50)                         \
    X(CL_INVALID_ARG_SIZE, -51)                          \
    X(CL_INVALID_KERNEL_ARGS, -52)                       \
    X(CL_INVALID_WORK_DIMENSION, -53)                    \
    X(CL_INVALID_WORK_GROUP_SIZE, -54)                   \
    X(CL_INVALID_WORK_ITEM_SIZE, -55)                    \
    X(CL_INVALID_GLOBAL_OFFSET, -56)                     \
    X(CL_INVALID_EVENT, -58)                             \
    X(CL_INVALID_OPERATION, -59)                         \
    X(CL_INVALID_BUFFER_SIZE, -61)                       \
    X(CL_PLATFORM_NOT_FOUND_KHR, -1001)                  \
    X(illegal access, -9999)

const char *norma_opencl_error_name(cl_int result) {
    switch (result) {
#define CASE(name, number) \
    case number: return #name;
        OPENCL_ERROR_LIST(CASE)
#undef CASE
    default: return "unknown error";
    }
}

/* A kernel that faulted shows at the next call that waits for it, and then the queue is dead. */
static bool means_lost(cl_int result, opencl_function function) {
    const bool waits = function == OPENCL_FN_Finish || function == OPENCL_FN_EnqueueReadBuffer ||
                       function == OPENCL_FN_EnqueueWriteBuffer || function == OPENCL_FN_GetEventProfilingInfo;
    return result == -9999 || result == CL_DEVICE_NOT_AVAILABLE || result == CL_INVALID_COMMAND_QUEUE ||
           (waits && (result == CL_OUT_OF_RESOURCES || result == CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST));
}

static bool means_out_of_memory(cl_int result) {
    return result == CL_MEM_OBJECT_ALLOCATION_FAILURE || result == CL_OUT_OF_RESOURCES || result == CL_OUT_OF_HOST_MEMORY ||
           result == CL_INVALID_BUFFER_SIZE;
}

norma_status norma_opencl_check(cl_int result, opencl_function function) {
    static const char *const names[OPENCL_FUNCTION_COUNT] = {
#define NAME(name) "cl" #name,
        OPENCL_API_LIST(NAME)
#undef NAME
    };
    if (result == CL_SUCCESS) return NORMA_OK;
    const norma_status status = means_lost(result, function)  ? NORMA_ERROR_DEVICE_LOST
                                : means_out_of_memory(result) ? NORMA_ERROR_OUT_OF_MEMORY
                                                              : NORMA_ERROR_DEVICE;
    return norma_fail(status, "%s failed with %s (%d)", names[function], norma_opencl_error_name(result), result);
}
