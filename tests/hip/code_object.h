/* Bundles of code objects, and the ELF files in them, as far as a launch needs them. */
#ifndef NORMA_TESTS_HIP_CODE_OBJECT_H
#define NORMA_TESTS_HIP_CODE_OBJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct code_object {
    unsigned char *memory; /* the loaded segments, at a page boundary */
    size_t bytes;
} code_object;

/* The code object for `arch` in a bundle; NULL if there is none, or if `bundle` is none. */
const unsigned char *bundle_find(const void *bundle, const char *arch);

/* Loads the segments of an ELF file into memory that `alloc` gives. */
bool code_object_load(const unsigned char *elf, void *(*alloc)(size_t bytes), code_object *out_object);

/* What the kernel descriptor of `name` says, as LLVM's AMDGPU usage manual lays it out; false if there is none. */
typedef struct kernel_descriptor {
    uint64_t entry; /* address of the first instruction */
    uint32_t static_shared_bytes, scratch_bytes, argument_bytes, program_resources;
    uint16_t properties; /* which values the first scalar registers hold */
} kernel_descriptor;
bool code_object_find(const code_object *object, const char *name, kernel_descriptor *out_kernel);

#endif
