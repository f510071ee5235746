"""libnorma's C interface as ctypes: the structs of norma.h, its constants and its functions.

A struct here must have the size and the field offsets that a C compiler gives it; tests/check_abi.py has
one judge them. No other file knows a layout, and this one needs no PyTorch.
"""

import ctypes
import os
from ctypes import POINTER, c_char, c_char_p, c_float, c_int, c_int32, c_int64, c_size_t, c_uint64, c_void_p

SONAME = "libnorma.so.0"

F32, F16, BF16 = 1, 2, 3
ROUND_DEFERRED, ROUND_TWICE, ROUND_ONCE = 0, 1, 2
WEIGHTS_STATIC, BATCH_INVARIANT = 1, 2
MAX_PARTS = 4
ERROR_OUT_OF_MEMORY = 22


class Layout(ctypes.Structure):
    _fields_ = [("dtype", c_int), ("row_stride", c_int64), ("col_stride", c_int64), ("batch_stride", c_int64)]


class Buffer(ctypes.Structure):
    _fields_ = [("data", c_void_p), ("offset_bytes", c_size_t)]


class ContextDesc(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("backend", c_char_p),
        ("stream", c_void_p),
        ("native_context", c_void_p),
        ("native_device", c_void_p),
        ("threads", c_int32),
        ("log_level", c_int),
        ("log", c_void_p),
        ("log_user", c_void_p),
    ]


class DeviceInfo(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("backend", c_char_p),
        ("index", c_int32),
        ("compute_units", c_int32),
        ("memory_bytes", c_uint64),
        ("name", c_char * 128),
        ("arch", c_char * 64),
    ]


def _each(names, kind):
    return [(name, kind) for name in names.split()]


_SIZES = [("struct_size", c_size_t), ("k", c_int64), ("max_rows", c_int64)]
_NUMBERS = [("eps", c_float), ("gamma_offset", c_float), ("contract", c_int), ("flags", c_uint64)]
_ROWS = [("struct_size", c_size_t), ("m", c_int64), ("batch", c_int64)]


class RmsnormDesc(ctypes.Structure):
    _fields_ = _SIZES + _NUMBERS + _each("x gamma residual residual_out rstd out", Layout)


class RmsnormArgs(ctypes.Structure):
    _fields_ = _ROWS + _each("x gamma residual residual_out rstd out", Buffer)


class LinearPartDesc(ctypes.Structure):
    _fields_ = [("n", c_int64)] + _each("weight bias out", Layout)


class LinearPartArgs(ctypes.Structure):
    _fields_ = _each("weight bias out", Buffer)


class RmsnormLinearDesc(ctypes.Structure):
    _fields_ = (
        _SIZES
        + _NUMBERS
        + _each("x gamma residual residual_out rstd", Layout)
        + [("parts", c_int64), ("part", LinearPartDesc * MAX_PARTS)]
    )


class RmsnormLinearArgs(ctypes.Structure):
    _fields_ = _ROWS + _each("x gamma residual residual_out rstd", Buffer) + [("part", LinearPartArgs * MAX_PARTS)]


class RmsnormBackwardDesc(ctypes.Structure):
    _fields_ = (
        _SIZES
        + [("gamma_offset", c_float), ("flags", c_uint64)]
        + _each("x rstd gamma dout dresidual_out dx dgamma", Layout)
    )


class RmsnormBackwardArgs(ctypes.Structure):
    _fields_ = _ROWS + _each("x rstd gamma dout dresidual_out dx dgamma", Buffer)


class LinearBackwardPartDesc(ctypes.Structure):
    _fields_ = [("n", c_int64)] + _each("weight dout dweight dbias", Layout)


class LinearBackwardPartArgs(ctypes.Structure):
    _fields_ = _each("weight dout dweight dbias", Buffer)


class RmsnormLinearBackwardDesc(ctypes.Structure):
    _fields_ = (
        _SIZES
        + _NUMBERS
        + _each("x rstd gamma dresidual_out dx dgamma", Layout)
        + [("parts", c_int64), ("part", LinearBackwardPartDesc * MAX_PARTS)]
    )


class RmsnormLinearBackwardArgs(ctypes.Structure):
    _fields_ = (
        _ROWS
        + _each("x rstd gamma dresidual_out dx dgamma", Buffer)
        + [("part", LinearBackwardPartArgs * MAX_PARTS)]
    )


# Every struct, under its name in norma.h: what the layout test compares.
STRUCTS = {
    "norma_layout": Layout,
    "norma_buffer": Buffer,
    "norma_context_desc": ContextDesc,
    "norma_device_info": DeviceInfo,
    "norma_rmsnorm_desc": RmsnormDesc,
    "norma_rmsnorm_args": RmsnormArgs,
    "norma_linear_part_desc": LinearPartDesc,
    "norma_linear_part_args": LinearPartArgs,
    "norma_rmsnorm_linear_desc": RmsnormLinearDesc,
    "norma_rmsnorm_linear_args": RmsnormLinearArgs,
    "norma_rmsnorm_backward_desc": RmsnormBackwardDesc,
    "norma_rmsnorm_backward_args": RmsnormBackwardArgs,
    "norma_linear_backward_part_desc": LinearBackwardPartDesc,
    "norma_linear_backward_part_args": LinearBackwardPartArgs,
    "norma_rmsnorm_linear_backward_desc": RmsnormLinearBackwardDesc,
    "norma_rmsnorm_linear_backward_args": RmsnormLinearBackwardArgs,
}

CONSTANTS = {
    "NORMA_F32": F32,
    "NORMA_F16": F16,
    "NORMA_BF16": BF16,
    "NORMA_ROUND_DEFERRED": ROUND_DEFERRED,
    "NORMA_ROUND_TWICE": ROUND_TWICE,
    "NORMA_ROUND_ONCE": ROUND_ONCE,
    "NORMA_WEIGHTS_STATIC": WEIGHTS_STATIC,
    "NORMA_BATCH_INVARIANT": BATCH_INVARIANT,
    "NORMA_MAX_PARTS": MAX_PARTS,
    "NORMA_ERROR_OUT_OF_MEMORY": ERROR_OUT_OF_MEMORY,
}

# Operations take addresses as plain integers, which ctypes converts fastest.
_CALL = (c_int, [c_void_p, c_void_p, c_void_p])
FUNCTIONS = {
    "norma_version": (c_char_p, []),
    "norma_last_error": (c_char_p, []),
    "norma_status_name": (c_char_p, [c_int]),
    "norma_context_create": (c_int, [POINTER(ContextDesc), POINTER(c_void_p)]),
    "norma_context_get_info": (c_int, [c_void_p, POINTER(DeviceInfo)]),
    "norma_rmsnorm": _CALL,
    "norma_rmsnorm_linear": _CALL,
    "norma_rmsnorm_backward": _CALL,
    "norma_rmsnorm_linear_backward": _CALL,
}


class LibraryNotFound(ImportError):
    """libnorma could not be loaded; the message says what was tried."""


class NormaError(RuntimeError):
    """A call of libnorma failed. `status` is the code, the message the library's own sentence."""

    def __init__(self, status, name, sentence):
        super().__init__(f"{name}: {sentence}")
        self.status = status


class NormaOutOfMemory(NormaError, MemoryError):
    """No host or device memory was left for a call of libnorma."""


def _open():
    path = os.environ.get("NORMA_LIBRARY")
    if path and not os.path.isabs(path):
        raise LibraryNotFound(f"NORMA_LIBRARY is {path!r}; it must be an absolute path")
    try:
        return ctypes.CDLL(path or SONAME)
    except OSError as error:
        tried = f"NORMA_LIBRARY={path}" if path else f"{SONAME} on the loader's path (NORMA_LIBRARY is not set)"
        raise LibraryNotFound(
            f"libnorma was not found: tried {tried}: {error}. Build and install norma, or set NORMA_LIBRARY to the file."
        ) from None


def _declare(opened):
    for name, (result, arguments) in FUNCTIONS.items():
        function = getattr(opened, name, None)
        if function is None:
            raise LibraryNotFound(f"{opened._name} has no {name}: it is not libnorma, or an older one than this package needs")
        function.restype, function.argtypes = result, arguments
    return opened


_library = None


def library():
    """The loaded libnorma: the file that NORMA_LIBRARY names, else the installed one. Loaded at the first call."""
    global _library
    if _library is None:
        _library = _declare(_open())
    return _library


def check(status):
    """Raises what a status other than NORMA_OK stands for. To be called on the thread that made the call."""
    if status == 0:
        return
    name = library().norma_status_name(status).decode()
    kind = NormaOutOfMemory if status == ERROR_OUT_OF_MEMORY else NormaError
    raise kind(status, name, library().norma_last_error().decode())


def make(struct):
    """A zeroed struct that knows its size."""
    made = struct()
    made.struct_size = ctypes.sizeof(struct)
    return made
