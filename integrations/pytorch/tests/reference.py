"""The judge: RMSNorm and RMSNorm + Linear in float64, and the bounds of docs/numerics.md."""

import torch

UNIT = {torch.float32: 2.0**-24, torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}
U = UNIT[torch.float32]


def spacing(value, dtype):
    """Half the distance between neighbours in `dtype` at |value|."""
    least = torch.finfo(dtype).smallest_normal
    exponent = torch.floor(torch.log2(value.abs().clamp_min(least)))
    return torch.exp2(exponent) * UNIT[dtype]


def h_of(x, residual):
    """The rows to normalise, rounded to their dtype where a residual is added."""
    return x if residual is None else x + residual


def norm(x, gamma, eps, offset, residual=None):
    """Normalised rows in float64, without inner roundings."""
    h = h_of(x, residual).double()
    rstd = torch.rsqrt(h.square().mean(-1, keepdim=True) + eps)
    return h * rstd * (1.0 if gamma is None else gamma.double() + offset)


def norm_bound(y, k, h_dtype, out_dtype, contract):
    """How far a norm's output may lie from y."""
    e = 8 + k**0.5 / 4
    error = (e + 3) * U * y.abs() + 8 * 2.0**-150
    if contract == "twice" and h_dtype != torch.float32:
        error = error + 2 * UNIT[h_dtype] * y.abs() + 8 * torch.finfo(h_dtype).smallest_normal * 2 * UNIT[h_dtype]
    return error + spacing(y.abs() + error, out_dtype)


def linear(y, weight, bias):
    """The product in float64."""
    out = y @ weight.double().t()
    return out if bias is None else out + bias.double()


def linear_bound(y, weight, bias, out, h_dtype, contract, gamma, eps):
    """How far an output of RMSNorm + Linear may lie from `out`, which linear() computed from y."""
    k = y.shape[-1]
    e = 8 + k**0.5 / 4
    magnitude = y.abs() @ weight.double().abs().t()
    if bias is not None:
        magnitude = magnitude + bias.double().abs()
    roundings = {"deferred": 1, "once": 2, "twice": 2 if gamma is None else 4}[contract]
    error = (k + 3 + e) * U * magnitude + 8 * k * 2.0**-134 * max(1.0, eps**-0.5)
    if h_dtype != torch.float32:
        error = error + roundings * UNIT[h_dtype] * magnitude
    return error + spacing(out.abs() + error, h_dtype)


def check(name, found, expected, bound):
    """Every element of `found` lies within `bound` of `expected`."""
    excess = (found.double() - expected).abs() - bound
    worst = excess.max().item() if excess.numel() else 0.0
    assert worst <= 0, f"{name}: {(excess > 0).sum().item()} of {excess.numel()} values are beyond the bound, by {worst:.3e}"
    assert not torch.isnan(found).any(), f"{name}: NaN"
