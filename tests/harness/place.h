/* The two halves of making a trial: where its tensors lie, and what they hold. */
#ifndef NORMA_TESTS_PLACE_H
#define NORMA_TESTS_PLACE_H

#include "harness/trial.h"

/* Decides every tensor's layout, arena and offset, and allocates the arenas, all poison. */
void test_trial_place(test_trial *trial, bool tight);

/* Stores the inputs. */
void test_trial_fill(test_trial *trial);

/* Byte offset of (row, col) in its arena, row counted over all batches. */
size_t test_tensor_at(const test_tensor *tensor, int64_t row, int64_t col);

/* Memory or the end of the program. */
void *test_allocate(size_t bytes);

#endif
