/* Writing rows. jsonl and csv hold every field of columns.def; the table holds what fits a wide terminal, a column per entry
 * of table_columns. */
#include "report.h"

#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "json.h"

bool bench_report_close(bench_report *report) {
    bool good = true;
    for (int i = 0; i < report->count; i++) {
        FILE *file = report->sinks[i].file;
        good = fflush(file) == 0 && !ferror(file) && good;
        if (file != stdout) good = fclose(file) == 0 && good;
    }
    report->count = 0;
    return good;
}

void bench_report_say(bench_report *report, const char *format, ...) {
    for (int i = 0; i < report->count; i++) {
        if (report->sinks[i].format != BENCH_FORMAT_TABLE) continue;
        va_list list;
        va_start(list, format);
        vfprintf(report->sinks[i].file, format, list);
        fputc('\n', report->sinks[i].file);
        va_end(list);
        fflush(report->sinks[i].file);
    }
}

void bench_report_progress_clear(const bench_report *report) {
    if (report->terminal) fputs("\r\033[K", stderr);
}

void bench_report_progress(const bench_report *report, const char *format, ...) {
    if (!report->terminal) return;
    bench_report_progress_clear(report);
    va_list list;
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fflush(stderr);
}

/* ---- jsonl */

static void put_json(FILE *file, const bench_row *row) {
    const char *separator = "{";
#define NAME(name)                                 \
    fprintf(file, "%s\"%s\": ", separator, #name); \
    separator = ", ";
#define TEXT(name, meaning) NAME(name) bench_json_text(file, row->name[0] ? row->name : NULL);
#define INT(name, meaning)                                                      \
    NAME(name) if (row->name >= 0) fprintf(file, "%lld", (long long)row->name); \
    else fputs("null", file);
#define REAL(name, meaning)                                               \
    NAME(name) if (isfinite(row->name)) fprintf(file, "%.6g", row->name); \
    else fputs("null", file);
#define FLAG(name, meaning) NAME(name) fputs(row->name < 0 ? "null" : row->name ? "true" : "false", file);
#include "columns.def"
#undef TEXT
#undef INT
#undef REAL
#undef FLAG
#undef NAME
    fputs("}\n", file);
}

/* ---- csv, as RFC 4180 quotes it */

static void put_csv_text(FILE *file, const char *text) {
    if (!strpbrk(text, ",\"\r\n")) {
        fputs(text, file);
        return;
    }
    fputc('"', file);
    for (; *text; text++) {
        if (*text == '"') fputc('"', file);
        fputc(*text, file);
    }
    fputc('"', file);
}

static void put_csv_header(FILE *file) {
    const char *separator = "";
#define TEXT(name, meaning)                  \
    fprintf(file, "%s%s", separator, #name); \
    separator = ",";
#define INT  TEXT
#define REAL TEXT
#define FLAG TEXT
#include "columns.def"
#undef TEXT
#undef INT
#undef REAL
#undef FLAG
    fputc('\n', file);
}

static void put_csv(FILE *file, const bench_row *row) {
    const char *separator = "";
#define NEXT()              \
    fputs(separator, file); \
    separator = ",";
#define TEXT(name, meaning) NEXT() put_csv_text(file, row->name);
#define INT(name, meaning)  NEXT() if (row->name >= 0) fprintf(file, "%lld", (long long)row->name);
#define REAL(name, meaning) NEXT() if (isfinite(row->name)) fprintf(file, "%.6g", row->name);
#define FLAG(name, meaning) NEXT() if (row->name >= 0) fputs(row->name ? "true" : "false", file);
#include "columns.def"
#undef TEXT
#undef INT
#undef REAL
#undef FLAG
#undef NEXT
    fputc('\n', file);
}

/* ---- table */

typedef struct cell {
    char text[BENCH_TEXT_BYTES];
} cell;

static cell number(double value, int digits) {
    cell out = {"-"};
    if (isfinite(value)) snprintf(out.text, sizeof out.text, "%.*f", digits, value);
    return out;
}

/* Four significant digits without an exponent, whatever the size. */
static cell significant(double value) {
    return number(value, value < 10 ? 3 : value < 100 ? 2 : value < 1000 ? 1 : 0);
}

static cell shape_cell(const bench_row *row) {
    cell out;
    if (row->parts[0])
        snprintf(out.text, sizeof out.text, "%lldx%lldx(%.64s)", (long long)row->m, (long long)row->k, row->parts);
    else if (row->n >= 0)
        snprintf(out.text, sizeof out.text, "%lldx%lldx%lld", (long long)row->m, (long long)row->k, (long long)row->n);
    else
        snprintf(out.text, sizeof out.text, "%lldx%lld", (long long)row->m, (long long)row->k);
    return out;
}

static cell text_cell(const char *text) {
    cell out;
    snprintf(out.text, sizeof out.text, "%s", text);
    return out;
}

/* X(heading, width, value): a negative width is flush left. */
#define TABLE_COLUMNS(X)                                       \
    X("M x K x N", -16, shape_cell(row))                       \
    X("dtype", -5, text_cell(row->dtype))                      \
    X("contract", -8, text_cell(row->contract))                \
    X("gamma", -6, text_cell(row->folded ? "folded" : "call")) \
    X("cache", -5, text_cell(row->cache))                      \
    X("median", 7, significant(row->median_us))                \
    X("p20", 7, significant(row->p20_us))                      \
    X("p80", 7, significant(row->p80_us))                      \
    X("floor", 7, significant(row->floor_us))                  \
    X("norm", 7, significant(row->norm_us))                    \
    X("product", 7, significant(row->gemm_us))                 \
    X("pair", 7, significant(row->pair_us))                    \
    X("speedup", 7, number(row->speedup, 2))                   \
    X("/base", 5, number(row->base_ratio, 2))                  \
    X("GB/s", 6, significant(row->gbps))                       \
    X("TFLOP/s", 7, significant(row->tflops))                  \
    X("roof%", 5, number(row->roofline_pct, 0))                \
    X("err/bnd", 7, number(row->max_err / row->err_bound, 3))  \
    X("kernel", -1, text_cell(row->kernel))

static void put_table_header(FILE *file) {
    const char *separator = "";
#define HEADING(heading, width, value)                 \
    fprintf(file, "%s%*s", separator, width, heading); \
    separator = " ";
    TABLE_COLUMNS(HEADING)
#undef HEADING
    fputc('\n', file);
}

static void put_table(FILE *file, const bench_row *row) {
    if (!isfinite(row->median_us)) {
        const cell shape = shape_cell(row);
        fprintf(file, "%-16s %-5s %-8s %-6s %s: %s", shape.text, row->dtype, row->contract, row->folded ? "folded" : "call",
                row->verified == 0 ? "failed" : "not measured", row->note);
        if (row->kernel[0]) fprintf(file, " (%s)", row->kernel);
        fputc('\n', file);
        return;
    }
    const char *separator = "";
#define CELL(heading, width, value)                          \
    {                                                        \
        const cell cell = value;                             \
        fprintf(file, "%s%*s", separator, width, cell.text); \
        separator = " ";                                     \
    }
    TABLE_COLUMNS(CELL)
#undef CELL
    fputc('\n', file);
}

static void add_sink(bench_report *report, FILE *file, bench_format format) {
    report->sinks[report->count++] = (bench_sink){.file = file, .format = format};
    if (format == BENCH_FORMAT_CSV) put_csv_header(file);
}

bool bench_report_open(bench_report *report, const bench_options *options) {
    *report = (bench_report){.terminal = isatty(STDERR_FILENO) != 0};
    if (!options->out) {
        add_sink(report, stdout, options->format);
        return true;
    }
    FILE *file = fopen(options->out, "w");
    if (!file) return false;
    add_sink(report, file, options->format);
    add_sink(report, stdout, BENCH_FORMAT_TABLE);
    return true;
}

void bench_report_columns(bench_report *report) {
    for (int i = 0; i < report->count; i++)
        if (report->sinks[i].format == BENCH_FORMAT_TABLE) put_table_header(report->sinks[i].file);
}

void bench_report_row(bench_report *report, const bench_row *row) {
    bench_report_progress_clear(report);
    for (int i = 0; i < report->count; i++) {
        bench_sink *sink = &report->sinks[i];
        switch (sink->format) {
        case BENCH_FORMAT_TABLE: put_table(sink->file, row); break;
        case BENCH_FORMAT_JSONL: put_json(sink->file, row); break;
        case BENCH_FORMAT_CSV: put_csv(sink->file, row); break;
        }
        fflush(sink->file);
    }
}
