"""patch() and unpatch(): norma inside a Hugging Face model, without a change to its modules, parameters or state_dict.

Modules stay the objects that they are; their class is replaced by a subclass of it whose forward goes through norma, and
unpatch() gives the class back. A norm that feeds Linears returns a Deferred, from which those Linears take their outputs.
"""

import functools
import re
import threading
from dataclasses import dataclass, field

import torch
from torch import nn

from ._call import DTYPES
from .families import FAMILIES
from .functional import contract_code
from .lazy import Addend, Deferred, normalise


@dataclass
class Report:
    """What patch() did: `fused` (norm, its Linears), `alone` (norms), `left` (module, why it was left as it was)."""

    fused: list = field(default_factory=list)
    alone: list = field(default_factory=list)
    left: list = field(default_factory=list)

    def __str__(self):
        lines = [f"{norm} + {', '.join(linears)}: one call" for norm, linears in self.fused]
        lines += [f"{norm}: norm alone" for norm in self.alone]
        lines += [f"{name}: left as it was: {reason}" for name, reason in self.left]
        return "\n".join(_once_for_all_layers(lines)) or "nothing to patch"


def _once_for_all_layers(lines):
    """Lines that differ by the number of a layer only, as one."""
    alike = {}
    for line in lines:
        alike.setdefault(re.sub(r"\.\d+\.", ".*.", line), []).append(line)
    return [found[0] if len(found) == 1 else f"{len(found)} x {line}" for line, found in alike.items()]


# ---- The patched classes ----------------------------------------------------------------------------------------------

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def _has_hooks(module):
    return any([getattr(module, name) for name in _HOOKS])


class _Site:
    """A patched norm: its numbers, and the Linears that it feeds."""

    def __init__(self, norm, linears, family, contract, static_weights):
        self.norm = norm
        self.linears = linears
        self.eps = getattr(norm, family.eps)
        self.offset = family.offset
        self.family_contract = family.contract
        self.contract = contract
        self.static_weights = static_weights
        self.head = None
        self.makes_addend = False

    def gamma(self):
        return self.norm._parameters["weight"]

    def may_defer(self, norm, x):
        # A copy of the module that shares this site, as DataParallel makes, has other weights than the site's.
        if not self.linears or norm is not self.norm or torch.is_autocast_enabled(x.device.type):
            return False
        if self.head is not None and not self.head.is_running():
            return False
        return not _has_hooks(norm) and not any([_has_hooks(linear) for linear in self.linears])


class _PatchedNorm:
    def forward(self, x):
        site = self._norma_site
        if x.dtype not in DTYPES:
            return super().forward(x)
        if site.may_defer(self, x):
            return Deferred(site, x)
        out = normalise(site, x, self.weight)
        return Addend(out) if site.makes_addend and not _has_hooks(self) else out


class _PatchedLinear:
    def forward(self, x):
        return x.linear(self) if type(x) is Deferred else super().forward(x)


class _PatchedAddend:
    """A Linear whose output is added to the residual stream next."""

    def forward(self, x):
        out = super().forward(x)
        return out if _has_hooks(self) else Addend(out)


class _Head:
    """Is the forward of the whole model running, so that the last norm's output goes to the classifier and nowhere else?

    Per thread; while torch.compile traces, which it does in one thread at a time, a plain attribute, which it can follow."""

    def __init__(self):
        self.traced = False
        self.running = threading.local()

    def is_running(self):
        return self.traced if torch.compiler.is_compiling() else getattr(self.running, "value", False)

    def set(self, value):
        if torch.compiler.is_compiling():
            self.traced = value
        else:
            self.running.value = value

    def __deepcopy__(self, memo):
        return _Head()

    def __reduce__(self):
        return _Head, ()


class _PatchedModel:
    """A model with a classifier. Where the caller asks for hidden states, the last norm's output is one of them."""

    def _norma_forward(self, forward, args, kwargs):
        head = self._norma_head
        if kwargs.get("output_hidden_states") or self.config.output_hidden_states or head.is_running():
            return forward(*args, **kwargs)
        head.set(True)
        try:
            return forward(*args, **kwargs)
        finally:
            head.set(False)


def _restore(base, mixin):
    kind = _subclass(base, mixin)
    return kind.__new__(kind)


@functools.cache
def _subclass(base, mixin):
    """The patched form of a class, under the same name; it can be copied and pickled."""

    def __reduce_ex__(self, protocol):
        return _restore, (base, mixin), *base.__reduce_ex__(self, protocol)[2:]

    members = {"__module__": base.__module__, "__qualname__": base.__qualname__, "__reduce_ex__": __reduce_ex__}
    if mixin is _PatchedModel:

        @functools.wraps(base.forward)
        def forward(self, *args, **kwargs):
            return self._norma_forward(functools.partial(base.forward, self), args, kwargs)

        members["forward"] = forward
    members["_norma_base"] = base
    return type(base.__name__, (mixin, base), members)


def _is_patched(module):
    return "_norma_base" in type(module).__dict__


def _swap(module, mixin):
    module.__class__ = _subclass(type(module), mixin)


# ---- What may be patched ----------------------------------------------------------------------------------------------


def _why_not(module):
    """Why a module is not what its class says, or None."""
    if _has_hooks(module):
        return "it has hooks"
    if "forward" in module.__dict__:
        return "its forward was replaced"
    return None


def _why_not_weight(tensor, what):
    if type(tensor) is not nn.Parameter:
        return f"{what} is a {type(tensor).__name__}, not a plain parameter (sharded or quantised?)"
    if tensor.device.type not in ("cpu", "cuda"):
        return f"{what} is on {tensor.device}"
    if tensor.dtype not in DTYPES:
        return f"{what} is {tensor.dtype}"
    return None


def _why_not_norm(norm):
    return _why_not(norm) or _why_not_weight(norm.weight, "weight")


def _why_not_linear(linear, norm, contract):
    if linear is None:
        return "there is none"
    if type(linear) is not nn.Linear:
        return f"it is a {type(linear).__name__}, not a plain Linear (adapter or quantised?)"
    reason = _why_not(linear) or _why_not_weight(linear.weight, "weight")
    if reason:
        return reason
    if linear.bias is not None and _why_not_weight(linear.bias, "bias"):
        return _why_not_weight(linear.bias, "bias")
    gamma = norm.weight
    if linear.weight.shape[1:] != gamma.shape:
        return f"its weight is {tuple(linear.weight.shape)} behind a norm of {tuple(gamma.shape)} (sharded?)"
    if linear.weight.device != gamma.device:
        return f"it is on {linear.weight.device}, its norm on {gamma.device}"
    if linear.weight.dtype != gamma.dtype and contract == "twice":
        return f"it is {linear.weight.dtype}, its norm {gamma.dtype}"
    return None


def _child(module, path):
    for name in path.split("."):
        module = getattr(module, name, None)
    return module


def _between(owner, path):
    """The modules that a Linear's input passes through on its way from `owner`: those along the path."""
    names = path.split(".")[:-1]
    return [_child(owner, ".".join(names[: i + 1])) for i in range(len(names))]


class _Patcher:
    def __init__(self, contract, static_weights, report):
        self.contract = contract
        self.static_weights = static_weights
        self.report = report
        self.done = set()

    def _add(self, name, norm, linears, family):
        contract = self.contract or family.contract
        norm._norma_site = _Site(norm, tuple(linears), family, contract, self.static_weights)
        _swap(norm, _PatchedNorm)
        for linear in linears:
            _swap(linear, _PatchedLinear)

    def norm(self, name, norm, family, owner=None, owner_name="", paths=()):
        """Patches a norm, with the Linears at `paths` within `owner` if all of them allow it."""
        if norm is None or id(norm) in self.done:
            return None
        self.done.add(id(norm))
        reason = _why_not_norm(norm)
        if reason:
            self.report.left.append((name, reason))
            return None
        linears = [_child(owner, path) for path in paths]
        names = [f"{owner_name}.{path}".lstrip(".") for path in paths]
        reasons = []
        for path, linear, full in zip(paths, linears, names):
            for parent in _between(owner, path):
                if _why_not(parent):
                    reasons.append((full, f"in the module around it: {_why_not(parent)}"))
            found = _why_not_linear(linear, norm, family.contract)
            if found:
                reasons.append((full, found))
        if reasons or not linears:
            self.report.left += reasons
            self.report.alone.append(name)
            linears = []
        else:
            self.report.fused.append((name, names))
        self._add(name, norm, linears, family)
        return norm._norma_site if linears else None

    def layer(self, name, layer, family):
        reason = _why_not(layer) if family.feeds else None
        if reason:
            self.report.left.append((name, reason + "; its norms are patched alone"))
        for path, linears in family.feeds.items():
            norm = _child(layer, path)
            if norm is not None and family.owns(norm, "RMSNorm"):
                self.norm(f"{name}.{path}".lstrip("."), norm, family, layer, name, () if reason else linears)
        if family.addend and not reason:
            self.addend(f"{name}.{family.addend}".lstrip("."), _child(layer, family.addend), family, layer)

    def addend(self, name, module, family, layer):
        """Lets the next norm add this module's output to the residual stream."""
        if module is None or any(_why_not(parent) for parent in _between(layer, family.addend)):
            return
        if family.owns(module, "RMSNorm"):
            self.norm(name, module, family)
            if _is_patched(module):
                module._norma_site.makes_addend = True
        elif type(module) is nn.Linear and not _why_not(module):
            _swap(module, _PatchedAddend)

    def model(self, name, model, family):
        norm = _child(model, family.last_norm)
        if norm is None or not family.owns(norm, "RMSNorm"):
            return
        norm_name = f"{name}.{family.last_norm}".lstrip(".")
        reason = _why_not(model) or _why_not(_child(model, family.last_norm.split(".")[0]))
        if reason:
            self.report.left.append((f"{name}.{family.classifier}".lstrip("."), f"around its norm: {reason}"))
            return
        site = self.norm(norm_name, norm, family, model, name, (family.classifier,))
        if site:
            site.head = model._norma_head = _Head()
            _swap(model, _PatchedModel)


def _family_of(module, suffix):
    return next((family for family in FAMILIES if family.owns(module, suffix)), None)


def patch(model, *, contract=None, static_weights=False):
    """Makes the RMSNorms of a Hugging Face model, and the Linears behind them, go through norma. Returns a Report.

    contract: None for each family's own rounding; "deferred" for the fastest. static_weights: promises that no work in flight
    writes a weight while the model runs, as at inference. Gamma is never folded into a weight, tied or not."""
    if contract is not None:
        contract_code(contract)
    modules = dict(model.named_modules())
    if any(_is_patched(module) for module in modules.values()):
        raise ValueError("the model is patched already; unpatch() it first")
    report = Report()
    patcher = _Patcher(contract, static_weights, report)
    for suffix, apply in (("DecoderLayer", patcher.layer), ("ForCausalLM", patcher.model), ("RMSNorm", patcher.norm)):
        for name, module in modules.items():
            family = _family_of(module, suffix)
            if family:
                apply(name, module, family)
    if not report.fused and not report.alone and not report.left:
        known = ", ".join(family.name for family in FAMILIES)
        report.left.append((type(model).__name__, f"no RMSNorm of a family that is known here: {known}"))
    return report


def unpatch(model):
    """Undoes patch(). A model that is not patched stays as it is."""
    for module in model.modules():
        if not _is_patched(module):
            continue
        module.__class__ = type(module)._norma_base
        for name in ("_norma_site", "_norma_head"):
            module.__dict__.pop(name, None)
