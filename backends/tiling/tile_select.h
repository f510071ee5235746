/* Choosing a tile row: a pure function of the shape and the device's limits, tested without any device. */
#ifndef NORMA_TILE_SELECT_H
#define NORMA_TILE_SELECT_H

#include <stdbool.h>
#include <stdint.h>

#include "../kernel_list.h"
#include "norma/norma.h"

typedef enum norma_target {
    NORMA_TARGET_CPU_PLAIN,
    NORMA_TARGET_CPU_AVX2,
    NORMA_TARGET_CPU_AVX512,
    NORMA_TARGET_CUDA,
    NORMA_TARGET_CUDA_MATRIX, /* the same devices where x and W have one half dtype; chosen by tile_select */
    NORMA_TARGET_CUDA_HOPPER, /* the same, on the wgmma units of sm_90a */
    NORMA_TARGET_OPENCL_CPU,
    NORMA_TARGET_OPENCL_GPU,
    NORMA_TARGET_OPENCL_MATRIX, /* NVIDIA's matrix units through OpenCL; chosen by backends/opencl */
    NORMA_TARGET_OPENCL_SM90A,  /* the same, on the wgmma units of sm_90a */
    NORMA_TARGET_OPENCL_NVIDIA, /* the same devices where x and W are fp32 */
    NORMA_TARGET_HIP,
    NORMA_TARGET_HIP_WAVE64, /* the same devices where x and W have one half dtype, by the size of their waves */
    NORMA_TARGET_HIP_WAVE32,
    NORMA_TARGET_COUNT
} norma_target;

/* What a device offers; filled by its backend from what the device reports, never assumed. */
typedef struct norma_limits {
    norma_target target;
    int units;            /* multiprocessors, compute units, or CPU threads */
    int lanes;            /* fp32 lanes of a wave, warp or vector register */
    int max_threads;      /* work-items of a block; 1 on the CPU */
    int64_t grid_threads; /* threads of all blocks of a launch, on the GPU backends; there are at most INT32_MAX blocks */
    int64_t shared_bytes; /* shared or local memory of a block; 0 on the CPU */
    int64_t cache_bytes;  /* last-level cache */
    int64_t memory_bytes; /* device memory; 0 if unknown */
    bool wgmma;           /* sm_90a: asynchronous matrix units and the copy engine that feeds them */
    bool opaque_buffers;  /* a buffer's data is a handle (cl_mem), not an address */
} norma_limits;

typedef struct norma_tile {
    const char *name;
    norma_kernel kernel;
    norma_target target;
    int bm, bn, bk;
    int tm, tn;
    int threads;
    int stages;
} norma_tile;

typedef enum norma_tile_id {
#define NORMA_TILE(name, kernel, target, bm, bn, bk, tm, tn, threads, stages) NORMA_TILE_##name,
#include "tile_table.def"
#undef NORMA_TILE
    NORMA_TILE_COUNT
} norma_tile_id;

/* What the choice depends on. */
typedef struct norma_shape {
    int64_t rows; /* batch * m */
    int64_t k;
    int64_t n; /* over all parts */
    norma_dtype x_dtype, weight_dtype;
} norma_shape;

extern const norma_tile norma_tiles[NORMA_TILE_COUNT];

/* The target whose rows serve x and W of these dtypes on a device: the device's, or that of its matrix units. */
norma_target norma_tile_target(norma_dtype x_dtype, norma_dtype weight_dtype, const norma_limits *limits);

/* The row for `kernel` on a device, or NULL if the table has none for its target. *out_reason says why in a few words. */
const norma_tile *norma_tile_select(norma_kernel kernel, const norma_shape *shape, const norma_limits *limits,
                                    const char **out_reason);

#endif
