#!/usr/bin/env python3
"""Runs AMD machine code on the CPU for the stand-in libamdhip64 (emulator.c), by the instruction emulator in the tests of tinygrad.

TINYGRAD names a checkout of tinygrad with test/mockgpu in it. The first line of standard input says which file holds the device's
memory, where to map it and how large it is; every other line is one launch:

    arch entry code-bytes grid(3) block(3) shared-bytes arguments resources scratch-bytes properties

and is answered by "done" or by what went wrong. Numbers are those of the kernel descriptor in LLVM's AMDGPU usage manual.
"""
import contextlib
import ctypes
import ctypes.util
import os
import sys

sys.path.insert(0, os.environ["TINYGRAD"])
answers = os.fdopen(os.dup(1), "w")  # the emulator prints
os.dup2(2, 1)

from test.mockgpu.amd import emu  # noqa: E402
from tinygrad.device import BufferSpec  # noqa: E402

READ_WRITE, SHARED, PRIVATE, FIXED, ANONYMOUS, NORESERVE = 3, 1, 2, 0x10, 0x20, 0x4000
SHARED_GRANULE, SHARED_SHIFT, SHARED_MASK = 512, 15, 0x1FF
FAMILIES = {"gfx9": "cdna", "gfx11": "rdna3", "gfx12": "rdna4"}


libc = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]


def map_memory(path, address, size):
    file = os.open(path, os.O_RDWR)
    if libc.mmap(address, size, READ_WRITE, SHARED | FIXED, file, 0) != address:
        raise OSError(ctypes.get_errno(), "the device's memory cannot be mapped")


def spread_shared_memory():
    """The emulator reads shared memory for lanes that are switched off, too, at whatever address they hold. So that of a
    workgroup, the one buffer that run_asm() itself makes without options, gets room for all 32-bit addresses."""
    room = libc.mmap(None, 1 << 33, READ_WRITE, PRIVATE | ANONYMOUS | NORESERVE, -1, 0)
    plain = emu.Buffer

    def buffer(device, size, dtype, options=None):
        if options is None and sys._getframe(1).f_code.co_name == "run_asm":
            options = BufferSpec(external_ptr=room)
        return plain(device, size, dtype, options=options)

    emu.Buffer = buffer


def name_whole_registers():
    """On RDNA 3 a 16-bit operand in v128 or above names the high half of a lower register, which the emulator takes to hold for
    CDNA, too."""
    for kind in (emu.irc.VOP1, emu.irc.VOP2, emu.irc.VOPC):
        bits = kind.canonical_op_bits

        def widened(instruction, bits=bits):
            return {name: max(width, 32) for name, width in bits.__get__(instruction).items()}

        kind.canonical_op_bits = property(widened)


def bound_lanes():
    """An exchange between lanes takes its addresses from lanes that are off, too; they must not lead out of the registers."""
    operation = emu.irc.DSOp.DS_BPERMUTE_B32
    meanings = emu._get_pcode_dict(operation)
    meanings[operation] = meanings[operation].replace("(VGPR[i][ADDR].u32 + OFFSET.u32) / 4U % 64U",
                                                      "((VGPR[i][ADDR].u32 + OFFSET.u32) & 255U) / 4U")


def keep_subnormals():
    """The emulator flushes them, whatever mode the code object asks for; these kernels ask for none to be flushed."""
    emu._MXCSRContext = contextlib.nullcontext


def scalar_values(properties, arguments, scratch):
    """The first scalar registers, of which the properties say what they hold: only the arguments matter to these kernels."""
    words = []
    for bit, values in ((0, [0] * 4), (1, [0] * 2), (2, [0] * 2), (3, [arguments & 0xFFFFFFFF, arguments >> 32]),
                        (4, [0] * 2), (5, [0] * 2), (6, [scratch])):
        if properties >> bit & 1:
            words += values
    return words


def launch(line):
    arch, *numbers = line.split()
    entry, code, gx, gy, gz, bx, by, bz, shared, arguments, resources, scratch, properties = map(int, numbers)
    family = next((name for prefix, name in FAMILIES.items() if arch.startswith(prefix)), None)
    if family is None:
        raise ValueError(f"{arch} is not emulated")
    granules = (shared + SHARED_GRANULE - 1) // SHARED_GRANULE
    resources = resources & ~(SHARED_MASK << SHARED_SHIFT) | granules << SHARED_SHIFT
    emu.run_asm(entry, code, gx, gy, gz, bx, by, bz, arguments, resources, scratch, family,
                scalar_values(properties, arguments, scratch))


def main():
    path, address, size = sys.stdin.readline().split()
    map_memory(path, int(address), int(size))
    spread_shared_memory()
    name_whole_registers()
    keep_subnormals()
    bound_lanes()
    for line in sys.stdin:
        try:
            launch(line)
            answer = "done"
        except Exception as problem:  # whatever it is, the test is to hear of it
            answer = f"{type(problem).__name__}: {problem}".replace("\n", " ")[:400]
        answers.write(answer + "\n")
        answers.flush()


main()
