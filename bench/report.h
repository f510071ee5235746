/* Reporting: rows to one or two files in a format each, flushed row by row, and progress to a terminal. */
#ifndef NORMA_BENCH_REPORT_H
#define NORMA_BENCH_REPORT_H

#include <stdio.h>

#include "options.h"
#include "row.h"

typedef struct bench_sink {
    FILE *file;
    bench_format format;
} bench_sink;

typedef struct bench_report {
    bench_sink sinks[2];
    int count;
    bool terminal; /* show progress on standard error */
} bench_report;

/* Opens what the options ask for. On failure errno says why. */
bool bench_report_open(bench_report *report, const bench_options *options);

/* Closes the files; false if writing failed anywhere. */
bool bench_report_close(bench_report *report);

/* A line of the table's heading; other formats ignore it. */
void bench_report_say(bench_report *report, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The names of the table's columns. */
void bench_report_columns(bench_report *report);

void bench_report_row(bench_report *report, const bench_row *row);

/* Shows on a terminal what is being done, in place of the line before. */
void bench_report_progress(const bench_report *report, const char *format, ...) __attribute__((format(printf, 2, 3)));
void bench_report_progress_clear(const bench_report *report);

#endif
