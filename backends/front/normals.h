/* Random normal values to time with: a product of constants draws less power than a real one, and so runs faster. */
#ifndef NORMA_FRONT_NORMALS_H
#define NORMA_FRONT_NORMALS_H

#include <stddef.h>

#include "norma/norma.h"

/* Fills `to` with `count` values of mean 0 and deviation 1, always the same. */
void norma_normals_fill(void *to, norma_dtype dtype, size_t count);

#endif
