/* Preparing, binding and running contenders. */
#include "contender.h"

#include <stdio.h>
#include <string.h>

#include "dtype.h"
#include "front/validate.h"

static norma_rmsnorm_desc norm_desc(const bench_case *which) {
    norma_rmsnorm_desc desc = norma_rmsnorm_desc_init();
    desc.k = which->k;
    desc.max_rows = which->m;
    desc.contract = which->contract;
    if (which->batch_invariant) desc.flags |= NORMA_BATCH_INVARIANT;
    if (which->timed) desc.flags |= NORMA_TIME_ROUTES;
    desc.x.dtype = desc.out.dtype = which->dtype;
    if (!which->folded) desc.gamma.dtype = which->dtype;
    return desc;
}

static bool is_norma(bench_role role) {
    return role == BENCH_NORMA || role == BENCH_BASE;
}

/* W lies as nn.Linear stores it. */
static norma_rmsnorm_linear_desc linear_desc(bench_role role, const bench_case *which) {
    norma_rmsnorm_linear_desc desc = norma_rmsnorm_linear_desc_init();
    desc.k = which->k;
    desc.max_rows = which->m;
    desc.contract = which->contract;
    if (which->weights_static && is_norma(role)) desc.flags |= NORMA_WEIGHTS_STATIC;
    if (which->batch_invariant && is_norma(role)) desc.flags |= NORMA_BATCH_INVARIANT;
    if (which->timed && is_norma(role)) desc.flags |= NORMA_TIME_ROUTES;
    if (which->fp32_tensor && is_norma(role)) desc.flags |= NORMA_FP32_TENSOR;
    desc.x.dtype = which->dtype;
    if (!which->folded && role != BENCH_GEMM) desc.gamma.dtype = which->dtype;
    desc.parts = which->parts.count;
    for (int p = 0; p < which->parts.count; p++) {
        desc.part[p].n = which->parts.n[p];
        desc.part[p].weight = norma_layout_transposed(which->dtype, which->k);
        desc.part[p].out.dtype = which->dtype;
    }
    return desc;
}

static norma_rmsnorm_backward_desc norm_backward_desc(const bench_case *which) {
    norma_rmsnorm_backward_desc desc = norma_rmsnorm_backward_desc_init();
    if (which->timed) desc.flags |= NORMA_TIME_ROUTES;
    desc.k = which->k;
    desc.max_rows = which->m;
    desc.x.dtype = desc.gamma.dtype = desc.dout.dtype = desc.dx.dtype = desc.dgamma.dtype = which->dtype;
    desc.rstd.dtype = NORMA_F32;
    return desc;
}

/* dW lies as W does. */
static norma_rmsnorm_linear_backward_desc linear_backward_desc(const bench_case *which) {
    norma_rmsnorm_linear_backward_desc desc = norma_rmsnorm_linear_backward_desc_init();
    if (which->timed) desc.flags |= NORMA_TIME_ROUTES;
    desc.k = which->k;
    desc.max_rows = which->m;
    desc.contract = which->contract;
    desc.x.dtype = desc.gamma.dtype = desc.dx.dtype = desc.dgamma.dtype = which->dtype;
    desc.rstd.dtype = NORMA_F32;
    desc.part[0].n = which->n;
    desc.part[0].weight = desc.part[0].dweight = norma_layout_transposed(which->dtype, which->k);
    desc.part[0].dout.dtype = which->dtype;
    return desc;
}

/* Copies x to out (for a norm's backward, as many bytes as it moves), or reads all of W. */
static norma_problem stream_problem(const bench_case *which) {
    const bool copies = which->n == 0;
    norma_problem problem;
    memset(&problem, 0, sizeof problem);
    problem.op = copies ? NORMA_OP_STREAM_COPY : NORMA_OP_STREAM_READ;
    problem.k = which->op == NORMA_OP_RMSNORM_BACKWARD ? which->k * 3 / 2 : which->k;
    problem.x.layout = norma_layout_strided(which->dtype, problem.k, 1);
    problem.out.layout = copies ? problem.x.layout : norma_layout_strided(NORMA_F32, 1, 1);
    return problem;
}

static norma_status problem_of(bench_role role, const bench_case *which, norma_problem *out_problem) {
    norma_status status = NORMA_OK;
    if (role == BENCH_STREAM) {
        *out_problem = stream_problem(which);
    } else if (which->op == NORMA_OP_RMSNORM_BACKWARD) {
        const norma_rmsnorm_backward_desc desc = norm_backward_desc(which);
        status = norma_problem_from_rmsnorm_backward(&desc, out_problem);
    } else if (which->op == NORMA_OP_RMSNORM_LINEAR_BACKWARD) {
        const norma_rmsnorm_linear_backward_desc desc = linear_backward_desc(which);
        status = norma_problem_from_rmsnorm_linear_backward(&desc, out_problem);
    } else if (role == BENCH_NORM || which->op == NORMA_OP_RMSNORM) {
        const norma_rmsnorm_desc desc = norm_desc(which);
        status = norma_problem_from_rmsnorm(&desc, out_problem);
    } else {
        const norma_rmsnorm_linear_desc desc = linear_desc(role, which);
        status = norma_problem_from_rmsnorm_linear(&desc, out_problem);
        if (role == BENCH_GEMM) out_problem->op = NORMA_OP_LINEAR;
    }
    out_problem->batch = 1;
    out_problem->m = out_problem->op == NORMA_OP_STREAM_READ ? which->n : which->m;
    return status;
}

/* The case with nothing special asked for. */
static bench_case base_of(const bench_case *which) {
    bench_case base = *which;
    base.contract = NORMA_ROUND_DEFERRED;
    base.batch_invariant = base.timed = base.fp32_tensor = false;
    if (which->parts.count > 1) base.parts = (bench_parts){1, {which->n}};
    return base;
}

static bool has_base(const bench_case *which) {
    const bool linear = which->op == NORMA_OP_RMSNORM_LINEAR;
    const bool special = which->contract != NORMA_ROUND_DEFERRED || which->batch_invariant || which->parts.count > 1;
    return which->timed || (which->fp32_tensor && linear) || (special && !bench_case_is_backward(which));
}

/* What a role is measured for. */
static bool takes_part(bench_role role, const bench_case *which) {
    if (role == BENCH_BASE) return has_base(which);
    return which->op == NORMA_OP_RMSNORM_LINEAR || role == BENCH_NORMA || role == BENCH_STREAM;
}

static norma_status create_norma(bench_contender *contender, const bench_case *which, const char *route) {
    norma_context *context = contender->operands->context;
    if (route) return norma_plan_create(context, &contender->problem, which->m, route, &contender->plan);
    if (which->op == NORMA_OP_RMSNORM) {
        const norma_rmsnorm_desc desc = norm_desc(which);
        return norma_rmsnorm_plan_create(context, &desc, &contender->plan);
    }
    if (which->op == NORMA_OP_RMSNORM_BACKWARD) {
        const norma_rmsnorm_backward_desc desc = norm_backward_desc(which);
        return norma_rmsnorm_backward_plan_create(context, &desc, &contender->plan);
    }
    if (which->op == NORMA_OP_RMSNORM_LINEAR_BACKWARD) {
        const norma_rmsnorm_linear_backward_desc desc = linear_backward_desc(which);
        return norma_rmsnorm_linear_backward_plan_create(context, &desc, &contender->plan);
    }
    const norma_rmsnorm_linear_desc desc = linear_desc(BENCH_NORMA, which);
    return norma_rmsnorm_linear_plan_create(context, &desc, &contender->plan);
}

static norma_status create_peer(bench_contender *contender, bench_role role) {
    static const char *const routes[BENCH_ROLE_COUNT] = {
        [BENCH_PAIR] = "pair", [BENCH_GEMM] = "linear_blas", [BENCH_NORM] = "rmsnorm_rows", [BENCH_STREAM] = "stream"};
    return norma_plan_create(contender->operands->context, &contender->problem, contender->problem.m, routes[role],
                             &contender->plan);
}

static norma_status drop_peer(bench_contender *contender, const char *why) {
    bench_contender_destroy(contender);
    snprintf(contender->missing, sizeof contender->missing, "%s", why);
    return NORMA_OK;
}

static norma_status note_kernel(bench_contender *contender) {
    norma_plan_info info = {.struct_size = sizeof info};
    const norma_status status = norma_plan_get_info(contender->plan, contender->problem.m, &info);
    snprintf(contender->kernel, sizeof contender->kernel, "%s", info.kernel);
    return status;
}

norma_status bench_contender_create(bench_contender *contender, bench_role role, const bench_case *which,
                                    const bench_operands *operands, const char *route) {
    memset(contender, 0, sizeof *contender);
    contender->operands = operands;
    if (!takes_part(role, which)) return NORMA_OK;
    contender->public_entry = is_norma(role);
    const bench_case base = base_of(which);
    if (role == BENCH_BASE) which = &base;

    norma_status status = problem_of(role, which, &contender->problem);
    if (status != NORMA_OK) return status;
    status = is_norma(role) ? create_norma(contender, which, route) : create_peer(contender, role);
    if (status == NORMA_ERROR_UNSUPPORTED) return drop_peer(contender, norma_last_error());
    if (status != NORMA_OK) return status;

    status = note_kernel(contender);
    if (role == BENCH_PAIR && !strstr(contender->kernel, norma_kernel_name(NORMA_KERNEL_LINEAR_BLAS)))
        return drop_peer(contender, "the device has no vendor product for this dtype");
    return status;
}

void bench_contender_destroy(bench_contender *contender) {
    norma_plan_destroy(contender->plan);
    contender->plan = NULL;
}

static void bind_backward(norma_problem *problem, const bench_operands *operands, int64_t set) {
    problem->x.buffer = bench_operands_x(operands, set);
    problem->rstd.buffer = bench_operands_rstd(operands, set);
    problem->gamma.buffer = bench_operands_gamma(operands, set);
    problem->dx.buffer = bench_operands_out(operands, set);
    problem->dgamma.buffer = bench_operands_dgamma(operands, set);
    if (problem->parts == 0) problem->dout.buffer = bench_operands_dout(operands, set);
    for (int p = 0; p < problem->parts; p++) {
        problem->part[p].weight.buffer = bench_operands_weight(operands, set);
        problem->part[p].dout.buffer = bench_operands_dout(operands, set);
        problem->part[p].dweight.buffer = bench_operands_dweight(operands, set);
    }
}

void bench_contender_bind(bench_contender *contender, int64_t set) {
    const bench_operands *operands = contender->operands;
    norma_problem *problem = &contender->problem;
    const bool reads_weight = problem->op == NORMA_OP_STREAM_READ;
    if (problem->op == NORMA_OP_RMSNORM_BACKWARD || problem->op == NORMA_OP_RMSNORM_LINEAR_BACKWARD) {
        bind_backward(problem, operands, set);
        return;
    }
    problem->x.buffer = reads_weight ? bench_operands_weight(operands, set) : bench_operands_x(operands, set);
    if (norma_tensor_present(&problem->gamma)) problem->gamma.buffer = bench_operands_gamma(operands, set);
    if (problem->parts == 0) problem->out.buffer = bench_operands_out(operands, set);
    int64_t column = 0;
    for (int p = 0; p < problem->parts; p++) {
        norma_part *part = &problem->part[p];
        part->weight.buffer = bench_operands_weight(operands, set);
        part->weight.buffer.offset_bytes += (size_t)(column * problem->k) * norma_dtype_bytes(part->weight.layout.dtype);
        part->out.buffer = bench_operands_out(operands, set);
        part->out.buffer.offset_bytes += (size_t)(column * problem->m) * norma_dtype_bytes(part->out.layout.dtype);
        column += part->n;
    }
}

static norma_status run_norm(const bench_contender *contender) {
    const norma_problem *problem = &contender->problem;
    norma_rmsnorm_args args = norma_rmsnorm_args_init();
    args.m = problem->m;
    args.x = problem->x.buffer;
    args.gamma = problem->gamma.buffer;
    args.out = problem->out.buffer;
    return norma_rmsnorm_plan_run(contender->plan, &args);
}

static norma_status run_linear(const bench_contender *contender) {
    const norma_problem *problem = &contender->problem;
    norma_rmsnorm_linear_args args = norma_rmsnorm_linear_args_init();
    args.m = problem->m;
    args.x = problem->x.buffer;
    args.gamma = problem->gamma.buffer;
    for (int p = 0; p < problem->parts; p++) {
        args.part[p].weight = problem->part[p].weight.buffer;
        args.part[p].out = problem->part[p].out.buffer;
    }
    return norma_rmsnorm_linear_plan_run(contender->plan, &args);
}

static norma_status run_norm_backward(const bench_contender *contender) {
    const norma_problem *problem = &contender->problem;
    norma_rmsnorm_backward_args args = norma_rmsnorm_backward_args_init();
    args.m = problem->m;
    args.x = problem->x.buffer;
    args.rstd = problem->rstd.buffer;
    args.gamma = problem->gamma.buffer;
    args.dout = problem->dout.buffer;
    args.dx = problem->dx.buffer;
    args.dgamma = problem->dgamma.buffer;
    return norma_rmsnorm_backward_plan_run(contender->plan, &args);
}

static norma_status run_linear_backward(const bench_contender *contender) {
    const norma_problem *problem = &contender->problem;
    norma_rmsnorm_linear_backward_args args = norma_rmsnorm_linear_backward_args_init();
    args.m = problem->m;
    args.x = problem->x.buffer;
    args.rstd = problem->rstd.buffer;
    args.gamma = problem->gamma.buffer;
    args.dx = problem->dx.buffer;
    args.dgamma = problem->dgamma.buffer;
    args.part[0].weight = problem->part[0].weight.buffer;
    args.part[0].dout = problem->part[0].dout.buffer;
    args.part[0].dweight = problem->part[0].dweight.buffer;
    return norma_rmsnorm_linear_backward_plan_run(contender->plan, &args);
}

norma_status bench_contender_run(bench_contender *contender) {
    if (!contender->public_entry) return norma_plan_run(contender->plan, &contender->problem);
    switch (contender->problem.op) {
    case NORMA_OP_RMSNORM: return run_norm(contender);
    case NORMA_OP_RMSNORM_BACKWARD: return run_norm_backward(contender);
    case NORMA_OP_RMSNORM_LINEAR_BACKWARD: return run_linear_backward(contender);
    default: return run_linear(contender);
    }
}
