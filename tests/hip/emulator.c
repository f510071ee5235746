/* The arena is a file in memory, mapped by both processes at one fixed address. A launch is a line of numbers to the
 * emulator's standard input, and its answer a line: "done", or what went wrong. */
#include "emulator.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define ARENA_ADDRESS 0x7ea000000000u /* where the sanitizers, too, expect a program's memory */
#define ARENA_BYTES   ((size_t)1 << 30)

enum { GRANULE_BYTES = 256, MAX_BLOCKS = 4096, IMPLICIT_BYTES = 256 };

/* Allocations in the order of their addresses. */
static struct { size_t begin, bytes; } blocks[MAX_BLOCKS];
static int block_count;
static unsigned char *arena;
static int arena_file = -1;

static bool open_arena(void) {
    if (arena) return true;
    arena_file = memfd_create("norma stand-in device", 0);
    if (arena_file < 0 || ftruncate(arena_file, (off_t)ARENA_BYTES) != 0) return false;
    void *const at = mmap((void *)ARENA_ADDRESS, ARENA_BYTES, PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_FIXED_NOREPLACE | MAP_NORESERVE, arena_file, 0);
    if (at != (void *)ARENA_ADDRESS) return false;
    arena = at;
    return true;
}

void *arena_alloc(size_t bytes) {
    if (!open_arena() || block_count == MAX_BLOCKS || bytes > ARENA_BYTES) return NULL;
    const size_t need = (bytes + GRANULE_BYTES - 1) / GRANULE_BYTES * GRANULE_BYTES;
    size_t begin = 0;
    int place = 0;
    while (place < block_count && blocks[place].begin - begin < need) {
        begin = blocks[place].begin + (blocks[place].bytes + GRANULE_BYTES - 1) / GRANULE_BYTES * GRANULE_BYTES;
        place++;
    }
    if (begin + need > ARENA_BYTES) return NULL;
    memmove(&blocks[place + 1], &blocks[place], (size_t)(block_count - place) * sizeof blocks[0]);
    blocks[place].begin = begin;
    blocks[place].bytes = bytes;
    block_count++;
    return arena + begin;
}

static int block_of(const void *data) {
    const size_t offset = (size_t)((const unsigned char *)data - arena);
    for (int i = 0; arena && i < block_count; i++)
        if (offset >= blocks[i].begin && offset - blocks[i].begin < blocks[i].bytes) return i;
    return -1;
}

size_t arena_left(const void *data) {
    const int block = block_of(data);
    return block < 0 ? 0 : blocks[block].begin + blocks[block].bytes - (size_t)((const unsigned char *)data - arena);
}

void arena_free(void *data) {
    const int block = block_of(data);
    if (block < 0) return;
    block_count--;
    memmove(&blocks[block], &blocks[block + 1], (size_t)(block_count - block) * sizeof blocks[0]);
}

/* ---- The process ---- */

static FILE *to_emulator, *from_emulator;

bool emulator_wanted(void) {
    const char *const script = getenv("NORMA_STAND_IN_EMULATOR");
    return script && *script;
}

static bool start(void) {
    int to[2], from[2];
    if (pipe(to) != 0 || pipe(from) != 0) return false;
    const pid_t child = fork();
    if (child < 0) return false;
    if (child == 0) {
        dup2(to[0], STDIN_FILENO);
        dup2(from[1], STDOUT_FILENO);
        close(to[1]);
        close(from[0]);
        unsetenv("LD_PRELOAD");
        execlp("python3", "python3", getenv("NORMA_STAND_IN_EMULATOR"), (char *)NULL);
        _exit(127);
    }
    close(to[0]);
    close(from[1]);
    to_emulator = fdopen(to[1], "w");
    from_emulator = fdopen(from[0], "r");
    if (!to_emulator || !from_emulator) return false;
    fprintf(to_emulator, "/proc/%d/fd/%d %llu %zu\n", (int)getpid(), arena_file, (unsigned long long)ARENA_ADDRESS,
            ARENA_BYTES);
    return true;
}

/* What a kernel finds behind its arguments: counts of blocks, sizes of blocks, and what it does not ask for. */
static void fill_implicit(unsigned char *at, const unsigned grid[3], const unsigned block[3]) {
    for (int i = 0; i < 3; i++) {
        const uint16_t size = (uint16_t)block[i];
        memcpy(at + 4 * i, &grid[i], 4);
        memcpy(at + 12 + 2 * i, &size, 2);
    }
}

const char *emulator_run(const char *arch, const code_object *object, const kernel_descriptor *kernel,
                         const unsigned grid[3], const unsigned block[3], unsigned shared_bytes, const void *params,
                         size_t params_bytes) {
    static char answer[512];
    if (!to_emulator && !start()) return "the emulator does not start";
    const size_t explicit_bytes = (params_bytes + 7) / 8 * 8;
    unsigned char *const arguments = arena_alloc(explicit_bytes + IMPLICIT_BYTES + kernel->argument_bytes);
    if (!arguments) return "the arena is full";
    memset(arguments, 0, explicit_bytes + IMPLICIT_BYTES + kernel->argument_bytes);
    memcpy(arguments, params, params_bytes);
    fill_implicit(arguments + explicit_bytes, grid, block);
    fprintf(to_emulator, "%s %llu %zu %u %u %u %u %u %u %u %llu %u %u %u\n", arch, (unsigned long long)kernel->entry,
            object->bytes, grid[0], grid[1], grid[2], block[0], block[1], block[2],
            kernel->static_shared_bytes + shared_bytes, (unsigned long long)(uintptr_t)arguments, kernel->program_resources,
            kernel->scratch_bytes, kernel->properties);
    fflush(to_emulator);
    const bool answered = fgets(answer, sizeof answer, from_emulator) != NULL;
    arena_free(arguments);
    if (!answered) return "the emulator has ended";
    answer[strcspn(answer, "\n")] = 0;
    return strcmp(answer, "done") == 0 ? NULL : answer;
}
