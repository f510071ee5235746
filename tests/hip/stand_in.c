/* The stand-in's functions. Calls that may fail go through one counter; calls that give something back do so even when they
 * are made to fail, as drivers do after a fault. Work is done when it is enqueued, or, while a stream is captured, kept for
 * the graph. */
#include "stand_in.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../kernels_cuda/params.h"
#include "emulator.h"

#define EXPORT __attribute__((visibility("default")))

enum {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    NO_BINARY = 209,
    NOT_FOUND = 500,
    LAUNCH_FAILURE = 719,
    CAPTURE_UNSUPPORTED = 900
};

typedef struct module {
    code_object object;
    char arch[32];
} module;

typedef struct function {
    const module *owner;
    kernel_descriptor kernel;
    char name[96];
} function;

enum { MAX_FUNCTIONS = 512, MAX_WORK = 16 };

typedef struct work {
    const function *kernel;
    stand_in_launch launch;
} work;

typedef struct graph {
    int count;
    work list[MAX_WORK];
} graph;

typedef struct stream {
    graph *capturing;
} stream;

static stand_in_state state;
static function functions[MAX_FUNCTIONS];
static int function_count;
static int capture_mode;

EXPORT stand_in_state *stand_in_control(void) {
    return &state;
}

EXPORT void stand_in_reset(void) {
    char arch[sizeof state.arch];
    memcpy(arch, state.arch, sizeof arch);
    memset(&state, 0, sizeof state);
    memcpy(state.arch, arch, sizeof arch);
    state.devices = 1;
    function_count = 0;
    capture_mode = 0;
}

__attribute__((constructor)) static void start(void) {
    const char *const arch = getenv("NORMA_STAND_IN_ARCH"), *const devices = getenv("NORMA_STAND_IN_DEVICES");
    snprintf(state.arch, sizeof state.arch, "%s", arch ? arch : "gfx942:sramecc+:xnack-");
    stand_in_reset();
    if (devices) state.devices = atoi(devices);
}

/* Zero, or what the call is told to answer. */
static int enter(const char *name) {
    state.calls++;
    const bool fails =
        state.fail_at > 0 && (state.fail_sticky ? state.calls >= state.fail_at : state.calls == state.fail_at);
    if (!fails) return SUCCESS;
    if (state.calls == state.fail_at) state.failed = name;
    return state.fail_result;
}

#define ENTER()                              \
    do {                                     \
        const int entered = enter(__func__); \
        if (entered) return entered;         \
    } while (0)

/* ---- Devices ---- */

EXPORT int hipInit(unsigned flags) {
    ENTER();
    if (flags != 0) return INVALID_VALUE;
    return state.devices > 0 ? SUCCESS : INVALID_DEVICE; /* as the runtime answers */
}

EXPORT int hipRuntimeGetVersion(int *out_version) {
    *out_version = 60342134;
    return SUCCESS;
}

/* Texts never fail: they describe failures. */
static const char *failure = "the stand-in was told to fail";

EXPORT const char *hipGetErrorName(int result) {
    return result == OUT_OF_MEMORY ? "hipErrorOutOfMemory" : "hipErrorUnknown";
}

EXPORT const char *hipGetErrorString(int result) {
    return result == LAUNCH_FAILURE ? failure : "the stand-in was told to fail";
}

EXPORT int hipGetDeviceCount(int *out_count) {
    ENTER();
    *out_count = state.devices;
    return state.devices > 0 ? SUCCESS : NO_DEVICE;
}

EXPORT int hipDeviceGet(int *out_device, int index) {
    ENTER();
    *out_device = index;
    return index >= 0 && index < state.devices ? SUCCESS : INVALID_DEVICE;
}

EXPORT int hipDeviceGetName(char *out_name, int bytes, int device) {
    ENTER();
    snprintf(out_name, (size_t)bytes, "stand-in %d", device);
    return SUCCESS;
}

EXPORT int hipDeviceTotalMem(size_t *out_bytes, int device) {
    (void)device;
    ENTER();
    *out_bytes = (size_t)1 << 30;
    return SUCCESS;
}

static bool has_wide_waves(void) {
    return strncmp(state.arch, "gfx9", 4) == 0;
}

/* Few units, so that small problems already use large tiles. */
EXPORT int hipDeviceGetAttribute(int *out_value, int attribute, int device) {
    (void)device;
    ENTER();
    switch (attribute) {
    case 19: *out_value = 4 << 20; return SUCCESS;                    /* L2CacheSize */
    case 56: *out_value = 1024; return SUCCESS;                       /* MaxThreadsPerBlock */
    case 63: *out_value = 4; return SUCCESS;                          /* MultiprocessorCount */
    case 65: *out_value = 0; return SUCCESS;                          /* PageableMemoryAccess */
    case 74: *out_value = 65536; return SUCCESS;                      /* MaxSharedMemoryPerBlock */
    case 87: *out_value = has_wide_waves() ? 64 : 32; return SUCCESS; /* WarpSize */
    default: return INVALID_VALUE;
    }
}

/* As from ROCm 6 on: the chip's name is somewhere behind the device's. */
#ifndef STAND_IN_HAS_NO_PROPERTIES
EXPORT int hipGetDevicePropertiesR0600(void *out_properties, int device) {
    (void)device;
    ENTER();
    memset(out_properties, 0, 1472);
    snprintf((char *)out_properties, 256, "stand-in gfx000");
    snprintf((char *)out_properties + 1160, 256, "%s", state.arch);
    return SUCCESS;
}
#endif

EXPORT int hipGetDevice(int *out_device) {
    ENTER();
    *out_device = state.current;
    return SUCCESS;
}

/* Giving the caller's device back is one of the calls that always work. */
EXPORT int hipSetDevice(int device) {
    if (device != 0) state.current = device;
    ENTER();
    state.current = device;
    return SUCCESS;
}

/* ---- Modules ---- */

EXPORT int hipModuleLoadData(void **out_module, const void *image) {
    ENTER();
    char arch[sizeof state.arch];
    snprintf(arch, sizeof arch, "%.*s", (int)strcspn(state.arch, ":"), state.arch);
    const unsigned char *const elf = bundle_find(image, arch);
    if (!elf) return NO_BINARY;
    module *const loaded = calloc(1, sizeof *loaded);
    if (!loaded) return OUT_OF_MEMORY;
    memcpy(loaded->arch, arch, sizeof arch);
    if (!code_object_load(elf, arena_alloc, &loaded->object)) {
        free(loaded);
        return OUT_OF_MEMORY;
    }
    *out_module = loaded;
    state.live_modules++;
    return SUCCESS;
}

EXPORT int hipModuleUnload(void *module_handle) {
    arena_free(((module *)module_handle)->object.memory);
    free(module_handle);
    state.live_modules--;
    ENTER();
    return SUCCESS;
}

EXPORT int hipModuleGetFunction(void **out_function, void *module_handle, const char *name) {
    ENTER();
    if (function_count == MAX_FUNCTIONS) return OUT_OF_MEMORY;
    function *const found = &functions[function_count];
    found->owner = module_handle;
    if (!code_object_find(&found->owner->object, name, &found->kernel)) return NOT_FOUND;
    snprintf(found->name, sizeof found->name, "%s", name);
    function_count++;
    *out_function = found;
    return SUCCESS;
}

/* ---- Memory ---- */

EXPORT int hipMalloc(void **out_data, size_t bytes) {
    ENTER();
    *out_data = arena_alloc(bytes);
    if (!*out_data) return OUT_OF_MEMORY;
    state.live_blocks++;
    return SUCCESS;
}

EXPORT int hipFree(void *data) {
    if (arena_left(data) == 0) return INVALID_VALUE;
    arena_free(data);
    state.live_blocks--;
    ENTER();
    return SUCCESS;
}

static int copy(void *to, const void *from, size_t bytes, const void *on_device) {
    if (bytes > 0 && arena_left(on_device) < bytes) return INVALID_VALUE;
    memcpy(to, from, bytes);
    return SUCCESS;
}

EXPORT int hipMemcpyHtoDAsync(void *to, const void *from, size_t bytes, void *on) {
    (void)on;
    ENTER();
    return copy(to, from, bytes, to);
}

EXPORT int hipMemcpyDtoHAsync(void *to, const void *from, size_t bytes, void *on) {
    (void)on;
    ENTER();
    return copy(to, from, bytes, from);
}

EXPORT int hipMemcpyDtoDAsync(void *to, const void *from, size_t bytes, void *on) {
    (void)on;
    ENTER();
    const int result = copy(to, from, bytes, to);
    return result ? result : copy(to, from, bytes, from);
}

EXPORT int hipPointerGetAttribute(void *out_value, int attribute, const void *data) {
    ENTER();
    if (attribute != 2 || arena_left(data) == 0) return INVALID_VALUE;
    *(unsigned *)out_value = 2;
    return SUCCESS;
}

/* ---- Streams, events, graphs ---- */

static int hand_out(void **out_handle, size_t bytes, int *live) {
    *out_handle = calloc(1, bytes);
    if (!*out_handle) return OUT_OF_MEMORY;
    (*live)++;
    return SUCCESS;
}

static void take_back(void *handle, int *live) {
    free(handle);
    (*live)--;
}

EXPORT int hipStreamCreateWithFlags(void **out_stream, unsigned flags) {
    ENTER();
    return flags == 1 ? hand_out(out_stream, sizeof(stream), &state.live_streams) : INVALID_VALUE;
}

EXPORT int hipStreamDestroy(void *handle) {
    take_back(handle, &state.live_streams);
    ENTER();
    return SUCCESS;
}

EXPORT int hipStreamSynchronize(void *handle) {
    ENTER();
    return handle && ((stream *)handle)->capturing ? CAPTURE_UNSUPPORTED : SUCCESS;
}

EXPORT int hipEventCreateWithFlags(void **out_event, unsigned flags) {
    ENTER();
    return flags == 0 ? hand_out(out_event, 1, &state.live_events) : INVALID_VALUE;
}

EXPORT int hipEventDestroy(void *event) {
    take_back(event, &state.live_events);
    ENTER();
    return SUCCESS;
}

EXPORT int hipEventRecord(void *event, void *on) {
    (void)on;
    ENTER();
    return event ? SUCCESS : INVALID_VALUE;
}

EXPORT int hipEventSynchronize(void *event) {
    ENTER();
    return event ? SUCCESS : INVALID_VALUE;
}

EXPORT int hipEventElapsedTime(float *out_ms, void *begin, void *end) {
    ENTER();
    *out_ms = 0.25f;
    return begin && end && begin != end ? SUCCESS : INVALID_VALUE;
}

EXPORT int hipStreamBeginCapture(void *handle, int mode) {
    ENTER();
    if (!handle || mode != 2) return INVALID_VALUE; /* the default stream cannot be captured */
    ((stream *)handle)->capturing = calloc(1, sizeof(graph));
    return ((stream *)handle)->capturing ? SUCCESS : OUT_OF_MEMORY;
}

EXPORT int hipStreamEndCapture(void *handle, void **out_graph) {
    graph *const captured = ((stream *)handle)->capturing;
    ((stream *)handle)->capturing = NULL;
    *out_graph = NULL;
    const int entered = enter(__func__);
    if (entered) {
        free(captured);
        return entered;
    }
    *out_graph = captured;
    state.live_graphs++;
    return SUCCESS;
}

EXPORT int hipThreadExchangeStreamCaptureMode(int *inout_mode) {
    ENTER();
    const int mode = capture_mode;
    capture_mode = *inout_mode;
    *inout_mode = mode;
    return SUCCESS;
}

EXPORT int hipGraphDestroy(void *handle) {
    take_back(handle, &state.live_graphs);
    ENTER();
    return SUCCESS;
}

EXPORT int hipGraphInstantiateWithFlags(void **out_exec, void *handle, unsigned long long flags) {
    ENTER();
    if (flags != 0) return INVALID_VALUE;
    const int result = hand_out(out_exec, sizeof(graph), &state.live_execs);
    if (!result) memcpy(*out_exec, handle, sizeof(graph));
    return result;
}

EXPORT int hipGraphExecDestroy(void *exec) {
    take_back(exec, &state.live_execs);
    ENTER();
    return SUCCESS;
}

/* ---- Launches ---- */

static int run(const work *todo) {
    const stand_in_launch *const launch = &todo->launch;
    if (!emulator_wanted()) return SUCCESS;
    const char *const problem =
        emulator_run(todo->kernel->owner->arch, &todo->kernel->owner->object, &todo->kernel->kernel, launch->grid,
                     launch->block, launch->shared_bytes, launch->params, launch->params_bytes);
    if (!problem) return SUCCESS;
    fprintf(stderr, "stand-in: %s: %s\n", launch->function, problem);
    failure = problem;
    return LAUNCH_FAILURE;
}

#ifndef STAND_IN_IS_OLD
EXPORT int hipGraphLaunch(void *exec, void *on) {
    (void)on;
    ENTER();
    state.graph_launches++;
    const graph *const launched = exec;
    int result = SUCCESS;
    for (int i = 0; !result && i < launched->count; i++) result = run(&launched->list[i]);
    return result;
}
#endif

/* A kernel's arguments are one of the structs of params.h. */
static size_t params_bytes_of(const char *name) {
    const struct {
        const char *begin;
        size_t bytes;
    } kinds[] = {{"rmsnorm_rows_backward", sizeof(norma_rows_backward_params)},
                 {"column_sums", sizeof(norma_sums_params)},
                 {"rmsnorm_rows", sizeof(norma_rows_params)},
                 {"rmsnorm_linear_skinny_units", sizeof(norma_skinny_params)},
                 {"rmsnorm_linear_tiled", sizeof(norma_linear_params)},
                 {"fold_gamma", sizeof(norma_fold_params)},
                 {"stream", sizeof(norma_stream_params)}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strncmp(name, kinds[i].begin, strlen(kinds[i].begin)) == 0) return kinds[i].bytes;
    return 0;
}

EXPORT int hipModuleLaunchKernel(void *kernel, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                                 unsigned block_y, unsigned block_z, unsigned shared_bytes, void *on, void **params,
                                 void **extra) {
    ENTER();
    work todo = {.kernel = kernel,
                 .launch = {.grid = {grid_x, grid_y, grid_z},
                            .block = {block_x, block_y, block_z},
                            .shared_bytes = shared_bytes,
                            .stream = on}};
    snprintf(todo.launch.function, sizeof todo.launch.function, "%s", todo.kernel->name);
    todo.launch.params_bytes = params_bytes_of(todo.kernel->name);
    const unsigned threads = block_x * block_y * block_z;
    if (extra || todo.launch.params_bytes == 0 || grid_x == 0 || grid_y == 0 || grid_z == 0 || threads == 0 ||
        threads > 1024 || todo.kernel->kernel.static_shared_bytes + shared_bytes > 65536)
        return INVALID_VALUE;
    _Static_assert(sizeof(norma_skinny_params) <= sizeof todo.launch.params, "the largest arguments fit");
    memcpy(todo.launch.params, params[0], todo.launch.params_bytes);
    if (state.launched < STAND_IN_MAX_LAUNCHES) state.launches[state.launched] = todo.launch;
    state.launched++;
    graph *const capturing = on ? ((stream *)on)->capturing : NULL;
    if (!capturing) return run(&todo);
    if (capturing->count == MAX_WORK) return OUT_OF_MEMORY;
    capturing->list[capturing->count++] = todo;
    return SUCCESS;
}
