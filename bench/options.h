/* The command line of norma-bench. Sets of names are bit masks in the order of the enums below. */
#ifndef NORMA_BENCH_OPTIONS_H
#define NORMA_BENCH_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_EXIT_FAILED      1   /* a row failed, or none could be measured */
#define BENCH_EXIT_USAGE       2   /* the command line is wrong, or the backend cannot be opened */
#define BENCH_EXIT_INTERRUPTED 130 /* what a shell reports for SIGINT */

typedef enum bench_suite {
    BENCH_SUITE_quick,
    BENCH_SUITE_norm,
    BENCH_SUITE_heads,
    BENCH_SUITE_decode,
    BENCH_SUITE_prefill,
    BENCH_SUITE_backward,
    BENCH_SUITE_COUNT
} bench_suite;

typedef enum bench_scale { BENCH_SCALE_SMALL, BENCH_SCALE_FULL, BENCH_SCALE_BY_DEVICE } bench_scale;

typedef enum bench_format { BENCH_FORMAT_TABLE, BENCH_FORMAT_JSONL, BENCH_FORMAT_CSV } bench_format;

/* What a Linear's columns are split into; no parts is an rmsnorm. */
#define BENCH_MAX_PARTS 4
typedef struct bench_parts {
    int count;
    int64_t n[BENCH_MAX_PARTS];
} bench_parts;

/* One --shape. */
typedef struct bench_shape {
    int64_t m, k;
    bench_parts parts;
} bench_shape;

/* A mask of 0 means "not given". */
typedef struct bench_options {
    const char *backend; /* NULL: as the library chooses; "all"; or a backend string of the library */
    const char *route;   /* NULL: the library's choice */
    const char *out;     /* NULL: standard output */
    unsigned suites;
    unsigned ops;       /* by bench_op_index */
    unsigned dtypes;    /* by norma_dtype */
    unsigned contracts; /* by norma_contract */
    unsigned foldings;  /* bit 0: gamma in the call, bit 1: folded into W */
    bench_shape *shapes;
    int shape_count;
    bench_scale scale;
    bench_format format;
    double seconds_per_row;
    int64_t seed;
    int64_t memory_bytes; /* for operands; 0: half of what is free */
    int threads;
    bool warm;
    bool weights_static;
    bool batch_invariant;
    bool timed;
    bool fp32_tensor;
    bool list;
} bench_options;

extern const char *const bench_suite_names[BENCH_SUITE_COUNT];
extern const char *const bench_contract_names[3];

/* Reads the command line. Returns -1 to go on, else the exit code, having printed the help or what is wrong. */
int bench_options_parse(int argc, char **argv, bench_options *out_options);

void bench_options_free(bench_options *options);

#endif
