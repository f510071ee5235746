/* How many threads this process can run at once. */
#ifndef NORMA_CPU_PROCESSORS_H
#define NORMA_CPU_PROCESSORS_H

/* The processors in the process's affinity mask, or fewer where the control groups that it is in (version 2, as containers
 * have them) grant it less time than that; at least 1. */
int norma_processor_count(void);

/* Whole processors for a line of a group's cpu.max, "quota period" in microseconds, rounded up; 0: no limit, or no such
 * line. */
int norma_quota_processors(const char *line);

#endif
