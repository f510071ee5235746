/* Libraries are opened by their soname from the system's path, never from the current directory. This program runs in a
 * directory full of impostors. */
#include <dlfcn.h>
#include <stdlib.h>

#include "harness/case_names.h"
#include "harness/suite.h"

static void nothing_is_loaded_from_the_current_directory(void **state) {
    (void)state;
    const test_case product = {
        .name = "product", .op = NORMA_OP_RMSNORM_LINEAR, .m = 64, .k = 64, .n = {64}, .x = F32, .weight = F32, .out = F32};
    for (int v = 0; v < test_variant_count(); v++) test_try(&product, test_variant_at(v), 1);
    assert_null(getenv("NORMA_TEST_PLANTED_LIBRARY"));
}

/* The impostors are there, and would have told. */
static void an_impostor_can_be_loaded(void **state) {
    (void)state;
    static const char *const names[] = {NORMA_TEST_PLANTED_NAMES};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[128] = "./";
        unsetenv("NORMA_TEST_PLANTED_LIBRARY");
        void *library = dlopen(strncat(path, names[i], sizeof path - 3), RTLD_NOW);
        if (!library) fail_msg("%s", dlerror());
        assert_non_null(getenv("NORMA_TEST_PLANTED_LIBRARY"));
        dlclose(library);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_is_loaded_from_the_current_directory),
                                       cmocka_unit_test(an_impostor_can_be_loaded)};
    return test_group_run("library search", tests, sizeof tests / sizeof tests[0]);
}
