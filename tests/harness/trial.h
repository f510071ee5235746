/* A trial: a case with memory and data, which can be run on any variant through the public API and judged.
 *
 * Every tensor lies in an arena: host memory with a twin on the device. All bytes of an arena are poison (NaN in every
 * dtype) until inputs are stored; after a run, every byte that belongs to no output must be what it was. So guard zones, the
 * gaps between padded rows, the neighbours of slices and the inputs themselves are all watched by one comparison. A tight
 * arena has no guard zones: there the device's own allocation ends where the tensor ends, which suits address sanitizers. */
#ifndef NORMA_TESTS_TRIAL_H
#define NORMA_TESTS_TRIAL_H

#include "harness/case.h"
#include "harness/variant.h"

/* Tensors by number: those of a row, then those of each part, then gradients. A norm's out is part 0's. */
enum {
    SLOT_X,
    SLOT_GAMMA,
    SLOT_RESIDUAL,
    SLOT_RESIDUAL_OUT,
    SLOT_RSTD,
    SLOT_WEIGHT,
    SLOT_BIAS = SLOT_WEIGHT + NORMA_MAX_PARTS,
    SLOT_OUT = SLOT_BIAS + NORMA_MAX_PARTS,
    SLOT_DX = SLOT_OUT + NORMA_MAX_PARTS,
    SLOT_DGAMMA,
    SLOT_DWEIGHT,
    SLOT_DBIAS = SLOT_DWEIGHT + NORMA_MAX_PARTS,
    SLOT_COUNT = SLOT_DBIAS + NORMA_MAX_PARTS
};

typedef struct test_tensor {
    bool output;
    test_role role;
    norma_layout layout; /* every stride filled in; dtype NORMA_NONE if absent */
    bool packed;         /* described to the library with strides of 0 */
    int arena;
    size_t offset_bytes;
    int64_t batch, rows, cols;
} test_tensor;

typedef struct test_arena {
    size_t bytes;
    unsigned char *before;   /* what is uploaded */
    unsigned char *after;    /* what came back */
    unsigned char *writable; /* 1 for each byte of an output */
} test_arena;

typedef struct test_trial {
    test_case test;
    uint64_t seed;
    test_tensor tensor[SLOT_COUNT];
    test_arena arena[SLOT_COUNT];
} test_trial;

typedef enum test_path { PATH_ONE_SHOT, PATH_PLAN } test_path;

/* What judging found. */
typedef struct test_verdict {
    bool passed;
    int64_t outputs; /* values compared */
    int64_t rounded; /* outputs of a half dtype compared */
    int64_t flips;   /* of these, not the correctly rounded one */
    double worst;    /* largest error over bound */
    char text[512];  /* the first failure */
} test_verdict;

/* Lays out and fills a trial. Never fails: out of memory ends the program. */
test_trial *test_trial_create(const test_case *test, uint64_t seed, bool tight);
void test_trial_destroy(test_trial *trial);

/* Value (row, col) of a tensor, row counted over all batches; before or after the run. */
float test_trial_get(const test_trial *trial, int slot, int64_t row, int64_t col);
float test_trial_result(const test_trial *trial, int slot, int64_t row, int64_t col);
void test_trial_set(test_trial *trial, int slot, int64_t row, int64_t col, float value);

/* Runs the trial on a context and brings the results back, also after an error. */
norma_status test_trial_run(test_trial *trial, norma_context *context, test_path path);

/* A plan for the trial's description, and a run of one, which may have been made for another trial of the same description
 * and another m. */
norma_status test_trial_plan(const test_trial *trial, norma_context *context, norma_plan **out_plan);
norma_status test_trial_run_plan(test_trial *trial, norma_context *context, norma_plan *plan);

/* The trial as the reference sees it, on the host's copy before the run. */
norma_problem test_trial_problem(const test_trial *trial);

/* Judges the results against the reference and the bound, and all other bytes against what they were. */
test_verdict test_trial_judge(const test_trial *trial);

/* True if every byte is what it was before the run. */
bool test_trial_untouched(const test_trial *trial);

/* True if every output of both has the same bits. Same case and seed; layouts and arenas may differ. */
bool test_trials_equal(const test_trial *one, const test_trial *other);

/* True if `rows` rows of an output have the same bits in both. */
bool test_rows_equal(const test_trial *one, int64_t one_row, const test_trial *other, int64_t other_row, int64_t rows);

#endif
