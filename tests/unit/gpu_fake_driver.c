/* The fake driver. Calls that may fail go through one counter; calls that give something back do so even when they are made
 * to fail, as drivers do after a fault. */
#include "gpu_fake_driver.h"

#include <stdio.h>
#include <stdlib.h>

#include "expect.h"

fake_gpu_state fake_gpu;

#define MAX_BLOCKS    256
#define MAX_FUNCTIONS 256

/* Names that module_function() gave handles for. */
static char functions[MAX_FUNCTIONS][96];
static int function_count;

static struct {
    char *begin;
    size_t bytes;
} blocks[MAX_BLOCKS];

static char context_token;

void fake_gpu_reset(void) {
    memset(&fake_gpu, 0, sizeof fake_gpu);
    fake_gpu.devices = 1;
    fake_gpu.arch = 90;
    fake_gpu.elapsed_ms = 0.25f;
    fake_gpu.shared_limit = 49152;
    function_count = 0;
}

/* Zero, or the result that call is told to give. */
static int enter(gpu_function_id function) {
    fake_gpu.calls++;
    const bool fails = fake_gpu.fail_at > 0 &&
                       (fake_gpu.fail_sticky ? fake_gpu.calls >= fake_gpu.fail_at : fake_gpu.calls == fake_gpu.fail_at);
    if (!fails) return GPU_SUCCESS;
    if (fake_gpu.calls == fake_gpu.fail_at) fake_gpu.failed = function;
    return fake_gpu.fail_result;
}

#define ENTER(function)                               \
    do {                                              \
        const int entered = enter(GPU_FN_##function); \
        if (entered) return entered;                  \
    } while (0)

/* Calls that may reach into other streams end a capture, unless it or the thread is relaxed about them. */
static void touch_captures(void) {
    if (fake_gpu.capturing && !fake_gpu.capture_relaxed && fake_gpu.capture_mode != GPU_CAPTURE_RELAXED)
        fake_gpu.capture_broken = true;
}

static int fake_init(unsigned flags) {
    assert_int_equal(flags, 0);
    ENTER(init);
    return GPU_SUCCESS;
}

static int fake_version(int *out_version) {
    *out_version = 13000;
    return GPU_SUCCESS;
}

/* Texts never fail: they describe failures. */
static int fake_error_name(int result, const char **out_text) {
    *out_text = result == GPU_ERROR_OUT_OF_MEMORY ? "FAKE_OUT_OF_MEMORY" : "FAKE_ERROR";
    return GPU_SUCCESS;
}

static int fake_error_string(int result, const char **out_text) {
    (void)result;
    *out_text = "the fake driver was told to fail";
    return GPU_SUCCESS;
}

static int fake_device_count(int *out_count) {
    ENTER(device_count);
    *out_count = fake_gpu.devices;
    return GPU_SUCCESS;
}

static int fake_device_get(int *out_device, int index) {
    ENTER(device_get);
    assert_in_range(index, 0, fake_gpu.devices - 1);
    *out_device = 40 + index;
    return GPU_SUCCESS;
}

static int fake_device_name(char *out_name, int bytes, int device) {
    ENTER(device_name);
    snprintf(out_name, (size_t)bytes, "fake GPU %d", device);
    return GPU_SUCCESS;
}

static int fake_device_memory(size_t *out_bytes, int device) {
    (void)device;
    ENTER(device_memory);
    *out_bytes = (size_t)80 << 30;
    return GPU_SUCCESS;
}

static int fake_device_attribute(int *out_value, int attribute, int device) {
    (void)device;
    ENTER(device_attribute);
    static const int values[GPU_ATTRIBUTE_COUNT] = {[GPU_ATTRIBUTE_UNITS] = 132,
                                                    [GPU_ATTRIBUTE_WAVE] = 32,
                                                    [GPU_ATTRIBUTE_BLOCK_THREADS] = 1024,
                                                    [GPU_ATTRIBUTE_BLOCK_SHARED_BYTES] = 232448,
                                                    [GPU_ATTRIBUTE_CACHE_BYTES] = 62914560};
    *out_value = attribute == GPU_ATTRIBUTE_READS_HOST_MEMORY ? fake_gpu.reads_host_memory : values[attribute];
    return GPU_SUCCESS;
}

static int fake_primary_retain(void **out_context, int device) {
    (void)device;
    ENTER(primary_retain);
    fake_gpu.live_contexts++;
    *out_context = &context_token;
    return GPU_SUCCESS;
}

static int fake_primary_release(int device) {
    (void)device;
    fake_gpu.live_contexts--;
    ENTER(primary_release);
    return GPU_SUCCESS;
}

static int fake_context_get(void **out_context) {
    ENTER(context_get);
    *out_context = fake_gpu.current;
    return GPU_SUCCESS;
}

static int fake_context_set(void *context) {
    /* Giving the caller's context back is one of the calls that always work. */
    if (context != &context_token) fake_gpu.current = context;
    ENTER(context_set);
    fake_gpu.current = context;
    return GPU_SUCCESS;
}

/* A module is a copy of its image, which is the stem. */
static int fake_module_load(void **out_module, const void *image) {
    assert_ptr_equal(fake_gpu.current, &context_token);
    touch_captures();
    ENTER(module_load);
    *out_module = strdup(image);
    assert_non_null(*out_module);
    fake_gpu.live_modules++;
    return GPU_SUCCESS;
}

static int fake_module_unload(void *module) {
    free(module);
    fake_gpu.live_modules--;
    ENTER(module_unload);
    return GPU_SUCCESS;
}

static int fake_module_function(void **out_function, void *module, const char *name) {
    ENTER(module_function);
    assert_int_equal(strncmp(name, module, strlen(module)), 0);
    if (fake_gpu.no_function && strstr(name, fake_gpu.no_function)) return GPU_ERROR_NOT_FOUND;
    assert_in_range(function_count, 0, MAX_FUNCTIONS - 1);
    snprintf(functions[function_count], sizeof functions[0], "%s", name);
    *out_function = functions[function_count++];
    return GPU_SUCCESS;
}

static int fake_function_get(int *out_value, int attribute, void *function) {
    (void)function;
    ENTER(function_get);
    assert_int_equal(attribute, GPU_FUNCTION_DYNAMIC_SHARED_LIMIT);
    *out_value = fake_gpu.shared_limit;
    return GPU_SUCCESS;
}

static int fake_function_set(void *function, int attribute, int value) {
    (void)function;
    ENTER(function_set);
    assert_int_equal(attribute, GPU_FUNCTION_DYNAMIC_SHARED_LIMIT);
    assert_in_range(value, 49153, 232448);
    fake_gpu.shared_limit = value;
    return GPU_SUCCESS;
}

static int fake_memory_alloc(void **out_data, size_t bytes) {
    assert_ptr_equal(fake_gpu.current, &context_token);
    touch_captures();
    ENTER(memory_alloc);
    for (int i = 0; i < MAX_BLOCKS; i++) {
        if (blocks[i].begin) continue;
        blocks[i].begin = aligned_alloc(256, (bytes + 255) / 256 * 256);
        assert_non_null(blocks[i].begin);
        blocks[i].bytes = bytes;
        *out_data = blocks[i].begin;
        fake_gpu.live_blocks++;
        return GPU_SUCCESS;
    }
    fail_msg("the fake driver has no block left");
    return GPU_ERROR_OUT_OF_MEMORY;
}

static int block_of(const void *data) {
    for (int i = 0; i < MAX_BLOCKS; i++)
        if (blocks[i].begin && (const char *)data >= blocks[i].begin &&
            (const char *)data < blocks[i].begin + blocks[i].bytes)
            return i;
    return -1;
}

bool fake_gpu_holds(const void *data) {
    return block_of(data) >= 0;
}

static int fake_memory_free(void *data) {
    const int block = block_of(data);
    assert_true(block >= 0 && blocks[block].begin == data);
    touch_captures();
    free(data);
    blocks[block].begin = NULL;
    fake_gpu.live_blocks--;
    ENTER(memory_free);
    return GPU_SUCCESS;
}

static int fake_copy_to_device(void *to, const void *from, size_t bytes, void *stream) {
    (void)stream;
    ENTER(copy_to_device);
    assert_true(block_of(to) >= 0);
    memcpy(to, from, bytes);
    return GPU_SUCCESS;
}

static int fake_copy_to_host(void *to, const void *from, size_t bytes, void *stream) {
    (void)stream;
    ENTER(copy_to_host);
    assert_true(block_of(from) >= 0);
    memcpy(to, from, bytes);
    return GPU_SUCCESS;
}

static int fake_copy_on_device(void *to, const void *from, size_t bytes, void *stream) {
    (void)stream;
    ENTER(copy_on_device);
    assert_true(block_of(from) >= 0 && block_of(to) >= 0);
    memcpy(to, from, bytes);
    return GPU_SUCCESS;
}

static int fake_pointer_attribute(void *out_value, int attribute, const void *data) {
    ENTER(pointer_attribute);
    const int block = block_of(data);
    if (block < 0) return GPU_ERROR_INVALID_VALUE;
    assert_int_equal(attribute, GPU_POINTER_MEMORY_TYPE);
    fake_gpu.address_queries++;
    *(unsigned *)out_value = 2;
    return GPU_SUCCESS;
}

/* Streams, events, graphs and executable graphs are a byte of memory each. */
static int hand_out(void **out_handle, int *live) {
    *out_handle = malloc(1);
    assert_non_null(*out_handle);
    (*live)++;
    return GPU_SUCCESS;
}

static void take_back(void *handle, int *live) {
    assert_non_null(handle);
    free(handle);
    (*live)--;
}

static int fake_stream_create(void **out_stream, unsigned flags) {
    assert_int_equal(flags, GPU_STREAM_NON_BLOCKING);
    ENTER(stream_create);
    return hand_out(out_stream, &fake_gpu.live_streams);
}

static int fake_stream_destroy(void *stream) {
    take_back(stream, &fake_gpu.live_streams);
    ENTER(stream_destroy);
    return GPU_SUCCESS;
}

static int fake_stream_sync(void *stream) {
    ENTER(stream_sync);
    if (!stream || stream != fake_gpu.capturing) return GPU_SUCCESS;
    fake_gpu.capture_broken = true;
    return 900;
}

static int fake_event_create(void **out_event, unsigned flags) {
    assert_int_equal(flags, GPU_EVENT_TIMED);
    ENTER(event_create);
    return hand_out(out_event, &fake_gpu.live_events);
}

static int fake_event_destroy(void *event) {
    take_back(event, &fake_gpu.live_events);
    ENTER(event_destroy);
    return GPU_SUCCESS;
}

static int fake_event_record(void *event, void *stream) {
    (void)stream;
    assert_non_null(event);
    ENTER(event_record);
    return GPU_SUCCESS;
}

static int fake_event_sync(void *event) {
    assert_non_null(event);
    ENTER(event_sync);
    return GPU_SUCCESS;
}

static int fake_event_elapsed(float *out_ms, void *start, void *stop) {
    assert_ptr_not_equal(start, stop);
    ENTER(event_elapsed);
    *out_ms = fake_gpu.elapsed_ms;
    return GPU_SUCCESS;
}

static int fake_capture_begin(void *stream, int mode) {
    assert_non_null(stream); /* the default stream cannot be captured */
    assert_int_equal(mode, GPU_CAPTURE_RELAXED);
    ENTER(capture_begin);
    fake_gpu.capturing = stream;
    fake_gpu.capture_relaxed = true;
    return GPU_SUCCESS;
}

static int fake_capture_end(void *stream, void **out_graph) {
    assert_ptr_equal(stream, fake_gpu.capturing);
    fake_gpu.capturing = NULL;
    fake_gpu.capture_relaxed = false;
    *out_graph = NULL;
    ENTER(capture_end);
    return hand_out(out_graph, &fake_gpu.live_graphs);
}

static int fake_capture_mode(int *inout_mode) {
    ENTER(capture_mode);
    const int mode = fake_gpu.capture_mode;
    fake_gpu.capture_mode = *inout_mode;
    *inout_mode = mode;
    return GPU_SUCCESS;
}

static int fake_capture_status(void *stream, int *out_status) {
    ENTER(capture_status);
    *out_status = stream && stream == fake_gpu.capturing;
    return GPU_SUCCESS;
}

static int fake_graph_destroy(void *graph) {
    take_back(graph, &fake_gpu.live_graphs);
    ENTER(graph_destroy);
    return GPU_SUCCESS;
}

static int fake_graph_instantiate(void **out_exec, void *graph, unsigned long long flags) {
    assert_non_null(graph);
    assert_true(flags == 0);
    ENTER(graph_instantiate);
    return hand_out(out_exec, &fake_gpu.live_execs);
}

static int fake_graph_exec_destroy(void *exec) {
    take_back(exec, &fake_gpu.live_execs);
    ENTER(graph_exec_destroy);
    return GPU_SUCCESS;
}

static int fake_graph_launch(void *exec, void *stream) {
    (void)stream;
    assert_non_null(exec);
    ENTER(graph_launch);
    fake_gpu.graph_launches++;
    return GPU_SUCCESS;
}

static void keep_launch(const char *function, fake_gpu_launch launch, void **params) {
    assert_ptr_equal(fake_gpu.current, &context_token);
    snprintf(launch.function, sizeof launch.function, "%s", function);
    /* The skinny kernels for half dtypes are given structs of their own. */
    const bool half = strstr(function, "_packed") || strstr(function, "_rounded");
    if (strncmp(function, "split_halves", 12) == 0)
        memcpy(&launch.split, params[0], sizeof launch.split);
    else if (strncmp(function, "linear_split", 12) == 0)
        memcpy(&launch.split_linear, params[0], sizeof launch.split_linear);
    else if (strncmp(function, "rmsnorm_linear_hopper", 21) == 0)
        memcpy(&launch.hopper, params[0], sizeof launch.hopper);
    else if (strncmp(function, "rmsnorm_linear_narrow", 21) == 0)
        memcpy(&launch.narrow, params[0], sizeof launch.narrow);
    else if (strncmp(function, "rmsnorm_linear", 14) == 0 && !half)
        memcpy(&launch.linear, params[0], sizeof launch.linear);
    else if (strncmp(function, "rmsnorm_rows_backward", 21) == 0)
        memcpy(&launch.backward, params[0], sizeof launch.backward);
    else if (strncmp(function, "column_sums", 11) == 0)
        memcpy(&launch.sums, params[0], sizeof launch.sums);
    else if (strncmp(function, "rmsnorm_rows", 12) == 0)
        memcpy(&launch.rows, params[0], sizeof launch.rows);
    for (int i = 0; i < 3; i++) assert_true(launch.grid[i] > 0 && launch.block[i] > 0);
    assert_in_range(launch.block[0] * launch.block[1] * launch.block[2], 1, 1024);
    if (fake_gpu.launched < FAKE_GPU_MAX_LAUNCHES) fake_gpu.launches[fake_gpu.launched] = launch;
    fake_gpu.launched++;
}

static int fake_launch(void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
                       unsigned block_z, unsigned shared_bytes, void *stream, void **params, void **extra) {
    assert_null(extra);
    ENTER(launch);
    const fake_gpu_launch launch = {.grid = {grid_x, grid_y, grid_z},
                                    .block = {block_x, block_y, block_z},
                                    .shared_bytes = shared_bytes,
                                    .stream = stream};
    keep_launch(function, launch, params);
    return GPU_SUCCESS;
}

static int fake_launch_extended(const gpu_launch_config *config, void *function, void **params, void **extra) {
    assert_null(extra);
    ENTER(launch_extended);
    fake_gpu_launch launch = {.shared_bytes = config->shared_bytes, .stream = config->stream};
    memcpy(launch.grid, config->grid, sizeof launch.grid);
    memcpy(launch.block, config->block, sizeof launch.block);
    for (unsigned i = 0; i < config->attribute_count; i++) {
        if (config->attributes[i].id == GPU_LAUNCH_CLUSTER) launch.cluster = config->attributes[i].value.cluster[0];
        if (config->attributes[i].id == GPU_LAUNCH_OVERLAP) launch.overlap = config->attributes[i].value.allowed;
    }
    keep_launch(function, launch, params);
    return GPU_SUCCESS;
}

/* What cuTensorMapEncodeTiled demands, and a map that tells the test what it was made of. */
static int fake_tensor_map_encode(void *out_map, int dtype, unsigned rank, void *data, const uint64_t *sizes,
                                  const uint64_t *bytes, const uint32_t *box, const uint32_t *steps, int interleave,
                                  int swizzle, int promotion, int fill) {
    ENTER(tensor_map_encode);
    assert_int_equal((uintptr_t)out_map % 64, 0);
    assert_true(dtype == GPU_TENSOR_F16 || dtype == GPU_TENSOR_BF16);
    assert_int_equal(rank, 2);
    assert_int_equal((uintptr_t)data % 16, 0);
    assert_true(sizes[0] > 0 && sizes[1] > 0 && sizes[0] <= UINT32_MAX && sizes[1] <= UINT32_MAX);
    assert_true(bytes[0] % 16 == 0 && bytes[0] >= 2 * sizes[0] && bytes[0] < UINT64_C(1) << 40);
    assert_in_range(box[0], 1, 256);
    assert_in_range(box[1], 1, 256);
    assert_int_equal(box[0] * 2, 16 << swizzle);
    assert_true(steps[0] == 1 && steps[1] == 1);
    assert_true(interleave == 0 && promotion == GPU_PROMOTION_256 && fill == 0);
    norma_tensor_map *map = out_map;
    memset(map, 0, sizeof *map);
    map->word[0] = (uintptr_t)data;
    map->word[1] = sizes[0];
    map->word[2] = sizes[1];
    map->word[3] = bytes[0];
    map->word[4] = box[0];
    map->word[5] = box[1];
    return GPU_SUCCESS;
}

static const gpu_symbol symbols[GPU_FUNCTION_COUNT] = {
#define SYMBOL(name, need, arguments) [GPU_FN_##name] = {"fake_" #name, 0, NULL},
    GPU_DRIVER_LIST(SYMBOL)
#undef SYMBOL
};

const gpu_driver fake_gpu_driver = {
#define MEMBER(name, need, arguments) .name = fake_##name,
    GPU_DRIVER_LIST(MEMBER)
#undef MEMBER
        .symbols = symbols,
};

/* ---- The platform and the backend ---- */

static const gpu_driver *find_driver(char *why, size_t why_bytes) {
    if (!fake_gpu.no_driver) return &fake_gpu_driver;
    snprintf(why, why_bytes, "%s", fake_gpu.no_driver);
    return NULL;
}

static norma_status arch(const gpu_driver *driver, int ordinal, int *out_arch, char *name, size_t name_bytes) {
    (void)driver;
    (void)ordinal;
    *out_arch = fake_gpu.arch;
    snprintf(name, name_bytes, "sm_%d", fake_gpu.arch);
    return NORMA_OK;
}

static void version(const gpu_driver *driver, char *text, size_t text_bytes) {
    int number;
    driver->version(&number);
    snprintf(text, text_bytes, "fake %d", number);
}

#define IMAGE(stem) \
    { #stem, #stem }
static const gpu_image images[] = {IMAGE(rmsnorm_rows),          IMAGE(rmsnorm_linear_skinny), IMAGE(rmsnorm_linear_tiled),
                                   IMAGE(rmsnorm_linear_hopper), IMAGE(rmsnorm_linear_narrow), IMAGE(fold_gamma),
                                   IMAGE(rmsnorm_rows_backward), IMAGE(column_sums),           IMAGE(stream),
                                   IMAGE(split_halves),          IMAGE(linear_split),          {NULL, NULL}};

gpu_platform fake_gpu_platform = {
    .backend = &fake_gpu_backend,
    .maker = "fake",
    .target = NORMA_TARGET_CUDA,
    .oldest_arch = 80,
    .extended_arch = 90,
    .attributes = {0, 1, 2, 3, 4, 5}, /* gpu_attribute itself */
    .images = images,
    .linear_skinny = &norma_gpu_rmsnorm_linear_skinny,
    .driver = find_driver,
    .arch = arch,
    .version = version,
};

static void probe(norma_backend_info *out_info) {
    norma_gpu_probe(&fake_gpu_platform, out_info);
}

static norma_status describe(int index, norma_device_info *out_info) {
    return norma_gpu_describe(&fake_gpu_platform, index, out_info);
}

static norma_status open_device(const norma_open_desc *desc, norma_device **out_device) {
    return norma_gpu_open(&fake_gpu_platform, desc, out_device);
}

const norma_backend fake_gpu_backend = {
    .name = "fake",
    .takes_native = true,
    .probe = probe,
    .describe = describe,
    .open = open_device,
    .close = norma_gpu_close,
    .alloc = norma_gpu_alloc,
    .release = norma_gpu_release,
    .upload = norma_gpu_upload,
    .download = norma_gpu_download,
    .prepare = norma_gpu_prepare,
    .discard = norma_gpu_discard,
    .launch = norma_gpu_launch,
    .sync = norma_gpu_sync,
    .versions = norma_gpu_versions,
    .capturing = norma_gpu_capturing,
    .record = norma_gpu_record,
    .replay = norma_gpu_replay,
    .forget = norma_gpu_forget,
};

norma_status fake_gpu_context(void *stream, norma_context **out_context) {
    norma_open_desc desc = {.index = 0, .stream = stream};
    const norma_status status = norma_logger_init(&desc.log, NORMA_LOG_ERROR, NULL, NULL);
    return status ? status : norma_context_create_on(&fake_gpu_backend, &desc, out_context);
}

void fake_gpu_expect_clean(const char *label, const void *callers_context) {
    const struct {
        const char *what;
        int live;
    } counts[] = {{"contexts", fake_gpu.live_contexts},      {"modules", fake_gpu.live_modules},
                  {"blocks", fake_gpu.live_blocks},          {"streams", fake_gpu.live_streams},
                  {"events", fake_gpu.live_events},          {"graphs", fake_gpu.live_graphs},
                  {"executable graphs", fake_gpu.live_execs}};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        if (counts[i].live) fail_msg("%s: %d %s have leaked", label, counts[i].live, counts[i].what);
    if (fake_gpu.current != callers_context) fail_msg("%s: the caller's context was not given back", label);
}
