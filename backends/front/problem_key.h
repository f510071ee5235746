/* A description as words: every field that can change what runs, written out one by one, since a struct's padding cannot be
 * compared. Sizes that a description does not know, addresses and max_rows are not in it. */
#ifndef NORMA_FRONT_PROBLEM_KEY_H
#define NORMA_FRONT_PROBLEM_KEY_H

#include "../problem.h"

#define NORMA_KEY_LAYOUT_WORDS 4
#define NORMA_KEY_HEAD_WORDS   7
#define NORMA_KEY_PART_WORDS   (1 + 4 * NORMA_KEY_LAYOUT_WORDS)
#define NORMA_KEY_WORDS        (NORMA_KEY_HEAD_WORDS + 7 * NORMA_KEY_LAYOUT_WORDS + NORMA_MAX_PARTS * NORMA_KEY_PART_WORDS)

typedef struct norma_problem_key {
    uint64_t hash;
    int count;
    uint64_t words[NORMA_KEY_WORDS];
} norma_problem_key;

void norma_problem_key_make(const norma_problem *problem, norma_problem_key *out_key);

bool norma_problem_keys_equal(const norma_problem_key *a, const norma_problem_key *b);

#endif
