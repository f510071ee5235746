/* The floors that the bench measures others by: a plain copy, and a plain read of a large array.
 *
 *      block       0          1             last        A thread of the copy moves 16 bytes, one of the read four times 16;
 *             +----------+----------+-- ... --+----+      every block has a piece of its own and ends with it.
 *             +----------+----------+-- ... --+----+
 *
 * Steps: 1 place  2 load  6 store. Addresses are multiples of 16; bytes past the last 16 are moved one by one. */
#include "platform.cuh"

namespace {

constexpr int copy_threads = 256;
constexpr int read_threads = 256, read_chunks = 4;

} // namespace

NORMA_KERNEL(stream_copy, norma_stream_params, copy_threads, 1) {
    grid_wait();
    grid_launch_dependents();
    const unsigned char *from = (const unsigned char *)params.from;
    unsigned char *to = (unsigned char *)params.to;
    const norma_index chunks = params.bytes / 16;

    /* 1 place, 2 load, 6 store: one chunk a thread is fastest */
    const norma_index at = block_id() * copy_threads + thread_id(), tail = chunks * 16 + at;
    if (at < chunks) store16(to + at * 16, load16(from + at * 16));
    if (tail < params.bytes) to[tail] = from[tail];
}

/* A thread whose words' exclusive or is one certain value writes it to *to: so every word must be read, and as good as none
 * is written. */
NORMA_KERNEL(stream_read, norma_stream_params, read_threads, 1) {
    grid_wait();
    grid_launch_dependents();
    const unsigned char *from = (const unsigned char *)params.from;
    const norma_index chunks = params.bytes / 16;

    /* 1 place, 2 load */
    const norma_index first = block_id() * (read_threads * read_chunks) + thread_id(), tail = chunks * 16 + first;
    vec16 v[read_chunks];
    NORMA_UNROLL
    for (int i = 0; i < read_chunks; i++) {
        const norma_index chunk = first + i * read_threads;
        v[i] = chunk < chunks ? load16_constant(from + chunk * 16) : vec16{{0, 0, 0, 0}};
    }

    /* 6 store */
    unsigned all = tail < params.bytes ? from[tail] : 0;
    NORMA_UNROLL
    for (int i = 0; i < read_chunks; i++) all ^= v[i].word[0] ^ v[i].word[1] ^ v[i].word[2] ^ v[i].word[3];
    if (all == 0x5ca1ab1eu) *(unsigned *)params.to = all;
}
