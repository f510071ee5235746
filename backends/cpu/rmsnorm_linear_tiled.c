/* The kernel rmsnorm_linear_tiled: any M, any shape, any stride, by the tile walk of tiling/tile_index.h, blocked for the
 * caches in the manner of Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008).
 *
 *                                   bn      Rows are taken in chunks whose x fits the scratch buffer. Threads stage a chunk
 *                                +------+   once, in slabs of K. Then each takes jobs: one column tile under a group of row
 *                             bk |  W   |   tiles, which share each packed piece of W. Sums are fp32 and grow in order of
 *                                +------+   k, so that their bits depend neither on M, nor on the tile row, nor on the
 *     chunk  +----+----+----+    +------+   number of threads.
 *     of     |slab|slab|slab|    | sums | bm
 *     rows   |    |    |    |    |      |   Steps, as in tile_index.h: 1 place, 2 load, 3 square, 4 multiply, 5 scale,
 *            +----+----+----+    +------+   6 store. Squares are summed while x is staged. */
#include "stage.h"

/* Staged x of one chunk: small enough for a last-level cache, large enough to use a packed W many times. */
static const int64_t chunk_bytes = INT64_C(32) << 20;

/* Row tiles of a job at most: their sums stay in the L2 cache or near it, and a packed W has been used often by then. */
enum { JOBS_PER_THREAD = 4, MAX_GROUP = 16 };

typedef struct tiled_work {
    norma_stage stage;
    const norma_tile *tile;
    int64_t n[NORMA_MAX_PARTS];
    int64_t rows, row_tiles, col_tiles;
    int64_t chunk_tiles; /* row tiles of a whole chunk: a multiple of group */
    int64_t group;       /* row tiles of a job */
    int64_t chunk;       /* the chunk in hand: its first row tile */
    float *gamma, *slabs, *h, *after, *panels, *sums, *bias;
} tiled_work;

static int64_t whole_slabs(int64_t k) {
    return norma_ceil_div(k, SIMD_SLAB) * SIMD_SLAB;
}

static int64_t chunk_rows(const tiled_work *work) {
    return work->chunk_tiles * work->tile->bm;
}

/* Row tiles that share a packed piece of W: all of a chunk, or fewer if that would leave threads idle. */
static int64_t choose_group(const tiled_work *work, int threads) {
    int64_t group = norma_index_min(work->chunk_tiles, MAX_GROUP);
    while (group > 1 && norma_ceil_div(work->chunk_tiles, group) * work->col_tiles < (int64_t)threads * JOBS_PER_THREAD)
        group = norma_ceil_div(group, 2);
    return group;
}

static tiled_work begin_work(const norma_cpu_launch *launch) {
    const norma_problem *problem = launch->problem;
    const norma_tile *tile = launch->tile;
    tiled_work work = {.tile = tile, .rows = problem->batch * problem->m};
    for (int p = 0; p < problem->parts; p++) work.n[p] = problem->part[p].n;
    work.row_tiles = norma_ceil_div(work.rows, tile->bm);
    work.col_tiles = norma_col_tiles(work.n, problem->parts, tile->bn);
    const int64_t tiles_that_fit = chunk_bytes / (int64_t)sizeof(float) / tile->bm / whole_slabs(problem->k);
    const int64_t chunks = norma_ceil_div(work.row_tiles, tiles_that_fit > 1 ? tiles_that_fit : 1);
    work.chunk_tiles = norma_ceil_div(work.row_tiles, chunks);
    /* Groups of equal height: with g groups of h tiles, fewer than g and fewer than h tiles are added, of more than
     * (g - 1) * h, so that a chunk grows by less than half. */
    const int64_t groups = norma_ceil_div(work.chunk_tiles, choose_group(&work, norma_threads_count(launch->threads)));
    work.group = norma_ceil_div(work.chunk_tiles, groups);
    work.chunk_tiles = groups * work.group;
    return work;
}

/* Scratch for `chunk` rows in a chunk, `slab_rows` rows over all of its slabs, and `group` row tiles in a job. */
static size_t take_scratch(const norma_cpu_launch *launch, char *base, int64_t chunk, int64_t slab_rows, int64_t group,
                           tiled_work *work) {
    const norma_tile *tile = work->tile;
    const int workers = norma_threads_count(launch->threads);
    norma_scratch scratch = {.base = base};
    work->gamma = norma_scratch_take(&scratch, 1, launch->problem->k);
    work->h = norma_scratch_take(&scratch, workers, launch->problem->k);
    work->after = norma_scratch_take(&scratch, 1, chunk);
    work->slabs = norma_scratch_take(&scratch, 1, slab_rows * SIMD_SLAB_STRIDE);
    work->panels = norma_scratch_take(&scratch, workers, (int64_t)tile->bk * tile->bn);
    work->sums = norma_scratch_take(&scratch, workers * group, (int64_t)tile->bm * tile->bn);
    work->bias = norma_scratch_take(&scratch, workers, tile->bn);
    return scratch.bytes;
}

/* Enough for fewer rows, and for a product whose k is less, too: both may mean more tiles in a chunk. A chunk is what fits,
 * and less than half as much again where it is rounded up to whole groups. */
static size_t scratch_bytes(const norma_cpu_launch *launch) {
    tiled_work work = begin_work(launch);
    const int64_t bm = work.tile->bm;
    const int64_t slabs = norma_ceil_div(launch->problem->k, SIMD_SLAB);
    const int64_t fit = chunk_bytes / (int64_t)sizeof(float) / SIMD_SLAB;
    const int64_t all = work.row_tiles * bm * slabs;
    const int64_t slab_rows = norma_index_min(all, fit > bm * slabs ? fit : bm * slabs);
    return take_scratch(launch, NULL, 2 * work.row_tiles * bm, slab_rows + slab_rows / 2 + bm * slabs,
                        norma_index_min(work.row_tiles, MAX_GROUP), &work);
}

static norma_status check(const norma_cpu_launch *launch) {
    const norma_tile *tile = launch->tile;
    if (launch->problem->op != NORMA_OP_RMSNORM_LINEAR && !norma_problem_is_plain(launch->problem))
        return norma_fail(NORMA_ERROR_UNSUPPORTED, "rmsnorm_linear_tiled computes a Linear");
    if (!tile || tile->tm != launch->simd->tm || tile->tn != launch->simd->tn || SIMD_SLAB % tile->bk != 0)
        return norma_fail(NORMA_ERROR_UNSUPPORTED, "rmsnorm_linear_tiled has no tile for %s", launch->simd->name);
    return NORMA_OK;
}

/* The staged row `row` of the chunk, from column k of K on. */
static float *slab_at(const tiled_work *work, int64_t row, int64_t k) {
    return work->slabs + (k / SIMD_SLAB * chunk_rows(work) + row) * SIMD_SLAB_STRIDE + k % SIMD_SLAB;
}

/* Steps 2 and 3 for x, for `tm` rows at a time: rows past the last one are zero. */
static void stage_rows(void *user, int64_t index, int worker) {
    const tiled_work *work = user;
    const int64_t k = work->stage.problem->k;
    float *room = work->h + worker * norma_padded(k);
    for (int64_t i = 0; i < work->tile->tm; i++) {
        const int64_t in_chunk = index * work->tile->tm + i;
        const int64_t row = work->chunk * work->tile->bm + in_chunk;
        const float *h = NULL;
        const norma_factors factors =
            row < work->rows ? norma_stage_row(&work->stage, row, room, &h) : (norma_factors){0, 0};
        work->after[in_chunk] = factors.after;
        for (int64_t begin = 0; begin < k; begin += SIMD_SLAB) {
            const int64_t count = norma_tile_extent(begin, SIMD_SLAB, k);
            float *to = slab_at(work, in_chunk, begin);
            if (h)
                norma_stage_columns(&work->stage, h, factors, begin, count, to);
            else
                memset(to, 0, (size_t)count * sizeof *to);
        }
    }
}

/* Step 4 for one row tile and the packed W of one K step. */
static void multiply_tile(const tiled_work *work, int64_t in_chunk, int64_t rows, int64_t cols, int64_t k, int64_t depth,
                          const float *panels, float *sums) {
    const norma_tile *tile = work->tile;
    for (int64_t j = 0; j < cols; j += tile->tn)
        for (int64_t i = 0; i < rows; i += tile->tm)
            work->stage.simd->multiply(rows - i, depth, slab_at(work, in_chunk + i, k), panels + j * depth, k == 0,
                                       sums + i * tile->bn + j, tile->bn);
}

/* All steps for one column tile under `tiles` row tiles, which begin at `place`. */
static void run_job(const tiled_work *work, norma_tile_place place, int64_t tiles, int worker) {
    const norma_problem *problem = work->stage.problem;
    const norma_tile *tile = work->tile;
    const norma_part *part = &problem->part[place.part];
    const norma_layout *weight = &part->weight.layout;
    const int64_t rows = norma_index_min(tiles * tile->bm, work->rows - place.row);
    const int64_t in_chunk = place.row - work->chunk * tile->bm;
    float *panels = work->panels + worker * norma_padded((int64_t)tile->bk * tile->bn);
    float *sums = work->sums + worker * work->group * norma_padded((int64_t)tile->bm * tile->bn);

    for (int64_t k = 0; k < problem->k; k += tile->bk) {
        const int64_t depth = norma_tile_extent(k, tile->bk, problem->k);
        const void *from = norma_tensor_element(&part->weight, k * weight->row_stride + place.col * weight->col_stride);
        work->stage.simd->pack_weight(from, weight->dtype, weight->row_stride, weight->col_stride, depth, place.cols,
                                      panels);
        for (int64_t i = 0; i < rows; i += tile->bm)
            multiply_tile(work, in_chunk + i, norma_tile_extent(i, tile->bm, rows), place.cols, k, depth, panels,
                          sums + i * tile->bn);
    }

    const float *bias =
        norma_stage_bias(work->stage.simd, part, place.col, place.cols, work->bias + worker * norma_padded(tile->bn));
    for (int64_t i = 0; i < rows; i++)
        norma_finish_row(&work->stage, part, place.row + i, place.col, place.cols, work->after[in_chunk + i], bias,
                         sums + i * tile->bn);
}

/* Step 1: job `index` of the chunk is the run of tiles of the walk that go down one column of one group. */
static void place_job(void *user, int64_t index, int worker) {
    const tiled_work *work = user;
    const int64_t group = work->chunk + index / work->col_tiles * work->group;
    const int64_t height = norma_index_min(work->group, work->row_tiles - group);
    const int64_t number = group * work->col_tiles + index % work->col_tiles * height;
    const norma_tile_coord coord = norma_tile_at(number, work->row_tiles, work->col_tiles, work->group);
    const norma_tile_place place =
        norma_tile_locate(coord, work->rows, work->n, work->stage.problem->parts, work->tile->bm, work->tile->bn);
    run_job(work, place, height, worker);
}

/* The launch's work, its buffers laid out from `base` on. */
static tiled_work lay_out(const norma_cpu_launch *launch, char *base, size_t *out_bytes) {
    tiled_work work = begin_work(launch);
    const int64_t slabs = norma_ceil_div(launch->problem->k, SIMD_SLAB);
    *out_bytes = take_scratch(launch, base, chunk_rows(&work), slabs * chunk_rows(&work), work.group, &work);
    return work;
}

static norma_status run(const norma_cpu_launch *launch) {
    size_t bytes;
    tiled_work work = lay_out(launch, launch->scratch, &bytes);
    work.stage = norma_stage_begin(launch, work.gamma);
    for (work.chunk = 0; work.chunk < work.row_tiles; work.chunk += work.chunk_tiles) {
        const int64_t tiles = norma_tile_extent(work.chunk, work.chunk_tiles, work.row_tiles);
        const int64_t rows = norma_tile_extent(work.chunk * work.tile->bm, tiles * work.tile->bm, work.rows);
        norma_threads_run(launch->threads, norma_ceil_div(rows, work.tile->tm), stage_rows, &work);
        norma_threads_run(launch->threads, norma_ceil_div(tiles, work.group) * work.col_tiles, place_job, &work);
    }
    return NORMA_OK;
}

const norma_cpu_kernel norma_cpu_rmsnorm_linear_tiled = {.check = check, .scratch_bytes = scratch_bytes, .run = run};
