/* The smallest use of norma: one fused layer, out = RMSNorm(x) W + bias, of 2 rows of 64 values to 32 columns. Runs on any
 * backend, since norma_alloc and norma_upload place the tensors; checks one output against the formula in a plain loop. */
#include <math.h>
#include <norma/norma.h>
#include <stdio.h>

enum { M = 2, K = 64, N = 32 };
typedef struct tensors {
    float x[M][K], w[N][K], bias[N], out[M][N]; /* w is stored (N, K), as torch.nn.Linear does */
} tensors;

int main(void) {
    static tensors t;
    for (int i = 0; i < M * K; i++) t.x[i / K][i % K] = (float)(i % 11 - 4);
    for (int i = 0; i < N * K; i++) t.w[i / K][i % K] = (float)(i % 9 - 3) / 16;
    for (int i = 0; i < N; i++) t.bias[i] = (float)i;

    norma_rmsnorm_linear_desc desc = norma_rmsnorm_linear_desc_init();
    desc.k = K;
    desc.x.dtype = desc.part[0].bias.dtype = desc.part[0].out.dtype = NORMA_F32;
    desc.part[0].n = N;
    desc.part[0].weight = norma_layout_transposed(NORMA_F32, K);

    norma_context *ctx = NULL;
    void *memory = NULL;
    norma_status status = norma_context_create(NULL, &ctx);
    if (!status) status = norma_alloc(ctx, sizeof t, &memory);
    if (!status) status = norma_upload(ctx, (norma_buffer){memory, 0}, &t, sizeof t);

    norma_rmsnorm_linear_args args = norma_rmsnorm_linear_args_init();
    args.m = M;
    args.x = (norma_buffer){memory, offsetof(tensors, x)};
    args.part[0].weight = (norma_buffer){memory, offsetof(tensors, w)};
    args.part[0].bias = (norma_buffer){memory, offsetof(tensors, bias)};
    args.part[0].out = (norma_buffer){memory, offsetof(tensors, out)};
    if (!status) status = norma_rmsnorm_linear(ctx, &desc, &args);
    if (!status) status = norma_download(ctx, t.out, args.part[0].out, sizeof t.out);
    if (status) fprintf(stderr, "%s: %s\n", norma_status_name(status), norma_last_error());
    norma_free(ctx, memory);
    norma_context_destroy(ctx);
    if (status) return 1;

    double squares = 0, product = 0;
    for (int k = 0; k < K; k++) squares += t.x[1][k] * t.x[1][k], product += t.x[1][k] * t.w[5][k];
    const double expected = product / sqrt(squares / (double)K + NORMA_DEFAULT_EPS) + t.bias[5];
    printf("out[1][5] = %.6f, expected %.6f\n", t.out[1][5], expected);
    return fabs(t.out[1][5] - expected) < 1e-5 ? 0 : 1;
}
