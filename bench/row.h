/* A row: all that the bench says about one problem on one device. Its fields are those of columns.def. */
#ifndef NORMA_BENCH_ROW_H
#define NORMA_BENCH_ROW_H

#include <math.h>
#include <stdint.h>

#define BENCH_TEXT_BYTES 320

typedef struct bench_row {
#define TEXT(name, meaning) char name[BENCH_TEXT_BYTES];
#define INT(name, meaning)  int64_t name;
#define REAL(name, meaning) double name;
#define FLAG(name, meaning) int name;
#include "columns.def"
#undef TEXT
#undef INT
#undef REAL
#undef FLAG
} bench_row;

/* A row whose every value is absent. */
static inline void bench_row_clear(bench_row *row) {
#define TEXT(name, meaning) row->name[0] = '\0';
#define INT(name, meaning)  row->name = -1;
#define REAL(name, meaning) row->name = NAN;
#define FLAG(name, meaning) row->name = -1;
#include "columns.def"
#undef TEXT
#undef INT
#undef REAL
#undef FLAG
}

#endif
