/* CLBlast, found at run time: libclblast.so.1 on the system's path. It is the peer that the bench measures the OpenCL
 * backend against, and nothing else needs it. */
#ifndef NORMA_BLAS_CLBLAST_H
#define NORMA_BLAS_CLBLAST_H

#include <stddef.h>

enum { CLBLAST_ROW_MAJOR = 101, CLBLAST_NO_TRANS = 111, CLBLAST_TRANS = 112 };

typedef struct norma_clblast {
    /* Offsets and leading dimensions count elements; the queue and the event are OpenCL's handles. */
    int (*sgemm)(int layout, int trans_a, int trans_b, size_t m, size_t n, size_t k, float alpha, void *a, size_t a_offset,
                 size_t lda, void *b, size_t b_offset, size_t ldb, float beta, void *c, size_t c_offset, size_t ldc,
                 void **queue, void **event);
} norma_clblast;

/* The library's functions, or NULL if it is not installed. Looks once; may be called from any thread. */
const norma_clblast *norma_clblast_get(void);

#endif
