"""norma's operations as PyTorch operators, torch.ops.norma.*, with fake kernels and autograd.

    norma::rmsnorm                  -> out, h, rstd
    norma::rmsnorm_linear           -> [out of each part..., h, rstd]
    norma::rmsnorm_backward         -> dh, dgamma
    norma::rmsnorm_linear_backward  -> [dh, dgamma, dweight of each part..., dbias of each part...]

h is x + residual where a residual is given. A result that was not asked for (h without a residual, rstd without save_rstd, a
gradient that nobody needs) is an empty tensor. For gradients only h (or x) and rstd are kept; the normalised rows never are.
"""

import torch

from . import _abi, _formula
from ._call import (
    DTYPES,
    RMSNORM,
    RMSNORM_BACKWARD,
    RMSNORM_LINEAR,
    RMSNORM_LINEAR_BACKWARD,
    Builder,
    context_of,
    vector_strides,
    weight_strides,
)

_SUPPORTED = (*DTYPES, torch.float64)

library = torch.library.Library("norma", "DEF")


# ---- Checks, which fake kernels make as well --------------------------------------------------------------------------


def _describe(tensor):
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)} on {tensor.device}"


def _check_vector(name, tensor, size, x):
    if tensor is None:
        return
    if tensor.dim() != 1 or tensor.shape[0] != size:
        raise ValueError(f"{name} is {_describe(tensor)}; it must have the shape ({size},)")
    if tensor.device != x.device:
        raise ValueError(f"{name} is on {tensor.device}, but x is on {x.device}")
    if tensor.dtype not in _SUPPORTED or (tensor.dtype == torch.float64) != (x.dtype == torch.float64):
        raise TypeError(f"{name} is {tensor.dtype}, which does not go with x of {x.dtype}")


def _check_norm(x, gamma, residual, contract):
    if x.dtype not in _SUPPORTED:
        raise TypeError(f"x is {x.dtype}; norma takes float32, float16 and bfloat16, and float64 for gradient checks")
    if x.dim() == 0 or x.shape[-1] == 0:
        raise ValueError(f"x is {_describe(x)}; it must have at least one dimension, and a last one that is not 0")
    if contract not in (_abi.ROUND_DEFERRED, _abi.ROUND_TWICE, _abi.ROUND_ONCE):
        raise ValueError(f"contract is {contract}; it must be 0, 1 or 2: deferred, twice or once")
    _check_vector("gamma", gamma, x.shape[-1], x)
    if residual is None:
        return
    if residual.shape != x.shape or residual.dtype != x.dtype or residual.device != x.device:
        raise ValueError(f"residual is {_describe(residual)}; it must be as x, {_describe(x)}")


def _check_parts(x, weights, biases):
    if not 1 <= len(weights) <= _abi.MAX_PARTS:
        raise ValueError(f"there are {len(weights)} weights; one call takes 1 to {_abi.MAX_PARTS}")
    for i, (weight, bias) in enumerate(zip(weights, biases)):
        if weight.dim() != 2 or weight.shape[1] != x.shape[-1]:
            raise ValueError(f"weights[{i}] is {_describe(weight)}; it must have the shape (N, {x.shape[-1]})")
        if weight.dtype != x.dtype:
            raise TypeError(f"weights[{i}] is {weight.dtype}, but x is {x.dtype}")
        if weight.device != x.device:
            raise ValueError(f"weights[{i}] is on {weight.device}, but x is on {x.device}")
        _check_vector(f"biases[{i}]", bias, weight.shape[0], x)


def _norm_dtype(x, gamma, contract):
    """What the models' own code returns: TWICE ends in a product with gamma, in whatever dtype that has."""
    if contract == _abi.ROUND_TWICE and gamma is not None:
        return torch.promote_types(x.dtype, gamma.dtype)
    return x.dtype


def _rstd_dtype(x):
    return torch.float64 if x.dtype == torch.float64 else torch.float32


# ---- RMSNorm ----------------------------------------------------------------------------------------------------------

library.define(
    "rmsnorm(Tensor x, Tensor? gamma, Tensor? residual, float eps, float offset, int contract, int flags, bool save_rstd)"
    " -> (Tensor, Tensor, Tensor)"
)


@torch.library.register_fake("norma::rmsnorm", lib=library)
def _rmsnorm_fake(x, gamma, residual, eps, offset, contract, flags, save_rstd):
    _check_norm(x, gamma, residual, contract)
    out = x.new_empty(x.shape, dtype=_norm_dtype(x, gamma, contract))
    h = x.new_empty(0 if residual is None else x.shape)
    return out, h, x.new_empty(x.shape[:-1] if save_rstd else 0, dtype=_rstd_dtype(x))


def _build_rmsnorm(tensors, eps, offset, contract, flags, save_rstd):
    x, gamma, residual = tensors
    _check_norm(x, gamma, residual, contract)
    build = Builder(RMSNORM, x.shape[-1], eps=eps, gamma_offset=offset, contract=contract, flags=flags)
    for index, tensor in enumerate(tensors):
        build.expanded(index, tensor)
    strides = build.rows(x.shape[:-1], [(i, tensors[i]) for i in (0, 2) if tensors[i] is not None])
    build.input("x", x, strides[0])
    build.input("gamma", gamma, vector_strides(gamma))
    build.input("residual", residual, strides.get(2))
    build.output("out", x.shape, _norm_dtype(x, gamma, contract))
    build.output(None if residual is None else "residual_out", x.shape, x.dtype)
    build.output("rstd" if save_rstd else None, x.shape[:-1], torch.float32)
    return build.finish()


def rmsnorm_run(x, gamma, residual, eps, offset, contract, flags, save_rstd):
    """out, h, rstd; None for what was not asked for."""
    if x.dtype is torch.float64:
        _check_norm(x, gamma, residual, contract)
        h = x if residual is None else x + residual
        out, rstd = _formula.rmsnorm(h, gamma, eps, offset)
        return out, None if residual is None else h, rstd if save_rstd else None
    return context_of(x).run(_build_rmsnorm, (eps, offset, contract, flags, save_rstd), [x, gamma, residual])


def _rmsnorm_kernel(x, *others):
    out, h, rstd = rmsnorm_run(x, *others)
    return out, x.new_empty(0) if h is None else h, x.new_empty(0, dtype=_rstd_dtype(x)) if rstd is None else rstd


# ---- RMSNorm + Linear -------------------------------------------------------------------------------------------------
# Autograd follows lists of tensors, but no list with a None in it: `biases` are those that exist, and bit p of `biased`
# says that part p has one.

library.define(
    "rmsnorm_linear(Tensor x, Tensor? gamma, Tensor? residual, Tensor[] weights, Tensor[] biases, int biased, float eps,"
    " float offset, int contract, int flags, bool save_rstd) -> Tensor[]"
)


@torch.library.register_fake("norma::rmsnorm_linear", lib=library)
def _rmsnorm_linear_fake(x, gamma, residual, weights, biases, biased, eps, offset, contract, flags, save_rstd):
    _check_norm(x, gamma, residual, contract)
    _check_parts(x, weights, spread(biases, biased, len(weights)))
    outs = [x.new_empty((*x.shape[:-1], weight.shape[0])) for weight in weights]
    h = x.new_empty(0 if residual is None else x.shape)
    return [*outs, h, x.new_empty(x.shape[:-1] if save_rstd else 0, dtype=_rstd_dtype(x))]


def spread(given, places, count):
    """A list of `count`: each of `given` at the place of its bit in `places`, None elsewhere."""
    if len(given) != places.bit_count() or places >> count:
        raise ValueError(f"there are {len(given)} tensors for the parts {places:#b} of {count}")
    left = iter(given)
    return [next(left) if places >> place & 1 else None for place in range(count)]


def _build_rmsnorm_linear(tensors, parts, eps, offset, contract, flags, save_rstd):
    x, gamma, residual = tensors[:3]
    weights, biases = tensors[3 : 3 + parts], tensors[3 + parts :]
    _check_norm(x, gamma, residual, contract)
    _check_parts(x, weights, biases)
    build = Builder(RMSNORM_LINEAR, x.shape[-1], eps=eps, gamma_offset=offset, contract=contract, flags=flags)
    for index, tensor in enumerate(tensors):
        build.expanded(index, tensor)
    strides = build.rows(x.shape[:-1], [(i, tensors[i]) for i in (0, 2) if tensors[i] is not None])
    build.parts([weight.shape[0] for weight in weights])
    build.input("x", x, strides[0])
    build.input("gamma", gamma, vector_strides(gamma))
    build.input("residual", residual, strides.get(2))
    for part, weight in enumerate(weights):
        build.input("weight", weight, weight_strides(weight), part)
    for part, bias in enumerate(biases):
        build.input("bias", bias, vector_strides(bias), part)
    for part, weight in enumerate(weights):
        build.output("out", (*x.shape[:-1], weight.shape[0]), x.dtype, part)
    build.output(None if residual is None else "residual_out", x.shape, x.dtype)
    build.output("rstd" if save_rstd else None, x.shape[:-1], torch.float32)
    return build.finish()


def rmsnorm_linear_run(x, gamma, residual, weights, biases, eps, offset, contract, flags, save_rstd):
    """[out of each part..., h, rstd]; None for what was not asked for."""
    if x.dtype is torch.float64:
        _check_norm(x, gamma, residual, contract)
        _check_parts(x, weights, biases)
        h = x if residual is None else x + residual
        y, rstd = _formula.rmsnorm(h, gamma, eps, offset)
        outs = [torch.nn.functional.linear(y, weight, bias) for weight, bias in zip(weights, biases)]
        return [*outs, None if residual is None else h, rstd if save_rstd else None]
    numbers = (len(weights), eps, offset, contract, flags, save_rstd)
    return context_of(x).run(_build_rmsnorm_linear, numbers, [x, gamma, residual, *weights, *biases])


def _rmsnorm_linear_kernel(x, gamma, residual, weights, biases, biased, *numbers):
    biases = spread(biases, biased, len(weights))
    *outs, h, rstd = rmsnorm_linear_run(x, gamma, residual, weights, biases, *numbers)
    h = x.new_empty(0) if h is None else h
    return [*outs, h, x.new_empty(0, dtype=_rstd_dtype(x)) if rstd is None else rstd]


# ---- Gradients --------------------------------------------------------------------------------------------------------

library.define(
    "rmsnorm_backward(Tensor dout, Tensor? dh, Tensor h, Tensor rstd, Tensor? gamma, float offset, bool[] needs)"
    " -> (Tensor, Tensor)"
)
library.define(
    "rmsnorm_linear_backward(Tensor?[] douts, Tensor? dh, Tensor h, Tensor rstd, Tensor? gamma, Tensor[] weights, float eps,"
    " float offset, int contract, bool[] needs) -> Tensor[]"
)


@torch.library.register_fake("norma::rmsnorm_backward", lib=library)
def _rmsnorm_backward_fake(dout, dh, h, rstd, gamma, offset, needs):
    return h.new_empty(h.shape if needs[0] else 0), (h if gamma is None else gamma).new_empty(h.shape[-1] if needs[1] else 0)


def _build_rmsnorm_backward(tensors, offset, needs_dx, needs_dgamma):
    h, rstd, gamma, dout, dh = tensors
    build = Builder(RMSNORM_BACKWARD, h.shape[-1], gamma_offset=offset)
    for index, tensor in enumerate(tensors):
        build.expanded(index, tensor)
    strides = build.rows(h.shape[:-1], [(i, tensors[i]) for i in (0, 3, 4) if tensors[i] is not None])
    build.input("x", h, strides[0])
    build.input("rstd", rstd, (0, 0, 0))
    build.input("gamma", gamma, vector_strides(gamma))
    build.input("dout", dout, strides[3])
    build.input("dresidual_out", dh, strides.get(4))
    build.output("dx" if needs_dx else None, h.shape, h.dtype)
    build.output("dgamma" if needs_dgamma else None, h.shape[-1:], gamma.dtype if needs_dgamma else None)
    return build.finish()


def _rmsnorm_backward_kernel(dout, dh, h, rstd, gamma, offset, needs):
    if h.dtype is torch.float64:
        found = _formula.rmsnorm_backward(dout, dh, h, rstd, gamma, offset)
        found = [gradient if needed else None for gradient, needed in zip(found, needs)]
    else:
        found = context_of(h).run(_build_rmsnorm_backward, (offset, *needs), [h, rstd, gamma, dout, dh])
    if h.numel() == 0:
        found = [gradient if gradient is None else gradient.zero_() for gradient in found]
    return tuple(h.new_empty(0) if gradient is None else gradient for gradient in found)


@torch.library.register_fake("norma::rmsnorm_linear_backward", lib=library)
def _rmsnorm_linear_backward_fake(douts, dh, h, rstd, gamma, weights, eps, offset, contract, needs):
    parts = len(weights)
    dx = h.new_empty(h.shape if needs[0] else 0)
    dgamma = (h if gamma is None else gamma).new_empty(h.shape[-1] if needs[1] else 0)
    dweights = [weight.new_empty(weight.shape if need else 0) for weight, need in zip(weights, needs[2:])]
    dbiases = [weight.new_empty(weight.shape[0] if need else 0) for weight, need in zip(weights, needs[2 + parts :])]
    return [dx, dgamma, *dweights, *dbiases]


def _build_rmsnorm_linear_backward(tensors, parts, eps, offset, contract, *needs):
    h, rstd, gamma, dh = tensors[:4]
    weights, douts = tensors[4 : 4 + parts], tensors[4 + parts :]
    build = Builder(RMSNORM_LINEAR_BACKWARD, h.shape[-1], eps=eps, gamma_offset=offset, contract=contract)
    for index, tensor in enumerate(tensors):
        build.expanded(index, tensor)
    of_rows = [0, 3, *range(4 + parts, len(tensors))]
    strides = build.rows(h.shape[:-1], [(i, tensors[i]) for i in of_rows if tensors[i] is not None])
    build.parts([weight.shape[0] for weight in weights])
    build.input("x", h, strides[0])
    build.input("rstd", rstd, (0, 0, 0))
    build.input("gamma", gamma, vector_strides(gamma))
    build.input("dresidual_out", dh, strides.get(3))
    for part, weight in enumerate(weights):
        build.input("weight", weight, weight_strides(weight), part)
    for part, dout in enumerate(douts):
        build.input("dout", dout, strides[4 + parts + part], part)
    build.output("dx" if needs[0] else None, h.shape, h.dtype)
    build.output("dgamma" if needs[1] else None, h.shape[-1:], gamma.dtype if needs[1] else None)
    for part, weight in enumerate(weights):
        transposed = (0 if weight.shape[1] == 1 else 1, 0 if weight.shape[0] == 1 else weight.shape[1], 0)
        build.output("dweight" if needs[2 + part] else None, weight.shape, weight.dtype, part, transposed)
    for part, weight in enumerate(weights):
        build.output("dbias" if needs[2 + parts + part] else None, weight.shape[:1], weight.dtype, part)
    return build.finish()


def _rmsnorm_linear_backward_formula(douts, dh, h, rstd, gamma, weights, offset, needs):
    dx, dgamma, dweights, dbiases = _formula.rmsnorm_linear_backward(douts, dh, h, rstd, gamma, weights, offset)
    return [gradient if needed else None for gradient, needed in zip([dx, dgamma, *dweights, *dbiases], needs)]


def _rmsnorm_linear_backward_kernel(douts, dh, h, rstd, gamma, weights, eps, offset, contract, needs):
    # A part whose output went nowhere takes no part; its gradients are zeros.
    used = [part for part, dout in enumerate(douts) if dout is not None]
    parts = len(weights)
    places = [0, 1, *[2 + part for part in used], *[2 + parts + part for part in used]]
    found_needs = [needs[place] for place in places]
    weights_used, douts_used = [weights[part] for part in used], [douts[part] for part in used]
    if not used:
        found = [torch.zeros_like(h) if dh is None else dh.clone(), h.new_zeros(h.shape[-1])]
    elif h.dtype is torch.float64:
        found = _rmsnorm_linear_backward_formula(douts_used, dh, h, rstd, gamma, weights_used, offset, found_needs)
    else:
        numbers = (len(used), eps, offset, contract, *found_needs)
        tensors = [h, rstd, gamma, dh, *weights_used, *douts_used]
        found = context_of(h).run(_build_rmsnorm_linear_backward, numbers, tensors)
        if h.numel() == 0:
            found = [gradient if gradient is None else gradient.zero_() for gradient in found]
    by_place = dict(zip(places, found))
    shapes = [h.shape, h.shape[-1:], *[w.shape for w in weights], *[w.shape[:1] for w in weights]]
    return [
        (h.new_zeros(shape) if by_place.get(i) is None else by_place[i]) if needed else h.new_empty(0)
        for i, (needed, shape) in enumerate(zip(needs, shapes))
    ]


# ---- Autograd ---------------------------------------------------------------------------------------------------------


def _keep(ctx, x, residual, h, rstd, *others):
    if rstd.numel() == 0 and x.numel() > 0:
        raise RuntimeError("a norma operator was called with save_rstd=False on tensors that require gradients")
    ctx.set_materialize_grads(False)
    ctx.has_residual = residual is not None
    ctx.mark_non_differentiable(*([rstd] if residual is not None else [h, rstd]))
    ctx.save_for_backward(x if residual is None else h, rstd, *others)


def _rmsnorm_setup(ctx, inputs, output):
    x, gamma, residual, eps, offset, contract, flags, save_rstd = inputs
    _keep(ctx, x, residual, output[1], output[2], gamma)
    ctx.offset = offset


def _rmsnorm_gradients(ctx, dout, dh, drstd):
    h, rstd, gamma = ctx.saved_tensors
    if dout is None:
        dout = torch.zeros_like(h)
    dh = dh if ctx.has_residual else None
    needs = [ctx.needs_input_grad[0] or ctx.needs_input_grad[2], ctx.needs_input_grad[1]]
    dx, dgamma = torch.ops.norma.rmsnorm_backward(dout, dh, h, rstd, gamma, ctx.offset, needs)
    given = ctx.needs_input_grad
    return dx if given[0] else None, dgamma if given[1] else None, dx if given[2] else None, *[None] * 5


def _rmsnorm_linear_setup(ctx, inputs, output):
    x, gamma, residual, weights, biases, biased, eps, offset, contract, flags, save_rstd = inputs
    _keep(ctx, x, residual, output[-2], output[-1], gamma, *weights)
    ctx.numbers = eps, offset, contract
    ctx.biased = biased
    ctx.bias_dtypes = [bias.dtype for bias in biases]


def _rmsnorm_linear_gradients(ctx, grads):
    *douts, dh, _ = grads
    dh = dh if ctx.has_residual else None
    h, rstd, gamma, *weights = ctx.saved_tensors
    x_wanted, gamma_wanted, residual_wanted, weights_wanted, biases_wanted, *numbers = ctx.needs_input_grad
    parts = len(weights)
    wanted = [bool(want) for want in spread(biases_wanted, ctx.biased, parts)]
    needs = [x_wanted or residual_wanted, gamma_wanted, *weights_wanted, *wanted]
    dx, dgamma, *rest = torch.ops.norma.rmsnorm_linear_backward(douts, dh, h, rstd, gamma, weights, *ctx.numbers, needs)
    dweights = [dweight if want else None for dweight, want in zip(rest, weights_wanted)]
    biased = [part for part in range(parts) if ctx.biased >> part & 1]
    dbiases = [
        rest[parts + part].to(dtype) if want else None for part, want, dtype in zip(biased, biases_wanted, ctx.bias_dtypes)
    ]
    dx_of = [dx if want else None for want in (x_wanted, residual_wanted)]
    return dx_of[0], dgamma if gamma_wanted else None, dx_of[1], dweights, dbiases, *[None] * (len(numbers))


for _name, _kernel in [
    ("rmsnorm", _rmsnorm_kernel),
    ("rmsnorm_linear", _rmsnorm_linear_kernel),
    ("rmsnorm_backward", _rmsnorm_backward_kernel),
    ("rmsnorm_linear_backward", _rmsnorm_linear_backward_kernel),
]:
    for _key in ("CPU", "CUDA"):
        library.impl(_name, _kernel, _key)
torch.library.register_autograd("norma::rmsnorm", _rmsnorm_gradients, setup_context=_rmsnorm_setup, lib=library)
torch.library.register_autograd(
    "norma::rmsnorm_linear", _rmsnorm_linear_gradients, setup_context=_rmsnorm_linear_setup, lib=library
)
