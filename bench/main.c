/* norma-bench: times RMSNorm and RMSNorm+Linear on each device asked for, next to what they replace. bench/README.md says
 * what is measured and how. */
#include <stdio.h>
#include <string.h>

#include "interrupt.h"
#include "run.h"

static void complain(const char *what) {
    fprintf(stderr, "norma-bench: %s\n", what);
}

/* Every backend that has a device, and for the others why not. */
static norma_status run_all(const bench_options *options, bench_report *report, bench_outcome *outcome) {
    norma_status result = NORMA_OK;
    for (int i = 0; i < norma_backend_count() && !bench_interrupted(); i++) {
        norma_backend_info info = {.struct_size = sizeof info};
        norma_status status = norma_backend_get_info(i, &info);
        if (status == NORMA_OK && info.devices < 1) {
            fprintf(stderr, "norma-bench: %s is left out: %s\n", info.name, info.detail);
            continue;
        }
        if (status == NORMA_OK) status = bench_run_backend(info.name, options, report, outcome);
        if (status == NORMA_OK) continue;
        complain(norma_last_error());
        result = status;
    }
    return result;
}

static int run(const bench_options *options) {
    bench_report report = {0};
    bench_outcome outcome = {0};
    const bool all = options->backend && strcmp(options->backend, "all") == 0;
    norma_status status;
    if (all) {
        status = run_all(options, &report, &outcome);
    } else {
        status = bench_run_backend(options->backend, options, &report, &outcome);
        if (status != NORMA_OK) complain(norma_last_error());
    }
    if (!bench_report_close(&report)) {
        complain("the results could not be written completely");
        return BENCH_EXIT_FAILED;
    }
    if (bench_interrupted()) return BENCH_EXIT_INTERRUPTED;
    if (status != NORMA_OK) return BENCH_EXIT_USAGE;
    if (outcome.measured == 0) complain("no row was measured");
    return outcome.failed > 0 || outcome.measured == 0 ? BENCH_EXIT_FAILED : 0;
}

int main(int argc, char **argv) {
    bench_options options;
    int code = bench_options_parse(argc, argv, &options);
    if (code < 0 && options.list) {
        const bool all = options.backend && strcmp(options.backend, "all") == 0;
        code = bench_list_rows(all ? NULL : options.backend, &options) == NORMA_OK ? 0 : BENCH_EXIT_USAGE;
        if (code != 0) complain(norma_last_error());
    } else if (code < 0) {
        bench_interrupt_catch();
        code = run(&options);
    }
    bench_options_free(&options);
    return code;
}
