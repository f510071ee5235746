"""torch.compile without graph breaks, CUDA graphs, and streams."""

import copy

import pytest
import torch

import norma_torch

pytest.importorskip("transformers", minversion="5", reason="needs transformers 5")
import models  # noqa: E402


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()


def compiled(function, backend="aot_eager", **options):
    return torch.compile(function, fullgraph=True, backend=backend, **options)


def close(found, expected, rtol=1e-4):
    assert torch.allclose(found, expected, rtol=rtol, atol=rtol * expected.abs().max().item())


def test_functions(device):
    x, gamma = torch.randn(3, 4, 32, device=device), torch.rand(32, device=device, requires_grad=True)
    weights = [torch.randn(8, 32, device=device, requires_grad=True) for _ in range(2)]

    def work(x, gamma, weights):
        y, h = norma_torch.rmsnorm(x, gamma, residual=x)
        a, b = norma_torch.rmsnorm_linear(h, gamma, weights)
        return y.sum() + (a * b).sum()

    def run(function):
        loss = function(x, gamma, weights)
        return [loss, *torch.autograd.grad(loss, [gamma, *weights])]

    for found, expected in zip(run(compiled(work)), run(work)):
        close(found, expected)


def test_modules_under_inductor(device):
    module = torch.nn.Sequential(
        norma_torch.RMSNorm(32, contract="twice"), torch.nn.SiLU(), norma_torch.RMSNormLinear(32, 16, bias=True)
    ).to(device)
    x = torch.randn(2, 5, 32, device=device)
    function = compiled(module, "inductor")
    for rows in (2, 7):
        x = torch.randn(rows, 5, 32, device=device)
        close(function(x), module(x))


@pytest.mark.parametrize("family", ["Llama", "Qwen3", "Phi3", "Gemma3", "Olmo2"])
def test_patched_models(device, family):
    model, ids = models.make(family, torch.float32, device), models.tokens(2, 7, device)
    norma_torch.patch(model)
    with torch.no_grad():
        for options in ({}, {"use_cache": False}, {"logits_to_keep": 1}, {"labels": ids}):
            torch._dynamo.reset()
            found, expected = compiled(model)(ids, **options), model(ids, **options)
            close(found.logits, expected.logits)
            if "labels" in options:
                close(found.loss, expected.loss)


def test_training_a_patched_model(device):
    model, ids = models.make("Llama", torch.float32, device).train(), models.tokens(2, 7, device)
    norma_torch.patch(model)
    twin = copy.deepcopy(model)
    compiled(model)(ids, labels=ids, use_cache=False).loss.backward()
    twin(ids, labels=ids, use_cache=False).loss.backward()
    for (name, found), expected in zip(model.named_parameters(), twin.parameters()):
        assert torch.allclose(found.grad, expected.grad, rtol=1e-3, atol=1e-6), name


# ---- GPU --------------------------------------------------------------------------------------------------------------


def capture(work):
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = work()
    return graph, result


@pytest.mark.parametrize("contract", ["deferred", "twice"])
def test_captured_calls_follow_their_inputs(gpu, contract):
    """Graphs of growing sizes, captured one after the other on one stream: each keeps the memory that it was captured with."""
    gamma = torch.rand(512, device=gpu, dtype=torch.bfloat16)
    weights = [torch.randn(n, 512, device=gpu, dtype=torch.bfloat16) for n in (256, 64)]

    def work(x):
        return [
            norma_torch.rmsnorm(x, gamma, contract="once"),
            *norma_torch.rmsnorm_linear(x, gamma, weights, contract=contract),
        ]

    inputs = [torch.randn(rows, 512, device=gpu, dtype=torch.bfloat16) for rows in (1, 16, 300, 5000)]
    graphs = [capture(lambda x=x: work(x)) for x in inputs]
    for _ in range(3):
        for x, (graph, results) in zip(inputs, graphs):
            x.copy_(torch.randn_like(x))
            for result in results:
                result.fill_(float("nan"))
            graph.replay()
            for found, expected in zip(results, work(x)):
                close(found.float(), expected.float(), 2e-2)


def test_a_captured_model(gpu):
    model, ids = models.make("Llama", torch.bfloat16, gpu), models.tokens(4, 8, gpu)
    norma_torch.patch(model)
    with torch.no_grad():
        graph, logits = capture(lambda: model(ids, use_cache=False).logits)
        for seed in (5, 6):
            ids.copy_(models.tokens(4, 8, gpu, seed=seed))
            graph.replay()
            close(logits.float(), model(ids, use_cache=False).logits.float(), 2e-2)


def test_reduce_overhead(gpu):
    model, ids = models.make("Llama", torch.float32, gpu), models.tokens(2, 8, gpu)
    norma_torch.patch(model)
    with torch.no_grad():
        function = torch.compile(model, fullgraph=True, mode="reduce-overhead")
        for seed in range(4):
            ids.copy_(models.tokens(2, 8, gpu, seed=seed))
            close(function(ids, use_cache=False).logits.clone(), model(ids, use_cache=False).logits)


def test_streams_do_not_share_a_context(gpu):
    x = torch.randn(2000, 1024, device=gpu)
    gamma, weight = torch.rand(1024, device=gpu), torch.randn(512, 1024, device=gpu)
    expected = norma_torch.rmsnorm_linear(x, gamma, [weight])[0]
    torch.cuda.synchronize()
    streams = [torch.cuda.Stream() for _ in range(3)]
    results = []
    for _ in range(5):
        for stream in streams:
            with torch.cuda.stream(stream):
                results.append(norma_torch.rmsnorm_linear(x, gamma, [weight])[0])
    torch.cuda.synchronize()
    for found in results:
        close(found, expected)


def test_work_is_ordered_on_the_current_stream(gpu):
    stream = torch.cuda.Stream()
    x = torch.zeros(4, 4096, device=gpu)
    with torch.cuda.stream(stream):
        torch.cuda._sleep(20_000_000)
        x.fill_(3.0)
        y = norma_torch.rmsnorm(x)
    stream.synchronize()
    close(y, torch.ones_like(y))
