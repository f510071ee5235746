/* The matrix product of sm_90a: wgmma.mma_async m64nNk16, both operands in shared memory with 128-byte swizzle, fp32
 * accumulators. A warpgroup (four waves, the first a multiple of four) issues it together and waits for it later; until then
 * nobody may touch the accumulators. The instruction names every accumulator, so one asm statement per width is spelled out
 * here, by macros. Source: the PTX ISA manual, "Asynchronous warpgroup level matrix instructions". */
#ifndef NORMA_PLATFORM_WGMMA_CUH
#define NORMA_PLATFORM_WGMMA_CUH

#include "platform.cuh"

#if defined(NORMA_SIMT)
#include "simt_sm90.h"
#else

/* Accumulators of a thread for a tile of `width` columns: c[4 j + 2 h + e] is row wave * 16 + h * 8 + lane / 4 of the 64,
 * column 8 j + lane % 4 * 2 + e. */
NORMA_DEVICE constexpr int wgmma_values(int width) {
    return width / 2;
}

/* Where an operand lies: an address aligned to 1024 bytes plus the offset of its first k16 slice. K-major, that is rows of
 * 64 values of K in 128 bytes: groups of 8 rows are 1024 bytes apart. The other way round, rows of 64 columns each: groups
 * of 8 values of K are 1024 bytes apart, and the next 64 columns follow after `slab_bytes`. */
NORMA_DEVICE unsigned long long wgmma_k_major(unsigned address) {
    return (address >> 4 & 0x3fffu) | 1ull << 16 | 64ull << 32 | 1ull << 62;
}
NORMA_DEVICE unsigned long long wgmma_n_major(unsigned address, unsigned slab_bytes) {
    return (address >> 4 & 0x3fffu) | (unsigned long long)(slab_bytes >> 4) << 16 | 64ull << 32 | 1ull << 62;
}

/* Makes earlier writes of the accumulators visible to the products that follow. */
NORMA_DEVICE void wgmma_begin() {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
NORMA_DEVICE void wgmma_commit() {
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/* Waits until at most `pending` of the latest commits are unfinished. */
template <int pending>
NORMA_DEVICE void wgmma_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory");
}
/* Keeps the compiler from moving what reads or writes an accumulator across. */
NORMA_DEVICE void register_pin(float &value) {
    asm volatile("" : "+f"(value)::"memory");
}
template <int values>
NORMA_DEVICE void wgmma_clear(float (&c)[values]) {
    NORMA_UNROLL
    for (int i = 0; i < values; i++) {
        c[i] = 0.0f;
        register_pin(c[i]);
    }
}
template <int values>
NORMA_DEVICE void wgmma_pin(float (&c)[values]) {
    NORMA_UNROLL
    for (int i = 0; i < values; i++) register_pin(c[i]);
}

#define WGMMA_TEXT_0  "%0, %1, %2, %3, %4, %5, %6, %7"
#define WGMMA_TEXT_1  ", %8, %9, %10, %11, %12, %13, %14, %15"
#define WGMMA_TEXT_2  ", %16, %17, %18, %19, %20, %21, %22, %23"
#define WGMMA_TEXT_3  ", %24, %25, %26, %27, %28, %29, %30, %31"
#define WGMMA_TEXT_4  ", %32, %33, %34, %35, %36, %37, %38, %39"
#define WGMMA_TEXT_5  ", %40, %41, %42, %43, %44, %45, %46, %47"
#define WGMMA_TEXT_6  ", %48, %49, %50, %51, %52, %53, %54, %55"
#define WGMMA_TEXT_7  ", %56, %57, %58, %59, %60, %61, %62, %63"
#define WGMMA_TEXT_8  ", %64, %65, %66, %67, %68, %69, %70, %71"
#define WGMMA_TEXT_9  ", %72, %73, %74, %75, %76, %77, %78, %79"
#define WGMMA_TEXT_10 ", %80, %81, %82, %83, %84, %85, %86, %87"
#define WGMMA_TEXT_11 ", %88, %89, %90, %91, %92, %93, %94, %95"
#define WGMMA_TEXT_12 ", %96, %97, %98, %99, %100, %101, %102, %103"
#define WGMMA_TEXT_13 ", %104, %105, %106, %107, %108, %109, %110, %111"
#define WGMMA_TEXT_14 ", %112, %113, %114, %115, %116, %117, %118, %119"
#define WGMMA_TEXT_15 ", %120, %121, %122, %123, %124, %125, %126, %127"

#define WGMMA_NAMES(i)                                                                                          \
    "+f"(c[i]), "+f"(c[i + 1]), "+f"(c[i + 2]), "+f"(c[i + 3]), "+f"(c[i + 4]), "+f"(c[i + 5]), "+f"(c[i + 6]), \
        "+f"(c[i + 7])

/* multiply: c += a b; start: c = a b. `flipped`: b is not K-major. */
template <typename T, int width, int flipped>
struct wgmma;

#define WGMMA_FUNCTION(width, function, name, text, a, b, keep, flip, ...)                                                  \
    static NORMA_DEVICE void function(float(&c)[width / 2], unsigned long long at_a, unsigned long long at_b) {             \
        asm volatile("wgmma.mma_async.sync.aligned.m64n" #width "k16.f32." name "." name " {" text "}, " a ", " b ", " keep \
                     ", 1, 1, 0, " flip ";"                                                                                 \
                     : __VA_ARGS__                                                                                          \
                     : "l"(at_a), "l"(at_b), "n"(flipped));                                                                 \
    }
#define WGMMA_DEFINE(width, type, name, text, a, b, flip, ...)                    \
    template <int flipped>                                                        \
    struct wgmma<type, width, flipped> {                                          \
        WGMMA_FUNCTION(width, multiply, name, text, a, b, "1", flip, __VA_ARGS__) \
        WGMMA_FUNCTION(width, start, name, text, a, b, "0", flip, __VA_ARGS__)    \
    };
#define WGMMA_BOTH(width, text, a, b, flip, ...)                     \
    WGMMA_DEFINE(width, bf16, "bf16", text, a, b, flip, __VA_ARGS__) \
    WGMMA_DEFINE(width, f16, "f16", text, a, b, flip, __VA_ARGS__)

WGMMA_BOTH(16, WGMMA_TEXT_0, "%8", "%9", "%10", WGMMA_NAMES(0))
WGMMA_BOTH(32, WGMMA_TEXT_0 WGMMA_TEXT_1, "%16", "%17", "%18", WGMMA_NAMES(0), WGMMA_NAMES(8))
WGMMA_BOTH(48, WGMMA_TEXT_0 WGMMA_TEXT_1 WGMMA_TEXT_2, "%24", "%25", "%26", WGMMA_NAMES(0), WGMMA_NAMES(8), WGMMA_NAMES(16))
WGMMA_BOTH(64, WGMMA_TEXT_0 WGMMA_TEXT_1 WGMMA_TEXT_2 WGMMA_TEXT_3, "%32", "%33", "%34", WGMMA_NAMES(0), WGMMA_NAMES(8),
           WGMMA_NAMES(16), WGMMA_NAMES(24))
WGMMA_BOTH(96, WGMMA_TEXT_0 WGMMA_TEXT_1 WGMMA_TEXT_2 WGMMA_TEXT_3 WGMMA_TEXT_4 WGMMA_TEXT_5, "%48", "%49", "%50",
           WGMMA_NAMES(0), WGMMA_NAMES(8), WGMMA_NAMES(16), WGMMA_NAMES(24), WGMMA_NAMES(32), WGMMA_NAMES(40))
WGMMA_BOTH(128, WGMMA_TEXT_0 WGMMA_TEXT_1 WGMMA_TEXT_2 WGMMA_TEXT_3 WGMMA_TEXT_4 WGMMA_TEXT_5 WGMMA_TEXT_6 WGMMA_TEXT_7,
           "%64", "%65", "%66", WGMMA_NAMES(0), WGMMA_NAMES(8), WGMMA_NAMES(16), WGMMA_NAMES(24), WGMMA_NAMES(32),
           WGMMA_NAMES(40), WGMMA_NAMES(48), WGMMA_NAMES(56))
WGMMA_BOTH(144,
           WGMMA_TEXT_0 WGMMA_TEXT_1 WGMMA_TEXT_2 WGMMA_TEXT_3 WGMMA_TEXT_4 WGMMA_TEXT_5 WGMMA_TEXT_6 WGMMA_TEXT_7
               WGMMA_TEXT_8,
           "%72", "%73", "%74", WGMMA_NAMES(0), WGMMA_NAMES(8), WGMMA_NAMES(16), WGMMA_NAMES(24), WGMMA_NAMES(32),
           WGMMA_NAMES(40), WGMMA_NAMES(48), WGMMA_NAMES(56), WGMMA_NAMES(64))
WGMMA_BOTH(160,
           WGMMA_TEXT_0 WGMMA_TEXT_1 WGMMA_TEXT_2 WGMMA_TEXT_3 WGMMA_TEXT_4 WGMMA_TEXT_5 WGMMA_TEXT_6 WGMMA_TEXT_7
               WGMMA_TEXT_8 WGMMA_TEXT_9,
           "%80", "%81", "%82", WGMMA_NAMES(0), WGMMA_NAMES(8), WGMMA_NAMES(16), WGMMA_NAMES(24), WGMMA_NAMES(32),
           WGMMA_NAMES(40), WGMMA_NAMES(48), WGMMA_NAMES(56), WGMMA_NAMES(64), WGMMA_NAMES(72))
WGMMA_BOTH(176,
           WGMMA_TEXT_0 WGMMA_TEXT_1 WGMMA_TEXT_2 WGMMA_TEXT_3 WGMMA_TEXT_4 WGMMA_TEXT_5 WGMMA_TEXT_6 WGMMA_TEXT_7
               WGMMA_TEXT_8 WGMMA_TEXT_9 WGMMA_TEXT_10,
           "%88", "%89", "%90", WGMMA_NAMES(0), WGMMA_NAMES(8), WGMMA_NAMES(16), WGMMA_NAMES(24), WGMMA_NAMES(32),
           WGMMA_NAMES(40), WGMMA_NAMES(48), WGMMA_NAMES(56), WGMMA_NAMES(64), WGMMA_NAMES(72), WGMMA_NAMES(80))
WGMMA_BOTH(192,
           WGMMA_TEXT_0 WGMMA_TEXT_1 WGMMA_TEXT_2 WGMMA_TEXT_3 WGMMA_TEXT_4 WGMMA_TEXT_5 WGMMA_TEXT_6 WGMMA_TEXT_7
               WGMMA_TEXT_8 WGMMA_TEXT_9 WGMMA_TEXT_10 WGMMA_TEXT_11,
           "%96", "%97", "%98", WGMMA_NAMES(0), WGMMA_NAMES(8), WGMMA_NAMES(16), WGMMA_NAMES(24), WGMMA_NAMES(32),
           WGMMA_NAMES(40), WGMMA_NAMES(48), WGMMA_NAMES(56), WGMMA_NAMES(64), WGMMA_NAMES(72), WGMMA_NAMES(80),
           WGMMA_NAMES(88))
WGMMA_BOTH(256,
           WGMMA_TEXT_0 WGMMA_TEXT_1 WGMMA_TEXT_2 WGMMA_TEXT_3 WGMMA_TEXT_4 WGMMA_TEXT_5 WGMMA_TEXT_6 WGMMA_TEXT_7
               WGMMA_TEXT_8 WGMMA_TEXT_9 WGMMA_TEXT_10 WGMMA_TEXT_11 WGMMA_TEXT_12 WGMMA_TEXT_13 WGMMA_TEXT_14 WGMMA_TEXT_15,
           "%128", "%129", "%130", WGMMA_NAMES(0), WGMMA_NAMES(8), WGMMA_NAMES(16), WGMMA_NAMES(24), WGMMA_NAMES(32),
           WGMMA_NAMES(40), WGMMA_NAMES(48), WGMMA_NAMES(56), WGMMA_NAMES(64), WGMMA_NAMES(72), WGMMA_NAMES(80),
           WGMMA_NAMES(88), WGMMA_NAMES(96), WGMMA_NAMES(104), WGMMA_NAMES(112), WGMMA_NAMES(120))

#endif

#endif
