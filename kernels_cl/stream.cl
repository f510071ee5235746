/* The bench's floors: a copy, and a read whose result depends on every chunk, so that none can be left out. Both take
 * contiguous arrays in chunks of 16 bytes; the copy also the bytes that are left over. Work-items take chunks in turn, or on
 * a CPU, NORMA_CPU, a run of neighbours each.
 *
 * Steps, by the names of tile_index.h: 1 place  2 load  6 store. */
#include "platform.clh"

#ifdef NORMA_CPU
#define FIRST(chunks) (norma_ceil_div((chunks), get_global_size(0)) * get_global_id(0))
#define END(chunks)   norma_index_min((chunks), norma_ceil_div((chunks), get_global_size(0)) * (get_global_id(0) + 1))
#define STEP          1
#else
#define FIRST(chunks) get_global_id(0)
#define END(chunks)   (chunks)
#define STEP          ((norma_index)get_global_size(0))
#endif

#ifdef NORMA_COPY
__kernel void stream_copy(__global const uint4 *from, __global uint4 *to, const norma_cl_stream params) {
    /* 1 place */
    const norma_index chunks = params.bytes / 16, end = END(chunks);
    if (get_global_id(0) == 0)
        for (norma_index byte = chunks * 16; byte < params.bytes; byte++)
            ((__global uchar *)(to + params.to))[byte] = ((__global const uchar *)(from + params.from))[byte];
    /* 2 load, 6 store */
    for (norma_index at = FIRST(chunks); at < end; at += STEP) to[params.to + at] = from[params.from + at];
}
#else
__kernel void stream_read(__global const uint4 *from, __global uint *to, const norma_cl_stream params) {
    /* 1 place */
    const norma_index chunks = params.bytes / 16, end = END(chunks);
    norma_index at = FIRST(chunks);
    uint4 seen[4] = {0, 0, 0, 0};
    /* 2 load */
    for (; at + 3 * STEP < end; at += 4 * STEP)
        for (int i = 0; i < 4; i++) seen[i] ^= from[params.from + at + i * STEP];
    for (; at < end; at += STEP) seen[0] ^= from[params.from + at];
    const uint4 all = seen[0] ^ seen[1] ^ seen[2] ^ seen[3];
    /* 6 store: as good as never */
    if ((all.x ^ all.y ^ all.z ^ all.w) == 0x9e3779b9u) to[params.to] = all.x;
}
#endif
