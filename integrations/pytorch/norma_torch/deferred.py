"""A norm's output that has not been computed yet.

A patched norm returns a Deferred in place of a tensor. The Linears behind the norm take their parts of one fused call from it;
rows picked from it are picked from x; everything else that touches it gets the normalised tensor, computed then. So whatever
code stands between a norm and its Linears, the numbers are right; only code that does nothing there gets the fused call.
It is a plain object, with no state outside of itself: torch.compile follows it, and threads do not meet in it.
"""

import torch
from torch.utils._pytree import tree_map_only

from .functional import rmsnorm_linear


class Deferred:
    """The rows that `site` would make of x. site: what patch() knows of the norm and its Linears."""

    def __init__(self, site, x):
        self.site = site
        self.x = x
        self.outputs = None
        self.computed = None

    def tensor(self):
        """The normalised rows."""
        if self.computed is None:
            self.computed = self.site.normalise(self.x)
        return self.computed

    def linear(self, linear):
        """The output of a Linear whose input this is."""
        if self.outputs is None:
            site = self.site
            self.outputs = rmsnorm_linear(
                self.x,
                site.gamma(),
                [each._parameters["weight"] for each in site.linears],
                [each._parameters["bias"] for each in site.linears],
                eps=site.eps,
                offset=site.offset,
                contract=site.contract,
                static_weights=site.static_weights,
            )
        for part, each in enumerate(self.site.linears):
            if each is linear and self.outputs[part] is not None:
                output, self.outputs[part] = self.outputs[part], None
                return output
        return torch.nn.functional.linear(self.tensor(), linear.weight, linear.bias)

    # What can be said without computing anything.

    @property
    def shape(self):
        return self.x.shape

    @property
    def dtype(self):
        return self.x.dtype

    @property
    def device(self):
        return self.x.device

    def size(self, *arguments):
        return self.x.size(*arguments)

    def dim(self):
        return self.x.dim()

    def __len__(self):
        return self.x.shape[0]

    def __getitem__(self, index):
        keeps_rows_whole = isinstance(index, (int, slice)) and self.x.dim() > 1
        if isinstance(index, tuple) and len(index) == self.x.dim() and index[-1] == slice(None):
            keeps_rows_whole = not any(each is None or each is Ellipsis for each in index)
        return Deferred(self.site, self.x[index]) if keeps_rows_whole else self.tensor()[index]

    def __iter__(self):
        return (self[row] for row in range(self.x.shape[0]))

    # Everything else.

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        args, kwargs = tree_map_only(Deferred, Deferred.tensor, (args, kwargs or {}))
        return function(*args, **kwargs)

    def __getattr__(self, name):
        return getattr(self.tensor(), name)


def _operator(name):
    def method(self, *others):
        return getattr(self.tensor(), name)(*[each.tensor() if type(each) is Deferred else each for each in others])

    method.__name__ = name
    return method


for _name in (
    "add radd sub rsub mul rmul truediv rtruediv floordiv mod pow rpow matmul rmatmul neg abs eq ne lt le gt ge bool float int"
    " setitem contains invert and or xor"
).split():
    setattr(Deferred, f"__{_name}__", _operator(f"__{_name}__"))
Deferred.__hash__ = object.__hash__
