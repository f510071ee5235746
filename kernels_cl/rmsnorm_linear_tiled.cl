/* RMSNorm + Linear for any number of rows, any sizes, strides and dtypes: the shared tile walk of tile_index.h, one tile of
 * one part's output to a work-group.
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
 * The exact contracts need rstd before they round, so there a first sweep over the tile's rows computes it, and step 3
 * rounds y. The walk comes in shapes, of which the build options name one: for CPUs (NORMA_CPU), for GPUs, and for NVIDIA's,
 * by its own instructions (NORMA_MATRIX), where another launch does step 3 for all tiles of a row. */
#if defined(NORMA_CPU)
#include "tiled_cpu.clh"
#elif defined(NORMA_MATRIX)
#include "tiled_matrix.clh"
#else
#include "tiled_gpu.clh"
#endif
