/* The operations as programs call them: a description becomes a problem, the problem a plan (looked up for one-shot calls),
 * and the arguments are checked and run. */
#include "plan.h"
#include "status.h"
#include "validate.h"

static norma_status check_context(norma_context *context) {
    if (!context) return norma_fail(NORMA_ERROR_NULL_POINTER, "context is NULL");
    return norma_context_check(context, NORMA_OK);
}

/* Puts a description on a context that can run it; `status` is that of making the description, and passes through. */
static norma_status place(norma_context *context, norma_status status, norma_problem *description) {
    const norma_status usable = check_context(context);
    if (usable) return usable;
    if (!status) description->opaque_buffers = context->device->limits.opaque_buffers;
    return status;
}

/* The same for a call, which binds a copy to its arguments. */
static norma_status begin_call(norma_context *context, norma_status status, norma_problem *description,
                               norma_problem *out_bound) {
    status = place(context, status, description);
    if (!status) *out_bound = *description;
    return status;
}

/* Runs a bound problem by the context's plan for its description. */
static norma_status run_once(norma_context *context, const norma_problem *description, const norma_problem *bound) {
    norma_plan *plan = norma_plan_cache_find(&context->cache, description);
    if (!plan) {
        norma_status status = norma_plan_create_shared(context, description, &plan);
        if (status) return status;
        status = norma_plan_cache_insert(&context->cache, description, plan);
        if (status) {
            norma_plan_destroy(plan);
            return status;
        }
    }
    return norma_plan_run(plan, bound);
}

norma_status norma_rmsnorm(norma_context *context, const norma_rmsnorm_desc *desc, const norma_rmsnorm_args *args) {
    norma_problem description, bound;
    norma_status status = begin_call(context, norma_problem_from_rmsnorm(desc, &description), &description, &bound);
    if (!status) status = norma_problem_bind_rmsnorm(&bound, args);
    return status ? status : run_once(context, &description, &bound);
}

norma_status norma_rmsnorm_linear(norma_context *context, const norma_rmsnorm_linear_desc *desc,
                                  const norma_rmsnorm_linear_args *args) {
    norma_problem description, bound;
    norma_status status = begin_call(context, norma_problem_from_rmsnorm_linear(desc, &description), &description, &bound);
    if (!status) status = norma_problem_bind_rmsnorm_linear(&bound, args);
    return status ? status : run_once(context, &description, &bound);
}

norma_status norma_rmsnorm_backward(norma_context *context, const norma_rmsnorm_backward_desc *desc,
                                    const norma_rmsnorm_backward_args *args) {
    norma_problem description, bound;
    norma_status status = begin_call(context, norma_problem_from_rmsnorm_backward(desc, &description), &description, &bound);
    if (!status) status = norma_problem_bind_rmsnorm_backward(&bound, args);
    return status ? status : run_once(context, &description, &bound);
}

norma_status norma_rmsnorm_linear_backward(norma_context *context, const norma_rmsnorm_linear_backward_desc *desc,
                                           const norma_rmsnorm_linear_backward_args *args) {
    norma_problem description, bound;
    norma_status status =
        begin_call(context, norma_problem_from_rmsnorm_linear_backward(desc, &description), &description, &bound);
    if (!status) status = norma_problem_bind_rmsnorm_linear_backward(&bound, args);
    return status ? status : run_once(context, &description, &bound);
}

norma_status norma_fold_gamma(norma_context *context, const norma_fold_gamma_desc *desc, const norma_fold_gamma_args *args) {
    norma_problem description, bound;
    norma_status status = begin_call(context, norma_problem_from_fold_gamma(desc, &description), &description, &bound);
    if (!status) status = norma_problem_bind_fold_gamma(&bound, args);
    return status ? status : run_once(context, &description, &bound);
}

/* ---- Plans ---- */

static norma_status create_plan(norma_context *context, norma_status status, norma_problem *problem, norma_plan **out_plan) {
    if (!out_plan) return norma_fail(NORMA_ERROR_NULL_POINTER, "out_plan is NULL");
    *out_plan = NULL;
    status = place(context, status, problem);
    return status ? status : norma_plan_create(context, problem, problem->max_rows, NULL, out_plan);
}

norma_status norma_rmsnorm_plan_create(norma_context *context, const norma_rmsnorm_desc *desc, norma_plan **out_plan) {
    norma_problem problem;
    return create_plan(context, norma_problem_from_rmsnorm(desc, &problem), &problem, out_plan);
}

norma_status norma_rmsnorm_linear_plan_create(norma_context *context, const norma_rmsnorm_linear_desc *desc,
                                              norma_plan **out_plan) {
    norma_problem problem;
    return create_plan(context, norma_problem_from_rmsnorm_linear(desc, &problem), &problem, out_plan);
}

norma_status norma_rmsnorm_backward_plan_create(norma_context *context, const norma_rmsnorm_backward_desc *desc,
                                                norma_plan **out_plan) {
    norma_problem problem;
    return create_plan(context, norma_problem_from_rmsnorm_backward(desc, &problem), &problem, out_plan);
}

norma_status norma_rmsnorm_linear_backward_plan_create(norma_context *context,
                                                       const norma_rmsnorm_linear_backward_desc *desc,
                                                       norma_plan **out_plan) {
    norma_problem problem;
    return create_plan(context, norma_problem_from_rmsnorm_linear_backward(desc, &problem), &problem, out_plan);
}

/* The plan's problem, if the plan is one of `op`. */
static norma_status check_plan(const norma_plan *plan, norma_op op, const char *made_by, norma_problem *out_problem) {
    if (!plan) return norma_fail(NORMA_ERROR_NULL_POINTER, "plan is NULL");
    *out_problem = *norma_plan_problem(plan);
    if (out_problem->op == op) return NORMA_OK;
    return norma_fail(NORMA_ERROR_PLAN_KIND, "plan is of another operation; it must come from %s", made_by);
}

norma_status norma_rmsnorm_plan_run(norma_plan *plan, const norma_rmsnorm_args *args) {
    norma_problem problem;
    norma_status status = check_plan(plan, NORMA_OP_RMSNORM, "norma_rmsnorm_plan_create", &problem);
    if (!status) status = norma_problem_bind_rmsnorm(&problem, args);
    return status ? status : norma_plan_run(plan, &problem);
}

norma_status norma_rmsnorm_linear_plan_run(norma_plan *plan, const norma_rmsnorm_linear_args *args) {
    norma_problem problem;
    norma_status status = check_plan(plan, NORMA_OP_RMSNORM_LINEAR, "norma_rmsnorm_linear_plan_create", &problem);
    if (!status) status = norma_problem_bind_rmsnorm_linear(&problem, args);
    return status ? status : norma_plan_run(plan, &problem);
}

norma_status norma_rmsnorm_backward_plan_run(norma_plan *plan, const norma_rmsnorm_backward_args *args) {
    norma_problem problem;
    norma_status status = check_plan(plan, NORMA_OP_RMSNORM_BACKWARD, "norma_rmsnorm_backward_plan_create", &problem);
    if (!status) status = norma_problem_bind_rmsnorm_backward(&problem, args);
    return status ? status : norma_plan_run(plan, &problem);
}

norma_status norma_rmsnorm_linear_backward_plan_run(norma_plan *plan, const norma_rmsnorm_linear_backward_args *args) {
    norma_problem problem;
    norma_status status =
        check_plan(plan, NORMA_OP_RMSNORM_LINEAR_BACKWARD, "norma_rmsnorm_linear_backward_plan_create", &problem);
    if (!status) status = norma_problem_bind_rmsnorm_linear_backward(&problem, args);
    return status ? status : norma_plan_run(plan, &problem);
}
