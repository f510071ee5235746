/* Which vendor library gives linear_blas on a device: a peer is worth what its library makes of the processor. */
#ifndef NORMA_BENCH_VENDOR_H
#define NORMA_BENCH_VENDOR_H

#include "front/context.h"

/* Gives the library as many threads as the context has, where it can be told. Fills *name ("libopenblas.so.0, SkylakeX
 * kernels"; "" if unknown) and *warning ("" if all is well). */
void bench_vendor_prepare(const norma_context *context, char name[96], char warning[256]);

#endif
