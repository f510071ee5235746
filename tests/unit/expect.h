/* What the unit tests share: cmocka with what its header needs, and the expectation of a failure with its sentence. */
#ifndef NORMA_TESTS_UNIT_EXPECT_H
#define NORMA_TESTS_UNIT_EXPECT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "norma/norma.h"

#define EXPECT_OK(call)                                                                                         \
    do {                                                                                                        \
        const norma_status expect_status = (call);                                                              \
        if (expect_status) fail_msg("%s: %s: %s", #call, norma_status_name(expect_status), norma_last_error()); \
    } while (0)

/* `label` names the row of a table that is being walked. */
static inline void expect_sentence(const char *label, norma_status status, norma_status wanted, const char *needle) {
    if (status != wanted)
        fail_msg("%s: got %s, wanted %s (%s)", label, norma_status_name(status), norma_status_name(wanted),
                 norma_last_error());
    if (needle && !strstr(norma_last_error(), needle))
        fail_msg("%s: \"%s\" is not in: %s", label, needle, norma_last_error());
}

#define EXPECT_FAILURE(call, wanted, needle) expect_sentence(#call, (call), (wanted), (needle))

#endif
