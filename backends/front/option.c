/* Options from the environment: read once, when a context is created, and refused with a sentence if malformed. */
#include "option.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "status.h"

const char *norma_option_text(const char *name) {
    const char *text = secure_getenv(name);
    return text && *text ? text : NULL;
}

norma_status norma_option_switch(const char *name, bool *out_value) {
    const char *text = norma_option_text(name);
    *out_value = text && strcmp(text, "1") == 0;
    if (text && !*out_value && strcmp(text, "0") != 0)
        return norma_fail(NORMA_ERROR_OPTION, "%s is \"%s\"; it must be 0 or 1", name, text);
    return NORMA_OK;
}

norma_status norma_option_count(const char *name, int *out_value) {
    *out_value = 0;
    const char *text = norma_option_text(name);
    if (!text) return NORMA_OK;
    char *end;
    errno = 0;
    const long value = strtol(text, &end, 10);
    /* strtol would also take leading blanks and a sign. */
    if (text[0] < '0' || text[0] > '9' || *end || errno || value < 1 || value > INT_MAX)
        return norma_fail(NORMA_ERROR_OPTION, "%s is \"%s\"; it must be a whole number from 1 to %d", name, text, INT_MAX);
    *out_value = (int)value;
    return NORMA_OK;
}
