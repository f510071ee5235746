/* The fibers and the scheduler behind simt.h. */
#include "../../kernels_cuda/platform.cuh"
#include "fiber.h"
#include "simt_sm90.h"

#include <sys/mman.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <utility>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#define SIMT_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SIMT_ASAN 1
#endif
#endif
#ifdef SIMT_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

struct simt_kernel {
    const char *name;
    void (*run)(const void *params);
    unsigned threads;
    size_t params_bytes;
};

namespace simt {
namespace {

enum { MAX_THREADS = 1024, STACK_BYTES = 128 * 1024, GUARD_BYTES = 256, LANES = 32, WARPGROUP = 128 };

/* Those that kernels name, and one for each warpgroup's products. */
enum { NAMED_BARRIERS = 16, BARRIERS = NAMED_BARRIERS + MAX_THREADS / WARPGROUP };
enum fiber_state { READY, AT_BARRIER, AT_EXCHANGE, ASLEEP, RETURNED };

struct async_copy {
    int group;
    unsigned to;
    unsigned char data[16];
};

struct fiber {
    stack_switch position;
    unsigned char *stack;
    void *fake_stack; /* ASan's */
    fiber_state state;
    int barrier;
    int groups; /* of copies committed */
    std::vector<async_copy> copies;
    int steps_committed;
    std::vector<std::pair<int, wgmma_step>> steps; /* by group */
};

struct wave_state {
    const char *what;
    int arrived, round;
    alignas(16) unsigned char slots[2][LANES *
                                       SLOT_BYTES]; /* of this round, and of the last, which slower lanes may still read */
};

struct barrier_state {
    int arrived, expected;
};

fiber fibers[MAX_THREADS];
wave_state waves[MAX_THREADS / LANES];
barrier_state barriers[BARRIERS];
stack_switch scheduler;
#ifdef SIMT_ASAN
void *scheduler_fake_stack;
const void *scheduler_stack;
size_t scheduler_stack_bytes;
#endif
int current;

const simt_kernel *kernel;
const void *kernel_params;
int block_size;
long long block_index[3], grid_size[3];
unsigned shared_bytes;
unsigned char *shared_begin;
char failure[512];

std::vector<simt_kernel> &kernels() {
    static std::vector<simt_kernel> list;
    return list;
}

void leave_fiber() {
#ifdef SIMT_ASAN
    /* A kernel that has returned needs its fake stack no more; it may be the last time, so it is freed each time. */
    fiber &f = fibers[current];
    f.fake_stack = nullptr;
    __sanitizer_start_switch_fiber(f.state == RETURNED ? nullptr : &f.fake_stack, scheduler_stack, scheduler_stack_bytes);
#endif
    switch_stack(&fibers[current].position, &scheduler);
#ifdef SIMT_ASAN
    __sanitizer_finish_switch_fiber(fibers[current].fake_stack, &scheduler_stack, &scheduler_stack_bytes);
#endif
}

void enter_fiber(int thread) {
    current = thread;
#ifdef SIMT_ASAN
    __sanitizer_start_switch_fiber(&scheduler_fake_stack, fibers[thread].stack, STACK_BYTES);
#endif
    switch_stack(&scheduler, &fibers[thread].position);
#ifdef SIMT_ASAN
    __sanitizer_finish_switch_fiber(scheduler_fake_stack, nullptr, nullptr);
#endif
}

/* A fiber lives through many blocks: it runs the kernel once each time it is entered anew. */
void fiber_main() {
#ifdef SIMT_ASAN
    __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack, &scheduler_stack_bytes);
#endif
    for (;;) {
        kernel->run(kernel_params);
        fibers[current].state = RETURNED;
        leave_fiber();
    }
}

void make_fiber(fiber &f) {
    if (!f.stack) {
        void *const stack = mmap(nullptr, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (stack == MAP_FAILED) std::abort();
        f.stack = static_cast<unsigned char *>(stack);
    }
#ifdef SIMT_ASAN
    __asan_unpoison_memory_region(f.stack, STACK_BYTES); /* what a fiber that never came back has left */
#endif
    make_stack(&f.position, f.stack, STACK_BYTES, fiber_main);
    f.fake_stack = nullptr;
}

void say(const char *format, va_list arguments) {
    if (failure[0]) return;
    const int used = std::snprintf(failure, sizeof failure, "%s, block %lld: ", kernel->name, block_index[0]);
    std::vsnprintf(failure + used, sizeof failure - static_cast<size_t>(used), format, arguments);
}

void report(const char *format, ...) __attribute__((format(printf, 1, 2)));
void report(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say(format, arguments);
    va_end(arguments);
}

void report_deadlock() {
    int at_barrier = 0, at_exchange = 0, asleep = 0, returned = 0;
    const char *what = "";
    for (int t = 0; t < block_size; t++) {
        at_barrier += fibers[t].state == AT_BARRIER;
        at_exchange += fibers[t].state == AT_EXCHANGE;
        asleep += fibers[t].state == ASLEEP;
        returned += fibers[t].state == RETURNED;
        if (fibers[t].state == AT_EXCHANGE) what = waves[t / LANES].what;
    }
    report("%d threads wait at a barrier, %d for a phase, %d at %s, and %d have returned", at_barrier, asleep, at_exchange,
           at_exchange ? what : "an exchange", returned);
}

void check_guards() {
    for (unsigned i = 0; i < GUARD_BYTES; i++)
        if (shared_begin[-1 - static_cast<int>(i)] != 0xa5 || shared_begin[shared_bytes + i] != 0xa5) {
            report("shared memory was written out of its %u bytes", shared_bytes);
            return;
        }
}

void guard(bool on) {
#ifdef SIMT_ASAN
    const auto change = on ? __asan_poison_memory_region : __asan_unpoison_memory_region;
    change(shared_begin - GUARD_BYTES, GUARD_BYTES);
    change(shared_begin + shared_bytes, GUARD_BYTES);
#else
    (void)on;
#endif
}

bool run_block(bool falling) {
    std::memset(shared_begin - GUARD_BYTES, 0xa5, GUARD_BYTES);
    std::memset(shared_begin, 0xff, shared_bytes);
    std::memset(shared_begin + shared_bytes, 0xa5, GUARD_BYTES);
    for (wave_state &wave : waves) wave.arrived = 0;
    for (barrier_state &b : barriers) b.arrived = 0;
    for (int t = 0; t < block_size; t++) {
        fibers[t].state = READY;
        fibers[t].groups = 0;
        fibers[t].copies.clear();
        fibers[t].steps_committed = 0;
        fibers[t].steps.clear();
    }
    guard(true);
    int returned = 0;
    for (bool moved = true; moved && !failure[0];) {
        moved = false;
        for (int i = 0; i < block_size && !failure[0]; i++) {
            const int t = falling ? block_size - 1 - i : i;
            if (fibers[t].state != READY) continue;
            moved = true;
            enter_fiber(t);
            returned += fibers[t].state == RETURNED;
        }
    }
    guard(false);
    if (!failure[0] && returned < block_size) report_deadlock();
    if (!failure[0]) check_guards();
    return !failure[0];
}

} // namespace

registration::registration(const char *name, void (*run)(const void *), int threads, std::size_t params_bytes) {
    kernels().push_back({name, run, static_cast<unsigned>(threads), params_bytes});
}

int thread() {
    return current;
}
int threads() {
    return block_size;
}
long long block(int axis) {
    return block_index[axis];
}
long long blocks() {
    return grid_size[0];
}
unsigned char *shared() {
    return shared_begin;
}

void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say(format, arguments);
    va_end(arguments);
    for (;;) leave_fiber(); /* and never comes back: the launch is over */
}

void require(bool condition, const char *what) {
    if (!condition) fail("thread %d: %s", current, what);
}

void barrier(int id, int expected) {
    require(id >= 0 && id < BARRIERS && expected > 0 && expected <= block_size && expected % LANES == 0,
            "a barrier among a number of threads that the block does not have");
    barrier_state &b = barriers[id];
    if (b.arrived == 0) b.expected = expected;
    if (b.expected != expected)
        fail("thread %d expects %d threads at barrier %d, others %d", current, expected, id, b.expected);
    if (++b.arrived < expected) {
        fibers[current].state = AT_BARRIER;
        fibers[current].barrier = id;
        leave_fiber();
        return;
    }
    b.arrived = 0;
    for (int t = 0; t < block_size; t++)
        if (fibers[t].state == AT_BARRIER && fibers[t].barrier == id) fibers[t].state = READY;
}

const unsigned char *exchange(const char *what, const void *mine, std::size_t bytes) {
    wave_state &wave = waves[current / LANES];
    if (wave.arrived == 0) wave.what = what;
    if (wave.what != what && std::strcmp(wave.what, what) != 0)
        fail("thread %d is at %s while others of its wave are at %s", current, what, wave.what);
    unsigned char *const slots = wave.slots[wave.round % 2];
    std::memcpy(slots + current % LANES * SLOT_BYTES, mine, bytes);
    if (++wave.arrived < LANES) {
        fibers[current].state = AT_EXCHANGE;
        leave_fiber();
        return slots;
    }
    wave.arrived = 0;
    wave.round++;
    const int first = current / LANES * LANES;
    for (int t = first; t < first + LANES; t++)
        if (fibers[t].state == AT_EXCHANGE) fibers[t].state = READY;
    return slots;
}

void sleep() {
    fibers[current].state = ASLEEP;
    leave_fiber();
}

void wake() {
    for (int t = 0; t < block_size; t++)
        if (fibers[t].state == ASLEEP) fibers[t].state = READY;
}

void wgmma_issue(const wgmma_step &step) {
    fibers[current].steps.push_back({fibers[current].steps_committed, step});
}

void wgmma_commit() {
    fibers[current].steps_committed++;
}

/* The four waves of a warpgroup issue a product together, and it is over for all of them. */
void wgmma_wait(int pending) {
    const int warpgroup = NAMED_BARRIERS + current / WARPGROUP;
    barrier(warpgroup, WARPGROUP);
    fiber &f = fibers[current];
    std::size_t done = 0;
    while (done < f.steps.size() && f.steps[done].first < f.steps_committed - pending) wgmma_run(f.steps[done++].second);
    f.steps.erase(f.steps.begin(), f.steps.begin() + static_cast<std::ptrdiff_t>(done));
    barrier(warpgroup, WARPGROUP);
}

unsigned char *shared_at(unsigned address, unsigned bytes, unsigned alignment) {
    require(address <= shared_bytes && shared_bytes - address >= bytes, "a shared address is out of bounds");
    require(address % alignment == 0, "a shared address is misaligned");
    return shared_begin + address;
}

void copy_async(unsigned to, const void *from, int bytes) {
    require(bytes >= 0 && bytes <= 16, "a copy of more than 16 bytes");
    async_copy copy = {fibers[current].groups, to, {}};
    std::memset(shared_at(to, 16, 16), 0xff, 16);
    if (bytes > 0) std::memcpy(copy.data, aligned(from), static_cast<size_t>(bytes));
    fibers[current].copies.push_back(copy);
}

void copy_async_commit() {
    fibers[current].groups++;
}

void copy_async_wait(int pending) {
    fiber &f = fibers[current];
    size_t done = 0;
    while (done < f.copies.size() && f.copies[done].group < f.groups - pending) {
        std::memcpy(shared_at(f.copies[done].to, 16, 16), f.copies[done].data, 16);
        done++;
    }
    f.copies.erase(f.copies.begin(), f.copies.begin() + static_cast<std::ptrdiff_t>(done));
}

} // namespace simt

const simt_kernel *simt_find(const char *name) {
    for (const simt_kernel &kernel : simt::kernels())
        if (std::strcmp(kernel.name, name) == 0) return &kernel;
    return nullptr;
}

size_t simt_params_bytes(const simt_kernel *kernel) {
    return kernel->params_bytes;
}

const char *simt_launch(const simt_kernel *kernel, const unsigned grid[3], unsigned threads, unsigned shared_bytes,
                        const void *params) {
    using namespace simt;
    static std::mutex mutex;
    const std::lock_guard<std::mutex> lock(mutex);
    failure[0] = '\0';
    simt::kernel = kernel;
    kernel_params = params;
    block_size = static_cast<int>(threads);
    simt::shared_bytes = shared_bytes;
    for (int i = 0; i < 3; i++) {
        block_index[i] = 0;
        grid_size[i] = grid[i];
    }
    if (threads == 0 || threads > kernel->threads || threads % LANES != 0) {
        report("launched with %u threads, made for up to %u in whole waves", threads, kernel->threads);
        return failure;
    }
    std::vector<unsigned char> memory(shared_bytes + 2 * GUARD_BYTES + 128);
    const auto begin = reinterpret_cast<std::uintptr_t>(memory.data()) + GUARD_BYTES;
    shared_begin = memory.data() + GUARD_BYTES + (128 - begin % 128) % 128;
    for (int t = 0; t < block_size; t++) make_fiber(fibers[t]);
    for (block_index[2] = 0; block_index[2] < grid_size[2]; block_index[2]++)
        for (block_index[1] = 0; block_index[1] < grid_size[1]; block_index[1]++)
            for (block_index[0] = 0; block_index[0] < grid_size[0]; block_index[0]++)
                if (!run_block((block_index[0] + block_index[1]) % 2 != 0)) return failure;
    return nullptr;
}
