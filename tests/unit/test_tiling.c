/* The tile table, the choice of a row, and the index arithmetic: every output element belongs to exactly one tile. */
#include "tiling/tile_index.h"
#include "tiling/tile_select.h"
#include "tiling/tile_walk.h"

#include <stdlib.h>

#include "expect.h"
#include "harness/random.h"

#define RANDOM_WALKS 20000

static void every_row_has_a_name_of_its_own(void **state) {
    (void)state;
    for (int i = 0; i < NORMA_TILE_COUNT; i++) {
        assert_in_range(norma_tiles[i].target, 0, NORMA_TARGET_COUNT - 1);
        assert_in_range(norma_tiles[i].kernel, 0, NORMA_KERNEL_COUNT - 1);
        for (int j = 0; j < i; j++) assert_string_not_equal(norma_tiles[i].name, norma_tiles[j].name);
    }
}

/* The first row of a target, which is its largest tile. */
static const norma_tile *largest_of(norma_target target) {
    for (int i = 0; i < NORMA_TILE_COUNT; i++)
        if (norma_tiles[i].target == target) return &norma_tiles[i];
    return NULL;
}

static void selection_follows_the_table(void **state) {
    (void)state;
    static const struct {
        norma_target target;
        int units;
        int64_t row_blocks, col_blocks; /* of the largest tile; 0: a single row or column */
        const char *name;
    } rows[] = {
        {NORMA_TARGET_CPU_AVX2, 2, 4, 4, "cpu_avx2"},                                 /* plenty of blocks */
        {NORMA_TARGET_CPU_AVX2, 2, 0, 2, "cpu_avx2"},                                 /* two wide blocks for two threads */
        {NORMA_TARGET_CPU_AVX2, 3, 0, 2, "cpu_avx2_small"},                           /* not for three */
        {NORMA_TARGET_CPU_AVX2, 1, 0, 0, "cpu_avx2"},                                 /* one thread is always busy */
        {NORMA_TARGET_CPU_AVX2, 64, 0, 0, "cpu_avx2_small"},                          /* nothing fills this: the smallest */
        {NORMA_TARGET_CPU_PLAIN, 2, 20, 20, "cpu_plain"},                             /* each target has its own rows */
        {NORMA_TARGET_CPU_AVX512, 2, 20, 20, "cpu_avx512"},                           /* */
        {NORMA_TARGET_CPU_AVX512, 8, 0, 1, "cpu_avx512_small"},                       /* */
        {NORMA_TARGET_CPU_PLAIN, 4, INT64_C(1) << 40, INT64_C(1) << 40, "cpu_plain"}, /* more than an int64 counts */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const norma_tile *largest = largest_of(rows[i].target);
        assert_non_null(largest);
        const norma_limits limits = {.target = rows[i].target, .units = rows[i].units};
        const norma_shape shape = {.rows = rows[i].row_blocks ? rows[i].row_blocks * largest->bm : 1,
                                   .k = 512,
                                   .n = rows[i].col_blocks ? rows[i].col_blocks * largest->bn : 1,
                                   .x_dtype = NORMA_F32,
                                   .weight_dtype = NORMA_F32};
        const char *reason = NULL;
        const norma_tile *tile = norma_tile_select(NORMA_KERNEL_RMSNORM_LINEAR_TILED, &shape, &limits, &reason);
        assert_non_null(tile);
        assert_string_equal(tile->name, rows[i].name);
        assert_non_null(reason);
        assert_true(reason[0] != 0);
    }
}

static void halves_go_to_the_tiles_of_matrix_units(void **state) {
    (void)state;
    static const struct {
        norma_target target;
        int lanes;
        norma_dtype x, weight;
        norma_target tiles;
    } rows[] = {
        {NORMA_TARGET_CUDA, 32, NORMA_BF16, NORMA_BF16, NORMA_TARGET_CUDA_MATRIX},
        {NORMA_TARGET_CUDA, 32, NORMA_BF16, NORMA_F16, NORMA_TARGET_CUDA},
        {NORMA_TARGET_HIP, 64, NORMA_F16, NORMA_F16, NORMA_TARGET_HIP_WAVE64},
        {NORMA_TARGET_HIP, 32, NORMA_BF16, NORMA_BF16, NORMA_TARGET_HIP_WAVE32},
        {NORMA_TARGET_HIP, 64, NORMA_F32, NORMA_F32, NORMA_TARGET_HIP},
        {NORMA_TARGET_HIP, 32, NORMA_F32, NORMA_BF16, NORMA_TARGET_HIP},
        {NORMA_TARGET_CPU_PLAIN, 4, NORMA_BF16, NORMA_BF16, NORMA_TARGET_CPU_PLAIN},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const norma_limits limits = {.target = rows[i].target, .units = 1, .lanes = rows[i].lanes};
        const norma_shape shape = {.rows = 1000, .k = 64, .n = 1000, .x_dtype = rows[i].x, .weight_dtype = rows[i].weight};
        const char *reason;
        assert_int_equal(norma_tile_target(rows[i].x, rows[i].weight, &limits), rows[i].tiles);
        assert_int_equal(norma_tile_select(NORMA_KERNEL_RMSNORM_LINEAR_TILED, &shape, &limits, &reason)->target,
                         rows[i].tiles);
    }
}

static void kernel_without_rows_has_no_tile(void **state) {
    (void)state;
    const norma_limits limits = {.target = NORMA_TARGET_CPU_PLAIN, .units = 1};
    const norma_shape shape = {.rows = 1, .k = 1, .n = 1};
    const char *reason = NULL;
    assert_null(norma_tile_select(NORMA_KERNEL_STREAM, &shape, &limits, &reason));
    assert_non_null(reason);
}

/* Walks all tiles of a random problem and counts how often each element of each part is visited. */
static void walk(test_sequence *random, int number) {
    norma_index n[NORMA_MAX_PARTS] = {0};
    const int parts = 1 + test_pick(random, NORMA_MAX_PARTS);
    for (int p = 0; p < parts; p++) n[p] = 1 + test_pick(random, 20);
    const norma_index rows = 1 + test_pick(random, 30);
    const norma_index bm = 1 + test_pick(random, 8);
    const norma_index bn = 1 + test_pick(random, 8);
    const norma_index group = 1 + test_pick(random, 6);

    unsigned char visits[NORMA_MAX_PARTS][30][20] = {{{0}}};
    const norma_index row_tiles = norma_ceil_div(rows, bm);
    const norma_index col_tiles = norma_col_tiles(n, parts, bn);
    for (norma_index index = 0; index < row_tiles * col_tiles; index++) {
        const norma_tile_coord coord = norma_tile_at(index, row_tiles, col_tiles, group);
        const norma_tile_place place = norma_tile_locate(coord, rows, n, parts, bm, bn);
        assert_in_range(place.part, 0, parts - 1);
        assert_in_range(place.rows, 1, bm);
        assert_in_range(place.cols, 1, bn);
        assert_true(place.row >= 0 && place.row + place.rows <= rows);
        assert_true(place.col >= 0 && place.col + place.cols <= n[place.part]);
        for (norma_index i = 0; i < place.rows; i++)
            for (norma_index j = 0; j < place.cols; j++) visits[place.part][place.row + i][place.col + j]++;
    }
    for (int p = 0; p < parts; p++)
        for (norma_index i = 0; i < rows; i++)
            for (norma_index j = 0; j < n[p]; j++)
                if (visits[p][i][j] != 1)
                    fail_msg("walk %d of seed 5: element (%d, %d) of part %d is visited %d times", number, (int)i, (int)j, p,
                             visits[p][i][j]);
}

static void every_element_belongs_to_one_tile(void **state) {
    (void)state;
    test_sequence random = {.seed = 5};
    for (int i = 0; i < RANDOM_WALKS; i++) walk(&random, i);
}

static void neighbours_in_a_group_share_a_column(void **state) {
    (void)state;
    /* The picture in tile_index.h: two row tiles to a group, five column tiles. */
    static const struct {
        norma_index index, row_tile, col_tile;
    } rows[] = {{0, 0, 0}, {1, 1, 0}, {2, 0, 1}, {3, 1, 1}, {8, 0, 4}, {9, 1, 4}, {10, 2, 0}, {11, 2, 1}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const norma_tile_coord coord = norma_tile_at(rows[i].index, 3, 5, 2);
        assert_int_equal(coord.row_tile, rows[i].row_tile);
        assert_int_equal(coord.col_tile, rows[i].col_tile);
    }
}

/* What the H200's measurements say of a few shapes: which row of the table is fastest. */
static void walks_fit_the_shape(void **state) {
    (void)state;
    static const struct {
        norma_index rows, k, n;
        bool whole;
        const char *name;
        int pieces;
    } rows[] = {
        {4096, 4096, 4096, false, "hopper_128x128", 1},    /* 1024 tiles in 8 rounds; 704 of 192 take 6 */
        {8192, 4096, 6144, false, "hopper_128x176", 1},    /* 2240 tiles fill 17 rounds to the last 4 */
        {8192, 896, 1152, false, "hopper_128x192", 1},     /* six columns of tiles without waste */
        {1024, 8192, 10240, false, "hopper_128x160", 1},   /* 512 tiles, 4 rounds */
        {1024, 896, 1152, false, "hopper_64x192", 1},      /* 96 tiles, one round */
        {512, 896, 1152, false, "hopper_64x128", 1},       /* 72 tiles; 36 of 128 rows take longer */
        {256, 4096, 4096, false, "hopper_128x128_by2", 2}, /* 64 tiles would leave half of the device idle */
        {128, 4096, 4096, false, "hopper_128x64_by2", 2},  /* */
        {64, 4096, 4096, false, "hopper_64x64_by2", 2},    /* */
        {128, 8192, 10240, false, "hopper_128x160_by2", 2},
        {128, 4096, 4096, true, "hopper_64x128", 1}, /* none is shared if a row's bits must not depend on it */
        {256, 128, 4096, false, "hopper_64x128", 1}, /* too little K to share */
        {INT64_C(1) << 30, 64, INT64_C(1) << 30, false, "hopper_128x192", 1},
    };
    const norma_limits limits = {.target = NORMA_TARGET_CUDA, .units = 132, .wgmma = true};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const norma_walk_shape shape = {
            .rows = rows[i].rows, .k = rows[i].k, .n = {rows[i].n}, .parts = 1, .whole = rows[i].whole};
        const norma_walk walk = norma_walk_choose(&shape, &limits);
        assert_non_null(walk.tile);
        if (strcmp(walk.tile->name, rows[i].name) != 0) fail_msg("row %zu: %s", i, walk.tile->name);
        assert_int_equal(walk.pieces, rows[i].pieces);
        assert_int_equal(walk.row_tiles, norma_ceil_div(rows[i].rows, walk.tile->bm));
        assert_int_equal(walk.col_tiles, norma_ceil_div(rows[i].n, walk.tile->bn));
        const double fill = norma_walk_fill(&walk, &limits);
        assert_true(fill > 0 && fill <= 1);
    }
    const norma_limits older = {.target = NORMA_TARGET_CUDA, .units = 108};
    const norma_walk_shape shape = {.rows = 1024, .k = 1024, .n = {1024}, .parts = 1};
    assert_null(norma_walk_choose(&shape, &older).tile);
}

static void elements_are_addressed_past_32_bits(void **state) {
    (void)state;
    const norma_index wide = INT64_C(1) << 31;
    assert_int_equal(norma_element_at(3, 5, 2, 7 * wide, wide, 1), 7 * wide + wide + 5);
    assert_int_equal(norma_element_at(1, 0, 2, 0, wide, 1), wide);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_has_a_name_of_its_own),
        cmocka_unit_test(selection_follows_the_table),
        cmocka_unit_test(halves_go_to_the_tiles_of_matrix_units),
        cmocka_unit_test(kernel_without_rows_has_no_tile),
        cmocka_unit_test(every_element_belongs_to_one_tile),
        cmocka_unit_test(neighbours_in_a_group_share_a_column),
        cmocka_unit_test(walks_fit_the_shape),
        cmocka_unit_test(elements_are_addressed_past_32_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
