/* norma-info: what this library is and what it finds on this machine, as text or, with --json, as one JSON object.
 * It uses only the public functions and opens nothing. */
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "norma/norma.h"

static const struct {
    const char *name, *meaning;
} variables[] = {
    {"NORMA_BACKEND", "which backend and device to use"},
    {"NORMA_LOG", "what to log: error, warn, info or debug"},
    {"NORMA_KERNEL", "the route to force"},
    {"NORMA_CACHE_DIR", "where choices that were timed and OpenCL's compiled code are kept"},
    {"NORMA_THREADS", "threads of the CPU backend"},
    {"NORMA_BATCH_INVARIANT", "1: a row's result does not depend on the other rows"},
    {"NORMA_TIME_ROUTES", "1: plans time the kernels that can serve them, once"},
};

#define VARIABLES (sizeof variables / sizeof variables[0])

static void print_device(int backend, int index) {
    norma_device_info info = {.struct_size = sizeof info};
    if (norma_device_get_info(backend, index, &info) != NORMA_OK) {
        printf("    :%d  %s\n", index, norma_last_error());
        return;
    }
    printf("    %s:%d  %s, %s, %d compute units", info.backend, index, info.name, info.arch, (int)info.compute_units);
    if (info.memory_bytes > 0) printf(", %.1f GB", (double)info.memory_bytes / 1e9);
    putchar('\n');
}

static void print_backend(int backend) {
    norma_backend_info info = {.struct_size = sizeof info};
    if (norma_backend_get_info(backend, &info) != NORMA_OK) {
        printf("  backend %d: %s\n", backend, norma_last_error());
        return;
    }
    const char *state = !info.built ? "not built" : info.devices > 0 ? "usable" : "no device";
    printf("  %-7s %-10s %s\n", info.name, state, info.detail);
    for (int i = 0; i < info.devices; i++) print_device(backend, i);
}

static void print_text(void) {
    printf("norma %s\n\nbackends, in order of preference:\n", norma_version());
    for (int i = 0; i < norma_backend_count(); i++) print_backend(i);
    printf("\nenvironment:\n");
    for (size_t i = 0; i < VARIABLES; i++) {
        const char *value = getenv(variables[i].name);
        printf("  %-22s %-12s %s\n", variables[i].name, value ? value : "(unset)", variables[i].meaning);
    }
}

static void put_field(const char *name, const char *text) {
    printf("\"%s\": ", name);
    bench_json_text(stdout, text);
}

static void put_device(int backend, int index) {
    norma_device_info info = {.struct_size = sizeof info};
    printf("%s\n      {\"index\": %d, ", index > 0 ? "," : "", index);
    if (norma_device_get_info(backend, index, &info) != NORMA_OK) {
        put_field("error", norma_last_error());
    } else {
        put_field("name", info.name);
        fputs(", ", stdout);
        put_field("arch", info.arch);
        printf(", \"compute_units\": %d, \"memory_bytes\": %llu", (int)info.compute_units,
               (unsigned long long)info.memory_bytes);
    }
    putchar('}');
}

static void put_backend(int backend) {
    norma_backend_info info = {.struct_size = sizeof info};
    printf("%s\n    {", backend > 0 ? "," : "");
    if (norma_backend_get_info(backend, &info) != NORMA_OK) {
        put_field("error", norma_last_error());
    } else {
        put_field("name", info.name);
        printf(", \"built\": %s, ", info.built ? "true" : "false");
        put_field("detail", info.detail);
        fputs(", \"devices\": [", stdout);
        for (int i = 0; i < info.devices; i++) put_device(backend, i);
        putchar(']');
    }
    putchar('}');
}

static void print_json(void) {
    fputs("{\n  ", stdout);
    put_field("version", norma_version());
    fputs(",\n  \"backends\": [", stdout);
    for (int i = 0; i < norma_backend_count(); i++) put_backend(i);
    fputs("],\n  \"environment\": {", stdout);
    for (size_t i = 0; i < VARIABLES; i++) {
        fputs(i > 0 ? ", " : "", stdout);
        put_field(variables[i].name, getenv(variables[i].name));
    }
    fputs("}\n}\n", stdout);
}

int main(int argc, char **argv) {
    static const struct option list[] = {
        {"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    bool json = false;
    opterr = 0;
    for (int found; (found = getopt_long(argc, argv, "", list, NULL)) != -1;) {
        if (found == 'h') {
            puts("usage: norma-info [--json]\n\nPrints the library's version, its backends with the devices that they find "
                 "or\n"
                 "why they find none, and the environment variables that it heeds.");
            return 0;
        }
        if (found != 'j') {
            fprintf(stderr, "norma-info: no such option as %s; --help lists them\n", argv[optind - 1]);
            return 2;
        }
        json = true;
    }
    if (optind < argc) {
        fprintf(stderr, "norma-info: \"%s\" is not an option; --help lists them\n", argv[optind]);
        return 2;
    }
    if (json)
        print_json();
    else
        print_text();
    return fflush(stdout) == 0 && !ferror(stdout) ? 0 : 1;
}
