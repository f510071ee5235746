/* The log: whole lines, each in one call, to the caller's function or to standard error. */
#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "option.h"
#include "status.h"

static norma_status level_from_environment(norma_log_level *out_level) {
    static const char *const names[] = {NULL, "error", "warn", "info", "debug"};
    const char *text = norma_option_text("NORMA_LOG");
    *out_level = NORMA_LOG_WARN;
    if (!text) return NORMA_OK;
    for (int level = NORMA_LOG_ERROR; level <= NORMA_LOG_DEBUG; level++) {
        if (strcmp(text, names[level]) != 0) continue;
        *out_level = (norma_log_level)level;
        return NORMA_OK;
    }
    return norma_fail(NORMA_ERROR_OPTION, "NORMA_LOG is \"%s\"; it must be error, warn, info or debug", text);
}

norma_status norma_logger_init(norma_logger *logger, norma_log_level level, norma_log_fn function, void *user) {
    logger->level = level;
    logger->function = function;
    logger->user = user;
    if ((int)level < NORMA_LOG_DEFAULT || level > NORMA_LOG_DEBUG)
        return norma_fail(NORMA_ERROR_OPTION, "desc.log_level is %d; it must be from 0 to %d", (int)level, NORMA_LOG_DEBUG);
    return level == NORMA_LOG_DEFAULT ? level_from_environment(&logger->level) : NORMA_OK;
}

void norma_log(const norma_logger *logger, norma_log_level level, const char *format, ...) {
    if (!norma_log_enabled(logger, level)) return;
    static const char prefix[] = "norma: ";
    const size_t prefix_bytes = sizeof prefix - 1;
    char short_line[512];
    char *line = short_line;
    size_t text_bytes = sizeof short_line - prefix_bytes - 2; /* room for the newline and vsnprintf's NUL */

    va_list arguments;
    va_start(arguments, format);
    va_list again;
    va_copy(again, arguments);
    const int length = vsnprintf(line + prefix_bytes, text_bytes + 1, format, arguments);
    va_end(arguments);
    const bool fits = length >= 0 && (size_t)length <= text_bytes;
    char *long_line = length >= 0 && !fits ? malloc(prefix_bytes + (size_t)length + 2) : NULL;
    if (fits || long_line) text_bytes = (size_t)length;
    if (long_line) {
        line = long_line;
        vsnprintf(line + prefix_bytes, text_bytes + 1, format, again);
    }
    va_end(again);
    if (length < 0) return;

    if (logger->function) {
        logger->function(logger->user, level, line + prefix_bytes);
    } else {
        memcpy(line, prefix, prefix_bytes);
        line[prefix_bytes + text_bytes] = '\n';
        fwrite(line, 1, prefix_bytes + text_bytes + 1, stderr);
    }
    free(long_line);
}
