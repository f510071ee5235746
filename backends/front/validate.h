/* Validation, all of it: descriptions and arguments become problems here or are refused with a sentence. */
#ifndef NORMA_FRONT_VALIDATE_H
#define NORMA_FRONT_VALIDATE_H

#include "../problem.h"

/* Checks a description alone and fills a problem without addresses, batch or m. */
norma_status norma_problem_from_rmsnorm(const norma_rmsnorm_desc *desc, norma_problem *out_problem);
norma_status norma_problem_from_rmsnorm_linear(const norma_rmsnorm_linear_desc *desc, norma_problem *out_problem);
norma_status norma_problem_from_rmsnorm_backward(const norma_rmsnorm_backward_desc *desc, norma_problem *out_problem);
norma_status norma_problem_from_rmsnorm_linear_backward(const norma_rmsnorm_linear_backward_desc *desc,
                                                        norma_problem *out_problem);
norma_status norma_problem_from_fold_gamma(const norma_fold_gamma_desc *desc, norma_problem *out_problem);

/* Adds batch, m and addresses to a problem made by the functions above, and checks what depends on them: sizes, overflow,
 * alignment, overlap. */
norma_status norma_problem_bind_rmsnorm(norma_problem *problem, const norma_rmsnorm_args *args);
norma_status norma_problem_bind_rmsnorm_linear(norma_problem *problem, const norma_rmsnorm_linear_args *args);
norma_status norma_problem_bind_rmsnorm_backward(norma_problem *problem, const norma_rmsnorm_backward_args *args);
norma_status norma_problem_bind_rmsnorm_linear_backward(norma_problem *problem,
                                                        const norma_rmsnorm_linear_backward_args *args);
norma_status norma_problem_bind_fold_gamma(norma_problem *problem, const norma_fold_gamma_args *args);

/* Checks a bound problem whatever it came from: the second half of the functions above. */
norma_status norma_problem_check(const norma_problem *problem);

#endif
