"""Do the ctypes definitions of norma_torch/_abi.py agree with norma.h?  check_abi.py [--break] C-COMPILER INCLUDE-FOLDER

Writes them out as static assertions on sizes, offsets and constants, and lets the C compiler judge. Needs no PyTorch. With
--break one definition is changed first, and the check must fail.
"""

import ctypes
import importlib.util
import pathlib
import subprocess
import sys

PACKAGE = pathlib.Path(__file__).resolve().parent.parent / "norma_torch"


def load_abi():
    spec = importlib.util.spec_from_file_location("norma_abi", PACKAGE / "_abi.py")
    abi = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(abi)
    return abi


def assertions(abi):
    lines = ["#include <norma/norma.h>"]
    for name, struct in abi.STRUCTS.items():
        lines.append(f'_Static_assert(sizeof({name}) == {ctypes.sizeof(struct)}, "size of {name}");')
        for field, *_ in struct._fields_:
            at, size = getattr(struct, field).offset, getattr(struct, field).size
            lines.append(f'_Static_assert(offsetof({name}, {field}) == {at}, "{name}.{field}");')
            lines.append(f'_Static_assert(sizeof((({name} *)0)->{field}) == {size}, "size of {name}.{field}");')
    for name, value in abi.CONSTANTS.items():
        lines.append(f'_Static_assert({name} == {value}, "{name}");')
    for name in abi.FUNCTIONS:
        lines.append(f"const void *use_{name}(void);\nconst void *use_{name}(void) {{ return (const void *){name}; }}")
    return "\n".join(lines) + "\n"


def compiles(compiler, include, text):
    command = [compiler, "-std=gnu11", "-Werror", "-fsyntax-only", f"-I{include}", "-x", "c", "-"]
    return subprocess.run(command, input=text, text=True).returncode == 0


def main(compiler, include, broken):
    abi = load_abi()
    if broken:
        abi.Layout = type("Layout", (ctypes.Structure,), {"_fields_": abi.Layout._fields_[::-1]})
        abi.STRUCTS["norma_layout"] = abi.Layout
    if not compiles(compiler, include, assertions(abi)):
        sys.exit("norma_torch/_abi.py differs from norma.h")
    print(f"{len(abi.STRUCTS)} structs, {len(abi.CONSTANTS)} constants and {len(abi.FUNCTIONS)} functions agree with norma.h")


if __name__ == "__main__":
    main(*sys.argv[-2:], broken=sys.argv[1] == "--break")
