"""The operators: values against float64 within docs/numerics.md's bounds, strides, gradients, opcheck, bad input."""

import threading

import pytest
import reference
import torch
from torch.autograd import gradcheck
from torch.library import opcheck

import norma_torch

HALVES = [torch.bfloat16, torch.float16]
DTYPES = [torch.float32, *HALVES]
CONTRACTS = ["deferred", "twice", "once"]
NEEDS_RSTD = (1e-6, 0.0, 2, 0, True)


def normal(shape, dtype, device, scale=1.0):
    return (torch.randn(shape) * scale).to(device=device, dtype=dtype)


def make_linear(device, dtype, rows, k, sizes, bias=True, gamma_dtype=None):
    gamma = normal((k,), gamma_dtype or dtype, device)
    weights = [normal((n, k), dtype, device, k**-0.5) for n in sizes]
    biases = [normal((n,), dtype, device) if bias else None for n in sizes]
    return normal((*rows, k), dtype, device), gamma, weights, biases


# ---- Values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("contract", CONTRACTS)
@pytest.mark.parametrize(
    "rows,k,offset,with_gamma,with_residual",
    [((1,), 64, 0.0, True, False), ((3, 5), 257, 1.0, True, True), ((2, 3, 4), 96, 0.0, False, False), ((), 33, 0.0, True, True)],
)
def test_norm(device, dtype, contract, rows, k, offset, with_gamma, with_residual):
    x = normal((*rows, k), dtype, device)
    gamma = normal((k,), dtype, device) if with_gamma else None
    residual = normal((*rows, k), dtype, device) if with_residual else None
    result = norma_torch.rmsnorm(x, gamma, eps=1e-5, offset=offset, contract=contract, residual=residual)
    out, h = result if with_residual else (result, x)
    assert torch.equal(h, reference.h_of(x, residual))
    expected = reference.norm(x, gamma, 1e-5, offset, residual)
    reference.check("out", out, expected, reference.norm_bound(expected, k, dtype, out.dtype, contract))


@pytest.mark.parametrize("contract,expected", [("twice", torch.float32), ("once", torch.bfloat16)])
def test_norm_with_wider_gamma_has_the_models_dtype(device, contract, expected):
    x, gamma = normal((4, 64), torch.bfloat16, device), normal((64,), torch.float32, device)
    out = norma_torch.rmsnorm(x, gamma, contract=contract)
    assert out.dtype == expected
    exact = reference.norm(x, gamma, 1e-6, 0.0)
    reference.check("out", out, exact, reference.norm_bound(exact, 64, x.dtype, expected, contract))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("contract", CONTRACTS)
@pytest.mark.parametrize(
    "rows,k,sizes,bias,residual",
    [
        ((1, 1), 128, [64, 16, 16], False, False),
        ((2, 9), 192, [96, 96], True, True),
        ((70,), 64, [33], True, False),
        ((3,), 100, [1, 7, 8, 130], True, False),
    ],
)
def test_linear(device, dtype, contract, rows, k, sizes, bias, residual):
    x, gamma, weights, biases = make_linear(device, dtype, rows, k, sizes, bias)
    added = normal(x.shape, dtype, device) if residual else None
    result = norma_torch.rmsnorm_linear(x, gamma, weights, biases, contract=contract, residual=added)
    outs, h = result if residual else (result, x)
    assert torch.equal(h, reference.h_of(x, added))
    y = reference.norm(x, gamma, 1e-6, 0.0, added)
    for out, weight, bias in zip(outs, weights, biases):
        expected = reference.linear(y, weight, bias)
        bound = reference.linear_bound(y, weight, bias, expected, dtype, contract, gamma, 1e-6)
        reference.check("out", out, expected, bound)


def test_no_rows(device):
    x, gamma, weights, _ = make_linear(device, torch.float32, (0, 4), 32, [8, 8])
    x.requires_grad_()
    gamma.requires_grad_()
    weights = [weight.requires_grad_() for weight in weights]
    out = norma_torch.rmsnorm(x, gamma)
    outs = norma_torch.rmsnorm_linear(x, gamma, weights)
    assert out.shape == (0, 4, 32) and [o.shape for o in outs] == [(0, 4, 8)] * 2
    (out.sum() + outs[0].sum()).backward()
    assert x.grad.shape == x.shape
    for tensor in (gamma, *weights):
        assert torch.equal(tensor.grad, torch.zeros_like(tensor))


# ---- Strides ----------------------------------------------------------------------------------------------------------


def transposed(t):
    return t.transpose(0, 1).contiguous().transpose(0, 1)


def padded(t):
    wide = torch.full((*t.shape[:-1], t.shape[-1] + 3), float("nan"), dtype=t.dtype, device=t.device)
    wide[..., : t.shape[-1]] = t
    return wide[..., : t.shape[-1]]


def every_other_column(t):
    wide = torch.full((*t.shape[:-1], t.shape[-1], 2), float("nan"), dtype=t.dtype, device=t.device)
    wide[..., 0] = t
    return wide[..., 0]


def column_major(t):
    return t.transpose(-1, -2).contiguous().transpose(-1, -2)


def expanded(t):
    return t[:1].expand(t.shape)


@pytest.mark.parametrize("layout", [transposed, padded, every_other_column, column_major, expanded])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_strides_of_rows(device, dtype, layout):
    x, gamma, weights, biases = make_linear(device, dtype, (3, 4), 64, [32, 16])
    x = layout(x)
    residual = padded(normal((3, 4, 64), dtype, device))
    assert not x.is_contiguous()
    expected = reference.norm(x, gamma, 1e-6, 0.0, residual)
    out, h = norma_torch.rmsnorm(x, gamma, residual=residual)
    assert torch.equal(h, x + residual) and out.is_contiguous()
    reference.check("norm", out, expected, reference.norm_bound(expected, 64, dtype, dtype, "once"))
    y = reference.norm(x, gamma, 1e-6, 0.0)
    for out, weight, bias in zip(norma_torch.rmsnorm_linear(x, gamma, weights, biases), weights, biases):
        expected = reference.linear(y, weight, bias)
        bound = reference.linear_bound(y, weight, bias, expected, dtype, "deferred", gamma, 1e-6)
        reference.check("linear", out, expected, bound)


@pytest.mark.parametrize("layout", [padded, every_other_column, column_major, expanded])
def test_strides_of_parameters(device, layout):
    x, gamma, (weight,), (bias,) = make_linear(device, torch.float32, (5,), 32, [24])
    weight = layout(weight)
    gamma, bias = gamma[:1].expand(32), torch.stack([bias, bias * float("nan")], 1)[:, 0]
    (out,) = norma_torch.rmsnorm_linear(x, gamma, [weight], [bias])
    y = reference.norm(x, gamma, 1e-6, 0.0)
    expected = reference.linear(y, weight, bias)
    reference.check("out", out, expected, reference.linear_bound(y, weight, bias, expected, x.dtype, "deferred", gamma, 1e-6))


def test_heads_of_a_packed_projection_are_one_call(device):
    packed = normal((2, 5, 3, 4, 16), torch.float32, device)
    heads = packed[:, :, 1].transpose(1, 2)
    gamma = normal((16,), torch.float32, device)
    expected = reference.norm(heads, gamma, 1e-6, 0.0)
    out = norma_torch.rmsnorm(heads, gamma)
    reference.check("out", out, expected, reference.norm_bound(expected, 16, out.dtype, out.dtype, "once"))


def test_a_changed_parameter_is_noticed(device):
    """A parameter may get other memory, another shape or another dtype under the same name."""
    x, gamma, (weight,), _ = make_linear(device, torch.float32, (2,), 8, [8])
    weight = torch.nn.Parameter(weight)
    with torch.no_grad():
        for data in (weight.data, weight.data.t(), weight.data[:4], weight.data.clone() * 2):
            weight.data = data
            (out,) = norma_torch.rmsnorm_linear(x, gamma, [weight])
            y = reference.norm(x, gamma, 1e-6, 0.0)
            expected = reference.linear(y, weight, None)
            bound = reference.linear_bound(y, weight, None, expected, x.dtype, "deferred", gamma, 1e-6)
            reference.check("out", out, expected, bound)


def test_a_tensor_that_is_negated_when_read(device):
    x = torch.randn(3, 16, dtype=torch.complex64, device=device).conj().imag
    assert x.is_neg()
    assert torch.equal(norma_torch.rmsnorm(x), norma_torch.rmsnorm(x.clone().contiguous().resolve_neg()))


def test_meta_tensors_have_shapes():
    x, weight = torch.empty(2, 3, 8, device="meta"), torch.empty(5, 8, device="meta")
    assert norma_torch.rmsnorm(x).shape == x.shape
    (out,) = norma_torch.rmsnorm_linear(x, None, [weight])
    assert out.shape == (2, 3, 5) and out.is_meta


# ---- Gradients --------------------------------------------------------------------------------------------------------


def grads(outputs, inputs):
    """Gradients of a fixed random functional of the outputs."""
    generator = torch.Generator().manual_seed(7)
    weights = [torch.randn(o.shape, generator=generator).to(o) for o in outputs]
    followed = [(o, w) for o, w in zip(outputs, weights) if o.requires_grad]
    return torch.autograd.grad([o for o, _ in followed], inputs, [w for _, w in followed])


def close_as_rounded(name, found, exact, dtype, factor=4.0):
    """Relative error in norm, in units of the dtype's rounding."""
    error = (found.double() - exact).norm() / exact.norm().clamp_min(1e-30)
    limit = factor * reference.UNIT[dtype] if dtype != torch.float32 else 64 * reference.U
    assert error <= limit, f"{name}: relative error {error:.2e} above {limit:.2e}"


def formula_linear(x, gamma, residual, weights, biases, eps, offset):
    h = x if residual is None else x + residual
    y = h * torch.rsqrt(h.square().mean(-1, keepdim=True) + eps) * (gamma + offset)
    return [torch.nn.functional.linear(y, w, b) for w, b in zip(weights, biases)], h, y


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("residual", [False, True])
def test_norm_gradients(device, dtype, residual):
    k = 160
    x, gamma = normal((6, 7, k), dtype, device), normal((k,), dtype, device)
    inputs = [x, gamma] + ([normal((6, 7, k), dtype, device)] if residual else [])
    inputs = [t.requires_grad_() for t in inputs]
    exact_inputs = [t.detach().double().requires_grad_() for t in inputs]
    result = norma_torch.rmsnorm(x, gamma, offset=0.5, residual=inputs[2] if residual else None)
    found = grads(list(result) if residual else [result], inputs)
    _, h, y = formula_linear(*exact_inputs[:2], exact_inputs[2] if residual else None, [], [], 1e-6, 0.5)
    exact = grads([y, h] if residual else [y], exact_inputs)
    for name, a, b in zip(["dx", "dgamma", "dresidual"], found, exact):
        assert a.dtype == dtype
        close_as_rounded(name, a, b, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("contract", CONTRACTS)
@pytest.mark.parametrize("residual", [False, True])
def test_linear_gradients(device, dtype, contract, residual):
    x, gamma, weights, biases = make_linear(device, dtype, (5, 9), 96, [64, 32, 32])
    biases[1] = None
    inputs = [x, gamma, *weights, biases[0], biases[2]] + ([normal(x.shape, dtype, device)] if residual else [])
    inputs = [t.requires_grad_() for t in inputs]
    exact = [t.detach().double().requires_grad_() for t in inputs]

    def split(t):
        return t[0], t[1], t[7] if residual else None, t[2:5], [t[5], None, t[6]]

    x, gamma, added, weights, biases = split(inputs)
    result = norma_torch.rmsnorm_linear(x, gamma, weights, biases, contract=contract, residual=added)
    found = grads([*result[0], result[1]] if residual else result, inputs)
    outs, h, _ = formula_linear(*split(exact), 1e-6, 0.0)
    expected = grads([*outs, h] if residual else outs, exact)
    names = ["dx", "dgamma", "dw0", "dw1", "dw2", "db0", "db2", "dresidual"]
    for name, a, b in zip(names, found, expected):
        assert a.dtype == dtype
        close_as_rounded(name, a, b, dtype)


@pytest.mark.parametrize("contract", ["once", "twice"])
def test_gradients_with_wider_gamma(device, contract):
    x = normal((6, 64), torch.bfloat16, device).requires_grad_()
    gamma = normal((64,), torch.float32, device).requires_grad_()
    exact = [t.detach().double().requires_grad_() for t in (x, gamma)]
    found = grads([norma_torch.rmsnorm(x, gamma, contract=contract)], [x, gamma])
    expected = grads([formula_linear(*exact, None, [], [], 1e-6, 0.0)[2]], exact)
    assert [g.dtype for g in found] == [torch.bfloat16, torch.float32]
    for name, a, b in zip(["dx", "dgamma"], found, expected):
        close_as_rounded(name, a, b, torch.bfloat16)


def test_gradients_of_some_inputs_only(device):
    """Whatever needs no gradient gets none, and costs no call of its own."""
    x, gamma, weights, biases = make_linear(device, torch.float32, (4,), 32, [16, 16])
    for wanted in ([weights[1]], [gamma], [x], [biases[0]]):
        for tensor in (x, gamma, *weights, *biases):
            tensor.requires_grad_(any(tensor is w for w in wanted))
        outs = norma_torch.rmsnorm_linear(x, gamma, weights, biases)
        (found,) = grads(outs, wanted)
        exact = [t.detach().double() for t in (x, gamma, *weights, *biases)]
        index = [i for i, t in enumerate((x, gamma, *weights, *biases)) if t is wanted[0]][0]
        exact[index].requires_grad_()
        expected_outs, _, _ = formula_linear(exact[0], exact[1], None, exact[2:4], exact[4:], 1e-6, 0.0)
        (expected,) = grads(expected_outs, [exact[index]])
        close_as_rounded("gradient", found, expected, torch.float32)


def test_a_part_that_is_not_used_gets_zeros(device):
    x, gamma, weights, biases = make_linear(device, torch.float32, (4,), 32, [16, 8])
    tensors = [t.requires_grad_() for t in (x, gamma, *weights, *biases)]
    norma_torch.rmsnorm_linear(x, gamma, weights, biases)[1].sum().backward()
    assert weights[0].grad is None or not weights[0].grad.any()
    assert all(t.grad is not None and t.grad.any() for t in (x, gamma, weights[1], biases[1])), tensors


def test_gradcheck():
    """float64 runs through the same autograd, on the formula: this checks the wiring, not libnorma."""
    x, gamma, weights, biases = make_linear("cpu", torch.float64, (2, 3), 5, [4, 2], True)
    residual = normal(x.shape, torch.float64, "cpu")
    flat = [t.requires_grad_() for t in (x, gamma, residual, *weights, *biases)]
    assert gradcheck(lambda x, g, r: norma_torch.rmsnorm(x, g, residual=r, offset=1.0), flat[:3])
    assert gradcheck(lambda x, g: norma_torch.rmsnorm(x, g), flat[:2])

    def linear(x, g, r, w0, w1, b0, b1):
        outs, h = norma_torch.rmsnorm_linear(x, g, [w0, w1], [b0, b1], residual=r, offset=0.5)
        return *outs, h

    assert gradcheck(linear, flat)
    assert gradcheck(lambda x, w: norma_torch.rmsnorm_linear(x, None, [w])[0], [x, weights[0]])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_opcheck(device, dtype):
    x, gamma, weights, biases = make_linear(device, dtype, (2, 3), 16, [8, 4])
    residual = normal(x.shape, dtype, device)
    for tensor in (x, gamma, residual, *weights, *biases):
        tensor.requires_grad_()
    ops = torch.ops.norma
    opcheck(ops.rmsnorm, (x, gamma, None, *NEEDS_RSTD))
    opcheck(ops.rmsnorm, (x, None, residual, *NEEDS_RSTD))
    opcheck(ops.rmsnorm, (x.detach(), gamma.detach(), None, 1e-6, 0.0, 1, 0, False))
    opcheck(ops.rmsnorm_linear, (x, gamma, residual, weights, [biases[1]], 0b10, *NEEDS_RSTD))
    opcheck(ops.rmsnorm_linear, (x.detach(), None, None, [weights[0].detach()], [], 0, 1e-6, 0.0, 0, 0, False))
    h, rstd = x.detach(), torch.rand(2, 3, dtype=torch.float64 if dtype == torch.float64 else torch.float32, device=device)
    dout, gamma, weights = torch.randn_like(h), gamma.detach(), [weight.detach() for weight in weights]
    douts = [normal((2, 3, 8), dtype, device), None]
    opcheck(ops.rmsnorm_backward, (dout, None, h, rstd, gamma, 0.0, [True, True]))
    opcheck(ops.rmsnorm_linear_backward, (douts, dout, h, rstd, gamma, weights, 1e-6, 0.0, 0, [True] * 6))


def test_backward_in_another_thread(device):
    x, gamma = normal((4, 64), torch.float32, device), normal((64,), torch.float32, device).requires_grad_()
    results = {}

    def work(name):
        for _ in range(20):
            leaf = gamma.detach().clone().requires_grad_()
            norma_torch.rmsnorm(x, leaf).square().sum().backward()
            results.setdefault(name, []).append(leaf.grad)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    every = [g for found in results.values() for g in found]
    assert len(every) == 80 and all(torch.equal(every[0], g) for g in every)


# ---- Bad input --------------------------------------------------------------------------------------------------------


def bad_calls():
    x, gamma, weight = torch.zeros(2, 8), torch.ones(8), torch.zeros(4, 8)
    meta = torch.ones(8, device="meta")
    return [
        ("gamma is float32 .9,.* must have the shape .8,", lambda: norma_torch.rmsnorm(x, torch.ones(9))),
        ("x is torch.int32", lambda: norma_torch.rmsnorm(x.int(), gamma)),
        ("last one that is not 0", lambda: norma_torch.rmsnorm(torch.zeros(3, 0))),
        ("at least one dimension", lambda: norma_torch.rmsnorm(torch.tensor(1.0))),
        ("gamma is on meta, but x is on cpu", lambda: norma_torch.rmsnorm(x, meta)),
        ("contract is 'fast'", lambda: norma_torch.rmsnorm(x, gamma, contract="fast")),
        ("eps", lambda: norma_torch.rmsnorm(x, gamma, eps=-1.0)),
        ("residual is float32 .2, 9.", lambda: norma_torch.rmsnorm(x, gamma, residual=torch.zeros(2, 9))),
        (r"weights\[1\] is float32 .4, 7.", lambda: norma_torch.rmsnorm_linear(x, gamma, [weight, torch.zeros(4, 7)])),
        (r"weights\[0\] is torch.bfloat16, but x", lambda: norma_torch.rmsnorm_linear(x, gamma, [weight.bfloat16()])),
        ("there are 5 weights", lambda: norma_torch.rmsnorm_linear(x, gamma, [weight] * 5)),
        ("there are 0 weights", lambda: norma_torch.rmsnorm_linear(x, gamma, [])),
        ("there are 2 biases for 1", lambda: norma_torch.rmsnorm_linear(x, gamma, [weight], [None, None])),
        (r"biases\[0\] is float32 .5,", lambda: norma_torch.rmsnorm_linear(x, gamma, [weight], [torch.zeros(5)])),
        ("float64", lambda: norma_torch.rmsnorm(x.double(), gamma)),
    ]


@pytest.mark.parametrize("case", range(len(bad_calls())))
@pytest.mark.parametrize("compiled", [False, True])
def test_bad_input_is_a_sentence(case, compiled):
    sentence, call = bad_calls()[case]
    with pytest.raises((ValueError, TypeError, RuntimeError), match=sentence):
        if compiled and "eps" not in sentence:
            from torch._subclasses.fake_tensor import FakeTensorMode

            with FakeTensorMode():
                bad_calls()[case][1]()
        else:
            call()


def test_an_operator_without_rstd_cannot_be_differentiated(device):
    x = normal((2, 8), torch.float32, device).requires_grad_()
    with pytest.raises(RuntimeError, match="save_rstd"):
        torch.ops.norma.rmsnorm(x, None, None, 1e-6, 0.0, 2, 0, False)


def test_tensors_of_another_device(gpu):
    x = torch.zeros(2, 8, device=gpu)
    with pytest.raises(ValueError, match="gamma is on cpu, but x is on cuda"):
        norma_torch.rmsnorm(x, torch.ones(8))
