/* What the stand-in driver makes of a tensor map: rows of halves. */
#ifndef NORMA_TESTS_SIMT_TENSOR_MAP_H
#define NORMA_TESTS_SIMT_TENSOR_MAP_H

#include <cstdint>

struct simt_tensor_map {
    const unsigned char *data;
    std::uint64_t width, height, stride_bytes;
    std::uint32_t box_width, box_height;
};
static_assert(sizeof(simt_tensor_map) <= 128, "fits the driver's");

#endif
