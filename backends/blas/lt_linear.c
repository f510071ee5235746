/* One product of cuBLASLt or hipBLASLt per part, summed in fp32 (fp32 operands are not rounded to TF32), with the bias added
 * before the one rounding of the output.
 *
 * It takes x with contiguous rows (or columns, in a product of a backward), W with contiguous rows or columns of x's dtype,
 * outputs with contiguous rows of x's dtype or fp32, and a contiguous bias of the output's dtype; it refuses the rest.
 * norma_lt_prepare() searches for the fastest algorithm for the plan's largest m with aligned addresses, and for one that
 * serves any address: without one the product is refused, because a call could not be. norma_lt_launch() keeps the former
 * for other m where the library allows it, else takes its first choice, so that a result depends on the shape and not on
 * what ran before; and where that has none, the latter. */
#include "lt_linear.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../dtype.h"
#include "../front/step.h"
#include "lt_product.h"
#include "matrices.h"

typedef struct lt_part {
    lt_product product; /* as last run */
    lt_shape tuned_shape;
    lt_candidate tuned;  /* for tuned_shape */
    lt_candidate loose;  /* for tuned_shape at addresses of any alignment */
    lt_candidate choice; /* for product.shape */
    bool ready;          /* choice holds */
} lt_part;

typedef struct lt_plan {
    lt_part part[NORMA_MAX_PARTS];
} lt_plan;

/* The session of one of the vendor's libraries, or false with the reason. */
static bool start(const lt_vendor *vendor, const lt_api *api, lt_session *session, char *why, size_t why_bytes) {
    if (api->create(&session->handle) != LT_SUCCESS) {
        snprintf(why, why_bytes, "%s does not start with this driver", vendor->name);
        return false;
    }
    const size_t version = vendor->version(api, session->handle);
    if (version < vendor->oldest_version) {
        api->destroy(session->handle);
        snprintf(why, why_bytes, "%s %zu is too old", vendor->name, version);
        return false;
    }
    session->vendor = vendor;
    session->api = api;
    return true;
}

/* The device's session, opened with the newest library that works with its driver. */
static norma_status open_session(gpu_device *device, const lt_vendor *vendor) {
    if (device->lt) return NORMA_OK;
    lt_session *session = calloc(1, sizeof *session);
    if (!session) return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory for %s", vendor->name);
    char why[96];
    snprintf(why, sizeof why, "%s was not found", vendor->sonames[0]);
    int index = 0;
    for (const lt_api *api; (api = norma_lt_api_get(vendor, index)); index++) {
        if (!start(vendor, api, session, why, sizeof why)) continue;
        device->lt = session;
        norma_log(&device->base.log, NORMA_LOG_INFO, "%s %zu is open", vendor->name, vendor->version(api, session->handle));
        return NORMA_OK;
    }
    free(session);
    norma_log(&device->base.log, NORMA_LOG_INFO, "%s: products go another way", why);
    return norma_fail(NORMA_ERROR_UNSUPPORTED, "%s", why);
}

void norma_lt_version(const lt_vendor *vendor, gpu_device *device, char *text, size_t text_bytes) {
    if (open_session(device, vendor) != NORMA_OK) return;
    const lt_session *session = device->lt;
    const size_t used = strlen(text);
    snprintf(text + used, text_bytes - used, ", %s %zu", vendor->name, vendor->version(session->api, session->handle));
}

void norma_lt_close(gpu_device *device) {
    lt_session *session = device->lt;
    if (!session) return;
    session->api->destroy(session->handle);
    free(session);
    device->lt = NULL;
}

static const char *objection(const lt_vendor *vendor, const norma_problem *problem, const norma_part *part) {
    const norma_layout *out = &part->out.layout, *bias = &part->bias.layout;
    const char *why = norma_blas_objection(problem, part);
    if (why) return why;
    if (bias->dtype != NORMA_NONE && bias->dtype != out->dtype) return "a bias of another dtype than the output";
    if (bias->dtype != NORMA_NONE && bias->col_stride != 1) return "a bias that is not contiguous";
    if (vendor->rounds_before_bias && bias->dtype != NORMA_NONE && out->dtype != NORMA_F32 &&
        (part->n % 8 != 0 || out->row_stride % 8 != 0))
        return "a bias on a half output whose rows are not multiples of 16 bytes";
    return NULL;
}

static lt_shape shape_of(const gpu_device *device, const norma_problem *problem, const norma_part *part) {
    const norma_layout *weight = &part->weight.layout;
    const bool join = norma_blas_batches_join(problem, part);
    const bool transposed = !norma_blas_rows_are_contiguous(weight, part->n);
    const bool x_transposed = norma_blas_x_is_transposed(problem);
    const lt_session *session = device->lt;
    return (lt_shape){
        .vendor = session->vendor,
        .m = join ? problem->batch * problem->m : problem->m,
        .n = part->n,
        .k = problem->k,
        .batch = join ? 1 : problem->batch,
        .x_ld = x_transposed ? problem->x.layout.col_stride : problem->x.layout.row_stride,
        .weight_ld = transposed ? weight->col_stride : weight->row_stride,
        .out_ld = part->out.layout.row_stride,
        .x_batch_stride = join ? 0 : problem->x.layout.batch_stride,
        .out_batch_stride = join ? 0 : part->out.layout.batch_stride,
        .dtype = (int32_t)problem->x.layout.dtype,
        .out_dtype = (int32_t)part->out.layout.dtype,
        .weight_transposed = transposed,
        .x_transposed = x_transposed,
        .accumulate = problem->accumulate,
        .ordinal = device->ordinal,
        .x_alignment = LT_FULL_ALIGNMENT,
        .weight_alignment = LT_FULL_ALIGNMENT,
        .out_alignment = LT_FULL_ALIGNMENT,
        .bias_alignment = norma_tensor_present(&part->bias) ? LT_FULL_ALIGNMENT : 0,
    };
}

/* Where the library does not ask, any address is as good to it as an aligned one. */
static bool asks_for_alignments(const lt_vendor *vendor) {
    return vendor->numbers[LT_SEARCH_ALIGNMENT_A] != LT_ABSENT;
}

/* The least alignments that the front lets through. */
static lt_shape loosest(const norma_problem *problem, const norma_part *part, lt_shape shape) {
    shape.x_alignment = (int32_t)norma_dtype_bytes(problem->x.layout.dtype);
    shape.weight_alignment = (int32_t)norma_dtype_bytes(part->weight.layout.dtype);
    shape.out_alignment = (int32_t)norma_dtype_bytes(part->out.layout.dtype);
    if (shape.bias_alignment) shape.bias_alignment = (int32_t)norma_dtype_bytes(part->bias.layout.dtype);
    return shape;
}

/* Also of a plan that norma_lt_prepare() gave up half way. */
void norma_lt_discard(gpu_device *device, norma_launch *launch) {
    lt_plan *plan = launch->native;
    for (int p = 0; p < NORMA_MAX_PARTS; p++) norma_lt_product_destroy(device, &plan->part[p].product);
    free(plan);
}

static norma_status prepare_part(gpu_device *device, const norma_problem *problem, const norma_part *part, lt_part *out) {
    const lt_vendor *vendor = ((lt_session *)device->lt)->vendor;
    const char *why = objection(vendor, problem, part);
    if (why) return norma_fail(NORMA_ERROR_UNSUPPORTED, "%s does not take %s", vendor->name, why);
    out->tuned_shape = shape_of(device, problem, part);
    norma_status status = norma_lt_product_create(device, &out->tuned_shape, &out->product);
    const bool timed = problem->op != NORMA_OP_PRODUCT; /* one of gradients has the same bits in every process */
    if (!status) status = (timed ? norma_lt_product_search : norma_lt_product_first)(device, &out->product, &out->tuned);
    if (status || !asks_for_alignments(vendor)) return status;
    const lt_shape loose_shape = loosest(problem, part, out->tuned_shape);
    int count = 0;
    status = norma_lt_product_reshape(device, &out->product, &loose_shape);
    if (!status)
        status = norma_lt_product_candidates(device, &out->product, out->tuned.workspace_bytes, 1, &out->loose, &count);
    return status;
}

norma_status norma_lt_prepare(const lt_vendor *vendor, gpu_device *device, norma_launch *launch) {
    const norma_problem *problem = launch->problem;
    if (!norma_problem_is_plain(problem))
        return norma_fail(NORMA_ERROR_UNSUPPORTED, "%s computes plain products only", vendor->name);
    if (problem->flags & NORMA_BATCH_INVARIANT)
        return norma_fail(NORMA_ERROR_UNSUPPORTED, "%s's results depend on the number of rows", vendor->name);
    norma_status status = open_session(device, vendor);
    if (status) return status;
    lt_plan *plan = calloc(1, sizeof *plan);
    if (!plan) return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory for a plan");
    launch->native = plan;
    for (int p = 0; !status && p < problem->parts; p++) {
        if (problem->part[p].n == 0) continue;
        status = prepare_part(device, problem, &problem->part[p], &plan->part[p]);
        if (plan->part[p].tuned.workspace_bytes > launch->workspace_bytes)
            launch->workspace_bytes = plan->part[p].tuned.workspace_bytes;
    }
    return status;
}

/* The largest power of two up to LT_FULL_ALIGNMENT that divides the address. */
static int32_t alignment_of(const void *address) {
    const uintptr_t bits = (uintptr_t)address;
    int32_t alignment = LT_FULL_ALIGNMENT;
    while (bits % (uintptr_t)alignment != 0) alignment /= 2;
    return alignment;
}

static void set_alignments(const lt_operands *operands, lt_shape *shape) {
    shape->x_alignment = alignment_of(operands->x);
    shape->weight_alignment = alignment_of(operands->weight);
    shape->out_alignment = alignment_of(operands->out);
    if (shape->bias_alignment) shape->bias_alignment = alignment_of(operands->bias);
}

static bool fully_aligned(const lt_shape *shape) {
    return shape->x_alignment == LT_FULL_ALIGNMENT && shape->weight_alignment == LT_FULL_ALIGNMENT &&
           shape->out_alignment == LT_FULL_ALIGNMENT &&
           (shape->bias_alignment == 0 || shape->bias_alignment == LT_FULL_ALIGNMENT);
}

/* Whether what was tuned is right for the part's product as it is now. */
static bool tuned_serves(const gpu_device *device, const lt_part *part, size_t workspace_bytes) {
    const lt_shape *shape = &part->product.shape;
    return memcmp(shape, &part->tuned_shape, sizeof *shape) == 0 ||
           (fully_aligned(shape) && norma_lt_product_admits(device, &part->product, &part->tuned, workspace_bytes));
}

/* Makes the part's product fit `shape` and chooses its algorithm. */
static norma_status adapt(gpu_device *device, lt_part *part, const lt_shape *shape, size_t workspace_bytes) {
    part->ready = false;
    norma_status status = norma_lt_product_reshape(device, &part->product, shape);
    if (status) return status;
    part->choice = part->tuned;
    if (!tuned_serves(device, part, workspace_bytes)) {
        int count = 0;
        status = norma_lt_product_candidates(device, &part->product, workspace_bytes, 1, &part->choice, &count);
    }
    if (status == NORMA_ERROR_UNSUPPORTED &&
        norma_lt_product_admits(device, &part->product, &part->loose, workspace_bytes)) {
        part->choice = part->loose;
        status = NORMA_OK;
    }
    part->ready = status == NORMA_OK;
    return status;
}

static norma_status launch_product(gpu_device *device, const norma_launch *launch, const norma_problem *problem, int index) {
    const norma_part *part = &problem->part[index];
    lt_part *planned = &((lt_plan *)launch->native)->part[index];
    const lt_operands operands = {
        .x = norma_gpu_view(&problem->x).data,
        .weight = norma_gpu_view(&part->weight).data,
        .bias = norma_gpu_view(&part->bias).data,
        .out = norma_gpu_view(&part->out).data,
        .workspace = (char *)launch->workspace.data + launch->workspace.offset_bytes,
        .workspace_bytes = launch->workspace_bytes,
    };
    lt_shape shape = shape_of(device, problem, part);
    if (asks_for_alignments(shape.vendor)) set_alignments(&operands, &shape);
    if (!planned->ready || memcmp(&shape, &planned->product.shape, sizeof shape) != 0) {
        const norma_status status = adapt(device, planned, &shape, launch->workspace_bytes);
        if (status) return status;
    }
    norma_log(&device->base.log, NORMA_LOG_DEBUG, "%sMatmul: m %lld, n %lld, k %lld, batch %lld, workspace %zu bytes",
              shape.vendor->prefix, (long long)shape.m, (long long)shape.n, (long long)shape.k, (long long)shape.batch,
              launch->workspace_bytes);
    return norma_lt_product_run(device, &planned->product, &planned->choice, &operands, device->stream);
}

/* A batch that does not join, and that the library refuses, is as many products of the kind that the plan was made for. */
static norma_status launch_part(gpu_device *device, const norma_launch *launch, int index) {
    const norma_problem *problem = launch->problem;
    norma_status status = launch_product(device, launch, problem, index);
    if (status != NORMA_ERROR_UNSUPPORTED || problem->batch == 1) return status;
    status = NORMA_OK;
    for (int64_t batch = 0; !status && batch < problem->batch; batch++) {
        norma_problem one;
        norma_problem_slice(problem, batch, 1, 0, problem->m, &one);
        status = launch_product(device, launch, &one, index);
    }
    return status;
}

norma_status norma_lt_launch(gpu_device *device, const norma_launch *launch) {
    norma_status status = NORMA_OK;
    for (int p = 0; !status && p < launch->problem->parts; p++)
        if (launch->problem->part[p].n > 0) status = launch_part(device, launch, p);
    return status;
}
