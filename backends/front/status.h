/* Failure: a status and a sentence for the calling thread. */
#ifndef NORMA_FRONT_STATUS_H
#define NORMA_FRONT_STATUS_H

#include "norma/norma.h"

/* Keeps the sentence for norma_last_error() and returns `status`. The sentence names the argument and its value, begins in
 * lower case and has no full stop. */
norma_status norma_fail(norma_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
