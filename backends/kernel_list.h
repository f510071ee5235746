/* Every kernel that a backend may have, once: the name is the stem of its files, its name in NORMA_KERNEL, in the log and in
 * the bench. A backend lacks a kernel by refusing it in prepare(). */
#ifndef NORMA_KERNEL_LIST_H
#define NORMA_KERNEL_LIST_H

/* X(identifier, name) */
#define NORMA_KERNEL_LIST(X)                          \
    X(REFERENCE, "reference")                         \
    X(RMSNORM_ROWS, "rmsnorm_rows")                   \
    X(RMSNORM_LINEAR_SKINNY, "rmsnorm_linear_skinny") \
    X(RMSNORM_LINEAR_TILED, "rmsnorm_linear_tiled")   \
    X(RMSNORM_LINEAR_HOPPER, "rmsnorm_linear_hopper") \
    X(RMSNORM_LINEAR_NARROW, "rmsnorm_linear_narrow") \
    X(LINEAR_BLAS, "linear_blas")                     \
    X(LINEAR_SPLIT, "linear_split")                   \
    X(FOLD_GAMMA, "fold_gamma")                       \
    X(RMSNORM_ROWS_BACKWARD, "rmsnorm_rows_backward") \
    X(COLUMN_SUMS, "column_sums")                     \
    X(STREAM, "stream")

typedef enum norma_kernel {
#define NORMA_KERNEL_ENUM(identifier, name) NORMA_KERNEL_##identifier,
    NORMA_KERNEL_LIST(NORMA_KERNEL_ENUM)
#undef NORMA_KERNEL_ENUM
        NORMA_KERNEL_COUNT
} norma_kernel;

static inline const char *norma_kernel_name(norma_kernel kernel) {
    static const char *const names[] = {
#define NORMA_KERNEL_NAME(identifier, name) name,
        NORMA_KERNEL_LIST(NORMA_KERNEL_NAME)
#undef NORMA_KERNEL_NAME
    };
    return names[kernel];
}

#endif
