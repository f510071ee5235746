/* What a kernel is given, by value: the same structs for the host, for nvcc, for clang's AMD target and for the host build
 * of the kernels under tests/simt. Plain data of 8- and 4-byte members, so that every compiler lays them out alike. Dtypes
 * and contracts are the numbers of norma.h. */
#ifndef NORMA_KERNEL_PARAMS_H
#define NORMA_KERNEL_PARAMS_H

#include "../backends/tiling/tile_index.h"

#define NORMA_KERNEL_PARTS 4

/* An address of global memory. A compiler that has instructions for that memory is told (platform_hip.cuh). */
#ifndef NORMA_ADDRESS
#define NORMA_ADDRESS void *
#endif

/* A tensor; data includes the byte offset and is NULL if the tensor is absent. Strides count elements. */
typedef struct norma_view {
    NORMA_ADDRESS data;
    norma_index row_stride, col_stride, batch_stride;
} norma_view;

/* The norm's half of every kernel. Rows count all batches: row r is row r % m of batch r / m. */
typedef struct norma_norm_params {
    norma_view x, gamma, residual, residual_out, rstd;
    norma_index rows, m, k;
    float eps, gamma_offset;
    int contract;
    int x_dtype, gamma_dtype, h_dtype; /* h_dtype: the residual's dtype if there is one, else x's */
} norma_norm_params;

/* How a row of chunks of 16 bytes is shared out: each of `blocks` blocks has `piece` of them, and thread t of a piece has
 * chunks t, t + threads, t + 2 threads and so on. The order of the row's sum follows from these numbers. What the leanest
 * kernels read comes first, in few lines of the constant cache: each line adds to the time of a single row. */
typedef struct norma_rows_shape {
    const void *x; /* data and row_stride of the views below */
    norma_index x_stride;
    int rows, k;
    int threads;      /* of a row in a block: a power of two from 8 to 32, or whole waves of 32 */
    int thread_shift; /* thread >> thread_shift: which of the block's rows */
    int block_rows;
    int block_shift; /* 2^block_shift blocks share a row and have no other: a cluster, if pieces are less than the row */
    const void *gamma;
    void *out;
    norma_index out_stride;
    float *rstd;       /* contiguous */
    float per_element; /* 1 / k */
    float eps, gamma_offset;
    int contract;
    norma_index piece;
    int reserved;
    unsigned nothing; /* 0, which compilers do not know */
} norma_rows_shape;

typedef struct norma_rows_params {
    norma_rows_shape shape;
    norma_norm_params norm;
    norma_view out; /* absent if only residual_out or rstd is wanted */
    int out_dtype;
    int reserved;
} norma_rows_params;

/* rmsnorm_rows_backward: rows of dx, and a line of sums over rows for each block. */
typedef struct norma_rows_backward_params {
    norma_norm_params norm; /* x, rstd (read), gamma */
    norma_view dout, back, dx;
    float *lines;       /* blocks x k, or NULL */
    float per_element;  /* 1 / k */
    int threads, slots; /* threads of a row, rows of a block at a time */
    int dout_dtype, back_dtype, dx_dtype;
} norma_rows_backward_params;

/* column_sums. With several pieces, `to` is a line of `columns` floats for each. */
typedef struct norma_sums_params {
    norma_view from, to;
    norma_index rows, m, columns;
    norma_index piece_rows;
    int from_dtype, to_dtype;
    int pieces, lanes;
    int accumulate;
    int reserved;
} norma_sums_params;

typedef struct norma_part_params {
    norma_view weight, bias, out;
    norma_index n;
    int weight_dtype, bias_dtype, out_dtype;
    int reserved;
} norma_part_params;

typedef struct norma_linear_params {
    norma_norm_params norm;
    norma_part_params part[NORMA_KERNEL_PARTS];
    int parts;
    int plain;      /* 1: no norm, y is x */
    int accumulate; /* 1: added to the output, without bias */
} norma_linear_params;

/* The skinny kernel's walk; rmsnorm_linear_skinny.cu has the picture. */
typedef struct norma_skinny_params {
    norma_linear_params linear;
    int tiles;        /* of columns, over all parts and blocks */
    int each, longer; /* columns of a tile; the first `longer` tiles have one more */
    int block_tiles;  /* the most that a block gets */
    int waves;        /* of a block, which share the K of a phase */
    int steps;        /* of a wave and tile in a phase, a multiple of 8 */
    int phases;       /* over K */
    int batch;        /* tiles whose partial sums are kept until they are added up */
    int split;        /* 2: h * gamma goes through the matrix units as a high and a low half; else 1 */
    int normalise;    /* rows are normalised before the product: exact contracts, and where h * gamma could overflow */
    int early;        /* W and gamma may be read before the work ahead has finished */
    int reserved;
} norma_skinny_params;

/* What skinny_short.cuh and skinny_half.cuh need of all that, close together, for a kernel waits for each line of it. x,
 * gamma and weights are of one half dtype; rows lie at one stride, columns side by side. */
typedef struct norma_half_part {
    const void *weight;
    norma_index weight_stride; /* of a column */
    void *out;
    norma_index out_stride; /* of a row */
    const void *bias;
    int first; /* column, over all parts */
    int bias_dtype, out_dtype;
    int reserved;
} norma_half_part;

typedef struct norma_half_params {
    const void *x, *gamma;
    norma_index x_stride;
    int rows, k;
    int blocks, tiles, each, longer, block_tiles, waves, steps, phases, split, normalise, early; /* as above */
    int cluster;                   /* blocks that share the K of the same columns; `blocks` counts clusters */
    int phase_k;                   /* of all blocks of a cluster */
    int wave_bytes, scratch_bytes; /* of shared memory for a wave, and of that for its sums and its gamma */
    int batch;                     /* tiles whose sums are kept until those of the cluster are added up */
    int contract, parts;
    float eps, gamma_offset;
    float *rstd;
    norma_index rstd_stride;
    norma_half_part part[NORMA_KERNEL_PARTS];
} norma_half_params;

/* A tensor as the copy engine of sm_90 sees it: the driver's own 128 bytes, which have to lie on a multiple of 64. */
#if defined(__cplusplus)
#define NORMA_ALIGNED(bytes) alignas(bytes)
#else
#define NORMA_ALIGNED(bytes) _Alignas(bytes)
#endif
typedef struct norma_tensor_map {
    NORMA_ALIGNED(64) unsigned long long word[16];
} norma_tensor_map;

typedef struct norma_hopper_part {
    norma_tensor_map weight, out;
    const void *bias; /* NULL: none */
    norma_index bias_stride;
    int bias_dtype;
    int n;
    int first_tile; /* of columns, over all parts */
    int reserved[7];
} norma_hopper_part;

typedef struct norma_hopper_params {
    norma_tensor_map x;
    norma_hopper_part part[NORMA_KERNEL_PARTS];
    const void *x_data;
    norma_index x_stride;
    float *rstd_out; /* NULL: not wanted */
    norma_index rstd_stride;
    unsigned long long *rstd; /* of each row, below the number of the launch that computed it */
    unsigned *launches;       /* how many have finished, and blocks of this one that have */
    int rows, k;
    int parts;
    int row_tiles, col_tiles;
    int group; /* row tiles that are walked together */
    float eps;
    int plain; /* 1: no norm */
    /* If the rows that are multiplied, to which the map x leads, are y, which this launch writes. */
    void *y; /* else NULL */
    norma_index y_stride;
    const void *gamma; /* or NULL; contiguous */
    float gamma_offset;
    int gamma_dtype, contract;
    int reserved[5];
} norma_hopper_params;

/* linear_split: the longest piece of K that split_halves takes, and its lines. */
#define NORMA_SPLIT_PIECE 4096
typedef struct norma_split_params {
    const void *from; /* fp32 */
    norma_index line_stride, k_stride;
    norma_index lines;
    void *to;      /* lines of `chunks` times 32 high and 32 low parts, without gaps */
    float *scales; /* of each line: the power of two that undoes its scaling */
    int k, chunks;
} norma_split_params;

typedef struct norma_split_linear_params {
    norma_tensor_map x, weight; /* of parts */
    const float *x_scales, *weight_scales;
    float *out;
    norma_index out_row_stride, out_col_stride;
    const void *bias; /* NULL: none */
    norma_index bias_stride;
    int bias_dtype;
    int rows, n, chunks;
    int row_tiles, col_tiles;
    int group;      /* row tiles that are walked together */
    int accumulate; /* 1: added to the output, without bias */
    int pairs;      /* 1: two neighbours in a row of the output may be written at once */
} norma_split_linear_params;

typedef struct norma_narrow_part {
    norma_tensor_map weight;
    void *out;
    norma_index out_row_stride, out_col_stride;
    const void *bias; /* NULL: none */
    norma_index bias_stride;
    int bias_dtype;
    int n;
    int first_tile; /* of columns, over all parts */
    int paired;     /* 1: two neighbouring outputs of a row are one aligned word */
    int reserved[2];
} norma_narrow_part;

typedef struct norma_narrow_params {
    norma_tensor_map x;
    norma_narrow_part part[NORMA_KERNEL_PARTS];
    const void *gamma; /* or NULL; contiguous */
    float *rstd_out;   /* NULL: not wanted */
    norma_index rstd_stride;
    float eps, gamma_offset;
    int gamma_dtype, contract;
    int normalise; /* rows are normalised before the product */
    int rows, k;
    int parts;
    int tiles;         /* of columns, over all parts */
    int cluster_shift; /* 2^cluster_shift blocks share the K of a tile: 1, 2 or 4 */
    int stages;        /* of the ring for W */
    int x_slots;       /* places for 128 of K of x: a block's share of K, which then stays, or as many as stages */
    int buffers;       /* for sums from the cluster's other blocks: 2 where blocks have several tiles, else 1 */
    int early;         /* W and gamma may be read before the work ahead has finished */
    int reserved[12];
} norma_narrow_params;

typedef struct norma_fold_params {
    norma_view gamma, weight, out; /* (k), (k, n), (k, n) */
    norma_index k, n;
    float gamma_offset;
    int gamma_dtype, weight_dtype, out_dtype;
} norma_fold_params;

/* Contiguous floats: the bench's floors. */
typedef struct norma_stream_params {
    const void *from;
    void *to; /* copy: as much as is read; read: one 4-byte word */
    norma_index bytes;
} norma_stream_params;

#endif
