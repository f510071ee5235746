/* sm_90a's instructions in OpenCL programs. NVIDIA's OpenCL compiler makes PTX for sm_90, and its assembler refuses them
 * there; but a program's binary is that PTX, and the assembler takes PTX for sm_90a as a binary. So kernels_cl/ptx.clh hides
 * these instructions in comments, with their operands, and here the PTX of the built program is made into what was meant. */
#include <stdlib.h>
#include <string.h>

#include "opencl.h"

static const char target[] = ".target sm_90", cover[] = "//sm_90a ";

static bool starts(const char *text, const char *with) {
    return strncmp(text, with, strlen(with)) == 0;
}

/* `ptx` without covers, for sm_90a: at most one byte longer. NULL if it is no such text. */
static char *uncovered(const char *ptx) {
    const char *const at = strstr(ptx, target);
    char *const text = at ? malloc(strlen(ptx) + 2) : NULL;
    if (!text) return NULL;
    char *end = text;
    for (const char *from = ptx; *from;) {
        if (starts(from, cover)) {
            from += strlen(cover);
            continue;
        }
        if (from == at + strlen(target) && *from != 'a') *end++ = 'a';
        *end++ = *from++;
    }
    *end = '\0';
    return text;
}

static char *binary_of(const opencl_device *device, cl_program program) {
    size_t bytes = 0;
    if (device->api->GetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, sizeof bytes, &bytes, NULL) != CL_SUCCESS) return NULL;
    char *binary = calloc(1, bytes + 1);
    char *binaries[] = {binary};
    if (binary && device->api->GetProgramInfo(program, CL_PROGRAM_BINARIES, sizeof binaries, binaries, NULL) == CL_SUCCESS)
        return binary;
    free(binary);
    return NULL;
}

static cl_program build(opencl_device *device, const char *ptx, const char *options) {
    const unsigned char *binaries[] = {(const unsigned char *)ptx};
    const size_t bytes = strlen(ptx);
    cl_int status, result;
    cl_program program =
        device->api->CreateProgramWithBinary(device->context, 1, &device->place.id, &bytes, binaries, &status, &result);
    if (result != CL_SUCCESS) return NULL;
    if (status == CL_SUCCESS && device->api->BuildProgram(program, 1, &device->place.id, options, NULL, NULL) == CL_SUCCESS)
        return program;
    device->api->ReleaseProgram(program);
    return NULL;
}

norma_status norma_opencl_uncover_sm90a(opencl_device *device, const char *stem, const char *options, cl_program *program) {
    char *const covered = binary_of(device, *program);
    char *const text = covered ? uncovered(covered) : NULL;
    const cl_program built = text ? build(device, text, options) : NULL;
    free(text);
    free(covered);
    device->api->ReleaseProgram(*program);
    *program = built;
    if (built) return NORMA_OK;
    return norma_fail(NORMA_ERROR_UNSUPPORTED, "OpenCL device %d does not take %s.cl for sm_90a", device->base.index, stem);
}
