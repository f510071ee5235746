/* A switch between stacks. ucontext's asks the kernel about signals each time, which is most of the time that the emulator
 * would take; on x86-64 ten instructions do instead: the registers that a call preserves, and the stack pointer. */
#ifndef NORMA_TESTS_SIMT_FIBER_H
#define NORMA_TESTS_SIMT_FIBER_H

#include <cstddef>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace simt {

#if defined(__x86_64__)

struct stack_switch {
    void *top;
};

extern "C" void simt_switch_stack(void **out_old_top, void *new_top);
__asm__(".pushsection .text\n"
        ".hidden simt_switch_stack\n"
        ".globl simt_switch_stack\n"
        ".type simt_switch_stack, @function\n"
        "simt_switch_stack:\n"
        "pushq %rbp\n pushq %rbx\n pushq %r12\n pushq %r13\n pushq %r14\n pushq %r15\n"
        "movq %rsp, (%rdi)\n"
        "movq %rsi, %rsp\n"
        "popq %r15\n popq %r14\n popq %r13\n popq %r12\n popq %rbx\n popq %rbp\n"
        "ret\n"
        ".size simt_switch_stack, . - simt_switch_stack\n"
        ".popsection\n");

/* The first switch to it pops six registers and returns into `entry`, with the stack as a call leaves it. */
inline void make_stack(stack_switch *out_stack, unsigned char *memory, std::size_t bytes, void (*entry)()) {
    void **const slots = reinterpret_cast<void **>(memory + bytes) - 8;
    for (int i = 0; i < 8; i++) slots[i] = nullptr;
    slots[6] = reinterpret_cast<void *>(entry);
    out_stack->top = slots;
}

inline void switch_stack(stack_switch *from, const stack_switch *to) {
    simt_switch_stack(&from->top, to->top);
}

#else

struct stack_switch {
    ucontext_t context;
};

inline void make_stack(stack_switch *out_stack, unsigned char *memory, std::size_t bytes, void (*entry)()) {
    getcontext(&out_stack->context);
    out_stack->context.uc_stack.ss_sp = memory;
    out_stack->context.uc_stack.ss_size = bytes;
    out_stack->context.uc_link = nullptr;
    makecontext(&out_stack->context, entry, 0);
}

inline void switch_stack(stack_switch *from, const stack_switch *to) {
    swapcontext(&from->context, &to->context);
}

#endif

} // namespace simt

#endif
