/* The number of threads by default: a quota's arithmetic, and that affinity limits it. */
#include <sched.h>
#include <stdio.h>

#include "cpu/processors.h"
#include "expect.h"

static const struct {
    const char *line;
    int processors;
} quotas[] = {
    {"max 100000", 0},  {"200000 100000", 2},   {"150000 100000", 2},
    {"1000 100000", 1}, {"100000 100000\n", 1}, {"", 0},
    {"200000", 0},      {"0 100000", 0},        {"200000 0", 0},
    {"-1 100000", 0},   {"fast 100000", 0},     {"9000000000000000000 1", 0},
};

static void a_quota_is_rounded_up(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof quotas / sizeof quotas[0]; i++)
        if (norma_quota_processors(quotas[i].line) != quotas[i].processors)
            fail_msg("\"%s\": %d", quotas[i].line, norma_quota_processors(quotas[i].line));
}

static void one_allowed_processor_is_one_thread(void **state) {
    (void)state;
    cpu_set_t before, one;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    CPU_ZERO(&one);
    for (size_t i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
        if (CPU_ISSET(i, &before)) CPU_SET(i, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    const int count = norma_processor_count();
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
    assert_int_equal(count, 1);
    assert_in_range(norma_processor_count(), 1, CPU_COUNT(&before));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_quota_is_rounded_up),
        cmocka_unit_test(one_allowed_processor_is_one_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
