"""The modules, and what happens without libnorma."""

import os
import pathlib
import subprocess
import sys

import pytest
import reference
import torch

import norma_torch

PACKAGE = pathlib.Path(norma_torch.__file__).resolve().parent.parent


@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_rmsnorm(device, offset):
    norm = norma_torch.RMSNorm(48, eps=1e-5, offset=offset, device=device)
    assert list(norm.state_dict()) == ["weight"] and norm.weight[0].item() == 1.0 - offset
    x, residual = torch.randn(2, 3, 48, device=device), torch.randn(2, 3, 48, device=device)
    expected = reference.norm(x, None, 1e-5, 0.0)
    reference.check("out", norm(x), expected, reference.norm_bound(expected, 48, x.dtype, x.dtype, "once"))
    out, h = norm(x, residual)
    assert torch.equal(h, x + residual) and torch.allclose(out, norm(h))
    assert "48, eps=1e-05" in repr(norm)


def test_rmsnorm_linear(device):
    single = norma_torch.RMSNormLinear(48, 32, bias=True, device=device)
    several = norma_torch.RMSNormLinear(48, [32, 8], device=device)
    assert list(single.state_dict()) == ["norm_weight", "linears.0.weight", "linears.0.bias"]
    x = torch.randn(5, 48, device=device)
    for module, outs in ((single, [single(x)]), (several, several(x))):
        y = reference.norm(x, module.norm_weight, 1e-6, 0.0)
        assert len(outs) == len(module.linears)
        for linear, out in zip(module.linears, outs):
            expected = reference.linear(y, linear.weight, linear.bias)
            bound = reference.linear_bound(
                y, linear.weight, linear.bias, expected, x.dtype, "deferred", module.norm_weight, 1e-6
            )
            reference.check("out", out, expected, bound)
    sum(out.sum() for out in several(x)).backward()
    assert all(parameter.grad.any() for parameter in several.parameters())


def test_a_module_says_what_contract_it_takes():
    for kind, sizes in ((norma_torch.RMSNorm, (8,)), (norma_torch.RMSNormLinear, (8, 8))):
        with pytest.raises(ValueError, match="contract is 'exact'; it must be one of 'deferred', 'twice', 'once'"):
            kind(*sizes, contract="exact")


@pytest.mark.parametrize(
    "library,sentence",
    [
        ("/nowhere/libnorma.so", "libnorma was not found: tried NORMA_LIBRARY=/nowhere/libnorma.so"),
        ("libnorma.so", "NORMA_LIBRARY is 'libnorma.so'; it must be an absolute path"),
        (torch._C.__file__, "has no norma_version: it is not libnorma, or an older one"),
        (None, "tried libnorma.so.0 on the loader's path"),
    ],
)
def test_without_libnorma(library, sentence):
    """The package can be imported; the first call says what is missing."""
    environment = {name: value for name, value in os.environ.items() if name != "NORMA_LIBRARY"}
    environment["PYTHONPATH"] = str(PACKAGE)
    if library:
        environment["NORMA_LIBRARY"] = library
    program = "import torch, norma_torch\ntry: norma_torch.rmsnorm(torch.ones(2, 4))\n"
    program += "except norma_torch.LibraryNotFound as error: print(error)\nelse: print('found')"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    if library is None and done.stdout == "found\n":
        pytest.skip("libnorma is installed here")
    assert sentence in done.stdout, done.stderr
