/* Making and laying out operands. Values come from SplitMix64 (Steele, Lea, Flood 2014) through the Box-Muller transform. A
 * pool of a few million is made on the host and laid end to end over the arena, which is far from any cache's period. */
#include "operands.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "dtype.h"
#include "front/plan.h"
#include "front/status.h"

#define POOL_VALUES ((size_t)4 * 1024 * 1024 - 64)
#define ALIGNMENT   ((size_t)256)

static size_t align_up(size_t bytes) {
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

uint64_t bench_random(uint64_t *state) {
    uint64_t bits = *state += UINT64_C(0x9e3779b97f4a7c15);
    bits = (bits ^ bits >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    bits = (bits ^ bits >> 27) * UINT64_C(0x94d049bb133111eb);
    return bits ^ bits >> 31;
}

int64_t bench_random_below(uint64_t *state, int64_t limit) {
    return (int64_t)(bench_random(state) % (uint64_t)limit);
}

/* Half of what is free: for a CPU of the machine's pages, for other devices of their own memory. */
static size_t default_limit(const norma_context *context) {
    const int64_t pages = sysconf(_SC_AVPHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
    const int64_t device_bytes = context->device->limits.memory_bytes;
    const bool host = strcmp(context->info.backend, "cpu") == 0;
    int64_t bytes = pages > 0 && page_bytes > 0 ? pages * page_bytes : INT64_C(1) << 32;
    if (device_bytes > 0 && (!host || device_bytes < bytes)) bytes = device_bytes;
    return (size_t)bytes / 2;
}

void bench_operands_init(bench_operands *operands, norma_context *context, int64_t seed, int64_t limit_bytes) {
    *operands = (bench_operands){.context = context, .seed = seed};
    operands->limit_bytes = limit_bytes > 0 ? (size_t)limit_bytes : default_limit(context);
}

static void arena_free(bench_operands *operands, bench_arena *arena) {
    if (arena->data) (void)norma_free(operands->context, arena->data);
    *arena = (bench_arena){0};
}

void bench_operands_free(bench_operands *operands) {
    arena_free(operands, &operands->inputs);
    arena_free(operands, &operands->outputs);
    arena_free(operands, &operands->rstd);
    operands->filled = NORMA_NONE;
}

static norma_status arena_reserve(bench_operands *operands, bench_arena *arena, size_t bytes) {
    if (arena->bytes >= bytes) return NORMA_OK;
    arena_free(operands, arena);
    if (arena == &operands->inputs) operands->filled = NORMA_NONE;
    const norma_status status = norma_alloc(operands->context, bytes, &arena->data);
    if (status == NORMA_OK) arena->bytes = bytes;
    return status;
}

/* Arenas keep the size of their largest case so far, unless both together would then pass the limit. */
static norma_status reserve_arenas(bench_operands *operands, size_t input_bytes, size_t output_bytes) {
    const size_t inputs = input_bytes > operands->inputs.bytes ? input_bytes : operands->inputs.bytes;
    const size_t outputs = output_bytes > operands->outputs.bytes ? output_bytes : operands->outputs.bytes;
    if (inputs + outputs > operands->limit_bytes) bench_operands_free(operands);
    const norma_status status = arena_reserve(operands, &operands->inputs, input_bytes);
    return status == NORMA_OK ? arena_reserve(operands, &operands->outputs, output_bytes) : status;
}

static void fill_pool(void *pool, size_t values, norma_dtype dtype, int64_t seed) {
    uint64_t state = (uint64_t)seed;
    for (int64_t i = 0; i < (int64_t)values; i += 2) {
        const double u = ((double)(bench_random(&state) >> 11) + 0.5) * 0x1p-53;
        const double angle = 6.283185307179586 * (double)(bench_random(&state) >> 11) * 0x1p-53;
        const double radius = sqrt(-2 * log(u));
        norma_store(pool, dtype, i, (float)(radius * cos(angle)));
        norma_store(pool, dtype, i + 1, (float)(radius * sin(angle)));
    }
}

static norma_status fill_inputs(bench_operands *operands, norma_dtype dtype) {
    if (operands->filled == dtype) return NORMA_OK;
    const size_t fit = operands->inputs.bytes / norma_dtype_bytes(dtype);
    const size_t values = fit < POOL_VALUES ? fit : POOL_VALUES;
    const size_t pool_bytes = values * norma_dtype_bytes(dtype);
    void *pool = malloc(pool_bytes);
    if (!pool) return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory for %zu bytes of random values", pool_bytes);
    fill_pool(pool, values, dtype, operands->seed);

    norma_status status = NORMA_OK;
    for (size_t done = 0; done < operands->inputs.bytes && status == NORMA_OK; done += pool_bytes) {
        const size_t left = operands->inputs.bytes - done;
        status = norma_upload(operands->context, (norma_buffer){operands->inputs.data, done}, pool,
                              left < pool_bytes ? left : pool_bytes);
    }
    free(pool);
    if (status == NORMA_OK) operands->filled = dtype;
    return status;
}

static int64_t sets_that_fit(const bench_operands *operands) {
    return (int64_t)(operands->limit_bytes / (operands->input_stride + operands->output_stride));
}

/* A copy of as many bytes as a norm's backward moves fits, too. */
static void lay_out_backward(bench_operands *operands, const bench_case *which) {
    const size_t element = norma_dtype_bytes(which->dtype);
    const size_t m = (size_t)which->m, k = (size_t)which->k, n = (size_t)which->n;
    operands->dout_bytes = m * (n ? n : k) * element;
    operands->rstd_bytes = m * sizeof(float);
    operands->input_stride += align_up(operands->dout_bytes);
    operands->dgamma_offset = align_up(operands->x_bytes);
    operands->dweight_offset = operands->dgamma_offset + align_up(operands->gamma_bytes);
    operands->out_bytes = operands->dweight_offset + operands->weight_bytes;
    if (operands->out_bytes < operands->x_bytes * 3 / 2) operands->out_bytes = operands->x_bytes * 3 / 2;
}

/* From norma's own norm of x, which has tests of its own. */
static norma_status fill_rstd(bench_operands *operands, const bench_case *which) {
    norma_problem problem = {.op = NORMA_OP_RMSNORM, .eps = NORMA_DEFAULT_EPS, .batch = 1, .m = which->m, .k = which->k};
    problem.x.layout = norma_layout_strided(which->dtype, which->k, 1);
    problem.rstd.layout = norma_layout_strided(NORMA_F32, 1, 1);
    norma_plan *plan;
    norma_status status = arena_reserve(operands, &operands->rstd, (size_t)operands->sets * align_up(operands->rstd_bytes));
    if (status == NORMA_OK) status = norma_plan_create(operands->context, &problem, which->m, NULL, &plan);
    if (status != NORMA_OK) return status;
    for (int64_t set = 0; set < operands->sets && status == NORMA_OK; set++) {
        problem.x.buffer = bench_operands_x(operands, set);
        problem.rstd.buffer = bench_operands_rstd(operands, set);
        status = norma_plan_run(plan, &problem);
    }
    norma_plan_destroy(plan);
    return status;
}

norma_status bench_operands_lay_out(bench_operands *operands, const bench_case *which, bool warm) {
    const size_t element = norma_dtype_bytes(which->dtype);
    const size_t m = (size_t)which->m, k = (size_t)which->k, n = (size_t)which->n;
    operands->x_bytes = m * k * element;
    operands->gamma_bytes = k * element;
    operands->weight_bytes = k * n * element;
    operands->out_bytes = m * (k > n ? k : n) * element;
    operands->gamma_offset = align_up(operands->x_bytes);
    operands->weight_offset = operands->gamma_offset + align_up(operands->gamma_bytes);
    operands->dout_offset = operands->weight_offset + align_up(operands->weight_bytes);
    operands->input_stride = operands->dout_offset;
    if (bench_case_is_backward(which)) lay_out_backward(operands, which);
    operands->output_stride = align_up(operands->out_bytes) + 2 * BENCH_GUARD_BYTES;

    const double cold_bytes = BENCH_COLD_FACTOR * (double)operands->context->device->limits.cache_bytes;
    const double set_bytes = bench_case_bytes(which);
    const int64_t fit = sets_that_fit(operands);
    if (fit < 1)
        return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "the operands take %.0f MiB, the limit is %.0f MiB",
                          (double)(operands->input_stride + operands->output_stride) / 0x1p20,
                          (double)operands->limit_bytes / 0x1p20);
    operands->sets = warm ? 1 : (int64_t)(cold_bytes / set_bytes) + 2;
    if (operands->sets > fit) operands->sets = fit;
    operands->cold = (double)operands->sets * set_bytes > cold_bytes && operands->sets > 1;
    if (!operands->cold) operands->sets = 1;

    norma_status status = reserve_arenas(operands, (size_t)operands->sets * operands->input_stride,
                                         (size_t)operands->sets * operands->output_stride);
    if (status == NORMA_OK) status = fill_inputs(operands, which->dtype);
    if (status == NORMA_OK && bench_case_is_backward(which)) status = fill_rstd(operands, which);
    return status;
}

static norma_buffer input_at(const bench_operands *operands, int64_t set, size_t offset) {
    return (norma_buffer){operands->inputs.data, (size_t)set * operands->input_stride + offset};
}

norma_buffer bench_operands_x(const bench_operands *operands, int64_t set) {
    return input_at(operands, set, 0);
}

norma_buffer bench_operands_gamma(const bench_operands *operands, int64_t set) {
    return input_at(operands, set, operands->gamma_offset);
}

norma_buffer bench_operands_weight(const bench_operands *operands, int64_t set) {
    return input_at(operands, set, operands->weight_offset);
}

norma_buffer bench_operands_out(const bench_operands *operands, int64_t set) {
    return (norma_buffer){operands->outputs.data, (size_t)set * operands->output_stride + BENCH_GUARD_BYTES};
}

norma_buffer bench_operands_dout(const bench_operands *operands, int64_t set) {
    return input_at(operands, set, operands->dout_offset);
}

static norma_buffer output_at(const bench_operands *operands, int64_t set, size_t offset) {
    norma_buffer buffer = bench_operands_out(operands, set);
    buffer.offset_bytes += offset;
    return buffer;
}

norma_buffer bench_operands_dgamma(const bench_operands *operands, int64_t set) {
    return output_at(operands, set, operands->dgamma_offset);
}

norma_buffer bench_operands_dweight(const bench_operands *operands, int64_t set) {
    return output_at(operands, set, operands->dweight_offset);
}

norma_buffer bench_operands_rstd(const bench_operands *operands, int64_t set) {
    return (norma_buffer){operands->rstd.data, (size_t)set * align_up(operands->rstd_bytes)};
}
