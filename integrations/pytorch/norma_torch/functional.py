"""rmsnorm() and rmsnorm_linear(): the operators with defaults, names for the contracts, and a short way in.

Where nothing needs a gradient and nobody watches the call (no compiler, no dispatch mode, no functorch transform, plain
tensors) the kernel is called directly: at small M the dispatcher would cost as much as the work itself.
"""

import torch

from . import _abi, ops

CONTRACTS = {"deferred": _abi.ROUND_DEFERRED, "twice": _abi.ROUND_TWICE, "once": _abi.ROUND_ONCE}
DEFAULT_EPS = 1e-6

_PLAIN = (torch.Tensor, torch.nn.Parameter)
# Not public: where a PyTorch lacks one, every call goes through the operators.
_dispatch_modes = getattr(torch._C, "_len_torch_dispatch_stack", lambda: 1)
_transform = getattr(torch._C._functorch, "peek_interpreter_stack", lambda: "unknown")


def contract_code(name):
    """The C constant of a contract's name."""
    try:
        return CONTRACTS[name]
    except KeyError:
        raise ValueError(f"contract is {name!r}; it must be one of {', '.join(map(repr, CONTRACTS))}") from None


def _flags(static_weights, batch_invariant):
    return _abi.WEIGHTS_STATIC * bool(static_weights) | _abi.BATCH_INVARIANT * bool(batch_invariant)


def _unwatched(tensors):
    if _dispatch_modes() or _transform() is not None or not (tensors[0].is_cuda or tensors[0].is_cpu):
        return False
    return all([tensor is None or type(tensor) in _PLAIN and not tensor.is_neg() for tensor in tensors])


def _wants_gradient(tensors):
    return torch.is_grad_enabled() and any([tensor is not None and tensor.requires_grad for tensor in tensors])


def _choose(tensors):
    """Whether to call the kernel directly, and whether rstd must be kept for a gradient."""
    wanted = _wants_gradient(tensors)
    return not wanted and not torch.compiler.is_compiling() and _unwatched(tensors), wanted


def rmsnorm(
    x, gamma=None, *, eps=DEFAULT_EPS, offset=0.0, contract="once", residual=None, batch_invariant=False
):
    """RMSNorm over the last dimension of x.

    With a residual, h = x + residual is normalised in place of x, and (out, h) is returned."""
    direct, save = _choose((x, gamma, residual))
    operator = ops.rmsnorm_run if direct else torch.ops.norma.rmsnorm
    out, h, _ = operator(x, gamma, residual, eps, offset, contract_code(contract), _flags(False, batch_invariant), save)
    return out if residual is None else (out, h)


def rmsnorm_linear(
    x,
    gamma,
    weights,
    biases=None,
    *,
    eps=DEFAULT_EPS,
    offset=0.0,
    contract="deferred",
    residual=None,
    static_weights=False,
    batch_invariant=False,
):
    """RMSNorm of x followed by each Linear of `weights` (N, K), one to four, in one pass. Returns a list, an output each.

    With a residual, h = x + residual is normalised in place of x, and (outputs, h) is returned. static_weights promises that
    no work in flight writes a weight or gamma while the call runs (NORMA_WEIGHTS_STATIC)."""
    weights = list(weights)
    biases = [None] * len(weights) if biases is None else list(biases)
    if len(biases) != len(weights):
        raise ValueError(f"there are {len(biases)} biases for {len(weights)} weights; give None for an absent one")
    tensors = (x, gamma, residual, *weights, *biases)
    numbers = (eps, offset, contract_code(contract), _flags(static_weights, batch_invariant))
    direct, save = _choose(tensors)
    if direct:
        results = ops.rmsnorm_linear_run(x, gamma, residual, weights, biases, *numbers, save)
    else:
        biased = sum([1 << part for part, bias in enumerate(biases) if bias is not None])
        given = [bias for bias in biases if bias is not None]
        results = torch.ops.norma.rmsnorm_linear(x, gamma, residual, weights, given, biased, *numbers, save)
    outs = list(results[: len(weights)])
    return outs if residual is None else (outs, results[-2])
