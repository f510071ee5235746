/* What a stride of 0 means, by the problem that a description of a Linear becomes. */
#include "expect.h"
#include "front/validate.h"

enum { K = 5, N = 3 };

static const struct {
    int64_t k, n;
    int64_t given[2], settled[2];
} weights[] = {
    {K, N, {0, 0}, {N, 1}}, {K, N, {N, 1}, {N, 1}}, {K, N, {7, 0}, {7, 1}}, {K, N, {1, 0}, {1, K}}, {K, N, {1, K}, {1, K}},
    {K, N, {1, 8}, {1, 8}}, {K, N, {0, 2}, {N, 2}}, {K, 1, {1, 0}, {1, 1}}, {K, 1, {0, 0}, {1, 1}}, {1, N, {1, 0}, {3, 1}},
};

static void zero_strides_of_a_weight_are_packed(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof weights / sizeof weights[0]; i++) {
        norma_rmsnorm_linear_desc desc = norma_rmsnorm_linear_desc_init();
        desc.k = weights[i].k;
        desc.x.dtype = desc.part[0].out.dtype = NORMA_F32;
        desc.part[0].n = weights[i].n;
        desc.part[0].weight = norma_layout_strided(NORMA_F32, weights[i].given[0], weights[i].given[1]);
        norma_problem problem;
        EXPECT_OK(norma_problem_from_rmsnorm_linear(&desc, &problem));
        const norma_layout *settled = &problem.part[0].weight.layout;
        if (settled->row_stride != weights[i].settled[0] || settled->col_stride != weights[i].settled[1])
            fail_msg("row %d: strides of %lld and %lld", (int)i, (long long)settled->row_stride,
                     (long long)settled->col_stride);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(zero_strides_of_a_weight_are_packed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
