"""RMSNorm and RMSNormLinear as modules."""

import torch
from torch import nn

from .functional import DEFAULT_EPS, contract_code, rmsnorm, rmsnorm_linear


class RMSNorm(nn.Module):
    """RMSNorm over the last `hidden_size` values. `weight` is gamma; `offset` is added to it (1 for Gemma).

    forward(x) returns the normalised x; forward(x, residual) returns (normalised x + residual, x + residual)."""

    def __init__(self, hidden_size, eps=DEFAULT_EPS, *, contract="once", offset=0.0, device=None, dtype=None):
        super().__init__()
        contract_code(contract)
        self.eps, self.contract, self.offset = eps, contract, offset
        self.weight = nn.Parameter(torch.full((hidden_size,), 1.0 - offset, device=device, dtype=dtype))

    def forward(self, x, residual=None):
        return rmsnorm(x, self.weight, eps=self.eps, offset=self.offset, contract=self.contract, residual=residual)

    def extra_repr(self):
        return f"{self.weight.shape[0]}, eps={self.eps}, contract={self.contract!r}, offset={self.offset}"


class RMSNormLinear(nn.Module):
    """RMSNorm followed by one to four Linears in one pass: `norm_weight` is gamma, `linears` hold the weights and biases.

    out_features is a number, or a list of them for Linears that share the pass; forward returns a tensor or a list."""

    def __init__(
        self,
        hidden_size,
        out_features,
        bias=False,
        eps=DEFAULT_EPS,
        *,
        contract="deferred",
        offset=0.0,
        static_weights=False,
        device=None,
        dtype=None,
    ):
        super().__init__()
        contract_code(contract)
        self.eps, self.contract, self.offset, self.static_weights = eps, contract, offset, static_weights
        self.single = isinstance(out_features, int)
        sizes = [out_features] if self.single else out_features
        self.norm_weight = nn.Parameter(torch.full((hidden_size,), 1.0 - offset, device=device, dtype=dtype))
        self.linears = nn.ModuleList([nn.Linear(hidden_size, n, bias, device=device, dtype=dtype) for n in sizes])

    def forward(self, x):
        outs = rmsnorm_linear(
            x,
            self.norm_weight,
            [linear.weight for linear in self.linears],
            [linear.bias for linear in self.linears],
            eps=self.eps,
            offset=self.offset,
            contract=self.contract,
            static_weights=self.static_weights,
        )
        return outs[0] if self.single else outs

    def extra_repr(self):
        return f"eps={self.eps}, contract={self.contract!r}, offset={self.offset}"
