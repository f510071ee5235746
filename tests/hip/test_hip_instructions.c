/* The emulator itself, with what emulate.py makes up for: kernels of single instructions (instructions.cu), whose results
 * are known. Arguments: the folder of their code objects, and the chip. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/expect.h"
#include "code_object.h"
#include "dtype.h"
#include "emulator.h"

enum { WORDS = 16, MOST_LANES = 64, TILE = 16 };

/* What the lanes of a launch read and wrote, as [block][lane][WORDS]. */
typedef struct record {
    const uint32_t *in;
    const uint32_t *out;
    int lanes, blocks;
} record;

typedef struct instruction {
    const char *kernel;
    int blocks;
    bool gfx11_only;
    void (*fill)(uint32_t *in, int block, int lane);
    void (*check)(const record *r, int block, int lane);
} instruction;

static const char *arch;
static code_object object;

static bool wide(void) {
    return strncmp(arch, "gfx9", 4) == 0;
}

/* A number that looks random and depends on its place alone. */
static uint32_t scatter(int block, int lane, int word) {
    uint32_t x = (uint32_t)((block * MOST_LANES + lane) * WORDS + word) * 2654435761u + 12345u;
    x ^= x >> 15;
    x *= 2246822519u;
    x ^= x >> 13;
    x *= 3266489917u;
    return x ^ x >> 16;
}

static const uint32_t *words_in(const record *r, int block, int lane) {
    return r->in + (size_t)(block * r->lanes + lane) * WORDS;
}
static const uint32_t *words_out(const record *r, int block, int lane) {
    return r->out + (size_t)(block * r->lanes + lane) * WORDS;
}

static void expect_float(uint32_t got, float want, const char *what, int block, int lane) {
    if (got == norma_f32_bits(want) || (isnan(norma_f32_from_bits(got)) && isnan(want))) return;
    fail_msg("%s: block %d lane %d has 0x%08" PRIx32 ", not 0x%08" PRIx32, what, block, lane, got, norma_f32_bits(want));
}

/* ---- Matrix units: every half in turn times one. A product with zero would make NaN of infinities and NaNs, so those stand
 * on the diagonal alone, in blocks of their own. ---- */

enum { FINITE_BLOCKS = 65536 / (TILE * TILE), SPECIAL_BLOCKS = 2048 / TILE };

static bool is_special(norma_dtype dtype, unsigned half) {
    const unsigned exponent = dtype == NORMA_F16 ? 0x7c00u : 0x7f80u;
    return (half & exponent) == exponent;
}

static unsigned nth_special(norma_dtype dtype, unsigned n) {
    const unsigned exponent = dtype == NORMA_F16 ? 0x7c00u : 0x7f80u, payloads = 0x8000u - exponent;
    return exponent | n % payloads | n / payloads % 2 << 15;
}

static unsigned left_of(norma_dtype dtype, int block, int m, int k) {
    if (block >= FINITE_BLOCKS) return m == k ? nth_special(dtype, (unsigned)((block - FINITE_BLOCKS) * TILE + m)) : 0;
    const unsigned half = (unsigned)((block * TILE + m) * TILE + k);
    return is_special(dtype, half) ? 0 : half;
}

/* A lane has line lane % 16 of either operand: all of it on gfx11, a quarter on gfx9. */
static void fill_matrix(norma_dtype dtype, uint32_t *in, int block, int lane) {
    const unsigned one = dtype == NORMA_F16 ? 0x3c00u : 0x3f80u;
    const int line = lane % TILE, count = wide() ? 4 : TILE, first = wide() ? lane / TILE * 4 : 0;
    for (int i = 0; i < count; i++) {
        const int k = first + i, shift = i % 2 * 16;
        in[i / 2] |= left_of(dtype, block, line, k) << shift;
        in[count / 2 + i / 2] |= (k == line ? one : 0) << shift;
    }
}

static void check_matrix(norma_dtype dtype, const record *r, int block, int lane) {
    const uint32_t *const out = words_out(r, block, lane);
    for (int i = 0; i < TILE * TILE / r->lanes; i++) {
        const int m = wide() ? lane / TILE * 4 + i : 2 * i + lane / TILE, n = lane % TILE;
        if (block >= FINITE_BLOCKS && m != n) continue;
        const uint16_t half = (uint16_t)left_of(dtype, block, m, n);
        const float want = dtype == NORMA_F16 ? norma_f16_to_f32(half) : norma_bf16_to_f32(half);
        /* a sum with zeros has no negative zero */
        expect_float(out[i], want == 0 ? 0 : want, dtype == NORMA_F16 ? "matrix_f16" : "matrix_bf16", block, lane);
    }
}

static void fill_matrix_f16(uint32_t *in, int block, int lane) {
    fill_matrix(NORMA_F16, in, block, lane);
}
static void check_matrix_f16(const record *r, int block, int lane) {
    check_matrix(NORMA_F16, r, block, lane);
}
static void fill_matrix_bf16(uint32_t *in, int block, int lane) {
    fill_matrix(NORMA_BF16, in, block, lane);
}
static void check_matrix_bf16(const record *r, int block, int lane) {
    check_matrix(NORMA_BF16, r, block, lane);
}

/* ---- Conversions: every half, and floats on and around the middle between two halves ---- */

static void fill_convert(uint32_t *in, int block, int lane) {
    const uint16_t half = (uint16_t)(block * MOST_LANES + lane);
    const uint32_t next = norma_f32_bits(norma_f16_to_f32((uint16_t)(half + 1)));
    in[0] = half;
    in[1] = (uint32_t)(((uint64_t)norma_f32_bits(norma_f16_to_f32(half)) + next) / 2) + scatter(block, lane, 1) % 3 - 1;
}

static void check_convert(const record *r, int block, int lane) {
    const uint32_t *const in = words_in(r, block, lane), *const out = words_out(r, block, lane);
    expect_float(out[0], norma_f16_to_f32((uint16_t)in[0]), "v_cvt_f32_f16", block, lane);
    const uint16_t want = norma_f16_from_f32(norma_f32_from_bits(in[1]));
    expect_float(norma_f32_bits(norma_f16_to_f32((uint16_t)out[1])), norma_f16_to_f32(want), "v_cvt_f16_f32", block, lane);
}

/* ---- fp32: any bits, of which many products and sums are subnormal ---- */

static void fill_multiply_add(uint32_t *in, int block, int lane) {
    for (int i = 0; i < 6; i++) {
        const uint32_t bits = scatter(block, lane, i), exponent = i < 4 ? 58 + bits % 8 : bits % 4;
        in[i] = block % 2 ? bits : (bits & 0x807fffffu) | exponent << 23;
    }
}

static void check_multiply_add(const record *r, int block, int lane) {
    const uint32_t *const in = words_in(r, block, lane), *const out = words_out(r, block, lane);
    for (int i = 0; i < 2; i++) {
        const float a = norma_f32_from_bits(in[i]), b = norma_f32_from_bits(in[2 + i]), c = norma_f32_from_bits(in[4 + i]);
        expect_float(out[i], fmaf(a, b, c), "a fused multiply-add", block, lane);
        expect_float(out[2 + i], a * b, "a product", block, lane);
    }
}

/* ---- Lanes and memory ---- */

static void fill_reversed(uint32_t *in, int block, int lane) {
    in[0] = scatter(block, lane, 0);
    in[1] = lane < TILE ? (uint32_t)(TILE - 1 - lane) * 4 : scatter(block, lane, 1) & ~3u;
}

static void check_reversed(const record *r, int block, int lane) {
    if (lane < TILE) assert_int_equal(*words_out(r, block, lane), *words_in(r, block, TILE - 1 - lane));
}

static void fill_word(uint32_t *in, int block, int lane) {
    in[0] = scatter(block, lane, 0);
}

static void check_same(const record *r, int block, int lane) {
    assert_int_equal(*words_out(r, block, lane), *words_in(r, block, lane));
}

static void check_selected(const record *r, int block, int lane) {
    assert_int_equal(words_out(r, block, lane)[0], *words_in(r, block, lane / TILE * TILE + 5));
    assert_int_equal(words_out(r, block, lane)[1], *words_in(r, block, lane ^ TILE));
}

static const instruction instructions[] = {
    {"matrix_f16", FINITE_BLOCKS + SPECIAL_BLOCKS, false, fill_matrix_f16, check_matrix_f16},
    {"matrix_bf16", FINITE_BLOCKS + SPECIAL_BLOCKS, false, fill_matrix_bf16, check_matrix_bf16},
    {"convert", 65536 / MOST_LANES, false, fill_convert, check_convert},
    {"multiply_add", 64, false, fill_multiply_add, check_multiply_add},
    {"exchange", 4, false, fill_reversed, check_reversed},
    {"share", 4, false, fill_reversed, check_reversed},
    {"flat", 4, false, fill_word, check_same},
    {"select_lanes", 4, true, fill_word, check_selected}};

enum { INSTRUCTIONS = sizeof instructions / sizeof instructions[0] };

static void run(void **state) {
    const instruction *const tried = *state;
    const int lanes = wide() ? 64 : 32, blocks = tried->blocks;
    const size_t bytes = (size_t)(blocks * lanes) * WORDS * sizeof(uint32_t);
    uint32_t *const in = arena_alloc(bytes), *const out = arena_alloc(bytes);
    assert_non_null(in);
    assert_non_null(out);
    memset(in, 0, bytes);
    memset(out, 0x5a, bytes);
    for (int b = 0; b < blocks; b++)
        for (int l = 0; l < lanes; l++) tried->fill(in + (size_t)(b * lanes + l) * WORDS, b, l);
    kernel_descriptor kernel;
    assert_true(code_object_find(&object, tried->kernel, &kernel));
    const unsigned grid[3] = {(unsigned)blocks, 1, 1}, block[3] = {(unsigned)lanes, 1, 1};
    const void *const params[] = {in, out};
    const char *const problem = emulator_run(arch, &object, &kernel, grid, block, 0, params, sizeof params);
    if (problem) fail_msg("%s: %s", tried->kernel, problem);
    const record r = {in, out, lanes, blocks};
    for (int b = 0; b < blocks; b++)
        for (int l = 0; l < lanes; l++) tried->check(&r, b, l);
    arena_free(out);
    arena_free(in);
}

static bool load(const char *folder) {
    char path[512];
    snprintf(path, sizeof path, "%s/instructions.%s.co", folder, arch);
    FILE *const file = fopen(path, "rb");
    static unsigned char elf[1 << 20];
    const size_t bytes = file ? fread(elf, 1, sizeof elf, file) : 0;
    if (file) fclose(file);
    return bytes > 0 && bytes < sizeof elf && code_object_load(elf, arena_alloc, &object);
}

int main(int argc, char **argv) {
    arch = argc == 3 ? argv[2] : "";
    if (argc != 3 || !load(argv[1])) {
        fprintf(stderr, "no code object for '%s'\n", arch);
        return 2;
    }
    struct CMUnitTest tests[INSTRUCTIONS];
    size_t count = 0;
    for (int i = 0; i < INSTRUCTIONS; i++)
        if (!instructions[i].gfx11_only || !wide())
            tests[count++] = (struct CMUnitTest){
                .name = instructions[i].kernel, .test_func = run, .initial_state = (void *)&instructions[i]};
    return _cmocka_run_group_tests("instructions", tests, count, NULL, NULL);
}
