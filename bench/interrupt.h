/* Ctrl-C: the first one asks the bench to stop after the sample in progress, a second one ends it at once. */
#ifndef NORMA_BENCH_INTERRUPT_H
#define NORMA_BENCH_INTERRUPT_H

#include <stdbool.h>

void bench_interrupt_catch(void);
bool bench_interrupted(void);

#endif
