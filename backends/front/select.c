/* The registry of backends, reading of backend strings, and opening of the first usable choice. There is no silent fallback:
 * what is named alone is opened or refused. */
#include "select.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "../backend_list.h"
#include "context.h"
#include "struct_size.h"

/* Two steps, so that NORMA_WITH_CUDA is replaced by 0 or 1 before it is joined to a name. */
#define BUILT_0(name)              NULL
#define BUILT_1(name)              &norma_backend_##name
#define BUILT_OF(built)            BUILT_##built
#define BUILT(built)               BUILT_OF(built)
#define REGISTER(name, built, how) {#name, BUILT(built)(name), how},

static const norma_registered registered[] = {NORMA_BACKEND_LIST(REGISTER)};

const norma_registry norma_backends = {registered, sizeof registered / sizeof registered[0]};

/* ---- Backend strings ---- */

static int find_entry(const norma_registry *registry, const char *name, size_t length) {
    for (int i = 0; i < registry->count; i++)
        if (strlen(registry->entries[i].name) == length && memcmp(registry->entries[i].name, name, length) == 0) return i;
    return -1;
}

/* The device index in text[0, length), or -1. */
static int parse_index(const char *text, size_t length) {
    int64_t index = 0;
    if (length == 0) return -1;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9') return -1;
        index = index * 10 + (text[i] - '0');
        if (index > INT_MAX) return -1;
    }
    return (int)index;
}

static void list_names(const norma_registry *registry, char *out_names, size_t bytes) {
    size_t used = 0;
    out_names[0] = 0;
    for (int i = 0; i < registry->count && used < bytes; i++)
        used += (size_t)snprintf(out_names + used, bytes - used, "%s%s", i ? ", " : "", registry->entries[i].name);
}

static norma_status parse_entry(const norma_registry *registry, const norma_choices *choices, const char *text,
                                const char *entry, size_t length, norma_choice *out_choice) {
    const char *colon = memchr(entry, ':', length);
    const size_t name_length = colon ? (size_t)(colon - entry) : length;
    if (name_length == 0)
        return norma_fail(NORMA_ERROR_BACKEND_UNKNOWN, "%s is \"%s\"; it has an empty entry", choices->source, text);
    out_choice->entry = find_entry(registry, entry, name_length);
    if (out_choice->entry < 0 && length == 4 && memcmp(entry, "auto", 4) == 0)
        return norma_fail(NORMA_ERROR_BACKEND_UNKNOWN, "%s is \"%s\"; \"auto\" stands alone", choices->source, text);
    if (out_choice->entry < 0) {
        char names[128];
        list_names(registry, names, sizeof names);
        return norma_fail(NORMA_ERROR_BACKEND_UNKNOWN, "%s is \"%s\"; there is no backend \"%.*s\", only %s",
                          choices->source, text, (int)name_length, entry, names);
    }
    out_choice->index = colon ? parse_index(colon + 1, length - name_length - 1) : 0;
    if (out_choice->index < 0)
        return norma_fail(NORMA_ERROR_BACKEND_UNKNOWN, "%s is \"%s\"; \"%.*s\" is not a device index", choices->source, text,
                          (int)(length - name_length - 1), colon + 1);
    return NORMA_OK;
}

norma_status norma_choices_parse(const norma_registry *registry, const char *source, const char *text,
                                 norma_choices *out_choices) {
    *out_choices = (norma_choices){.source = source, .automatic = strcmp(text, "auto") == 0};
    if (out_choices->automatic) {
        for (int i = 0; i < registry->count && i < NORMA_MAX_CHOICES; i++)
            out_choices->choice[out_choices->count++] = (norma_choice){i, 0};
        return NORMA_OK;
    }
    const char *entry = text;
    for (;;) {
        if (out_choices->count == NORMA_MAX_CHOICES)
            return norma_fail(NORMA_ERROR_BACKEND_UNKNOWN, "%s is \"%s\"; it has more than %d entries", source, text,
                              NORMA_MAX_CHOICES);
        const size_t length = strcspn(entry, ",");
        const norma_status status =
            parse_entry(registry, out_choices, text, entry, length, &out_choices->choice[out_choices->count]);
        if (status) return status;
        out_choices->count++;
        if (!entry[length]) return NORMA_OK;
        entry += length + 1;
    }
}

/* ---- Opening ---- */

static norma_backend_info probe(const norma_registered *entry) {
    norma_backend_info info = {.struct_size = sizeof info, .name = entry->name};
    if (entry->backend)
        entry->backend->probe(&info);
    else
        snprintf(info.detail, sizeof info.detail, "not in this build: %s", entry->how);
    info.name = entry->name;
    info.built = entry->backend != NULL;
    return info;
}

norma_status norma_choice_probe(const norma_registry *registry, norma_choice choice) {
    const norma_registered *entry = &registry->entries[choice.entry];
    const norma_backend_info info = probe(entry);
    if (!info.built) return norma_fail(NORMA_ERROR_BACKEND_NOT_BUILT, "backend \"%s\" is %s", entry->name, info.detail);
    if (info.devices < 1)
        return norma_fail(NORMA_ERROR_NO_DEVICE, "backend \"%s\" has no device: %s", entry->name, info.detail);
    if (choice.index < 0 || choice.index >= info.devices)
        return norma_fail(NORMA_ERROR_DEVICE_INDEX, "device index is %d in \"%s:%d\"; backend \"%s\" has %d device%s",
                          choice.index, entry->name, choice.index, entry->name, info.devices, info.devices == 1 ? "" : "s");
    return NORMA_OK;
}

static norma_status open_choice(const norma_registry *registry, norma_choice choice, bool may_yield, norma_open_desc desc,
                                norma_context **out_context) {
    const norma_status status = norma_choice_probe(registry, choice);
    if (status) return status;
    const norma_registered *entry = &registry->entries[choice.entry];
    if (may_yield && entry->backend->yields && entry->backend->yields(choice.index))
        return norma_fail(NORMA_ERROR_NO_DEVICE, "device %d of backend \"%s\" is one that a later backend runs faster",
                          choice.index, entry->name);
    desc.index = choice.index;
    return norma_context_create_on(entry->backend, &desc, out_context);
}

norma_status norma_choices_open(const norma_registry *registry, const norma_choices *choices, norma_open_desc desc,
                                norma_context **out_context) {
    norma_status first = NORMA_OK;
    char reasons[768] = "";
    size_t used = 0;
    for (int i = 0; i < choices->count; i++) {
        const norma_status status = open_choice(registry, choices->choice[i], choices->automatic, desc, out_context);
        if (status == NORMA_OK) {
            const norma_context *context = *out_context;
            norma_log(&desc.log, NORMA_LOG_INFO, "backend %s:%d (%s, %s), by %s%s%s", context->info.backend,
                      context->info.index, context->info.name, context->info.arch, choices->source,
                      used ? "; passed over: " : "", reasons);
            return NORMA_OK;
        }
        if (choices->count == 1) return status;
        if (i == 0) first = status;
        const int length = snprintf(reasons + used, sizeof reasons - used, "%s%s", used ? "; " : "", norma_last_error());
        used += (size_t)length;
        if (used >= sizeof reasons) used = sizeof reasons - 1;
    }
    return norma_fail(first, "no backend of %s can be used: %s", choices->source, reasons);
}

/* ---- Public ---- */

int norma_backend_count(void) {
    return norma_backends.count;
}

static norma_status check_index(int index) {
    if (index >= 0 && index < norma_backends.count) return NORMA_OK;
    return norma_fail(NORMA_ERROR_BACKEND_UNKNOWN, "index is %d; it must be from 0 to %d", index, norma_backends.count - 1);
}

norma_status norma_backend_get_info(int index, norma_backend_info *out_info) {
    const norma_status status = check_index(index);
    if (status) return status;
    const norma_backend_info info = probe(&norma_backends.entries[index]);
    return norma_struct_write("out_info", out_info, NORMA_BYTES_TO(norma_backend_info, detail), &info, sizeof info);
}

norma_status norma_device_get_info(int index, int device_index, norma_device_info *out_info) {
    norma_status status = check_index(index);
    if (!status) status = norma_choice_probe(&norma_backends, (norma_choice){index, device_index});
    if (status) return status;
    norma_device_info info = {.struct_size = sizeof info};
    status = norma_backends.entries[index].backend->describe(device_index, &info);
    if (status) return status;
    return norma_struct_write("out_info", out_info, NORMA_BYTES_TO(norma_device_info, arch), &info, sizeof info);
}
