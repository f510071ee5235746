"""What a patched model hands around in place of tensors that have not been computed yet.

    Deferred   what a norm will return: the Linears behind it take their parts of one fused call from it
    Addend     what will be added to the residual stream
    Sum        residual + addend: a norm adds the two in the call that normalises them

Everything else that touches one of them gets the tensor it stands for, computed then. So whatever code stands between the
modules of a model, the numbers are right; only code that does nothing there gets the fused call. They are plain objects, with
no state outside of themselves: torch.compile follows them, and threads do not meet in them.
"""

import torch
from torch.utils._pytree import tree_map_only

from .functional import rmsnorm, rmsnorm_linear


class Lazy:
    """Stands for a tensor of the shape, dtype and device of `like`."""

    def __init__(self, like):
        self.like = like
        self.computed = None

    def compute(self):
        raise NotImplementedError

    def tensor(self):
        if self.computed is None:
            self.computed = self.compute()
        return self.computed

    # What can be said without computing anything.

    @property
    def shape(self):
        return self.like.shape

    @property
    def dtype(self):
        return self.like.dtype

    @property
    def device(self):
        return self.like.device

    def size(self, *arguments):
        return self.like.size(*arguments)

    def dim(self):
        return self.like.dim()

    def __len__(self):
        return self.like.shape[0]

    # Everything else.

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        args, kwargs = tree_map_only(Lazy, lambda each: each.tensor(), (args, kwargs or {}))
        return function(*args, **kwargs)

    def __getattr__(self, name):
        return getattr(self.tensor(), name)

    def __getitem__(self, index):
        return self.tensor()[index]

    def __iter__(self):
        return (self[row] for row in range(self.shape[0]))

    def __hash__(self):
        return id(self)


def _operator(name):
    def method(self, *others):
        return getattr(self.tensor(), name)(*[each.tensor() if isinstance(each, Lazy) else each for each in others])

    method.__name__ = name
    return method


for _name in (
    "add radd sub rsub mul rmul truediv rtruediv floordiv mod pow rpow matmul rmatmul neg abs eq ne lt le gt ge bool float int"
    " setitem contains invert and or xor"
).split():
    setattr(Lazy, f"__{_name}__", _operator(f"__{_name}__"))


class Addend(Lazy):
    """A tensor that is there, but whose addition to another may wait."""

    def __init__(self, tensor):
        super().__init__(tensor)
        self.computed = tensor

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function in _ADDITIONS and not kwargs and len(args) == 2:
            return add(*args)
        return super().__torch_function__(function, types, args, kwargs)

    def __add__(self, other):
        return add(other, self)


_ADDITIONS = (torch.Tensor.add, torch.Tensor.__add__, torch.Tensor.__radd__, torch.add)


def add(a, b):
    """a + b, one of which is an Addend: a Sum where nothing is broadcast or converted."""
    residual, addend = (a, b) if type(b) is Addend else (b, a)
    if isinstance(residual, Lazy):
        residual = residual.tensor()
    if not isinstance(residual, torch.Tensor) or residual.shape != addend.shape or residual.dtype != addend.dtype:
        return residual + addend.tensor()
    return Sum(residual, addend.tensor())


class Sum(Lazy):
    """residual + addend, which are let go once they are added."""

    def __init__(self, residual, addend):
        super().__init__(residual)
        self.residual = residual
        self.addend = addend

    def settle(self, total):
        self.like = self.computed = total
        self.residual = self.addend = None

    def tensor(self):
        if self.computed is None:
            self.settle(self.residual + self.addend)
        return self.computed


def _rows(x):
    """What a norm's call takes: the rows, and a residual to add to them first, or None."""
    if type(x) is not Sum:
        return x, None
    return (x.addend, x.residual) if x.computed is None else (x.computed, None)


def normalise(site, x, gamma):
    """The norm alone, of a tensor or a Sum."""
    rows, residual = _rows(x)
    contract = site.contract if gamma.dtype == rows.dtype else site.family_contract
    result = rmsnorm(rows, gamma, eps=site.eps, offset=site.offset, contract=contract, residual=residual)
    if residual is None:
        return result
    out, total = result
    x.settle(total)
    return out


class Deferred(Lazy):
    """The rows that `site` would make of x, a tensor or a Sum. site: what patch() knows of the norm and its Linears."""

    def __init__(self, site, x):
        super().__init__(x)
        self.site = site
        self.outputs = None

    def compute(self):
        return normalise(self.site, self.like, self.site.gamma())

    def linear(self, linear):
        """The output of a Linear whose input this is."""
        if self.outputs is None:
            self.outputs = self._linears()
        for part, each in enumerate(self.site.linears):
            if each is linear and self.outputs[part] is not None:
                output, self.outputs[part] = self.outputs[part], None
                return output
        return torch.nn.functional.linear(self.tensor(), linear.weight, linear.bias)

    def _linears(self):
        site = self.site
        rows, residual = _rows(self.like)
        result = rmsnorm_linear(
            rows,
            site.gamma(),
            [each._parameters["weight"] for each in site.linears],
            [each._parameters["bias"] for each in site.linears],
            eps=site.eps,
            offset=site.offset,
            contract=site.contract,
            residual=residual,
            static_weights=site.static_weights,
        )
        if residual is None:
            return result
        outputs, total = result
        self.like.settle(total)
        return outputs

    def __getitem__(self, index):
        """Rows picked from a norm's output are the norm of rows picked from x."""
        keeps_rows_whole = isinstance(index, (int, slice)) and self.dim() > 1
        if isinstance(index, tuple) and len(index) == self.dim() and index[-1] == slice(None):
            keeps_rows_whole = not any(each is None or each is Ellipsis for each in index)
        return Deferred(self.site, self.like[index]) if keeps_rows_whole else self.tensor()[index]
