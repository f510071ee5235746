/* The rows of one device. A row is: lay out operands, prepare the contenders, check each, and only then time them. */
#include "run.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ceiling.h"
#include "contender.h"
#include "dtype.h"
#include "front/status.h"
#include "interrupt.h"
#include "measure.h"
#include "operands.h"
#include "suite.h"
#include "vendor.h"
#include "verify.h"

typedef struct device_run {
    const bench_options *options;
    bench_report *report;
    norma_context *context;
    norma_device_info info;
    bench_operands operands;
    bench_ceiling ceiling;
    char date[32];
    char vendor[96];
} device_run;

#define SET_TEXT(field, ...) snprintf(field, sizeof(field), __VA_ARGS__)

static bench_scale scale_for(const bench_options *options, const char *backend) {
    if (options->scale != BENCH_SCALE_BY_DEVICE) return options->scale;
    return strcmp(backend, "cpu") == 0 ? BENCH_SCALE_SMALL : BENCH_SCALE_FULL;
}

static void describe_row(const device_run *run, const bench_case *which, bench_row *row) {
    bench_row_clear(row);
    SET_TEXT(row->backend, "%s:%d", run->info.backend, (int)run->info.index);
    SET_TEXT(row->device, "%s", run->info.name);
    SET_TEXT(row->arch, "%s", run->info.arch);
    row->threads = run->context->device->limits.units;
    row->cache_bytes = run->context->device->limits.cache_bytes;
    SET_TEXT(row->version, "%s", norma_version());
    SET_TEXT(row->date, "%s", run->date);
    SET_TEXT(row->vendor, "%s", run->vendor);
    row->read_gbps = run->ceiling.read_gbps;
    row->copy_gbps = run->ceiling.copy_gbps;
    row->seed = run->options->seed;
    SET_TEXT(row->suite, "%s", which->suite);
    SET_TEXT(row->label, "%s", which->label);
    SET_TEXT(row->op, "%s", bench_op_name(which->op));
    SET_TEXT(row->dtype, "%s", norma_dtype_name(which->dtype));
    row->m = which->m;
    row->k = which->k;
    if (which->n > 0) row->n = which->n;
    if (which->parts.count > 1) bench_parts_name(&which->parts, row->parts, sizeof row->parts);
    SET_TEXT(row->contract, "%s", bench_contract_names[which->contract]);
    row->folded = which->folded;
    row->weights_static = which->weights_static;
    row->timed = which->timed || (run->context->forced_flags & NORMA_TIME_ROUTES) != 0;
    row->fp32_tensor = which->fp32_tensor;
    row->batch_invariant = which->batch_invariant || (run->context->forced_flags & NORMA_BATCH_INVARIANT) != 0;
}

static void add_note(bench_row *row, const char *who, const char *what) {
    const size_t used = strlen(row->note);
    snprintf(row->note + used, sizeof row->note - used, "%s%s%s%s", used ? "; " : "", who, who[0] ? ": " : "", what);
}

static const char *const role_names[BENCH_ROLE_COUNT] = {"", "pair", "product", "norm", "base", "floor"};

/* Checks every contender that has a reference. One of the peers that fails is dropped; norma's failure is the row's. */
static norma_status verify(bench_contender contenders[BENCH_ROLE_COUNT], const bench_case *which, bench_row *row,
                           double *out_estimate_us) {
    bench_judge *judge;
    norma_status status = bench_judge_create(which, &contenders[BENCH_NORMA], &judge);
    if (status != NORMA_OK) return status;
    for (int role = 0; role < BENCH_STREAM && status == NORMA_OK; role++) {
        if (!contenders[role].plan) continue;
        bench_verdict verdict;
        status = bench_judge_check(judge, &contenders[role], &verdict);
        if (status != NORMA_OK) break;
        if (!verdict.passed) {
            add_note(row, role_names[role], verdict.what);
            bench_contender_destroy(&contenders[role]);
        }
        if (role == BENCH_PAIR && verdict.checked > 0) row->pair_err = verdict.case_err;
        if (role != BENCH_NORMA) continue;
        row->verified = verdict.passed;
        row->checked = verdict.checked;
        if (verdict.checked > 0) row->max_err = verdict.max_err;
        if (verdict.checked > 0) row->err_bound = verdict.err_bound;
        *out_estimate_us = verdict.estimate_us;
        if (!verdict.passed) break;
    }
    bench_judge_destroy(judge);
    return status;
}

static double median(const bench_times *times) {
    return bench_percentile(times->us, times->samples, 50);
}

/* The floor: the row's own stream contender says what the memory allows at this size, the best product so far what the
 * arithmetic allows. */
static void fill_floor(device_run *run, const bench_case *which, const bench_timing *timing, bench_row *row) {
    const double element = (double)norma_dtype_bytes(which->dtype);
    const double stream_bytes = element * (double)which->k *
                                (double)(which->op == NORMA_OP_RMSNORM ? 2 * which->m
                                         : which->n == 0               ? 3 * which->m
                                                                       : which->n);
    row->ceiling_gbps = 1e-3 * stream_bytes / median(&timing->of[BENCH_STREAM]);
    const double memory_us = 1e-3 * bench_case_bytes(which) / row->ceiling_gbps;

    double *best = &run->ceiling.tflops[which->dtype];
    if (which->n == 0) {
        row->floor_us = memory_us;
    } else {
        if (isfinite(row->gemm_us)) *best = fmax(*best, 1e-6 * bench_case_operations(which) / row->gemm_us);
        row->floor_us = fmax(memory_us, 1e-6 * bench_case_operations(which) / *best);
    }
    row->ceiling_tflops = *best;
    if (isfinite(*best)) SET_TEXT(row->ceiling_product, "%s", run->ceiling.product[which->dtype]);
    row->roofline_pct = 100 * row->floor_us / row->median_us;
}

static void fill_timing(device_run *run, const bench_case *which, const bench_timing *timing, bench_row *row) {
    const bench_times *norma = &timing->of[BENCH_NORMA];
    row->calls = timing->calls;
    row->samples = timing->samples;
    row->median_us = median(norma);
    row->p20_us = bench_percentile(norma->us, norma->samples, 20);
    row->p80_us = bench_percentile(norma->us, norma->samples, 80);
    row->pair_us = median(&timing->of[BENCH_PAIR]);
    row->gemm_us = median(&timing->of[BENCH_GEMM]);
    row->norm_us = median(&timing->of[BENCH_NORM]);
    row->base_us = median(&timing->of[BENCH_BASE]);
    row->base_ratio = bench_ratio_percentile(norma, &timing->of[BENCH_BASE], 50);
    row->speedup = bench_ratio_percentile(&timing->of[BENCH_PAIR], norma, 50);
    row->speedup_p20 = bench_ratio_percentile(&timing->of[BENCH_PAIR], norma, 20);
    row->speedup_p80 = bench_ratio_percentile(&timing->of[BENCH_PAIR], norma, 80);
    row->gemm_ratio = bench_ratio_percentile(norma, &timing->of[BENCH_GEMM], 50);
    row->gbps = 1e-3 * bench_case_bytes(which) / row->median_us;
    row->tflops = 1e-6 * bench_case_operations(which) / row->median_us;
    fill_floor(run, which, timing, row);
}

static norma_status prepare_contenders(device_run *run, const bench_case *which, bench_row *row,
                                       bench_contender contenders[BENCH_ROLE_COUNT]) {
    norma_status status = NORMA_OK;
    for (int role = 0; role < BENCH_ROLE_COUNT && status == NORMA_OK; role++) {
        status = bench_contender_create(&contenders[role], (bench_role)role, which, &run->operands, run->options->route);
        if (contenders[role].missing[0]) add_note(row, role_names[role], contenders[role].missing);
        if (role == BENCH_NORMA && !contenders[role].plan) break;
    }
    SET_TEXT(row->kernel, "%s", contenders[BENCH_NORMA].kernel);
    if (contenders[BENCH_PAIR].plan) SET_TEXT(row->pair_kernel, "%s", contenders[BENCH_PAIR].kernel);
    return status;
}

static norma_status measure_row(device_run *run, const bench_case *which, bench_row *row,
                                bench_contender contenders[BENCH_ROLE_COUNT]) {
    double estimate_us = 0;
    norma_status status = bench_operands_lay_out(&run->operands, which, run->options->warm);
    if (status != NORMA_OK) return status;
    row->sets = run->operands.sets;
    SET_TEXT(row->cache, "%s", run->operands.cold ? "cold" : "warm");
    status = prepare_contenders(run, which, row, contenders);
    if (status == NORMA_OK && contenders[BENCH_NORMA].plan) status = verify(contenders, which, row, &estimate_us);
    if (status != NORMA_OK || row->verified != 1 || bench_interrupted()) return status;

    bench_timing timing;
    status = bench_measure(contenders, &run->operands, run->options->seconds_per_row, estimate_us, &timing);
    if (status == NORMA_OK && timing.samples > 0) fill_timing(run, which, &timing, row);
    bench_timing_free(&timing);
    return status;
}

static norma_status run_row(device_run *run, const bench_case *which, bench_outcome *outcome) {
    bench_contender contenders[BENCH_ROLE_COUNT] = {0};
    bench_row row;
    describe_row(run, which, &row);
    const norma_status status = measure_row(run, which, &row, contenders);
    for (int role = 0; role < BENCH_ROLE_COUNT; role++) bench_contender_destroy(&contenders[role]);

    if (status != NORMA_OK) add_note(&row, "", norma_last_error());
    if (isfinite(row.median_us))
        outcome->measured++;
    else if (status != NORMA_OK || row.verified == 0)
        outcome->failed++;
    else if (bench_interrupted())
        return NORMA_OK;
    bench_report_row(run->report, &row);
    return status;
}

static void say_heading(device_run *run, int count) {
    const norma_device_info *info = &run->info;
    const norma_limits *limits = &run->context->device->limits;
    const bench_options *options = run->options;
    bench_report *report = run->report;
    bench_report_say(report, "norma-bench %s on %s:%d, %s (%s), %d %s, last-level cache %.0f MB, memory %.1f GB",
                     norma_version(), info->backend, (int)info->index, info->name, info->arch, limits->units,
                     strcmp(info->backend, "cpu") == 0 ? "threads" : "compute units", (double)limits->cache_bytes / 1e6,
                     (double)info->memory_bytes / 1e9);
    bench_report_say(report, "%s, %d rows, %g s each, scale %s, seed %lld", run->date, count, options->seconds_per_row,
                     scale_for(options, info->backend) == BENCH_SCALE_SMALL ? "small" : "full", (long long)options->seed);
    bench_report_say(report, "measured: read %.1f GB/s, copy %.1f GB/s", run->ceiling.read_gbps, run->ceiling.copy_gbps);
    bench_report_say(report,
                     "times in us; W stored (N, K); cold: the operand sets in rotation exceed %dx the last-level cache",
                     BENCH_COLD_FACTOR);
    bench_report_say(report,
                     "pair: separate norm, then the vendor's product; product: that alone; floor: what bandwidth or the "
                     "product's rate allow; err/bnd: error over its bound");
}

/* A dtype's rows are preceded by the rate of its product. */
static norma_status begin_dtype(device_run *run, norma_dtype dtype) {
    bench_report_progress(run->report, "measuring the %s product", norma_dtype_name(dtype));
    const norma_status status = bench_ceiling_product(&run->ceiling, &run->operands, dtype, run->options->seconds_per_row);
    bench_report_progress_clear(run->report);
    if (status != NORMA_OK) return status;
    const double tflops = run->ceiling.tflops[dtype];
    if (isfinite(tflops))
        bench_report_say(run->report, "\n%s: product %.3f TFLOP/s (%s%s%s)", norma_dtype_name(dtype), tflops,
                         run->ceiling.product[dtype], run->vendor[0] ? ", " : "", run->vendor);
    else
        bench_report_say(run->report, "\n%s: the rate of the product is not known", norma_dtype_name(dtype));
    bench_report_columns(run->report);
    return NORMA_OK;
}

static norma_status run_cases(device_run *run, const bench_case *cases, int count, bench_outcome *outcome) {
    char warning[256];
    bench_vendor_prepare(run->context, run->vendor, warning);
    norma_status status = bench_ceiling_stream(&run->ceiling, &run->operands, run->options->seconds_per_row);
    if (status != NORMA_OK) return status;
    say_heading(run, count);
    if (warning[0]) bench_report_say(run->report, "warning: %s", warning);
    for (int i = 0; i < count && !bench_interrupted(); i++) {
        const bench_case *which = &cases[i];
        if (i == 0 || which->dtype != cases[i - 1].dtype) status = begin_dtype(run, which->dtype);
        if (status != NORMA_OK) return status;
        bench_report_progress(run->report, "[%d/%d] %s: %s %s %s, M %lld, K %lld, N %lld", i + 1, count, run->info.backend,
                              which->suite, bench_op_name(which->op), norma_dtype_name(which->dtype), (long long)which->m,
                              (long long)which->k, (long long)which->n);
        if (run_row(run, which, outcome) == NORMA_ERROR_DEVICE_LOST) break;
    }
    bench_report_progress_clear(run->report);
    return NORMA_OK;
}

norma_status bench_run(norma_context *context, const bench_options *options, bench_report *report, bench_outcome *outcome) {
    device_run run = {.options = options, .report = report, .context = context, .info = {.struct_size = sizeof run.info}};
    const time_t now = time(NULL);
    struct tm utc;
    strftime(run.date, sizeof run.date, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    bench_ceiling_clear(&run.ceiling);
    norma_status status = norma_context_get_info(context, &run.info);
    if (status != NORMA_OK) return status;
    if (report->count == 0 && !bench_report_open(report, options))
        return norma_fail(NORMA_ERROR_OPTION, "cannot write %s: %s", options->out, strerror(errno));

    bench_case *cases = NULL;
    const int count = bench_suite_expand(options, scale_for(options, run.info.backend), &cases);
    if (count < 0) return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory for the list of rows");
    bench_operands_init(&run.operands, context, options->seed, options->memory_bytes);
    if (count > 0) status = run_cases(&run, cases, count, outcome);
    free(cases);
    bench_operands_free(&run.operands);
    return status;
}

static norma_status open_context(const char *backend, const bench_options *options, norma_context **out_context) {
    norma_context_desc desc = norma_context_desc_init();
    desc.backend = backend;
    desc.threads = options->threads;
    return norma_context_create(&desc, out_context);
}

norma_status bench_run_backend(const char *backend, const bench_options *options, bench_report *report,
                               bench_outcome *outcome) {
    norma_context *context;
    norma_status status = open_context(backend, options, &context);
    if (status != NORMA_OK) return status;
    status = bench_run(context, options, report, outcome);
    norma_context_destroy(context);
    return status;
}

norma_status bench_list_rows(const char *backend, const bench_options *options) {
    bench_scale scale = options->scale;
    if (scale == BENCH_SCALE_BY_DEVICE) {
        norma_device_info info = {.struct_size = sizeof info};
        norma_context *context;
        norma_status status = open_context(backend, options, &context);
        if (status != NORMA_OK) return status;
        status = norma_context_get_info(context, &info);
        norma_context_destroy(context);
        if (status != NORMA_OK) return status;
        scale = scale_for(options, info.backend);
    }
    bench_case *cases = NULL;
    const int count = bench_suite_expand(options, scale, &cases);
    printf("%-8s %-23s %-5s %-9s %-6s %8s %7s %7s  %s\n", "suite", "op", "dtype", "contract", "folded", "M", "K", "N",
           "shape of");
    for (int i = 0; i < count; i++) {
        const bench_case *which = &cases[i];
        char n[96] = "-";
        if (which->n > 0) bench_parts_name(&which->parts, n, sizeof n);
        printf("%-8s %-23s %-5s %-9s %-6s %8lld %7lld %7s  %s\n", which->suite, bench_op_name(which->op),
               norma_dtype_name(which->dtype), bench_contract_names[which->contract], which->folded ? "yes" : "no",
               (long long)which->m, (long long)which->k, n, which->label);
    }
    free(cases);
    return NORMA_OK;
}
