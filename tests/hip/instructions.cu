/* Single instructions as kernels, for test_hip_instructions.c: a lane reads sixteen words, and writes up to as many. They
 * are those that the emulator gets wrong by itself (emulate.py), and those that the kernels' roundings depend on. */
#define DEVICE __attribute__((device)) inline
#define KERNEL extern "C" __attribute__((global)) __attribute__((amdgpu_flat_work_group_size(1, 64))) void

constexpr int words = 16;

typedef float floats2 __attribute__((ext_vector_type(2)));
typedef float floats4 __attribute__((ext_vector_type(4)));
typedef float floats8 __attribute__((ext_vector_type(8)));
typedef _Float16 halves4 __attribute__((ext_vector_type(4)));
typedef _Float16 halves16 __attribute__((ext_vector_type(16)));
typedef short shorts4 __attribute__((ext_vector_type(4)));
typedef short shorts16 __attribute__((ext_vector_type(16)));
typedef unsigned unsigned2 __attribute__((ext_vector_type(2)));
typedef unsigned unsigned8 __attribute__((ext_vector_type(8)));

/* Elements of vectors go through here: clang 19 casts the bits of the first, whichever is asked for. */
DEVICE unsigned bits_of(float value) {
    return __builtin_bit_cast(unsigned, value);
}
DEVICE unsigned lane() {
    return __builtin_amdgcn_workitem_id_x();
}
DEVICE unsigned place() {
    return (__builtin_amdgcn_workgroup_id_x() * __builtin_amdgcn_workgroup_size_x() + lane()) * words;
}

/* D = A B, each lane with its part of either. */
#if defined(__GFX9__)
#define MATRIX(name, type, builtin)                                                                         \
    KERNEL name(const unsigned *in, unsigned *out) {                                                        \
        in += place(), out += place();                                                                      \
        const floats4 zero = {0, 0, 0, 0};                                                                  \
        const unsigned2 a = {in[0], in[1]}, b = {in[2], in[3]};                                             \
        const floats4 d = builtin(__builtin_bit_cast(type, a), __builtin_bit_cast(type, b), zero, 0, 0, 0); \
        for (int i = 0; i < 4; i++) out[i] = bits_of(d[i]);                                                 \
    }
MATRIX(matrix_f16, halves4, __builtin_amdgcn_mfma_f32_16x16x16f16)
MATRIX(matrix_bf16, shorts4, __builtin_amdgcn_mfma_f32_16x16x16bf16_1k)
#else
#define MATRIX(name, type, builtin)                                                                \
    KERNEL name(const unsigned *in, unsigned *out) {                                               \
        in += place(), out += place();                                                             \
        const floats8 zero = {0, 0, 0, 0, 0, 0, 0, 0};                                             \
        unsigned8 a, b;                                                                            \
        for (int i = 0; i < 8; i++) a[i] = in[i], b[i] = in[8 + i];                                \
        const floats8 d = builtin(__builtin_bit_cast(type, a), __builtin_bit_cast(type, b), zero); \
        for (int i = 0; i < 8; i++) out[i] = bits_of(d[i]);                                        \
    }
MATRIX(matrix_f16, halves16, __builtin_amdgcn_wmma_f32_16x16x16_f16_w32)
MATRIX(matrix_bf16, shorts16, __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32)

/* Selectors in literals: lane 5 of each sixteen, and the other sixteen's lane of the same number. */
KERNEL select_lanes(const unsigned *in, unsigned *out) {
    in += place(), out += place();
    const unsigned own = in[0];
    out[0] = __builtin_amdgcn_permlane16(own, own, 0x55555555u, 0x55555555u, true, false);
    out[1] = __builtin_amdgcn_permlanex16(own, own, 0x76543210u, 0xfedcba98u, true, false);
}
#endif

/* Conversions, the first of a value in a register that is numbered like the high half of a lower one on RDNA 3. */
KERNEL convert(const unsigned *in, unsigned *out) {
    in += place(), out += place();
    unsigned widened, narrowed;
#if defined(__GFX9__)
    __asm__ volatile("v_mov_b32 v72, 0x3c00\n\tv_mov_b32 v200, %1\n\tv_cvt_f32_f16 %0, v200"
                     : "=v"(widened)
                     : "v"(in[0])
                     : "v72", "v200");
#else
    __asm__ volatile("v_cvt_f32_f16 %0, %1" : "=v"(widened) : "v"(in[0]));
#endif
    __asm__ volatile("v_cvt_f16_f32 %0, %1" : "=v"(narrowed) : "v"(in[1]));
    out[0] = widened;
    out[1] = narrowed & 0xffffu;
}

/* Products and sums of fp32, two at a time where there is an instruction for it. */
KERNEL multiply_add(const unsigned *in, unsigned *out) {
    in += place(), out += place();
    floats2 a, b, c, fused, product;
    for (int i = 0; i < 2; i++) {
        a[i] = __builtin_bit_cast(float, in[i]);
        b[i] = __builtin_bit_cast(float, in[2 + i]);
        c[i] = __builtin_bit_cast(float, in[4 + i]);
    }
#if defined(__GFX9__)
    __asm__ volatile("v_pk_fma_f32 %0, %1, %2, %3" : "=v"(fused) : "v"(a), "v"(b), "v"(c));
    __asm__ volatile("v_pk_mul_f32 %0, %1, %2" : "=v"(product) : "v"(a), "v"(b));
#else
    for (int i = 0; i < 2; i++) {
        fused[i] = __builtin_fmaf(a[i], b[i], c[i]);
        product[i] = a[i] * b[i];
    }
#endif
    for (int i = 0; i < 2; i++) {
        out[i] = bits_of(fused[i]);
        out[2 + i] = bits_of(product[i]);
    }
}

/* Lane l has the word of lane 15 - l, while other lanes, which are off, hold addresses of no lane. */
KERNEL exchange(const unsigned *in, unsigned *out) {
    in += place(), out += place();
    const int address = (int)in[1];
    const int word = (int)in[0];
    if (lane() < 16) out[0] = (unsigned)__builtin_amdgcn_ds_bpermute(address, word);
}

/* A word by way of shared memory, while other lanes, which are off, hold addresses of none. */
KERNEL share(const unsigned *in, unsigned *out) {
    __attribute__((shared)) static unsigned kept[64];
    in += place(), out += place();
    kept[lane()] = in[0];
    __builtin_amdgcn_s_barrier();
    const unsigned address = in[1];
    unsigned got;
    if (lane() < 16) {
        __asm__ volatile("s_waitcnt lgkmcnt(0)\n\tds_read_b32 %0, %1\n\ts_waitcnt lgkmcnt(0)"
                         : "=v"(got)
                         : "v"(address), "v"(kept));
        out[0] = got;
    }
}

/* A flat access, whose place for a scalar base names registers that hold something. */
KERNEL flat(const unsigned *in, unsigned *out) {
    in += place(), out += place();
    unsigned got;
    __asm__ volatile(
        "s_mov_b64 s[0:1], -1\n\tflat_load_dword %0, %1\n\ts_waitcnt vmcnt(0) lgkmcnt(0)\n\tflat_store_dword %2, %0"
        : "=&v"(got)
        : "v"(in), "v"(out)
        : "s0", "s1", "memory");
}
