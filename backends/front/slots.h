/* The slots of an operation: its tensors in one table, with their names and sizes. Every check of validation walks this
 * table, so that no tensor can be forgotten by one of them. */
#ifndef NORMA_FRONT_SLOTS_H
#define NORMA_FRONT_SLOTS_H

#include "../problem.h"

typedef struct norma_slot {
    const char *name; /* as in the caller's structs, after "desc." or "args." */
    norma_tensor *tensor;
    bool required;
    bool output;
    bool batched;              /* its rows are the problem's rows; otherwise batch is 1 */
    int64_t batch, rows, cols; /* batch and rows of a batched one are 0 until the problem is bound */
} norma_slot;

/* x, rstd, gamma, dresidual_out, dx, dgamma, and four per part. */
#define NORMA_MAX_SLOTS (6 + 4 * NORMA_MAX_PARTS)

typedef struct norma_slot_list {
    int count;
    norma_slot slots[NORMA_MAX_SLOTS];
} norma_slot_list;

/* The slots of a problem, which they point into. */
norma_slot_list norma_slots_of(norma_problem *problem);

/* The names of a part's slots. */
typedef struct norma_part_name {
    const char *weight, *bias, *out, *dout, *dweight, *dbias;
} norma_part_name;

extern const norma_part_name norma_part_names[NORMA_MAX_PARTS];

/* The bytes from its buffer's start to its tensor's end, 0 if there is no element; false if an int64 does not count them. */
bool norma_slot_span(const norma_slot *slot, int64_t *out_bytes);

/* Refuses a tensor that spans, from its buffer's start, more bytes than an int64 counts. */
norma_status norma_slot_check_span(const norma_slot *slot);

#endif
