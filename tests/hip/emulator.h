/* An emulator of AMD's instructions in a process of its own (emulate.py), which sees the same memory at the same addresses.
 */
#ifndef NORMA_TESTS_HIP_EMULATOR_H
#define NORMA_TESTS_HIP_EMULATOR_H

#include "code_object.h"

/* Memory of a device: from here to ARENA_BYTES on. NULL when it is used up. */
void *arena_alloc(size_t bytes);
void arena_free(void *data);

/* How many bytes from `data` on belong to one allocation; 0 if it is in none. */
size_t arena_left(const void *data);

/* Whether the environment asks for an emulator, and names a checkout of what it needs. */
bool emulator_wanted(void);

/* Runs a kernel to completion; a sentence if that failed. */
const char *emulator_run(const char *arch, const code_object *object, const kernel_descriptor *kernel,
                         const unsigned grid[3], const unsigned block[3], unsigned shared_bytes, const void *params,
                         size_t params_bytes);

#endif
