"""patch() on a small random model of every family: accuracy, tokens, gradients, what is left alone, and what stays as it was."""

import copy
import pickle
import re

import pytest
import torch
from torch import nn

import norma_torch
from norma_torch.lazy import Addend, Deferred, Sum, normalise

pytest.importorskip("transformers", minversion="5", reason="needs transformers 5")
import models  # noqa: E402
import reference  # noqa: E402

EVERY = list(models.FAMILIES)
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def logits_of(model, ids, **options):
    with torch.no_grad():
        return model(ids, **options).logits


def exact(model):
    """The model in float64, with norms that stay in float64 too."""
    found = copy.deepcopy(model).double()
    for module in found.modules():
        if type(module).__name__.endswith("RMSNorm"):
            offset = 1.0 if type(module).__name__.startswith("Gemma") else 0.0
            eps = getattr(module, "variance_epsilon", None) or module.eps
            module.forward = lambda x, m=module, o=offset, e=eps: reference.norm(x, m.weight, e, o)
    return found


def rms(tensor):
    return tensor.double().square().mean().sqrt().item()


def no_worse(name, found, own, expected, slack=1.25):
    """The error of `found` against float64 is not larger than that of the model's own code, but for chance."""
    error, error_own = rms(found.double() - expected), rms(own.double() - expected)
    assert error <= slack * error_own, f"{name}: error {error:.3e}, the model's own {error_own:.3e}"


# ---- Accuracy ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", EVERY)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("contract", [None, "deferred"])
def test_logits(device, family, dtype, contract):
    model, ids = models.make(family, dtype, device), models.tokens(3, 17, device)
    own, expected = logits_of(model, ids), logits_of(exact(model), ids)
    report = norma_torch.patch(model, contract=contract)
    _, fused, alone = models.FAMILIES[family]
    assert (len(report.fused), len(report.alone), report.left) == (2 * fused + 1, 2 * alone, [])
    found = logits_of(model, ids)
    assert found.dtype == own.dtype
    no_worse("logits", found, own, expected)
    no_worse("last logits", logits_of(model, ids, logits_to_keep=1), own[:, -1:], expected[:, -1:], slack=1.5)


@pytest.mark.parametrize("family", EVERY)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_norms_alone_have_the_models_bits(device, family, dtype):
    """But for rstd's last bit, which moves one value in several hundred by one unit in its last place."""
    model = models.make(family, dtype, device, head_dim=64)
    x = (torch.randn(50, 7, 64) * 3).to(device, dtype)
    norms = [m for m in model.modules() if type(m).__name__ == f"{family}RMSNorm" and m.weight.shape[0] == 64]
    with torch.no_grad():
        own = [norm(x) for norm in norms]
        norma_torch.patch(model)
        for norm, before in zip(norms, own):
            after = normalise(norm._norma_site, x, norm.weight)
            assert (after != before).float().mean().item() <= 0.01
            assert ((after.double() - before.double()).abs() <= 2.01 * reference.spacing(before.double(), dtype)).all()


@pytest.mark.parametrize("family", ["Llama", "Gemma2", "Phi3"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_exact_arithmetic_gives_equal_bits(device, family, dtype):
    """Rows of +-2, small integer gamma and weights: nothing rounds, in whatever order it is summed."""
    model = models.make(family, dtype, device, rms_norm_eps=1e-12)
    layer = model.model.layers[0]
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randint(-2, 3, parameter.shape).to(parameter))
        x = (torch.randint(0, 2, (4, 5, 64)) * 4 - 2).to(device, dtype)
        feeds = {"Phi3": ["qkv_proj"]}.get(family, ["q_proj", "k_proj", "v_proj"])
        linears = [getattr(layer.self_attn, name) for name in feeds]
        y = layer.input_layernorm(x)
        own = [linear(y) for linear in linears]
        norma_torch.patch(model)
        y = layer.input_layernorm(x)
        assert type(y) is Deferred
        for linear, before in zip(linears, own):
            assert torch.equal(linear(y), before)


@pytest.mark.parametrize("family", EVERY)
def test_greedy_tokens(device, family):
    model, ids = models.make(family, torch.float32, device), models.tokens(2, 5, device)
    options = dict(max_new_tokens=24, do_sample=False, eos_token_id=None, attention_mask=torch.ones_like(ids))
    own = model.generate(ids, **options)
    norma_torch.patch(model)
    assert torch.equal(model.generate(ids, **options), own)


@pytest.mark.parametrize("family", EVERY)
def test_greedy_tokens_in_bf16(device, family):
    """Logits in bf16 tie often. Where the model's own choice is clear by more than rounding, the patched one is the same."""
    model, ids = models.make(family, torch.bfloat16, device), models.tokens(4, 32, device)
    own, expected = logits_of(model, ids), logits_of(exact(model), ids)
    norma_torch.patch(model)
    found = logits_of(model, ids)
    error = max((own.double() - expected).abs().max().item(), (found.double() - expected).abs().max().item())
    best = expected.topk(2, dim=-1).values
    clear = best[..., 0] - best[..., 1] > 2 * error
    assert clear.float().mean() > 0.2
    assert torch.equal(found.argmax(-1)[clear], own.argmax(-1)[clear])


# ---- Gradients and training -------------------------------------------------------------------------------------------


def gradients(model, ids):
    model.zero_grad()
    loss = model(ids, labels=ids).loss
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("family", EVERY)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_gradient(device, family, dtype):
    model, ids = models.make(family, dtype, device).train(), models.tokens(2, 12, device)
    own, expected = gradients(model, ids), gradients(exact(model), ids)
    norma_torch.patch(model)
    found = gradients(model, ids)
    assert found.keys() == own.keys()
    errors = {n: rms(found[n].double() - expected[n]) / rms(expected[n]) for n in own}
    errors_own = {n: rms(own[n].double() - expected[n]) / rms(expected[n]) for n in own}
    for name in own:
        assert errors[name] <= 3 * errors_own[name], name
    assert sum(errors.values()) <= 1.25 * sum(errors_own.values())


def losses(model, device, steps):
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    found = []
    for step in range(steps):
        ids = models.tokens(4, 16, device, seed=step % 20)
        optimizer.zero_grad()
        loss = model(ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return torch.tensor(found)


@pytest.mark.parametrize("family,dtype", [("Llama", torch.float32), ("Gemma3", torch.float32), ("Llama", torch.bfloat16)])
def test_200_training_steps_overlay(device, family, dtype):
    model = models.make(family, dtype, device).train()
    patched = copy.deepcopy(model)
    norma_torch.patch(patched)
    own, found = losses(model, device, 200), losses(patched, device, 200)
    assert own[-20:].mean() < 0.7 * own[:20].mean()
    limit = 0.01 if dtype == torch.float32 else 0.05
    assert ((found - own).abs() <= limit * own).all(), (found / own - 1).abs().max()


def test_gradient_checkpointing(device):
    model, ids = models.make("Llama", torch.float32, device).train(), models.tokens(2, 8, device)
    norma_torch.patch(model)
    own = gradients(model, ids)
    model.gradient_checkpointing_enable()
    found = gradients(model, ids)
    for name in own:
        assert torch.allclose(found[name], own[name], rtol=1e-5, atol=1e-7), name


# ---- What stays as it was ---------------------------------------------------------------------------------------------


def picture(model):
    return {name: (type(m), {k: id(v) for k, v in m.__dict__.items()}) for name, m in model.named_modules()}


@pytest.mark.parametrize("family", EVERY)
def test_patch_and_unpatch_leave_the_model_as_it_was(device, family):
    model, ids = models.make(family, torch.float32, device), models.tokens(2, 6, device)
    own, before = logits_of(model, ids), picture(model)
    state = {name: (id(t), t.clone()) for name, t in model.state_dict(keep_vars=True).items()}
    norma_torch.patch(model)
    logits_of(model, ids)
    after = model.state_dict(keep_vars=True)
    assert list(after) == list(state)
    assert all(id(after[name]) == state[name][0] and torch.equal(after[name], state[name][1]) for name in state)
    assert all(isinstance(m, before[name][0]) for name, m in model.named_modules())
    norma_torch.unpatch(model)
    assert picture(model) == before
    assert torch.equal(logits_of(model, ids), own)
    norma_torch.unpatch(model)
    assert picture(model) == before


def test_tied_embeddings_are_shared_and_untouched(device):
    model, ids = models.make("Gemma", torch.float32, device, tie_word_embeddings=True), models.tokens(2, 6, device)
    own, before = logits_of(model, ids), model.model.embed_tokens.weight.clone()
    report = norma_torch.patch(model)
    assert ("model.norm", ["lm_head"]) in report.fused
    assert torch.allclose(logits_of(model, ids), own, atol=1e-4)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert torch.equal(model.lm_head.weight, before)


def test_copies_of_a_patched_model(device):
    model, ids = models.make("Qwen3", torch.float32, device), models.tokens(2, 6, device)
    norma_torch.patch(model)
    own = logits_of(model, ids)
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(logits_of(copied, ids), own)
        with torch.no_grad():
            copied.model.layers[0].self_attn.k_proj.weight.zero_()
            copied.model.norm.weight.zero_()
        assert not torch.equal(logits_of(copied, ids), own)
        assert torch.equal(logits_of(model, ids), own)
        norma_torch.unpatch(copied)


def test_a_model_that_moves_after_patch(device):
    model, ids = models.make("Llama"), models.tokens(2, 6, device)
    norma_torch.patch(model)
    model.to(device=device, dtype=torch.bfloat16)
    found = logits_of(model, ids)
    norma_torch.unpatch(model)
    own = logits_of(model, ids)
    no_worse("logits", found, own, logits_of(exact(model), ids))


def test_hidden_states_are_tensors(device):
    model, ids = models.make("Llama", torch.float32, device), models.tokens(2, 6, device)
    with torch.no_grad():
        own = model(ids, output_hidden_states=True)
        norma_torch.patch(model)
        found = model(ids, output_hidden_states=True)
        alone = model.model(ids).last_hidden_state
    for a, b in zip(found.hidden_states, own.hidden_states):
        assert type(a) is torch.Tensor and torch.allclose(a, b, atol=1e-5)
    assert type(alone) is torch.Tensor and torch.allclose(alone, own.hidden_states[-1], atol=1e-5)


def test_autocast(device):
    model, ids = models.make("Llama", torch.float32, device), models.tokens(2, 6, device)
    expected = logits_of(exact(model), ids)
    with torch.autocast(device, torch.bfloat16):
        own = logits_of(model, ids)
        norma_torch.patch(model)
        found = logits_of(model, ids)
    assert found.dtype == own.dtype
    no_worse("logits", found, own, expected)


def test_a_float64_model_is_computed_by_its_own_code(device):
    model, ids = models.make("Llama", torch.float32, device), models.tokens(2, 6, device)
    norma_torch.patch(model)
    model.double()
    found = logits_of(model, ids)
    norma_torch.unpatch(model)
    assert torch.equal(found, logits_of(model, ids))


# ---- The deferred norm ------------------------------------------------------------------------------------------------


def test_a_deferred_norm_is_the_normalised_tensor_to_everyone_else(device):
    model = models.make("Llama", torch.float32, device)
    layer, x = model.model.layers[0], torch.randn(2, 3, 64, device=device)
    with torch.no_grad():
        own = layer.input_layernorm(x)
        plain = nn.Linear(64, 8, device=device)
        expected = [plain(own), layer.self_attn.q_proj(own), layer.mlp.gate_proj(own)]
        norma_torch.patch(model)
        y = layer.input_layernorm(x)
        assert type(y) is Deferred and y.shape == own.shape and y.dtype == own.dtype and len(y) == 2
        for found, wanted in [
            (torch.add(y, 1), own + 1),
            (y + y, own + own),
            (2 * y, 2 * own),
            (1 - y, 1 - own),
            (y @ own.transpose(1, 2), own @ own.transpose(1, 2)),
            (y.mean(-1), own.mean(-1)),
            (y[..., :5], own[..., :5]),
            (y[:, 1, 3], own[:, 1, 3]),
            (torch.cat([y, own]), torch.cat([own, own])),
            (y[1].tensor(), own[1]),
            (y[:, -1:, :].tensor(), own[:, -1:]),
            (next(iter(y)).tensor(), own[0]),
            (plain(y), expected[0]),
            (layer.self_attn.q_proj(y), expected[1]),
            (layer.self_attn.q_proj(y), expected[1]),
            (layer.mlp.gate_proj(y), expected[2]),
            (layer.self_attn.q_proj(own), expected[1]),
        ]:
            assert torch.allclose(found, wanted, atol=1e-5)


def test_a_sum_is_the_tensor_to_everyone_but_the_next_norm(device):
    model = models.make("Llama", torch.float32, device)
    layer, x, r = model.model.layers[0], torch.randn(2, 3, 64, device=device), torch.randn(2, 3, 64, device=device)
    with torch.no_grad():
        a = layer.self_attn.o_proj(x)
        h = r + a
        own, gate = layer.post_attention_layernorm(h), layer.mlp.gate_proj(layer.post_attention_layernorm(h))
        norma_torch.patch(model)
        lazy = layer.self_attn.o_proj(x)
        assert type(lazy) is Addend and torch.equal(lazy.tensor(), a)
        for total in (r + lazy, lazy + r, torch.add(r, lazy), r.add(lazy)):
            assert type(total) is Sum and total.shape == h.shape
            y = layer.post_attention_layernorm(total)
            assert total.computed is None
            assert torch.allclose(layer.mlp.gate_proj(y), gate, atol=1e-5)
            assert torch.equal(total.computed, h) and torch.equal(r + total, r + h)
            assert total.residual is None and total.addend is None
        assert torch.allclose((layer.post_attention_layernorm(r + lazy) * 2), own * 2, atol=1e-5)
        for found, wanted in [
            (r[:1] + lazy, r[:1] + a),
            (r.double() + lazy, r.double() + a),
            (1 + lazy, 1 + a),
            (torch.add(r, lazy, alpha=2), r + 2 * a),
            (lazy * 2, a * 2),
            (lazy + lazy, a + a),
            ((r + lazy) * 2, h * 2),
            (torch.relu(r + lazy), torch.relu(h)),
            ((r + lazy) + lazy, h + a),
            (torch.nn.functional.dropout(lazy, 0.0), a),
        ]:
            found = found.tensor() if type(found) is Sum else found
            assert type(found) is torch.Tensor and torch.equal(found, wanted)


def test_hooks_that_come_later_see_tensors(device):
    model, ids = models.make("Llama", torch.float32, device), models.tokens(2, 6, device)
    own = logits_of(model, ids)
    norma_torch.patch(model)
    seen = []
    layer = model.model.layers[0]
    layer.input_layernorm.register_forward_hook(lambda m, args, out: seen.append(type(out)))
    layer.mlp.up_proj.register_forward_pre_hook(lambda m, args: seen.append(type(args[0])))
    assert torch.allclose(logits_of(model, ids), own, atol=1e-4)
    assert seen == [torch.Tensor, torch.Tensor]


# ---- What is left alone -----------------------------------------------------------------------------------------------


class Adapter(nn.Linear):
    pass


class Quantised(torch.Tensor):
    pass


def add_hook(layer):
    layer.input_layernorm.register_forward_hook(lambda *_: None)


def hook_linear(layer):
    layer.self_attn.k_proj.register_forward_pre_hook(lambda *_: None)


def hook_attention(layer):
    layer.self_attn.register_forward_pre_hook(lambda *_: None)


def replace_forward(layer):
    layer.mlp.forward = layer.mlp.forward


def replace_layer_forward(layer):
    layer.forward = layer.forward


def add_adapter(layer):
    layer.mlp.up_proj.__class__ = Adapter


def quantise(layer):
    weight = layer.self_attn.q_proj.weight
    layer.self_attn.q_proj.weight = nn.Parameter(weight.data.as_subclass(Quantised), requires_grad=False)


def shard(layer):
    layer.self_attn.q_proj.weight = nn.Parameter(torch.empty(0))


def other_dtype(layer):
    layer.self_attn.q_proj.to(torch.float16)


def norm_in_fp64(layer):
    layer.input_layernorm.double()


LEFT = [
    (add_hook, "input_layernorm", "it has hooks", 4, 0),
    (hook_linear, "self_attn.k_proj", "it has hooks", 4, 1),
    (hook_attention, "self_attn.q_proj", "in the module around it: it has hooks", 4, 1),
    (replace_forward, "mlp.gate_proj", "in the module around it: its forward was replaced", 4, 1),
    (replace_layer_forward, "", "its forward was replaced", 3, 2),
    (add_adapter, "mlp.up_proj", "it is a Adapter, not a plain Linear", 4, 1),
    (quantise, "self_attn.q_proj", "weight is a Quantised, not a plain parameter", 4, 1),
    (shard, "self_attn.q_proj", r"its weight is \(0,\) behind a norm of \(64,\)", 4, 1),
    (other_dtype, "self_attn.q_proj", "it is torch.float16, its norm torch.float32", 4, 1),
    (norm_in_fp64, "input_layernorm", "weight is torch.float64", 4, 0),
]


@pytest.mark.parametrize("change,name,reason,fused,alone", LEFT)
def test_what_is_left_alone_is_reported(change, name, reason, fused, alone):
    model, ids = models.make("Llama"), models.tokens(2, 6)
    change(model.model.layers[1])
    runs = change not in (shard, other_dtype, norm_in_fp64)
    own = logits_of(model, ids) if runs else None
    report = norma_torch.patch(model)
    assert (len(report.fused), len(report.alone)) == (fused, alone), report
    full = f"model.layers.1.{name}".rstrip(".")
    assert any(at == full and re.search(reason, text) for at, text in report.left), report
    assert full in str(report)
    if runs:
        assert torch.allclose(logits_of(model, ids), own, atol=1e-4)


def test_a_report_says_once_what_holds_for_every_layer():
    model = models.make("Qwen3", num_hidden_layers=3)
    model.model.layers[2].self_attn.q_norm.register_forward_hook(lambda *_: None)
    text = str(norma_torch.patch(model))
    assert text.splitlines() == [
        "3 x model.layers.*.input_layernorm + model.layers.*.self_attn.q_proj, model.layers.*.self_attn.k_proj,"
        " model.layers.*.self_attn.v_proj: one call",
        "3 x model.layers.*.post_attention_layernorm + model.layers.*.mlp.gate_proj, model.layers.*.mlp.up_proj: one call",
        "model.norm + lm_head: one call",
        "2 x model.layers.*.self_attn.q_norm: norm alone",
        "3 x model.layers.*.self_attn.k_norm: norm alone",
        "model.layers.2.self_attn.q_norm: left as it was: it has hooks",
    ]


def test_unknown_families_and_states():
    report = norma_torch.patch(nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)))
    assert report.left and "no RMSNorm of a family that is known here: Llama, Mistral" in str(report)
    model = models.make("Llama")
    with pytest.raises(ValueError, match="contract is 'fastest'"):
        norma_torch.patch(model, contract="fastest")
    assert not norma_torch.patch(model).left
    with pytest.raises(ValueError, match="patched already"):
        norma_torch.patch(model)
    with torch.device("meta"):
        meta = models.classes("Llama")[0](model.config)
    report = norma_torch.patch(meta)
    assert not report.fused and not report.alone and all("on meta" in reason for _, reason in report.left)
