#!/usr/bin/env python3
"""Reads the code objects of the HIP backend: check_code.py FOLDER READELF OBJDUMP TABLE CLANG_VERSION ARCHITECTURE...

Fails if a kernel uses scratch memory or spills registers (scalar registers may go to vector registers in kernels that are not hot), if a kernel for matrix units has no matrix instruction of the kind that its
chip offers, if the skinny kernels have fewer than eight 16-byte loads of W under way before the first use, if rmsnorm_rows moves a
whole row by anything but 16 bytes, or if a kernel needs other registers or shared memory than TABLE says. The table holds for the
compiler that its first line names; with another one that part is skipped. --write-table replaces it.
"""
import re
import subprocess
import sys
from pathlib import Path

STEMS = ("rmsnorm_rows", "rmsnorm_linear_skinny_units", "rmsnorm_linear_tiled", "fold_gamma", "rmsnorm_rows_backward",
         "column_sums", "stream")
FIELDS = ("vgpr_count", "agpr_count", "sgpr_count", "group_segment_fixed_size")
FORBIDDEN = ("private_segment_fixed_size", "vgpr_spill_count", "sgpr_spill_count")

# What a chip offers for halves; nothing on gfx10 but dot products, for fp16 alone.
MATRIX = {"gfx9": r"v_mfma_f32_16x16x(16|32)_?(f16|bf16)", "gfx11": r"v_wmma_f32_16x16x16_b?f16",
          "gfx12": r"v_wmma_f32_16x16x16_b?f16"}
DOT = r"v_dot2c?_f32_f16"
LOAD16 = re.compile(r"(global|buffer)_load_(dwordx4|b128)")
# Blocks of 1024 threads leave 64 registers to a thread on gfx10. docs/amd.md says so.
KNOWN = re.compile(r"gfx10\d+ rmsnorm_rows_backward")

UNDER_WAY = 8
PRODUCT = re.compile(r"v_(mfma|wmma|dot2|fma|pk_fma|dual_fma)")
WAIT = re.compile(r"s_waitcnt.*vmcnt\((\d+)\)|s_wait_loadcnt (0x[0-9a-f]+)")


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def metadata(readelf, path):
    """{kernel: {field: number}} from the code object's note."""
    kernels = {}
    for entry in re.split(r"\n  - ", run(readelf, "--notes", path)):
        name = re.search(r"\.name: +(rmsnorm_\w+|fold_gamma|column_sums\w*|stream_\w+)\n", entry)
        if name:
            numbers = dict(re.findall(r"\.(\w+): +(\d+)\n", entry))
            kernels[name[1]] = {field: int(numbers.get(field, 0)) for field in FIELDS + FORBIDDEN}
    return kernels


def instructions(objdump, path):
    """{kernel: [instruction with its operands]}"""
    kernels, current = {}, None
    for line in run(objdump, "-d", path).splitlines():
        head = re.match(r"[0-9a-f]+ <(\w+)>:", line)
        if head:
            current = kernels.setdefault(head[1], [])
        elif current is not None and line.startswith("\t"):
            current.append(line.split("//")[0].strip())
    return kernels


def under_way(code):
    """How many 16-byte loads of W are unfinished in the loop over it, which has the last eight of a kernel's 16-byte loads, among or
    ahead of its products. A wait between two of them for all but n loads leaves those n, and the one whose value is wanted."""
    loads = [i for i, line in enumerate(code) if LOAD16.match(line)][-UNDER_WAY:]
    products = [line for line in code[loads[0]:] if PRODUCT.match(line)]
    if len(loads) < UNDER_WAY or len(products) < UNDER_WAY:
        return 0
    waits = [int(m[1] or m[2], 0) for line in code[loads[0]:loads[-1]] if (m := WAIT.search(line))]
    return min(waits, default=UNDER_WAY - 1) + 1


def check_kernel(arch, name, code, problems):
    family = next((f for f in MATRIX if arch.startswith(f)), None)
    wanted = None
    if re.search(r"_(skinny_units|tiled_hip_wave\d+)_", name):
        half = "bf16" if "bf16" in name else "f16" if "f16" in name else None
        if half and family:
            wanted = MATRIX[family]
        elif half == "f16":
            wanted = DOT
        elif half is None and family == "gfx9":
            wanted = r"v_mfma_f32_16x16x4"
    if wanted and not any(re.search(wanted, line) for line in code):
        problems.append(f"{arch} {name}: no {wanted}")
    if "skinny_units" in name and under_way(code) < UNDER_WAY:
        problems.append(f"{arch} {name}: {under_way(code)} loads under way, not {UNDER_WAY}")
    if re.fullmatch(r"rmsnorm_rows_\w+?_c\d", name) and "ragged" not in name:
        narrow = [line for line in code if re.match(r"global_(load|store)_(?!dwordx4|b128)", line)]
        # rstd is one word of a row, and gamma of another dtype than the row comes in by elements in the full kernels
        if "full" not in name and len(narrow) > 1:
            problems.append(f"{arch} {name}: {narrow[:3]} are not of 16 bytes")
        if not any(LOAD16.match(line) for line in code):
            problems.append(f"{arch} {name}: no 16-byte load")
    if name.endswith("_any"):
        return
    flat = [line for line in code if line.startswith("flat_")]
    if flat:
        problems.append(f"{arch} {name}: {flat[0]} does not know which memory it reads")


def main():
    arguments = [a for a in sys.argv[1:] if a != "--write-table"]
    folder, readelf, objdump, table, version, *architectures = arguments
    lines, problems = [f"# clang {version}: chip, kernel, {', '.join(FIELDS)}"], []
    for arch in architectures:
        for stem in STEMS:
            path = Path(folder) / f"{stem}.{arch}.co"
            numbers, code = metadata(readelf, path), instructions(objdump, path)
            if not numbers or set(numbers) - set(code):
                problems.append(f"{path}: kernels {sorted(numbers)} without code")
                continue
            for name, fields in sorted(numbers.items()):
                lines.append(" ".join([arch, name] + [str(fields[f]) for f in FIELDS]))
                # Scalar registers that go to lanes of vector registers and back cost no memory, and little in these.
                allowed = ("sgpr_spill_count",) if re.search("_any$|backward", name) else ()
                if KNOWN.match(f"{arch} {name}"):
                    allowed = FORBIDDEN
                problems += [f"{arch} {name}: {f} is {fields[f]}" for f in FORBIDDEN if fields[f] and f not in allowed]
                check_kernel(arch, name, code[name], problems)
    if "--write-table" in sys.argv:
        Path(table).write_text("\n".join(lines) + "\n")
    kept = Path(table).read_text().splitlines()
    if kept[:1] != lines[:1]:
        print(f"skipped: the table of registers is of another compiler ({kept[0] if kept else 'none'})")
    else:
        chosen = [line for line in kept if line.split()[0] in ("#", *architectures)]
        for line in sorted(set(lines) ^ set(chosen)):
            problems.append(f"{'now' if line in lines else 'in the table'}: {line}")
    print(f"{len(lines) - 1} kernels of {len(architectures)} chips")
    if problems:
        sys.exit("\n".join(problems))


main()
