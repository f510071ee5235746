"""From tensors to calls of libnorma: contexts, descriptions and arguments.

One context per device and stream, since a context works on one stream and owns the workspace of what runs there; each lives
as long as the process, so that a captured graph stays valid. The signature of a call, which is the dtypes, shapes, strides
and devices of its tensors and its numbers, is checked and turned into C structs once per context; a call with a known
signature allocates its outputs and writes addresses, no more. Tensors are served through their strides; what strides cannot
say, such as expanded dimensions, is copied first.
"""

import ctypes
import threading

import torch

from . import _abi

DTYPES = {torch.float32: _abi.F32, torch.float16: _abi.F16, torch.bfloat16: _abi.BF16}

# Signatures that a context keeps; generation with growing prompts makes many, of a few hundred bytes each.
_MOST_SIGNATURES = 4096


class Operation:
    """One function of libnorma with its structs."""

    def __init__(self, function, desc, args):
        self.function = function
        self.desc = desc
        self.args = args

    def word(self, name, part):
        """The index of a tensor's address among the 8-byte words of the arguments."""
        if part is None:
            return getattr(self.args, name).offset // 8
        kind = dict(self.args._fields_)["part"]._type_
        return (self.args.part.offset + part * ctypes.sizeof(kind) + getattr(kind, name).offset) // 8


RMSNORM = Operation("norma_rmsnorm", _abi.RmsnormDesc, _abi.RmsnormArgs)
RMSNORM_LINEAR = Operation("norma_rmsnorm_linear", _abi.RmsnormLinearDesc, _abi.RmsnormLinearArgs)
RMSNORM_BACKWARD = Operation("norma_rmsnorm_backward", _abi.RmsnormBackwardDesc, _abi.RmsnormBackwardArgs)
RMSNORM_LINEAR_BACKWARD = Operation(
    "norma_rmsnorm_linear_backward", _abi.RmsnormLinearBackwardDesc, _abi.RmsnormLinearBackwardArgs
)


class Call:
    """A description with arguments that wait for addresses.

    `copies` lists the inputs that must be made contiguous before there can be a call. `results` are the shapes, strides and
    dtypes of the outputs; None for an output that was not asked for."""

    __slots__ = ("function", "desc", "args", "desc_address", "args_address", "words", "slots", "results", "copies", "rows")

    def __init__(self, operation, k, numbers):
        self.function = getattr(_abi.library(), operation.function)
        self.desc = _abi.make(operation.desc)
        self.args = _abi.make(operation.args)
        self.desc.k = k
        for name, value in numbers.items():
            setattr(self.desc, name, value)
        self.desc_address = ctypes.addressof(self.desc)
        self.args_address = ctypes.addressof(self.args)
        self.words = memoryview(self.args).cast("B").cast("Q")
        self.slots = []
        self.results = []
        self.copies = None


class Builder:
    """Makes a Call from the tensors of one example."""

    def __init__(self, operation, k, **numbers):
        self.operation = operation
        self.call = Call(operation, k, numbers)
        self.copies = set()

    def rows(self, leading, tensors):
        """Finds (m, batch) such that every tensor (index, tensor) of rows has strides for it. Returns a dict of strides."""
        self.call.rows, strides, copies = _split_rows(leading, tensors)
        self.copies.update(copies)
        self.call.args.m, self.call.args.batch = self.call.rows
        return strides

    def parts(self, sizes):
        self.call.desc.parts = len(sizes)
        for part, n in enumerate(sizes):
            self.call.desc.part[part].n = n

    def _place(self, name, part, dtype, strides):
        layout = getattr(self.call.desc if part is None else self.call.desc.part[part], name)
        layout.dtype = DTYPES[dtype]
        layout.row_stride, layout.col_stride, layout.batch_stride = strides
        return self.operation.word(name, part)

    def input(self, name, tensor, strides, part=None):
        """Adds the next input; None for one that is absent or takes no part."""
        self.call.slots.append(None if tensor is None else self._place(name, part, tensor.dtype, strides))

    def output(self, name, shape, dtype, part=None, strides=(0, 0, 0)):
        """Adds the next output; name None for one that is not asked for."""
        if name is None:
            self.call.results.append(None)
            return
        self.call.slots.append(self._place(name, part, dtype, strides))
        self.call.results.append((shape, _packed_strides(shape), dtype))

    def expanded(self, index, tensor):
        """Notes an input that repeats itself in memory, which norma would read as packed."""
        if tensor is not None and any(s == 0 and size > 1 for size, s in zip(tensor.shape, tensor.stride())):
            self.copies.add(index)

    def finish(self):
        self.call.copies = sorted(self.copies)
        return self.call


def _packed_strides(shape):
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


def _view(tensor, batch, m):
    """Strides of `tensor` (..., columns) seen as (batch, m, columns), or None where there is no such view."""
    try:
        viewed = tensor.view(batch, m, tensor.shape[-1])
    except RuntimeError:
        return None
    strides = [stride if size > 1 else 0 for size, stride in zip(viewed.shape, viewed.stride())]
    return strides[1], strides[2], strides[0]


def _split_rows(leading, tensors):
    """(m, batch), the strides of each tensor by its index, and the indexes of those that must be copied for it."""
    rows = leading.numel()
    strided = {index: tensor for index, tensor in tensors if not tensor.is_contiguous()}
    packed = dict.fromkeys([index for index, _ in tensors], (0, 0, 0))
    if rows == 0 or not strided:
        return (rows, 1), packed, []
    for first in range(max(len(leading), 1)):
        batch = leading[:first].numel()
        found = {index: _view(tensor, batch, rows // batch) for index, tensor in strided.items()}
        if None not in found.values():
            return (rows // batch, batch), {**packed, **found}, []
    return (rows, 1), packed, list(strided)


def vector_strides(tensor):
    """Of a gamma or a bias."""
    return None if tensor is None else (0, tensor.stride(0) if tensor.shape[0] > 1 else 0, 0)


def weight_strides(tensor):
    """Of a weight (N, K), which norma sees as (K, N)."""
    n, k = tensor.stride()
    return k if tensor.shape[1] > 1 else 0, n if tensor.shape[0] > 1 else 0, 0


class Context:
    """A norma context and the calls that were made on it. Used by one thread at a time, under its lock."""

    def __init__(self, backend, stream):
        desc = _abi.make(_abi.ContextDesc)
        desc.backend = backend.encode()
        desc.stream = stream or None
        if backend == "cpu":
            desc.threads = torch.get_num_threads()
        handle = ctypes.c_void_p()
        _abi.check(_abi.library().norma_context_create(ctypes.byref(desc), ctypes.byref(handle)))
        self.handle = handle.value
        self.lock = threading.Lock()
        self.calls = {}

    def _find(self, build, numbers, tensors):
        key = (build, numbers)
        key += tuple([t if t is None else (t.dtype, t.size(), t.stride(), t.get_device()) for t in tensors])
        call = self.calls.get(key)
        if call is None:
            if len(self.calls) >= _MOST_SIGNATURES:
                self.calls.clear()
            call = self.calls[key] = build(tensors, *numbers)
        return call

    def run(self, build, numbers, tensors):
        """Runs the call that `build(tensors, *numbers)` describes. Returns its outputs, None for each one not asked for."""
        call = self._find(build, numbers, tensors)
        if call.copies:
            for index in call.copies:
                tensors[index] = tensors[index].contiguous()
            call = self._find(build, numbers, tensors)
        like = tensors[0]
        outputs = [r if r is None else like.new_empty_strided(r[0], r[1], dtype=r[2]) for r in call.results]
        with self.lock:
            words = call.words
            for slot, tensor in zip(call.slots, tensors + [o for o in outputs if o is not None]):
                if slot is not None:
                    words[slot] = tensor.data_ptr()
            status = call.function(self.handle, call.desc_address, call.args_address)
            if status:
                _abi.check(status)
        return outputs


_contexts = {}
_contexts_lock = threading.Lock()
_raw_stream = getattr(torch._C, "_cuda_getCurrentRawStream", None)


def _current_stream(index):
    return _raw_stream(index) if _raw_stream else torch.cuda.current_stream(index).cuda_stream


def context_of(tensor):
    """The context for work on `tensor`: on a GPU that of PyTorch's current stream there."""
    index = tensor.get_device()
    context = _contexts.get((index, _current_stream(index) if index >= 0 else 0))
    return context or _create_context(tensor.device)


def _create_context(device):
    index = -1 if device.type == "cpu" else device.index
    stream = 0 if device.type == "cpu" else _current_stream(index)
    gpu = "hip" if torch.version.hip else "cuda"
    with _contexts_lock:
        if (index, stream) not in _contexts:
            backend = "cpu" if device.type == "cpu" else f"{gpu}:{index}"
            _contexts[index, stream] = Context(backend, stream)
        return _contexts[index, stream]
