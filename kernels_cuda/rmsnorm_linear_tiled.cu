/* RMSNorm + Linear for any number of rows, any sizes, strides and dtypes: the shared tile walk of tile_index.h, one tile of
 * one part's output to a block.
 *
 *                                          W tile of a K step
 *                                        +--------------------+
 *                                     BK |                    |        ^ K
 *                                        +--------------------+        |
 *              x tile       BK                    BN
 *            +-----------+                +--------------------+
 *         BM |           |  --> square    |  acc += x W        |   out tile = acc * rstd + bias
 *            |           |      sum of    |                    |
 *            +-----------+      the rows  +--------------------+
 *              K -->
 *
 *   1 place      which tile, part and rows: norma_tile_at, in groups of 16 row tiles
 *   2 load       the x tile and the W tile of one K step, zero-filled past the edges
 *   3 square     add the x tile's squares to the rows' sums; multiply it by gamma
 *   4 multiply   acc += x W
 *   5 scale      rstd from the sums; acc * rstd + bias
 *   6 store      round once and write the part's output
 *
 * The squares come from the very tiles that feed the product: x is read for both at once. The exact contracts need rstd
 * before they round, so there a first sweep over the block's rows computes it, and step 3 rounds y. fp16 with an unfolded
 * gamma goes the same way even when the contract is deferred, because x * gamma may leave the range of fp16 where y does
 * not.
 *
 * Two engines: tiled_matrix.cuh, or tiled_units.cuh on AMD, where x and W have one half dtype, tiled_fma.cuh for everything
 * else. Each keeps the order of all sums the same in all of its tile rows: a row's bits do not depend on the other rows,
 * their number or the tile. */
#include "tiled_fma.cuh"
#if NORMA_PLATFORM_HIP
#include "tiled_units.cuh"
#else
#include "tiled_matrix.cuh"
#endif

/* rmsnorm_linear_tiled_<tile>_<dtype>_<layout>. Two blocks share a unit, or four where a tile is small and shared
 * memory suffices: 65536 registers are 256 or 128 for each thread. */
#define TILED_MATRIX(tile, dtype, suffix, layout)                                                             \
    NORMA_KERNEL(rmsnorm_linear_tiled_##tile##_##dtype##_##suffix, norma_linear_params, tile_##tile::threads, \
                 TILED_BLOCKS(tile)) {                                                                        \
        TILED_ENGINE<dtype, layout, tile_##tile>(params);                                                     \
    }
#define TILED_FMA(tile, suffix, layout)                                                                  \
    NORMA_KERNEL(rmsnorm_linear_tiled_##tile##_##suffix, norma_linear_params, tile_##tile::threads, 2) { \
        tiled_fma<layout, tile_##tile>(params);                                                          \
    }
#define TILED_MATRIX_BOTH(tile, dtype)       \
    TILED_MATRIX(tile, dtype, nk, WEIGHT_NK) \
    TILED_MATRIX(tile, dtype, kn, WEIGHT_KN)
#define TILED_FMA_BOTH(tile)           \
    TILED_FMA(tile, f32_nk, WEIGHT_NK) \
    TILED_FMA(tile, f32_kn, WEIGHT_KN)

#if !NORMA_PLATFORM_HIP
#define TILED_ENGINE       tiled_matrix
#define TILED_BLOCKS(tile) (tile_##tile::bm < 128 ? 4 : 2)
#define TILED_MATRIX_DTYPE(dtype)                \
    TILED_MATRIX_BOTH(cuda_matrix_large, dtype)  \
    TILED_MATRIX_BOTH(cuda_matrix_medium, dtype) \
    TILED_MATRIX_BOTH(cuda_matrix_small, dtype)  \
    TILED_MATRIX(cuda_matrix_medium, dtype, any, WEIGHT_ANY)
TILED_FMA_BOTH(cuda_fma_large)
TILED_FMA_BOTH(cuda_fma_small)
TILED_FMA(cuda_fma_small, any, WEIGHT_ANY)
#elif NORMA_WAVE == 64
#define TILED_ENGINE       tiled_units
#define TILED_BLOCKS(tile) 2
#define TILED_MATRIX_DTYPE(dtype)               \
    TILED_MATRIX_BOTH(hip_wave64_large, dtype)  \
    TILED_MATRIX_BOTH(hip_wave64_medium, dtype) \
    TILED_MATRIX_BOTH(hip_wave64_small, dtype)  \
    TILED_MATRIX(hip_wave64_small, dtype, any, WEIGHT_ANY)
TILED_FMA_BOTH(hip_fma)
TILED_FMA(hip_fma, any, WEIGHT_ANY)
#else
#define TILED_ENGINE       tiled_units
#define TILED_BLOCKS(tile) 2
#define TILED_MATRIX_DTYPE(dtype)              \
    TILED_MATRIX_BOTH(hip_wave32_large, dtype) \
    TILED_MATRIX_BOTH(hip_wave32_small, dtype) \
    TILED_MATRIX(hip_wave32_small, dtype, any, WEIGHT_ANY)
TILED_FMA_BOTH(hip_fma)
TILED_FMA(hip_fma, any, WEIGHT_ANY)
#endif

TILED_MATRIX_DTYPE(bf16)
TILED_MATRIX_DTYPE(f16)
