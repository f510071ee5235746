/* What both engines of rmsnorm_linear_tiled share: the tile rows as types, where a block works, gamma, the rows' rstd, and
 * the way a value reaches its output. */
#ifndef NORMA_TILED_COMMON_CUH
#define NORMA_TILED_COMMON_CUH

#include "platform.cuh"

/* A tile row of tile_table.def as a type: tile_<name>::bm and so on. */
#define NORMA_TILE(name, kernel, target, bm_, bn_, bk_, tm_, tn_, threads_, stages_)                                 \
    struct tile_##name {                                                                                             \
        static constexpr int bm = bm_, bn = bn_, bk = bk_, tm = tm_, tn = tn_, threads = threads_, stages = stages_; \
    };
#include "../backends/tiling/tile_table.def"
#undef NORMA_TILE

/* How the weight lies: (N, K) with k contiguous, (K, N) with n contiguous, or anything, read element by element. */
enum { WEIGHT_NK, WEIGHT_KN, WEIGHT_ANY };

/* What a K step does to the x tile between load and multiply. */
enum tiled_form {
    FORM_PLAIN,  /* nothing: no norm is asked for */
    FORM_SQUARE, /* sums squares */
    FORM_SCALE,  /* sums squares, multiplies by gamma */
    FORM_EXACT   /* rstd is known: y, rounded as the contract says */
};

/* How much of K one chain of a matrix unit's sums may take: docs/numerics.md, "Linear outputs". */
enum { TILED_CHAIN = 2048 };

/* Row tiles that a group of the walk holds: 16 of 128 rows by 16 of 128 columns are about what runs at once. */
enum { TILED_GROUP = 16 };

NORMA_DEVICE tiled_form tiled_form_of(const norma_linear_params &params, bool scale_is_safe) {
    const bool gamma = params.norm.gamma.data != nullptr;
    if (params.plain) return FORM_PLAIN;
    if (params.norm.contract != NORMA_ROUND_DEFERRED) return FORM_EXACT;
    if (!gamma) return FORM_SQUARE;
    return scale_is_safe ? FORM_SCALE : FORM_EXACT;
}

/* Step 1, place: worked out by one thread and kept in shared memory, as registers are scarce while a block multiplies. */
template <typename Tile>
NORMA_DEVICE void tiled_place(norma_tile_place *out_place, const norma_linear_params &params) {
    if (thread_id() == 0) {
        norma_index n[NORMA_KERNEL_PARTS];
        NORMA_UNROLL
        for (int p = 0; p < NORMA_KERNEL_PARTS; p++) n[p] = params.part[p].n;
        const norma_index row_tiles = norma_ceil_div(params.norm.rows, Tile::bm);
        const norma_index col_tiles = norma_col_tiles(n, params.parts, Tile::bn);
        const norma_tile_coord coord = norma_tile_at(block_id(), row_tiles, col_tiles, TILED_GROUP);
        *out_place = norma_tile_locate(coord, params.norm.rows, n, params.parts, Tile::bm, Tile::bn);
    }
    block_sync();
}

/* The element offset at which a row begins; rows count all batches. */
NORMA_DEVICE norma_index tiled_row_start(const norma_view &view, const norma_norm_params &norm, norma_index row) {
    if (norm.rows == norm.m) return row * view.row_stride;
    return norma_element_at(row, 0, norm.m, view.batch_stride, view.row_stride, view.col_stride);
}

/* gamma + offset of `count` columns from k on, 0 past the end. */
template <int count>
NORMA_DEVICE void tiled_load_gamma(float scale[count], const norma_norm_params &norm, norma_index k) {
    NORMA_UNROLL
    for (int i = 0; i < count; i++) {
        scale[i] = 0.0f;
        if (k + i < norm.k)
            scale[i] =
                add_rn(load_as(norm.gamma.data, norm.gamma_dtype, (k + i) * norm.gamma.col_stride), norm.gamma_offset);
    }
}

/* First sweep of the exact form: rstd of the tile's rows, one wave to a row, from memory; the product's own reads follow and
 * find the rows in L2. The order of the sum depends on nothing but K. */
template <typename Tile>
NORMA_DEVICE void tiled_sweep_rows(float *rstd, const norma_linear_params &params, const norma_tile_place &place) {
    const norma_norm_params &norm = params.norm;
    for (int row = wave_id(); row < Tile::bm; row += Tile::threads / NORMA_WAVE) {
        float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
        if (row < place.rows) {
            const norma_index start = tiled_row_start(norm.x, norm, place.row + row);
            for (norma_index k = wave_lane() % 32; k < norm.k; k += 128) {
                NORMA_UNROLL
                for (int i = 0; i < 4; i++) {
                    if (k + 32 * i >= norm.k) continue;
                    const float h = load_as(norm.x.data, norm.x_dtype, start + (k + 32 * i) * norm.x.col_stride);
                    sum[i] = fma_rn(h, h, sum[i]);
                }
            }
        }
        const float total = wave_sum<32>(add_rn(add_rn(sum[0], sum[1]), add_rn(sum[2], sum[3])));
        if (wave_lane() == 0) rstd[row] = norm_rstd(total, norm.k, norm.eps);
    }
}

/* The rstd output, by the block of the first column tile alone. */
template <typename Tile>
NORMA_DEVICE void tiled_store_rstd(const float *rstd, const norma_linear_params &params, const norma_tile_place &place) {
    if (!params.norm.rstd.data || place.part != 0 || place.col != 0) return;
    for (int row = thread_id(); row < place.rows; row += Tile::threads)
        ((float *)params.norm.rstd.data)[tiled_row_start(params.norm.rstd, params.norm, place.row + row)] = rstd[row];
}

/* The bias of `count` columns from `col` of the tile on; 0 if there is none. */
template <int count>
NORMA_DEVICE void tiled_load_bias(float bias[count], const norma_part_params &part, const norma_tile_place &place, int col) {
    NORMA_UNROLL
    for (int i = 0; i < count; i++) {
        bias[i] = 0.0f;
        if (part.bias.data && col + i < place.cols)
            bias[i] = load_as(part.bias.data, part.bias_dtype, (place.col + col + i) * part.bias.col_stride);
    }
}

/* One output, which a product may have to be added to. */
NORMA_DEVICE void tiled_store(const norma_linear_params &params, const norma_part_params &part, norma_index at,
                              float value) {
    if (params.accumulate) value = add_rn(value, load_as(part.out.data, part.out_dtype, at));
    store_as(part.out.data, part.out_dtype, at, value);
}

/* Rows of `view` that are contiguous and 16-byte aligned, elements being of `bytes` bytes. */
NORMA_DEVICE bool tiled_vector_rows(const norma_view &view, int bytes) {
    return view.col_stride == 1 && ((unsigned long long)view.data | (unsigned long long)(view.row_stride * bytes) |
                                    (unsigned long long)(view.batch_stride * bytes)) %
                                           16 ==
                                       0;
}

#endif
