/* The inner loop of emulate.py, which compiles this file: runs one wave until it ends, waits at a barrier, or comes to an
 * instruction that has no step yet. A step is the function that tinygrad's emulator made of an instruction; it moves the
 * program counter, which is among the scalar registers. A kernel's steps are a table with a place for each four bytes. */
#include <stdint.h>

enum { BUFFERS = 6, COUNTER_LOW = 256, COUNTER_HIGH = 257 };

typedef struct wave_step {
    void (*run)(void *, void *, void *, void *, void *, void *); /* of which it takes as many as it needs */
    uint64_t count;                                              /* how often it ran */
    unsigned char buffer[BUFFERS];                               /* the buffers that it wants, in this order */
    unsigned char is_barrier;
} wave_step;

enum { WAVE_ENDED, WAVE_AT_BARRIER, WAVE_NEEDS_STEP, WAVE_OUTSIDE, WAVE_TOO_LONG };

/* `buffer`: scalar registers, vector registers, memory, shared memory, scratch memory, accumulation registers. */
int wave_run(wave_step *steps, uint64_t entry, uint64_t code_bytes, void *const *buffer, uint64_t limit) {
    const uint32_t *const scalar = buffer[0];
    for (uint64_t i = 0; i < limit; i++) {
        const uint64_t at = (uint64_t)scalar[COUNTER_HIGH] << 32 | scalar[COUNTER_LOW];
        if (at == UINT64_MAX) return WAVE_ENDED;
        if (at < entry || at - entry >= code_bytes) return WAVE_OUTSIDE;
        wave_step *const step = &steps[(at - entry) / 4];
        if (!step->run) return WAVE_NEEDS_STEP;
        const unsigned char *const b = step->buffer;
        step->run(buffer[b[0]], buffer[b[1]], buffer[b[2]], buffer[b[3]], buffer[b[4]], buffer[b[5]]);
        step->count++;
        if (step->is_barrier) return WAVE_AT_BARRIER;
    }
    return WAVE_TOO_LONG;
}
