/* Contexts and the memory of their devices. */
#include "context.h"

#include <stdio.h>
#include <stdlib.h>

#include "option.h"
#include "route.h"
#include "select.h"
#include "struct_size.h"

/* A chunk of rows that fills any device, and a piece of memory that any device can spare. */
#define INTERMEDIATE_BYTES (INT64_C(32) << 20)

norma_status norma_context_check(norma_context *context, norma_status status) {
    if (status == NORMA_ERROR_DEVICE_LOST) context->lost = true;
    if (!context->lost || status == NORMA_ERROR_DEVICE_LOST) return status;
    return norma_fail(NORMA_ERROR_DEVICE_LOST,
                      "device %s:%d was lost in an earlier call: to this context, and on CUDA and HIP to the whole process",
                      context->info.backend, context->info.index);
}

/* What the environment says to every call of the context. */
static norma_status read_options(norma_context *context) {
    const char *kernel = norma_option_text("NORMA_KERNEL");
    if (kernel) {
        context->forced_route = norma_route_find(kernel);
        if (!context->forced_route)
            return norma_fail(NORMA_ERROR_OPTION, "NORMA_KERNEL is \"%s\"; there is no kernel of that name", kernel);
    }
    static const struct {
        const char *name;
        uint64_t flag;
    } switches[] = {{"NORMA_BATCH_INVARIANT", NORMA_BATCH_INVARIANT}, {"NORMA_TIME_ROUTES", NORMA_TIME_ROUTES}};
    for (size_t i = 0; i < sizeof switches / sizeof switches[0]; i++) {
        bool on;
        const norma_status status = norma_option_switch(switches[i].name, &on);
        if (status) return status;
        if (on) context->forced_flags |= switches[i].flag;
    }
    return NORMA_OK;
}

/* The caller's own handles: one backend's, which `taker` takes or not. */
static norma_status refuse_native(const norma_open_desc *desc, const char *taker) {
    const char *name = desc->stream           ? "stream"
                       : desc->native_context ? "native_context"
                       : desc->native_device  ? "native_device"
                                              : NULL;
    const void *value = desc->stream ? desc->stream : desc->native_context ? desc->native_context : desc->native_device;
    if (!name) return NORMA_OK;
    return norma_fail(NORMA_ERROR_OPTION, "desc.%s is %p; %s takes only NULL", name, value, taker);
}

static norma_status check_native(const norma_backend *backend, const norma_open_desc *desc) {
    char taker[64];
    snprintf(taker, sizeof taker, "backend \"%s\"", backend->name);
    return backend->takes_native ? NORMA_OK : refuse_native(desc, taker);
}

norma_status norma_context_create_on(const norma_backend *backend, const norma_open_desc *desc,
                                     norma_context **out_context) {
    *out_context = NULL;
    norma_context *context = calloc(1, sizeof *context);
    if (!context) return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory for a context of %zu bytes", sizeof *context);
    context->info.struct_size = sizeof context->info;
    context->intermediate_bytes = INTERMEDIATE_BYTES;
    norma_status status = read_options(context);
    if (!status) status = check_native(backend, desc);
    if (!status) status = backend->describe(desc->index, &context->info);
    if (!status) status = backend->open(desc, &context->device);
    context->info.backend = backend->name;
    context->info.index = desc->index;
    /* The caller's own handles may be of another device than desc says. */
    if (!status && context->device->index != desc->index) {
        context->info.index = context->device->index;
        status = backend->describe(context->device->index, &context->info);
        if (status) backend->close(context->device);
    }
    if (status) {
        free(context);
        return status;
    }
    *out_context = context;
    return NORMA_OK;
}

norma_status norma_context_create(const norma_context_desc *given, norma_context **out_context) {
    if (!out_context) return norma_fail(NORMA_ERROR_NULL_POINTER, "out_context is NULL");
    *out_context = NULL;
    norma_context_desc desc = norma_context_desc_init();
    norma_status status =
        given ? norma_struct_read("desc", given, NORMA_BYTES_TO(norma_context_desc, log_user), &desc, sizeof desc)
              : NORMA_OK;
    if (status) return status;

    norma_open_desc open = {.stream = desc.stream,
                            .native_context = desc.native_context,
                            .native_device = desc.native_device,
                            .threads = desc.threads};
    if (desc.threads < 0) return norma_fail(NORMA_ERROR_SIZE, "desc.threads is %d; it must not be negative", desc.threads);
    status = norma_logger_init(&open.log, desc.log_level, desc.log, desc.log_user);
    if (!status && desc.threads == 0) status = norma_option_count("NORMA_THREADS", &open.threads);
    if (status) return status;

    const char *variable = norma_option_text("NORMA_BACKEND");
    const char *source = desc.backend ? "desc.backend" : variable ? "NORMA_BACKEND" : "default";
    const char *text = desc.backend ? desc.backend : variable ? variable : "auto";
    norma_choices choices;
    status = norma_choices_parse(&norma_backends, source, text, &choices);
    if (!status && choices.count > 1) status = refuse_native(&open, "a choice among several backends");
    return status ? status : norma_choices_open(&norma_backends, &choices, open, out_context);
}

void norma_context_destroy(norma_context *context) {
    if (!context) return;
    norma_plan_cache_clear(&context->cache);
    norma_workspace_release(context, &context->workspace);
    context->device->backend->close(context->device);
    free(context);
}

norma_status norma_context_get_info(const norma_context *context, norma_device_info *out_info) {
    if (!context) return norma_fail(NORMA_ERROR_NULL_POINTER, "context is NULL");
    return norma_struct_write("out_info", out_info, NORMA_BYTES_TO(norma_device_info, arch), &context->info,
                              sizeof context->info);
}

/* Refuses NULL and a lost device. */
static norma_status check_context(norma_context *context) {
    if (!context) return norma_fail(NORMA_ERROR_NULL_POINTER, "context is NULL");
    return norma_context_check(context, NORMA_OK);
}

norma_status norma_synchronize(norma_context *context) {
    const norma_status status = check_context(context);
    return status ? status : norma_context_check(context, context->device->backend->sync(context->device));
}

norma_status norma_alloc(norma_context *context, size_t bytes, void **out_data) {
    if (!out_data) return norma_fail(NORMA_ERROR_NULL_POINTER, "out_data is NULL");
    *out_data = NULL;
    const norma_status status = check_context(context);
    if (status) return status;
    /* One byte at least, so that every success has an address to free. */
    const size_t allocated = bytes ? bytes : 1;
    void *data = NULL;
    const norma_status allocation = context->device->backend->alloc(context->device, allocated, &data);
    if (!allocation) *out_data = data;
    return norma_context_check(context, allocation);
}

norma_status norma_free(norma_context *context, void *data) {
    if (!context) return norma_fail(NORMA_ERROR_NULL_POINTER, "context is NULL");
    if (!data) return NORMA_OK;
    /* Also on a lost device: what can be freed is. */
    return norma_context_check(context, context->device->backend->release(context->device, data));
}

norma_status norma_upload(norma_context *context, norma_buffer to, const void *from, size_t bytes) {
    const norma_status status = check_context(context);
    if (status || bytes == 0) return status;
    if (!to.data) return norma_fail(NORMA_ERROR_NULL_POINTER, "to.data is NULL");
    if (!from) return norma_fail(NORMA_ERROR_NULL_POINTER, "from is NULL");
    return norma_context_check(context, context->device->backend->upload(context->device, to, from, bytes));
}

norma_status norma_download(norma_context *context, void *to, norma_buffer from, size_t bytes) {
    const norma_status status = check_context(context);
    if (status || bytes == 0) return status;
    if (!to) return norma_fail(NORMA_ERROR_NULL_POINTER, "to is NULL");
    if (!from.data) return norma_fail(NORMA_ERROR_NULL_POINTER, "from.data is NULL");
    return norma_context_check(context, context->device->backend->download(context->device, to, from, bytes));
}

/* A block that a workspace outgrew, and the one before it. */
struct norma_outgrown {
    void *data;
    struct norma_outgrown *next;
};

/* Grows to twice the size at least, so that all outgrown blocks together are smaller than the one in use. */
norma_status norma_workspace_reserve(norma_context *context, norma_workspace *workspace, size_t bytes) {
    if (bytes <= workspace->bytes) return NORMA_OK;
    const size_t grown = bytes / 2 < workspace->bytes ? 2 * workspace->bytes : bytes;
    struct norma_outgrown *outgrown = NULL;
    if (workspace->data) {
        outgrown = malloc(sizeof *outgrown);
        if (!outgrown) return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory to grow a workspace");
        *outgrown = (struct norma_outgrown){workspace->data, workspace->outgrown};
    }
    void *data;
    const norma_status status = context->device->backend->alloc(context->device, grown, &data);
    if (status) {
        free(outgrown);
        return status;
    }
    *workspace = (norma_workspace){data, grown, outgrown};
    return NORMA_OK;
}

static void release(norma_context *context, void *data) {
    norma_context_check(context, context->device->backend->release(context->device, data));
}

void norma_workspace_release(norma_context *context, norma_workspace *workspace) {
    while (workspace->outgrown) {
        struct norma_outgrown *block = workspace->outgrown;
        workspace->outgrown = block->next;
        release(context, block->data);
        free(block);
    }
    if (workspace->data) release(context, workspace->data);
    *workspace = (norma_workspace){0};
}
