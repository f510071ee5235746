/* Processors by sched_getaffinity(2), and by the cpu.max of each control group from the process's own up to the root; see
 * cgroups(7) and the kernel's cgroup-v2 document. */
#include "processors.h"

#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The mask is as long as the kernel's, which may have more processors than a cpu_set_t. */
static int affine_processors(void) {
    for (int possible = CPU_SETSIZE; possible <= 1 << 20; possible *= 2) {
        cpu_set_t *set = CPU_ALLOC((size_t)possible);
        if (!set) break;
        const size_t bytes = CPU_ALLOC_SIZE((size_t)possible);
        const int count = sched_getaffinity(0, bytes, set) == 0 ? CPU_COUNT_S(bytes, set) : 0;
        CPU_FREE(set);
        if (count > 0) return count;
    }
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 && online <= INT_MAX ? (int)online : 1;
}

int norma_quota_processors(const char *line) {
    long long quota, period;
    if (sscanf(line, "%lld %lld", &quota, &period) != 2 || quota <= 0 || period <= 0) return 0;
    const long long processors = quota / period + (quota % period != 0);
    return processors <= INT_MAX ? (int)processors : 0;
}

/* The first line of a file that begins with `start`, without its end and its start; false if there is none. */
static int read_line(const char *path, const char *start, char *line, int bytes) {
    FILE *file = fopen(path, "r");
    if (!file) return 0;
    int found = 0;
    while (!found && fgets(line, bytes, file)) found = strncmp(line, start, strlen(start)) == 0;
    fclose(file);
    if (!found) return 0;
    line[strcspn(line, "\n")] = '\0';
    memmove(line, line + strlen(start), strlen(line + strlen(start)) + 1);
    return 1;
}

/* The least quota on the way from the process's group to the root; 0: none. */
static int quota(void) {
    char group[1024], path[1200], line[64];
    if (!read_line("/proc/self/cgroup", "0::", group, sizeof group)) return 0;
    int least = 0;
    for (;;) {
        snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", group);
        const int processors = read_line(path, "", line, sizeof line) ? norma_quota_processors(line) : 0;
        if (processors > 0 && (least == 0 || processors < least)) least = processors;
        char *last = strrchr(group, '/');
        if (!last) return least;
        *last = '\0';
    }
}

int norma_processor_count(void) {
    const int affine = affine_processors();
    const int granted = quota();
    return granted > 0 && granted < affine ? granted : affine;
}
