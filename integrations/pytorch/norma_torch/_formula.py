"""The operations in PyTorch, from docs/numerics.md: what float64 tensors get, which libnorma does not compute.

It exists so that torch.autograd.gradcheck can follow the operators' own autograd in float64; float64 has no inner roundings.
"""

import torch


def _scale(gamma, offset):
    return 1.0 if gamma is None else gamma + offset


def rmsnorm(h, gamma, eps, offset):
    """The normalised rows and rstd."""
    rstd = torch.rsqrt(h.square().mean(-1) + eps)
    return h * rstd.unsqueeze(-1) * _scale(gamma, offset), rstd


def rmsnorm_backward(dout, dh, h, rstd, gamma, offset):
    """The gradients of h and gamma."""
    n = h * rstd.unsqueeze(-1)
    t = dout * _scale(gamma, offset)
    dx = rstd.unsqueeze(-1) * (t - n * (t * n).mean(-1, keepdim=True))
    if dh is not None:
        dx = dx + dh
    return dx, (dout * n).flatten(0, -2).sum(0)


def rmsnorm_linear_backward(douts, dh, h, rstd, gamma, weights, offset):
    """The gradients of h, gamma, each weight and each bias. A part without a gradient has None for its weight and bias."""
    given = [(dout, weight) for dout, weight in zip(douts, weights) if dout is not None]
    t = sum((dout @ weight for dout, weight in given), torch.zeros_like(h))
    y = (h * rstd.unsqueeze(-1) * _scale(gamma, offset)).flatten(0, -2)
    rows = [None if dout is None else dout.flatten(0, -2) for dout in douts]
    dweights = [None if dout is None else dout.t() @ y for dout in rows]
    dbiases = [None if dout is None else dout.sum(0) for dout in rows]
    return *rmsnorm_backward(t, dh, h, rstd, gamma, offset), dweights, dbiases
