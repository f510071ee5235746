/* Running cases on one device: open, measure the ceilings, then row by row verify, time and report. */
#ifndef NORMA_BENCH_RUN_H
#define NORMA_BENCH_RUN_H

#include "norma/norma.h"
#include "report.h"

/* What happened, over all devices. */
typedef struct bench_outcome {
    int measured; /* rows timed */
    int failed;   /* rows with a wrong result, or that the device refused */
} bench_outcome;

/* Runs the options' rows on a context. Opens the report unless it is open, so that a backend that cannot be opened leaves an
 * older file alone. Errors: OPTION (the file cannot be written), those of measuring the ceilings; a row's errors are
 * reported in the row. */
norma_status bench_run(norma_context *context, const bench_options *options, bench_report *report, bench_outcome *outcome);

/* Opens `backend` (a backend string of the library; NULL: its choice) and runs on it. Errors: also those of
 * norma_context_create. */
norma_status bench_run_backend(const char *backend, const bench_options *options, bench_report *report,
                               bench_outcome *outcome);

/* Prints the rows that a device would run; it is opened only if the scale depends on it. */
norma_status bench_list_rows(const char *backend, const bench_options *options);

#endif
