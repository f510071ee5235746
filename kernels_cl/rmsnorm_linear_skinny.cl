/* RMSNorm + Linear for a few rows: out = rstd * (h * (gamma + offset)) W + bias, W read once. Sums go in a fixed order. The
 * shapes are for CPUs, for GPUs, and for NVIDIA's matrix units.
 *
 *                 K
 *            +-----------------------+
 *     piece 0|  columns of W         |  work-group 0         A piece is a few columns; each work-group has all of K for its
 *            +-----------------------+                       piece.
 *     piece 1|                       |  work-group 1
 *            +-----------------------+
 *       ...
 *
 * Steps, by the names of tile_index.h: 1 place  2 load  3 square  4 multiply  5 scale  6 store. */
#if defined(NORMA_CPU)
#include "skinny_cpu.clh"
#elif defined(NORMA_MATRIX)
#include "skinny_matrix.clh"
#else
#include "skinny_gpu.clh"
#endif
