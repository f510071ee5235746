/* Reads what clang-offload-bundler and lld write. A bundle: 24 bytes of magic, the number of entries, and for each its
 * offset, size and name ("hipv4-amdgcn-amd-amdhsa--gfx942"). */
#include "code_object.h"

#include <elf.h>
#include <string.h>

enum { PAGE_BYTES = 4096 };

const unsigned char *bundle_find(const void *bundle, const char *arch) {
    static const char magic[] = "__CLANG_OFFLOAD_BUNDLE__", prefix[] = "hipv4-amdgcn-amd-amdhsa--";
    const unsigned char *at = bundle;
    if (memcmp(at, magic, sizeof magic - 1) != 0) return NULL;
    at += sizeof magic - 1;
    uint64_t count, entry[3]; /* offset, size, length of the name */
    memcpy(&count, at, sizeof count);
    at += sizeof count;
    for (uint64_t i = 0; i < count; i++) {
        memcpy(entry, at, sizeof entry);
        const char *const name = (const char *)at + sizeof entry;
        const size_t skip = sizeof prefix - 1;
        if (entry[2] == skip + strlen(arch) && memcmp(name, prefix, skip) == 0 &&
            memcmp(name + skip, arch, strlen(arch)) == 0)
            return (const unsigned char *)bundle + entry[0];
        at += sizeof entry + entry[2];
    }
    return NULL;
}

bool code_object_load(const unsigned char *elf, void *(*alloc)(size_t bytes), code_object *out_object) {
    Elf64_Ehdr header;
    memcpy(&header, elf, sizeof header);
    if (memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) return false;
    out_object->bytes = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < header.e_phnum; i++) {
            Elf64_Phdr segment;
            memcpy(&segment, elf + header.e_phoff + (size_t)i * header.e_phentsize, sizeof segment);
            if (segment.p_type != PT_LOAD) continue;
            const size_t end = segment.p_vaddr + segment.p_memsz;
            if (pass == 0 && end > out_object->bytes) out_object->bytes = end;
            if (pass == 1) memcpy(out_object->memory + segment.p_vaddr, elf + segment.p_offset, segment.p_filesz);
        }
        if (pass == 1) break;
        unsigned char *const memory = alloc(out_object->bytes + PAGE_BYTES);
        if (!memory) return false;
        memset(memory, 0, out_object->bytes + PAGE_BYTES);
        out_object->memory = memory + (PAGE_BYTES - (uintptr_t)memory % PAGE_BYTES) % PAGE_BYTES;
    }
    return true;
}

/* Symbols are found by the dynamic section, which is loaded. */
static const Elf64_Sym *find_symbol(const code_object *object, const char *name) {
    const Elf64_Phdr *segment = (const Elf64_Phdr *)(object->memory + ((const Elf64_Ehdr *)object->memory)->e_phoff);
    const Elf64_Dyn *dynamic = NULL;
    for (int i = 0; i < ((const Elf64_Ehdr *)object->memory)->e_phnum; i++)
        if (segment[i].p_type == PT_DYNAMIC) dynamic = (const Elf64_Dyn *)(object->memory + segment[i].p_vaddr);
    const Elf64_Sym *symbols = NULL;
    const char *texts = NULL;
    const uint32_t *hash = NULL;
    for (; dynamic && dynamic->d_tag != DT_NULL; dynamic++) {
        unsigned char *const address = object->memory + dynamic->d_un.d_ptr;
        if (dynamic->d_tag == DT_SYMTAB) symbols = (const Elf64_Sym *)address;
        if (dynamic->d_tag == DT_STRTAB) texts = (const char *)address;
        if (dynamic->d_tag == DT_HASH) hash = (const uint32_t *)address;
    }
    for (uint32_t i = 0; symbols && texts && hash && i < hash[1]; i++)
        if (strcmp(texts + symbols[i].st_name, name) == 0) return &symbols[i];
    return NULL;
}

bool code_object_find(const code_object *object, const char *name, kernel_descriptor *out_kernel) {
    char full[128];
    if (strlen(name) + 4 > sizeof full) return false;
    strcpy(full, name);
    strcat(full, ".kd");
    const Elf64_Sym *const symbol = find_symbol(object, full);
    if (!symbol) return false;
    const unsigned char *const raw = object->memory + symbol->st_value;
    int64_t entry;
    memcpy(&out_kernel->static_shared_bytes, raw, 4);
    memcpy(&out_kernel->scratch_bytes, raw + 4, 4);
    memcpy(&out_kernel->argument_bytes, raw + 8, 4);
    memcpy(&entry, raw + 16, 8);
    memcpy(&out_kernel->program_resources, raw + 52, 4);
    memcpy(&out_kernel->properties, raw + 56, 2);
    out_kernel->entry = (uint64_t)(uintptr_t)raw + (uint64_t)entry;
    return true;
}
