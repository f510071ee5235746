#!/usr/bin/env python3
"""Runs AMD machine code on the CPU for the stand-in libamdhip64 (emulator.c), by the instruction emulator in the tests of tinygrad.

TINYGRAD names a checkout of tinygrad with test/mockgpu in it. tinygrad turns instructions into functions; walking over them is done
here (emulate_wave.c). The first line of standard input says which file holds the device's memory, where to map it and how large it
is; every other line is one launch:

    arch entry code-bytes grid(3) block(3) shared-bytes arguments resources scratch-bytes properties

and is answered by "done" or by what went wrong. Numbers are those of the kernel descriptor in LLVM's AMDGPU usage manual. Where
NORMA_EMULATOR_COUNTS names a file, every launch adds to it how often each instruction ran, in all waves together.
"""
import ctypes
import ctypes.util
import inspect
import itertools
import os
import subprocess
import sys
import tempfile
import textwrap
from collections import Counter
from pathlib import Path

sys.path.insert(0, os.environ["TINYGRAD"])
answers = os.fdopen(os.dup(1), "w")  # the emulator prints
os.dup2(2, 1)

from test.mockgpu.amd import emu  # noqa: E402

READ_WRITE, SHARED, PRIVATE, FIXED, ANONYMOUS, NORESERVE = 3, 1, 2, 0x10, 0x20, 0x4000
FAMILIES = {"gfx9": "cdna", "gfx11": "rdna3", "gfx12": "rdna4"}
ENDED, AT_BARRIER, NEEDS_STEP = range(3)
MOST_STEPS = 50_000_000  # of a wave between two barriers

libc = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]


def map_memory(path, address, size):
    file = os.open(path, os.O_RDWR)
    if libc.mmap(address, size, READ_WRITE, SHARED | FIXED, file, 0) != address:
        raise OSError(ctypes.get_errno(), "the device's memory cannot be mapped")


def empty_memory(size):
    """Zeros that take no room before they are touched."""
    return libc.mmap(None, size, READ_WRITE, PRIVATE | ANONYMOUS | NORESERVE, -1, 0)


# ---- Where the emulator differs from the hardware ----


def rewrite(function, *changes, owner=None):
    """Replaces pieces of a function's source, each of which must be there."""
    source = textwrap.dedent(inspect.getsource(function))
    for old, new in changes:
        if old not in source:
            raise RuntimeError(f"{function.__name__} of this tinygrad has no {old!r}")
        source = source.replace(old, new)
    scope = {}
    exec(compile(source, inspect.getfile(function), "exec"), emu.__dict__, scope)
    rewritten = scope[function.__name__]
    setattr(owner or emu, function.__name__, rewritten)
    for kind, handler in emu._INST_HANDLERS.items():
        if handler is function:
            emu._INST_HANDLERS[kind] = rewritten


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


def take_halves_as_they_are():
    """MFMA takes subnormal halves as they are, infinities and NaNs too; the emulator makes zeros of the former, and large numbers of
    the latter."""
    rewrite(emu._compile_mfma,
            ("return exp.eq(_c(0)).where(_c(0), f32_bits)",
             "small = mant.cast(dtypes.float32) * UOp.const(2.0 ** -24, dtypes.float32)\n"
             "    small_bits = (sign << _c(31)) | small.bitcast(dtypes.uint32)\n"
             "    special = f32_bits | _c(0x7F800000)\n"
             "    return exp.eq(_c(0)).where(small_bits, exp.eq(_c(31)).where(special, f32_bits))"))


def read_literal_selectors():
    """The lanes that v_permlane16_b32 and v_permlanex16_b32 select may stand in a literal, which the emulator reads as zero."""
    rewrite(emu._Ctx.compile_lane_pcode,
            ("self.rsrc_dyn(src1_off, _c(0, dtypes.int))",
             "self.rsrc_dyn(src1_off, _c(0, dtypes.int), literal=self.optional_field(inst, 'literal'))"),
            ("self.rsrc_dyn(src2_off, _c(0, dtypes.int))",
             "self.rsrc_dyn(src2_off, _c(0, dtypes.int), literal=self.optional_field(inst, 'literal'))"), owner=emu._Ctx)


def keep_flat_addresses_whole():
    """Flat instructions of CDNA have no scalar base: the bits in its place say nothing, and the emulator takes them for s0."""
    rewrite(emu._compile_mem_op,
            ("_c(0), _c(0), ctx.optional_field(inst, 'saddr')",
             "_c(0), _c(0), None if isinstance(inst, irc.FLAT) else ctx.optional_field(inst, 'saddr')"))


# ---- Kernels and waves ----


class Step(ctypes.Structure):
    """wave_step of emulate_wave.c."""
    _fields_ = [("run", ctypes.c_void_p), ("count", ctypes.c_uint64), ("buffer", ctypes.c_ubyte * 6),
                ("is_barrier", ctypes.c_ubyte)]


def compile_walk():
    """wave_run() of emulate_wave.c, by the compiler that tinygrad itself calls."""
    with tempfile.TemporaryDirectory() as folder:
        library = os.path.join(folder, "emulate_wave.so")
        subprocess.run(["clang", "-O2", "-shared", "-fPIC", "-o", library, "emulate_wave.c"],
                       check=True, cwd=Path(__file__).resolve().parent)
        walk = ctypes.CDLL(library).wave_run
    walk.argtypes = [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_void_p, ctypes.c_uint64]
    return walk


class Kernel:
    """The steps of a kernel, made as waves come to them."""

    def __init__(self, entry, code_bytes, family):
        self.entry, self.code_bytes, self.family = entry, code_bytes, family
        count = code_bytes // 4
        self.steps = (Step * count).from_address(empty_memory(count * ctypes.sizeof(Step)))
        self.names = {}
        self.end, self.code = entry, b""

    def holds(self):
        """Whether the code is still what the steps were made of."""
        return ctypes.string_at(self.entry, len(self.code)) == self.code

    def make_step(self, at):
        (program, runtime), instruction = emu._decode_at(at, self.family)
        index = (at - self.entry) // 4
        step = self.steps[index]
        for place, number in enumerate(program.arg.globals):
            step.buffer[place] = number
        operation = getattr(instruction, "op", None)
        step.is_barrier = operation in emu._BARRIER_OPS or operation in emu._BARRIER_SOP1_OPS
        step.run = runtime.addr
        self.names[index] = emu._op_name(instruction)
        if at + instruction.size() > self.end:
            self.end = at + instruction.size()
            self.code = ctypes.string_at(self.entry, self.end - self.entry)

    def counts(self):
        """How often each instruction ran since the last call."""
        counts = Counter()
        for index, name in self.names.items():
            counts[name] += self.steps[index].count
            self.steps[index].count = 0
        return +counts


class Wave:
    """A wave's registers, which are set back for each block."""

    def __init__(self, state, shared, scratch):
        self.state = state
        files = {b._buf.va_addr: b for b in (state.sgpr_buf, state.vgpr_buf, state.accvgpr_buf)}
        self.first = [(address, ctypes.string_at(address, file.nbytes)) for address, file in files.items()]
        self.buffers = (ctypes.c_void_p * 6)(state.sgpr_buf._buf.va_addr, state.vgpr_buf._buf.va_addr, 0, shared, scratch,
                                             state.accvgpr_buf._buf.va_addr)

    def set_back(self, family, resources, block):
        """To what a wave of a block finds; its number in all directions that the kernel asks for stands behind the arguments."""
        for address, content in self.first:
            ctypes.memmove(address, content, len(content))
        write = self.state._write_sgpr
        if family == "rdna4":
            write(emu.ttmp[9].offset, block[0])
            write(emu.ttmp[7].offset, block[1] | block[2] << 16)
            return
        wanted = [number for axis, number in enumerate(block) if resources >> 7 + axis & 1]
        for register, number in enumerate(wanted, resources >> 1 & 31):
            write(register, number)


class Machine:
    def __init__(self):
        self.walk = compile_walk()
        self.kernels = {}
        self.shared = empty_memory(1 << 33)  # room for whatever address a lane that is off may hold
        self.counts = open(path, "a") if (path := os.environ.get("NORMA_EMULATOR_COUNTS")) else None

    def kernel(self, entry, code_bytes, family):
        kernel = self.kernels.get((entry, family))
        if kernel is None or not kernel.holds():
            kernel = self.kernels[entry, family] = Kernel(entry, code_bytes, family)
        return kernel

    def run_wave(self, kernel, wave):
        """Until a barrier or the end, which it says."""
        while True:
            outcome = self.walk(kernel.steps, kernel.entry, kernel.code_bytes, wave.buffers, MOST_STEPS)
            if outcome == NEEDS_STEP:
                kernel.make_step(wave.state.pc)
            elif outcome in (ENDED, AT_BARRIER):
                return outcome == ENDED
            else:
                raise RuntimeError(f"a wave goes astray at {wave.state.pc - kernel.entry:#x} ({outcome})")

    def launch(self, line):
        arch, *numbers = line.split()
        entry, code, gx, gy, gz, bx, by, bz, shared, arguments, resources, scratch, properties = map(int, numbers)
        family = next((name for prefix, name in FAMILIES.items() if arch.startswith(prefix)), None)
        if family is None:
            raise ValueError(f"{arch} is not emulated")
        kernel = self.kernel(entry, code, family)
        lanes, values = emu._wave_size(family), scalar_values(properties, arguments, scratch)
        memory = empty_memory(scratch * lanes) if scratch else 0
        waves = [Wave(emu._init_wave(entry, first, bx * by * bz, bx, by, bz, arguments, resources, scratch, family, 0, 0, 0,
                                     values, lanes), self.shared, memory) for first in range(0, bx * by * bz, lanes)]
        for z, y, x in itertools.product(range(gz), range(gy), range(gx)):
            ctypes.memset(self.shared, 0, shared)
            for wave in waves:
                wave.set_back(family, resources, (x, y, z))
            running = waves
            while running:
                running = [wave for wave in running if not self.run_wave(kernel, wave)]
        if memory:
            libc.munmap(ctypes.c_void_p(memory), ctypes.c_size_t(scratch * lanes))
        if self.counts:
            counts = " ".join(f"{name} {count}" for name, count in sorted(kernel.counts().items()))
            print(arch, gx, gy, gz, bx, counts, file=self.counts, flush=True)


def scalar_values(properties, arguments, scratch):
    """The first scalar registers, of which the properties say what they hold: only the arguments matter to these kernels."""
    words = []
    for bit, values in ((0, [0] * 4), (1, [0] * 2), (2, [0] * 2), (3, [arguments & 0xFFFFFFFF, arguments >> 32]),
                        (4, [0] * 2), (5, [0] * 2), (6, [scratch])):
        if properties >> bit & 1:
            words += values
    return words


def main():
    path, address, size = sys.stdin.readline().split()
    map_memory(path, int(address), int(size))
    name_whole_registers()
    bound_lanes()
    take_halves_as_they_are()
    read_literal_selectors()
    keep_flat_addresses_whole()
    machine = Machine()
    for line in sys.stdin:
        try:
            machine.launch(line)
            answer = "done"
        except Exception as problem:  # whatever it is, the test is to hear of it
            answer = f"{type(problem).__name__}: {problem}".replace("\n", " ")[:400]
        answers.write(answer + "\n")
        answers.flush()


main()
