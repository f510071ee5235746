/* The log: lines at four levels to a callback or to standard error. */
#ifndef NORMA_FRONT_LOG_H
#define NORMA_FRONT_LOG_H

#include <stdbool.h>

#include "norma/norma.h"

typedef struct norma_logger {
    norma_log_level level;
    norma_log_fn function;
    void *user;
} norma_logger;

/* A logger from a context description's fields and NORMA_LOG. */
norma_status norma_logger_init(norma_logger *logger, norma_log_level level, norma_log_fn function, void *user);

static inline bool norma_log_enabled(const norma_logger *logger, norma_log_level level) {
    return level <= logger->level;
}

void norma_log(const norma_logger *logger, norma_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
