/* Options from the environment. An empty variable counts as unset; in a set-user-ID program all do. */
#ifndef NORMA_FRONT_OPTION_H
#define NORMA_FRONT_OPTION_H

#include <stdbool.h>

#include "norma/norma.h"

/* The variable's text, or NULL. Valid until the environment changes. */
const char *norma_option_text(const char *name);

/* "0" or "1"; false if unset. */
norma_status norma_option_switch(const char *name, bool *out_value);

/* A whole number from 1 to INT_MAX; 0 if unset. */
norma_status norma_option_count(const char *name, int *out_value);

#endif
