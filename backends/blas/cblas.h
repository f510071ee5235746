/* CBLAS, found at run time: the first library on the system's path that has it. */
#ifndef NORMA_BLAS_CBLAS_H
#define NORMA_BLAS_CBLAS_H

enum { CBLAS_ROW_MAJOR = 101, CBLAS_COL_MAJOR = 102, CBLAS_NO_TRANS = 111, CBLAS_TRANS = 112 };

typedef struct norma_cblas {
    const char *library; /* the name it was opened by */
    void (*sgemm)(int order, int trans_a, int trans_b, int m, int n, int k, float alpha, const float *a, int lda,
                  const float *b, int ldb, float beta, float *c, int ldc);
    void (*sgemv)(int order, int trans, int m, int n, float alpha, const float *a, int lda, const float *x, int incx,
                  float beta, float *y, int incy);
    const char *(*config)(void); /* version and kernels in words; NULL if the library has no such function */
} norma_cblas;

/* The library's functions, or NULL if none is installed. Looks once; may be called from any thread. */
const norma_cblas *norma_cblas_get(void);

#endif
