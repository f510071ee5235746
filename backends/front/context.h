/* A context: an open device, its log, and the plans of one-shot calls. */
#ifndef NORMA_FRONT_CONTEXT_H
#define NORMA_FRONT_CONTEXT_H

#include <stdbool.h>

#include "../backend.h"
#include "plan_cache.h"

/* Device memory that grows to the largest size asked for. What it grew out of is kept until the workspace is released: a
 * captured graph may still use it, and while a stream is captured nothing can be freed. */
typedef struct norma_workspace {
    void *data;
    size_t bytes;
    struct norma_outgrown *outgrown;
} norma_workspace;

struct norma_context {
    norma_device *device;
    norma_device_info info;
    norma_plan_cache cache;
    norma_workspace workspace;  /* of the plans in the cache */
    const char *forced_route;   /* NORMA_KERNEL, or NULL */
    uint64_t forced_flags;      /* flags that the environment sets for every call */
    int64_t intermediate_bytes; /* the most that two launches pass between them at a time */
    bool cache_is_bad;          /* the log has been told that nothing can be kept on disk */
    bool lost;                  /* the device faulted */
};

/* Opens `backend` as norma_context_create does after it has chosen one: the way in for a backend that is on no list. */
norma_status norma_context_create_on(const norma_backend *backend, const norma_open_desc *desc, norma_context **out_context);

/* Every call that reaches the device goes through this: remembers a lost device, and answers for one. */
norma_status norma_context_check(norma_context *context, norma_status status);

/* Makes the workspace at least `bytes` large. */
norma_status norma_workspace_reserve(norma_context *context, norma_workspace *workspace, size_t bytes);
void norma_workspace_release(norma_context *context, norma_workspace *workspace);

#endif
