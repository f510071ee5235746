/* A stand-in for libcuda.so.1 on machines without a GPU: the functions that backends/cuda asks for, in host memory, with
 * kernels run by simt_launch(). Found through the library search path, it lets every test of the CUDA backend run as it is.
 * It looks like an sm_86 with few multiprocessors, so that small problems already use large tiles; it has no clusters. Work
 * is done when it is enqueued, or, while a stream is captured, kept for the graph. */
#include "simt_launch.h"
#include "tensor_map.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#define EXPORT extern "C" __attribute__((visibility("default"))) int

namespace {

enum result { SUCCESS = 0, INVALID = 1, OUT_OF_MEMORY = 2, INVALID_HANDLE = 400, NOT_FOUND = 500, LAUNCH_FAILED = 719 };

struct work {
    const simt_kernel *kernel;
    unsigned grid[3], threads, shared_bytes;
    std::vector<unsigned char> params;
};
struct graph {
    std::vector<work> list;
};
struct stream {
    graph *capturing;
};

bool is_sm90;

int block_shared() {
    return is_sm90 ? 232448 : 101376;
}

std::mutex mutex; /* guards the two below */
std::map<std::uintptr_t, std::size_t> allocations;
std::string last_failure = "no failure";

thread_local void *current_context;
char context_token, module_token;

/* The allocation that holds [data, data + bytes), or the end. */
std::map<std::uintptr_t, std::size_t>::iterator allocation_of(const void *data, std::size_t bytes) {
    const auto address = reinterpret_cast<std::uintptr_t>(data);
    auto it = allocations.upper_bound(address);
    if (it == allocations.begin()) return allocations.end();
    --it;
    return address - it->first + bytes <= it->second ? it : allocations.end();
}

bool on_device(const void *data, std::size_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex);
    return bytes == 0 || allocation_of(data, bytes) != allocations.end();
}

int run(const work &w) {
    const char *const sentence = simt_launch(w.kernel, w.grid, w.threads, w.shared_bytes, w.params.data());
    if (!sentence) return SUCCESS;
    const std::lock_guard<std::mutex> lock(mutex);
    last_failure = sentence;
    std::fprintf(stderr, "simt: %s\n", sentence);
    return LAUNCH_FAILED;
}

template <typename T>
int give(void **out, T *object) {
    *out = object;
    return SUCCESS;
}

} // namespace

/* NORMA_SIMT_UNITS=hopper: sums as compute capability 9 adds them up, by kernels that run on 8.6 too. NORMA_SIMT_ARCH=90:
 * the copy engine and the warpgroups' products of 9.0 besides, for the kernels that simt_sm90.h serves; no clusters. */
EXPORT cuInit(unsigned) {
    const char *const units = std::getenv("NORMA_SIMT_UNITS"), *const arch = std::getenv("NORMA_SIMT_ARCH");
    is_sm90 = arch && std::strcmp(arch, "90") == 0;
    simt_set_units(is_sm90 || (units && std::strcmp(units, "hopper") == 0) ? SIMT_HOPPER : SIMT_AMPERE);
    return SUCCESS;
}
EXPORT cuDriverGetVersion(int *out_version) {
    *out_version = 13000;
    return SUCCESS;
}
EXPORT cuGetErrorName(int result, const char **out_text) {
    *out_text = result == OUT_OF_MEMORY   ? "CUDA_ERROR_OUT_OF_MEMORY"
                : result == LAUNCH_FAILED ? "CUDA_ERROR_LAUNCH_FAILED"
                                          : "CUDA_ERROR";
    return SUCCESS;
}
EXPORT cuGetErrorString(int result, const char **out_text) {
    *out_text = result == LAUNCH_FAILED ? last_failure.c_str() : "refused by the stand-in driver";
    return SUCCESS;
}
EXPORT cuDeviceGetCount(int *out_count) {
    *out_count = 1;
    return SUCCESS;
}
EXPORT cuDeviceGet(int *out_device, int index) {
    *out_device = index;
    return index == 0 ? SUCCESS : INVALID;
}
EXPORT cuDeviceGetName(char *out_name, int bytes, int) {
    std::snprintf(out_name, static_cast<std::size_t>(bytes), "kernels on the host");
    return SUCCESS;
}
EXPORT cuDeviceTotalMem_v2(std::size_t *out_bytes, int) {
    *out_bytes = std::size_t{1} << 30;
    return SUCCESS;
}
EXPORT cuDeviceGetAttribute(int *out_value, int attribute, int) {
    const std::map<int, int> values = {
        {1, 1024},             /* MAX_THREADS_PER_BLOCK */
        {10, 32},              /* WARP_SIZE */
        {16, 4},               /* MULTIPROCESSOR_COUNT */
        {38, 1 << 20},         /* L2_CACHE_SIZE */
        {75, is_sm90 ? 9 : 8}, /* COMPUTE_CAPABILITY_MAJOR */
        {76, is_sm90 ? 0 : 6}, /* COMPUTE_CAPABILITY_MINOR */
        {88, 0},               /* PAGEABLE_MEMORY_ACCESS */
        {97, block_shared()}   /* MAX_SHARED_MEMORY_PER_BLOCK_OPTIN */
    };
    const auto found = values.find(attribute);
    if (found == values.end()) return INVALID;
    *out_value = found->second;
    return SUCCESS;
}

EXPORT cuDevicePrimaryCtxRetain(void **out_context, int) {
    return give(out_context, &context_token);
}
EXPORT cuDevicePrimaryCtxRelease_v2(int) {
    return SUCCESS;
}
EXPORT cuCtxGetCurrent(void **out_context) {
    *out_context = current_context;
    return SUCCESS;
}
EXPORT cuCtxSetCurrent(void *context) {
    current_context = context;
    return SUCCESS;
}

EXPORT cuModuleLoadData(void **out_module, const void *image) {
    return image ? give(out_module, &module_token) : INVALID;
}
EXPORT cuModuleUnload(void *) {
    return SUCCESS;
}
EXPORT cuModuleGetFunction(void **out_function, void *, const char *name) {
    *out_function = const_cast<simt_kernel *>(simt_find(name));
    return *out_function ? SUCCESS : NOT_FOUND;
}
EXPORT cuFuncGetAttribute(int *out_value, int, void *) {
    *out_value = block_shared();
    return SUCCESS;
}
EXPORT cuFuncSetAttribute(void *, int, int value) {
    return value <= block_shared() ? SUCCESS : INVALID;
}

/* Exact sizes, so that the address sanitizer sees the first byte too many; NaNs, so that a value never written shows. */
EXPORT cuMemAlloc_v2(void **out_data, std::size_t bytes) {
    void *data;
    if (bytes > std::size_t{1} << 30 || posix_memalign(&data, 256, bytes) != 0) return OUT_OF_MEMORY;
    std::memset(data, 0xff, bytes);
    const std::lock_guard<std::mutex> lock(mutex);
    allocations[reinterpret_cast<std::uintptr_t>(data)] = bytes;
    return give(out_data, static_cast<char *>(data));
}
EXPORT cuMemFree_v2(void *data) {
    const std::lock_guard<std::mutex> lock(mutex);
    if (allocations.erase(reinterpret_cast<std::uintptr_t>(data)) == 0) return INVALID;
    std::free(data);
    return SUCCESS;
}
EXPORT cuMemcpyHtoDAsync_v2(void *to, const void *from, std::size_t bytes, void *) {
    if (!on_device(to, bytes)) return INVALID;
    std::memcpy(to, from, bytes);
    return SUCCESS;
}
EXPORT cuMemcpyDtoHAsync_v2(void *to, const void *from, std::size_t bytes, void *) {
    if (!on_device(from, bytes)) return INVALID;
    std::memcpy(to, from, bytes);
    return SUCCESS;
}
EXPORT cuMemcpyDtoDAsync_v2(void *to, const void *from, std::size_t bytes, void *) {
    if (!on_device(to, bytes) || !on_device(from, bytes)) return INVALID;
    std::memmove(to, from, bytes);
    return SUCCESS;
}
EXPORT cuPointerGetAttribute(void *out_value, int attribute, const void *data) {
    enum { MEMORY_TYPE = 2, RANGE_START = 11, RANGE_BYTES = 12 };
    const unsigned on_a_device = 2;
    const std::lock_guard<std::mutex> lock(mutex);
    const auto found = allocation_of(data, 1);
    if (found == allocations.end()) return INVALID;
    switch (attribute) {
    case MEMORY_TYPE: std::memcpy(out_value, &on_a_device, sizeof on_a_device); return SUCCESS;
    case RANGE_START: std::memcpy(out_value, &found->first, sizeof found->first); return SUCCESS;
    case RANGE_BYTES: std::memcpy(out_value, &found->second, sizeof found->second); return SUCCESS;
    default: return INVALID;
    }
}

EXPORT cuStreamCreate(void **out_stream, unsigned) {
    return give(out_stream, new stream{nullptr});
}
EXPORT cuStreamDestroy_v2(void *handle) {
    delete static_cast<stream *>(handle);
    return SUCCESS;
}
EXPORT cuStreamSynchronize(void *) {
    return SUCCESS;
}
EXPORT cuEventCreate(void **out_event, unsigned) {
    return give(out_event, new char);
}
EXPORT cuEventDestroy_v2(void *event) {
    delete static_cast<char *>(event);
    return SUCCESS;
}
EXPORT cuEventRecord(void *, void *) {
    return SUCCESS;
}
EXPORT cuEventSynchronize(void *) {
    return SUCCESS;
}
EXPORT cuEventElapsedTime(float *out_ms, void *, void *) {
    *out_ms = 1.0f;
    return SUCCESS;
}

EXPORT cuStreamBeginCapture_v2(void *handle, int) {
    if (!handle) return INVALID_HANDLE;
    static_cast<stream *>(handle)->capturing = new graph;
    return SUCCESS;
}
EXPORT cuStreamEndCapture(void *handle, void **out_graph) {
    graph *const captured = static_cast<stream *>(handle)->capturing;
    static_cast<stream *>(handle)->capturing = nullptr;
    return give(out_graph, captured);
}
EXPORT cuThreadExchangeStreamCaptureMode(int *) {
    return SUCCESS;
}
EXPORT cuGraphDestroy(void *handle) {
    delete static_cast<graph *>(handle);
    return SUCCESS;
}
EXPORT cuGraphInstantiateWithFlags(void **out_exec, void *handle, unsigned long long) {
    return give(out_exec, new graph(*static_cast<graph *>(handle)));
}
EXPORT cuGraphExecDestroy(void *exec) {
    delete static_cast<graph *>(exec);
    return SUCCESS;
}
EXPORT cuGraphLaunch(void *exec, void *) {
    for (const work &w : static_cast<graph *>(exec)->list)
        if (const int failed = run(w)) return failed;
    return SUCCESS;
}

/* Rows of halves, in boxes of 128 bytes. */
EXPORT cuTensorMapEncodeTiled(void *out_map, int, unsigned rank, void *data, const std::uint64_t *sizes,
                              const std::uint64_t *bytes, const std::uint32_t *box, const std::uint32_t *steps,
                              int interleave, int swizzle, int, int fill) {
    enum { SWIZZLE_128 = 3 };
    const std::size_t span = (sizes[1] - 1) * bytes[0] + sizes[0] * 2;
    if (!is_sm90 || rank != 2 || steps[0] != 1 || steps[1] != 1 || interleave || fill || swizzle != SWIZZLE_128 ||
        box[0] != 64 || box[1] > 256 || bytes[0] % 16 || reinterpret_cast<std::uintptr_t>(data) % 16 ||
        !on_device(data, span))
        return INVALID;
    const simt_tensor_map map = {static_cast<const unsigned char *>(data), sizes[0], sizes[1], bytes[0], box[0], box[1]};
    std::memcpy(out_map, &map, sizeof map);
    return SUCCESS;
}

EXPORT cuLaunchKernel(void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
                      unsigned block_z, unsigned shared_bytes, void *handle, void **params, void **extra) {
    if (extra || block_y != 1 || block_z != 1 || shared_bytes > static_cast<unsigned>(block_shared()) ||
        current_context != &context_token)
        return INVALID;
    const auto *const kernel = static_cast<const simt_kernel *>(function);
    const auto *const bytes = static_cast<const unsigned char *>(params[0]);
    const work w = {kernel, {grid_x, grid_y, grid_z}, block_x, shared_bytes, {bytes, bytes + simt_params_bytes(kernel)}};
    graph *const capturing = handle ? static_cast<stream *>(handle)->capturing : nullptr;
    if (!capturing) return run(w);
    capturing->list.push_back(w);
    return SUCCESS;
}
