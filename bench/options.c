/* Reading the command line: one table of options gives getopt_long its list and --help its text. */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "problem.h"

const char *const bench_suite_names[BENCH_SUITE_COUNT] = {"quick", "norm", "heads", "decode", "prefill", "backward"};
const char *const bench_contract_names[3] = {"deferred", "twice", "once"};
static const char *const op_names[] = {"rmsnorm", "rmsnorm_linear", "rmsnorm_backward", "rmsnorm_linear_backward"};
static const char *const dtype_names[] = {"", "f32", "f16", "bf16"};
static const char *const fold_names[] = {"no", "yes"};
static const char *const scale_names[] = {"small", "full"};
static const char *const format_names[] = {"table", "jsonl", "csv"};

#define COUNT(array) ((int)(sizeof(array) / sizeof(array)[0]))

typedef struct option_row {
    const char *name, *value, *help;
} option_row;

enum {
    BACKEND,
    SUITE,
    SHAPE,
    OP,
    DTYPE,
    CONTRACT,
    FOLDED,
    KERNEL,
    SCALE,
    WARM,
    WEIGHTS_STATIC,
    INVARIANT,
    TIMED,
    FP32_TENSOR,
    TIME,
    SEED,
    THREADS,
    MEMORY,
    FORMAT,
    OUT,
    LIST,
    HELP
};

static const option_row rows[] = {
    [BACKEND] = {"backend", "all|NAME[:i]", "where to run; default: NORMA_BACKEND, else the best backend here"},
    [SUITE] = {"suite", "LIST", "quick (default), norm, heads, decode, prefill, backward, all"},
    [SHAPE] = {"shape", "M,K[,N[+N...]]",
               "your own, with N an rmsnorm_linear of 1 to 4 parts, else an rmsnorm; backward if --op says so; repeatable"},
    [OP] = {"op", "LIST", "only these of rmsnorm, rmsnorm_linear, rmsnorm_backward, rmsnorm_linear_backward"},
    [DTYPE] = {"dtype", "LIST", "f32, bf16, f16, all; default f32,bf16; of quick, which rows"},
    [CONTRACT] = {"contract", "LIST", "deferred (default), twice, once, all; of quick, which rows"},
    [FOLDED] = {"folded", "LIST", "no (default), yes, all: gamma folded into W beforehand; of quick, which rows"},
    [KERNEL] = {"kernel", "ROUTE", "force norma's route, for example rmsnorm_linear_tiled or pair"},
    [SCALE] = {"scale", "small|full", "small leaves out what takes a CPU long; default small on a CPU, full on a GPU"},
    [WARM] = {"warm", NULL, "one operand set, which stays in the cache; default: rotate past 3x the last-level cache"},
    [WEIGHTS_STATIC] = {"static", NULL, "norma's calls promise NORMA_WEIGHTS_STATIC, so launches may overlap"},
    [INVARIANT] = {"invariant", NULL, "norma's calls ask for NORMA_BATCH_INVARIANT"},
    [TIMED] = {"timed", NULL, "norma's plans ask for NORMA_TIME_ROUTES; the base then does without"},
    [FP32_TENSOR] = {"fp32-tensor", NULL, "norma's Linears permit NORMA_FP32_TENSOR; the base does without"},
    [TIME] = {"time", "SECONDS", "measuring time of a row; default 1"},
    [SEED] = {"seed", "NUMBER", "of the operands; default 1"},
    [THREADS] = {"threads", "NUMBER", "threads of the CPU backend; default NORMA_THREADS, else all"},
    [MEMORY] = {"memory", "MIB", "limit for operands; default half of what is free"},
    [FORMAT] = {"format", "table|jsonl|csv", "default table"},
    [OUT] = {"out", "FILE", "write there, and show the table on standard output"},
    [LIST] = {"list", NULL, "print the rows that would run, and stop"},
    [HELP] = {"help", NULL, "print this, and stop"},
};

static void print_help(void) {
    printf("usage: norma-bench [options]\n\n"
           "Times RMSNorm and RMSNorm+Linear against a separate norm and the vendor's product, in one run, after checking\n"
           "every result against fp64. A LIST is one or more names with commas between them.\n\n");
    for (int i = 0; i < COUNT(rows); i++) {
        char left[64];
        snprintf(left, sizeof left, "--%s %s", rows[i].name, rows[i].value ? rows[i].value : "");
        printf("  %-26s %s\n", left, rows[i].help);
    }
    printf("\nThe fields of a jsonl or csv row:\n\n");
#define TEXT(name, meaning) printf("  %-16s %s\n", #name, meaning);
#define INT                 TEXT
#define REAL                TEXT
#define FLAG                TEXT
#include "columns.def"
#undef TEXT
#undef INT
#undef REAL
#undef FLAG
    printf(
        "\nExit code: 0; 1 if a row failed or none could be measured; 2 if the command line is wrong or the backend cannot\n"
        "be opened; 130 after Ctrl-C, which keeps what was measured.\n");
}

static int usage_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

static int usage_error(const char *format, ...) {
    va_list list;
    va_start(list, format);
    fputs("norma-bench: ", stderr);
    vfprintf(stderr, format, list);
    fputs("; --help lists the options\n", stderr);
    va_end(list);
    return BENCH_EXIT_USAGE;
}

/* The place of the name text[0..length) in names from `first` on, or -1. */
static int find_name(const char *text, size_t length, const char *const *names, int first, int count) {
    for (int i = first; i < count; i++)
        if (strlen(names[i]) == length && memcmp(names[i], text, length) == 0) return i;
    return -1;
}

/* Reads "a,b" or "all" into a mask. */
static int parse_mask(int option, const char *text, const char *const *names, int first, int count, unsigned *out_mask) {
    unsigned mask = 0;
    for (const char *at = text;;) {
        const size_t length = strcspn(at, ",");
        const int found = find_name(at, length, names, first, count);
        if (found >= 0)
            mask |= 1u << found;
        else if (length == 3 && memcmp(at, "all", 3) == 0)
            for (int i = first; i < count; i++) mask |= 1u << i;
        else
            return usage_error("--%s: no such name as \"%.*s\"", rows[option].name, (int)length, at);
        if (at[length] == '\0') break;
        at += length + 1;
    }
    *out_mask = mask;
    return -1;
}

static int parse_choice(int option, const char *text, const char *const *names, int count, int *out_choice) {
    *out_choice = find_name(text, strlen(text), names, 0, count);
    if (*out_choice < 0) return usage_error("--%s: \"%s\" is not %s", rows[option].name, text, rows[option].value);
    return -1;
}

static int parse_integer(int option, const char *text, int64_t low, int64_t high, int64_t *out_value) {
    char *end;
    errno = 0;
    const long long value = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || value < low || value > high)
        return usage_error("--%s: \"%s\" is not a whole number from %lld to %lld", rows[option].name, text, (long long)low,
                           (long long)high);
    *out_value = value;
    return -1;
}

/* Reads a size and the character after it, one of `ends` or the end. */
static bool read_size(const char **at, const char *ends, int64_t *out_size) {
    char *end;
    errno = 0;
    *out_size = strtoll(*at, &end, 10);
    if (end == *at || errno != 0 || *out_size < 1 || *out_size > INT32_MAX) return false;
    *at = end;
    return *end == '\0' || strchr(ends, *end) != NULL;
}

static int parse_shape(const char *text, bench_options *options) {
    bench_shape shape = {0};
    const char *at = text;
    bool good = read_size(&at, ",", &shape.m) && *at++ == ',' && read_size(&at, ",", &shape.k);
    for (const char *before = ","; good && *at != '\0'; before = "+") {
        good = strchr(before, *at++) != NULL && shape.parts.count < BENCH_MAX_PARTS &&
               read_size(&at, "+", &shape.parts.n[shape.parts.count++]);
    }
    if (!good)
        return usage_error("--shape: \"%s\" is not M,K or M,K,N or M,K,N+N with sizes from 1 to %d and up to %d parts", text,
                           INT32_MAX, BENCH_MAX_PARTS);

    bench_shape *grown = realloc(options->shapes, (size_t)(options->shape_count + 1) * sizeof *grown);
    if (!grown) return usage_error("--shape: out of memory");
    options->shapes = grown;
    options->shapes[options->shape_count++] = shape;
    return -1;
}

static int parse_seconds(const char *text, double *out_seconds) {
    char *end;
    *out_seconds = strtod(text, &end);
    if (end == text || *end != '\0' || !(*out_seconds > 0) || *out_seconds > 3600)
        return usage_error("--time: \"%s\" is not a number of seconds above 0 and up to 3600", text);
    return -1;
}

static int parse_one(int option, const char *value, bench_options *options) {
    int choice = 0, code = -1;
    int64_t number = 0;
    switch (option) {
    case BACKEND: options->backend = value; return -1;
    case SUITE: return parse_mask(option, value, bench_suite_names, 0, BENCH_SUITE_COUNT, &options->suites);
    case SHAPE: return parse_shape(value, options);
    case OP: return parse_mask(option, value, op_names, 0, COUNT(op_names), &options->ops);
    case DTYPE: return parse_mask(option, value, dtype_names, 1, COUNT(dtype_names), &options->dtypes);
    case CONTRACT: return parse_mask(option, value, bench_contract_names, 0, 3, &options->contracts);
    case FOLDED: return parse_mask(option, value, fold_names, 0, COUNT(fold_names), &options->foldings);
    case KERNEL: options->route = value; return -1;
    case SCALE:
        code = parse_choice(option, value, scale_names, COUNT(scale_names), &choice);
        options->scale = (bench_scale)choice;
        return code;
    case WARM: options->warm = true; return -1;
    case WEIGHTS_STATIC: options->weights_static = true; return -1;
    case INVARIANT: options->batch_invariant = true; return -1;
    case TIMED: options->timed = true; return -1;
    case FP32_TENSOR: options->fp32_tensor = true; return -1;
    case TIME: return parse_seconds(value, &options->seconds_per_row);
    case SEED: return parse_integer(option, value, 0, INT32_MAX, &options->seed);
    case THREADS:
        code = parse_integer(option, value, 1, 4096, &number);
        options->threads = (int)number;
        return code;
    case MEMORY:
        code = parse_integer(option, value, 1, INT32_MAX, &number);
        options->memory_bytes = number * 1024 * 1024;
        return code;
    case FORMAT:
        code = parse_choice(option, value, format_names, COUNT(format_names), &choice);
        options->format = (bench_format)choice;
        return code;
    case OUT: options->out = value; return -1;
    case LIST: options->list = true; return -1;
    default: print_help(); return 0;
    }
}

int bench_options_parse(int argc, char **argv, bench_options *out_options) {
    *out_options = (bench_options){.scale = BENCH_SCALE_BY_DEVICE, .seconds_per_row = 1, .seed = 1};
    struct option list[COUNT(rows) + 1];
    memset(list, 0, sizeof list);
    for (int i = 0; i < COUNT(rows); i++)
        list[i] = (struct option){rows[i].name, rows[i].value ? required_argument : no_argument, NULL, 256 + i};

    opterr = 0;
    for (;;) {
        const int found = getopt_long(argc, argv, ":", list, NULL);
        if (found == -1) break;
        if (found == ':') return usage_error("%s needs a value", argv[optind - 1]);
        if (found == '?') return usage_error("no such option as %s", argv[optind - 1]);
        const int code = parse_one(found - 256, optarg, out_options);
        if (code >= 0) return code;
    }
    if (optind < argc) return usage_error("\"%s\" is not an option", argv[optind]);
    return -1;
}

void bench_options_free(bench_options *options) {
    free(options->shapes);
    options->shapes = NULL;
    options->shape_count = 0;
}
