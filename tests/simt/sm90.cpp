/* Barriers and tensor copies of compute capability 9.0, and the products of its warpgroups (simt_sm90.h). A barrier's eight
 * bytes of shared memory hold its state. A tensor map is what cuda_driver.cpp puts into it. */
#include "../../kernels_cuda/platform.cuh"
#include "simt_sm90.h"
#include "tensor_map.h"

namespace {

struct phase_state {
    std::uint16_t arrivals, missing;
    std::int32_t bytes : 31;
    std::uint32_t parity : 1;
};
static_assert(sizeof(phase_state) == 8, "as the kernels lay them out");

phase_state *at(unsigned address) {
    return reinterpret_cast<phase_state *>(simt::shared_at(address, 8, 8));
}

void end_phase(phase_state *b) {
    if (b->missing > 0 || b->bytes != 0) return;
    b->missing = b->arrivals;
    b->parity ^= 1u;
    simt::wake();
}

/* Swizzle of 128 bytes: where the 16 bytes at an address are. */
unsigned swizzled(unsigned address) {
    return address ^ (address >> 7 & 7) << 4;
}

/* Sixteen values of K of a line of an operand that is K-major. */
void load_line(const simt::wgmma_step &step, unsigned long long operand, int line, float values[16]) {
    const unsigned first = static_cast<unsigned>(operand) * 16 + static_cast<unsigned>(line) * 128;
    for (unsigned half = 0; half < 2; half++) {
        unsigned short bits[8];
        std::memcpy(bits, simt::shared_at(swizzled(first + half * 16), 16, 16), 16);
        for (unsigned i = 0; i < 8; i++) values[half * 8 + i] = step.value(bits[i]);
    }
}

} // namespace

void simt::phase_init(unsigned address, int arrivals) {
    const auto count = static_cast<std::uint16_t>(arrivals);
    *at(address) = {count, count, 0, 0};
}

void simt::phase_expect(unsigned address, int bytes) {
    at(address)->bytes += bytes;
}

void simt::phase_arrive(unsigned address) {
    phase_state *const b = at(address);
    require(b->missing > 0, "more threads arrive at a barrier than it waits for");
    b->missing--;
    end_phase(b);
}

void simt::phase_wait(unsigned address, unsigned parity) {
    while (at(address)->parity == parity) sleep();
}

void simt::tensor_load(unsigned to, const norma_tensor_map *map, int x, int y, unsigned barrier_address) {
    simt_tensor_map box;
    std::memcpy(&box, map, sizeof box);
    require(box.box_width == 64, "a box that is not 128 bytes wide");
    require(to % 1024 == 0, "a box is misaligned");
    for (unsigned row = 0; row < box.box_height; row++)
        for (unsigned chunk = 0; chunk < 8; chunk++) {
            unsigned char *const place = shared_at(swizzled(to + row * 128 + chunk * 16), 16, 16);
            for (unsigned i = 0; i < 8; i++) {
                const auto col = static_cast<std::uint64_t>(x) + chunk * 8 + i, line = static_cast<std::uint64_t>(y) + row;
                const bool inside = col < box.width && line < box.height;
                if (inside)
                    std::memcpy(place + 2 * i, box.data + line * box.stride_bytes + col * 2, 2);
                else
                    std::memset(place + 2 * i, 0, 2);
            }
        }
    phase_state *const b = at(barrier_address);
    b->bytes -= static_cast<int>(box.box_height * 128);
    end_phase(b);
}

void simt::wgmma_run(const wgmma_step &step) {
    const int lane = thread() % 32, row = thread() % 128 / 32 * 16 + lane / 4;
    float a[2][16], b[16];
    load_line(step, step.a, row, a[0]);
    load_line(step, step.a, row + 8, a[1]);
    for (int i = 0; i < step.width / 4; i++) {
        const int col = i / 2 * 8 + lane % 4 * 2 + i % 2;
        load_line(step, step.b, col, b);
        for (int half = 0; half < 2; half++) {
            float *const c = &step.c[i / 2 * 4 + half * 2 + i % 2];
            *c = multiply_add(step.starts ? 0.0f : *c, a[half], b, step.smallest);
        }
    }
}
