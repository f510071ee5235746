/* Words that a kernel finds as its last launch left them: counters, and values marked with a launch's number. They begin
 * with zeros, and all launches of a device have the same ones, since launches follow one another. Graphs that were captured
 * keep the address of those that there were, so words that were outgrown stay as they are until the device is closed. */
#include <stdlib.h>

#include "device.h"

struct norma_gpu_words {
    void *data;
    size_t bytes;
    struct norma_gpu_words *outgrown;
};

/* On a stream of the device's own: the caller's may be being captured. */
static norma_status clear(gpu_device *device, void *data, size_t bytes) {
    void *stream;
    norma_status status = norma_gpu_own_stream(device, &stream);
    if (status) return status;
    void *const zeros = calloc(1, bytes);
    if (!zeros) return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory for %zu bytes", bytes);
    status = GPU_CALL(device->driver, copy_to_device, data, zeros, bytes, stream);
    if (!status) status = GPU_CALL(device->driver, stream_sync, stream);
    free(zeros);
    return status;
}

/* Twice the size at least, so that all that is outgrown is less than what is in use. */
norma_status norma_gpu_words_reserve(gpu_device *device, size_t bytes) {
    const size_t held = device->words ? device->words->bytes : 0;
    if (bytes <= held) return NORMA_OK;
    struct norma_gpu_words *const words = malloc(sizeof *words);
    if (!words) return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory to keep words");
    *words = (struct norma_gpu_words){.bytes = bytes / 2 < held ? 2 * held : bytes, .outgrown = device->words};
    norma_status status = GPU_CALL(device->driver, memory_alloc, &words->data, words->bytes);
    if (!status) {
        status = clear(device, words->data, words->bytes);
        if (status) device->driver->memory_free(words->data);
    }
    if (status)
        free(words);
    else
        device->words = words;
    return status;
}

void *norma_gpu_words(const gpu_device *device) {
    return device->words->data;
}

void norma_gpu_words_free(gpu_device *device) {
    while (device->words) {
        struct norma_gpu_words *const words = device->words;
        device->words = words->outgrown;
        device->driver->memory_free(words->data);
        free(words);
    }
}
