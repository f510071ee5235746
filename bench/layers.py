#!/usr/bin/env python3
"""Times decoder layers of a Hugging Face model with and without norma_torch, and what memory they take.

    layers.py [--what decode,prefill,train,layer] [--sizes N,...] [--only NAME,...] [--time SECONDS] [--out FILE.jsonl]
    layers.py --plot FILE.jsonl --out FOLDER

The model is two decoder layers with the dimensions of Llama-3-8B, random bf16 weights of 870 MB, which no cache holds. Decode
is one token for each of 1, 4 and 16 sequences after 512 others; prefill is 2048 and 8192 tokens; training is forward and
backward of 8192; "layer" is training of a norm and one Linear, 4096 -> 6144, alone. Decode and prefill are replayed as CUDA
graphs. The contenders take turns in random order, and medians are given. One whose output is further from that of the same
layers in float32 than 1.1 times Hugging Face's own is reported and not timed.

Memory is the highest of torch.cuda.max_memory_allocated above what was there before; beside it stands what was taken from the
device past PyTorch's allocator, by norma's workspace for one.
"""

import argparse
import copy
import datetime
import gc
import json
import os
import random
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integrations", "pytorch"))

HIDDEN, PAST, COLUMNS = 4096, 512, 6144
SIZES = {"decode": (1, 4, 16), "prefill": (2048, 8192), "train": (8192,), "layer": (8192,)}
STEPS = {"decode": 4, "prefill": 1, "train": 2, "layer": 8}
TRAINS = ("train", "layer")
CONTENDERS = {
    "hf": "Hugging Face eager",
    "triton": "Hugging Face eager with a fused norm in Triton",
    "compile": "Hugging Face under torch.compile",
    "norma": "patched, the model's own rounding",
    "norma-deferred": "patched, contract deferred, static weights",
    "norma-compile": "patched, the model's own rounding, under torch.compile",
}


# ---- A separate fast norm ---------------------------------------------------------------------------------------------


def make_triton_norm():
    """RMSNorm with Llama's rounding as one kernel forward and one backward, a program per row or group of rows."""
    import torch
    import triton
    import triton.language as tl

    @triton.jit
    def forward_kernel(x, gamma, out, rstd, eps, K: tl.constexpr, BLOCK: tl.constexpr):
        row = tl.program_id(0).to(tl.int64)
        column = tl.arange(0, BLOCK)
        inside = column < K
        value = tl.load(x + row * K + column, mask=inside, other=0).to(tl.float32)
        scale = tl.rsqrt(tl.sum(value * value, 0) / K + eps)
        tl.store(rstd + row, scale)
        g = tl.load(gamma + column, mask=inside, other=0)
        normalised = (value * scale).to(x.dtype.element_ty)
        tl.store(out + row * K + column, g * normalised, mask=inside)

    @triton.jit
    def backward_kernel(dout, x, gamma, rstd, dx, partial, rows, per, K: tl.constexpr, BLOCK: tl.constexpr):
        group = tl.program_id(0)
        column = tl.arange(0, BLOCK)
        inside = column < K
        g = tl.load(gamma + column, mask=inside, other=0).to(tl.float32)
        dgamma = tl.zeros((BLOCK,), dtype=tl.float32)
        for i in range(per):
            row = (group * per + i).to(tl.int64)
            if row < rows:
                scale = tl.load(rstd + row)
                normalised = tl.load(x + row * K + column, mask=inside, other=0).to(tl.float32) * scale
                d = tl.load(dout + row * K + column, mask=inside, other=0).to(tl.float32)
                t = d * g
                dgamma += d * normalised
                found = scale * (t - normalised * (tl.sum(t * normalised, 0) / K))
                tl.store(dx + row * K + column, found.to(dx.dtype.element_ty), mask=inside)
        tl.store(partial + group * K + column, dgamma, mask=inside)

    class Norm(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, gamma, eps):
            k = x.shape[-1]
            rows = x.numel() // k
            x = x.contiguous()
            out, rstd = torch.empty_like(x), torch.empty(rows, dtype=torch.float32, device=x.device)
            forward_kernel[(rows,)](x, gamma, out, rstd, eps, k, triton.next_power_of_2(k), num_warps=8)
            ctx.save_for_backward(x, gamma, rstd)
            return out

        @staticmethod
        def backward(ctx, dout):
            x, gamma, rstd = ctx.saved_tensors
            k = x.shape[-1]
            rows = x.numel() // k
            groups = min(rows, 4 * torch.cuda.get_device_properties(x.device).multi_processor_count)
            dx = torch.empty_like(x)
            partial = torch.empty(groups, k, dtype=torch.float32, device=x.device)
            backward_kernel[(groups,)](
                dout.contiguous(), x, gamma, rstd, dx, partial, rows, triton.cdiv(rows, groups), k,
                triton.next_power_of_2(k), num_warps=8
            )
            return dx, partial.sum(0).to(gamma.dtype), None

    return Norm.apply


# ---- The layers -------------------------------------------------------------------------------------------------------


class FixedCache:
    """Keys and values of PAST tokens; the new one is always the last, so that a graph may be replayed."""

    def __init__(self, layers, batch, heads, size, like):
        shape = (batch, heads, PAST + 1, size)
        self.layers = [(like.new_empty(shape).normal_(), like.new_empty(shape).normal_()) for _ in range(layers)]

    def update(self, key, value, layer, *_, **__):
        keys, values = self.layers[layer]
        keys[:, :, PAST:] = key
        values[:, :, PAST:] = value
        return keys, values


def make_layers(what):
    """Two decoder layers, or a norm and a Linear, in fp32; rotary embeddings; the configuration."""
    import torch
    from torch import nn
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRMSNorm, LlamaRotaryEmbedding

    config = LlamaConfig(
        hidden_size=HIDDEN, intermediate_size=14336, num_attention_heads=32, num_key_value_heads=8, num_hidden_layers=2,
        rms_norm_eps=1e-5, rope_theta=500000.0, attn_implementation="sdpa", vocab_size=32,
    )

    class Layers(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList([LlamaDecoderLayer(config, i) for i in range(config.num_hidden_layers)])

        def forward(self, hidden, cosine, sine, cache=None):
            for layer in self.layers:
                hidden = layer(hidden, position_embeddings=(cosine, sine), past_key_values=cache)
            return hidden

    class NormLinear(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = LlamaRMSNorm(HIDDEN, config.rms_norm_eps)
            self.linear = nn.Linear(HIDDEN, COLUMNS, bias=False)

        def forward(self, hidden, cosine, sine, cache=None):
            return self.linear(self.norm(hidden))

    torch.manual_seed(0)
    with torch.device("cuda"):
        layers = NormLinear() if what == "layer" else Layers()
        rotary = LlamaRotaryEmbedding(config)
    with torch.no_grad():
        for parameter in layers.parameters():
            if parameter.dim() == 1:
                parameter.normal_(1.0, 0.2)
            else:
                parameter.normal_(0.0, parameter.shape[1] ** -0.5)
    return layers, rotary, config


def patch(layers, contract):
    """Gives a contender's layers to norma."""
    import norma_torch

    if hasattr(layers, "layers"):
        assert not norma_torch.patch(layers, contract=contract, static_weights=contract == "deferred").left
        return
    norm, linear, numbers = layers.norm, layers.linear, {"eps": layers.norm.variance_epsilon, "contract": contract or "twice"}
    layers.forward = lambda hidden, *_: norma_torch.rmsnorm_linear(hidden, norm.weight, [linear.weight], **numbers)[0]


def make_contender(name, layers):
    """A copy of the layers as the contender runs them, and the function to call."""
    import torch

    layers = copy.deepcopy(layers)
    if name == "triton":
        norm = make_triton_norm()
        for module in layers.modules():
            if type(module).__name__ == "LlamaRMSNorm":
                module.forward = lambda x, m=module: norm(x, m.weight, m.variance_epsilon)
    if name.startswith("norma"):
        patch(layers, "deferred" if name == "norma-deferred" else None)
    return layers, torch.compile(layers, fullgraph=True, dynamic=False) if name.endswith("compile") else layers


class Problem:
    """What is run: inputs for the layers, and a name."""

    def __init__(self, what, size, rotary, config):
        import torch

        torch.manual_seed(size)
        self.what, self.size = what, size
        batch, columns, first = (size, 1, PAST) if what == "decode" else (1, size, 0)
        self.hidden = torch.randn(batch, columns, HIDDEN, device="cuda").bfloat16()
        positions = torch.arange(first, first + columns, device="cuda").unsqueeze(0)
        self.rope = [t.detach() for t in rotary(self.hidden, positions)]
        self.cache = None
        if what == "decode":
            heads = config.num_key_value_heads
            self.cache = FixedCache(config.num_hidden_layers, batch, heads, HIDDEN // config.num_attention_heads, self.hidden)
        self.dout = None
        if what in TRAINS:
            self.dout = torch.randn(batch, columns, COLUMNS if what == "layer" else HIDDEN, device="cuda").bfloat16()

    def in_fp32(self):
        """The same numbers in fp32."""
        found = copy.copy(self)
        found.hidden = self.hidden.float()
        found.rope = [t.float() for t in self.rope]
        found.dout = None if self.dout is None else self.dout.float()
        if self.cache:
            found.cache = copy.copy(self.cache)
            found.cache.layers = [(k.float(), v.float()) for k, v in self.cache.layers]
        return found

    def run(self, function, parameters=()):
        """The layers' output, and for training the gradients of their parameters."""
        import torch

        if self.what not in TRAINS:
            with torch.no_grad():
                return [function(self.hidden, *self.rope, self.cache)]
        hidden = self.hidden.detach().requires_grad_()
        out = function(hidden, *self.rope)
        return [out.detach(), *torch.autograd.grad(out, [hidden, *parameters], self.dout)]


# ---- Measuring --------------------------------------------------------------------------------------------------------


def error_of(found, exact):
    return max(((f.float() - e).norm() / e.norm()).item() for f, e in zip(found, exact))


def captured(work):
    import torch

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph


def outside_bytes():
    """Device memory in use that PyTorch's allocator knows nothing of."""
    import torch

    free, total = torch.cuda.mem_get_info()
    return total - free - torch.cuda.memory_reserved()


def peak_bytes(work):
    import torch

    gc.collect()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    result = work()
    torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated() - before
    del result
    return peak


def time_ms(step, steps):
    """The time of one of `steps` in a row: several, so that the GPU does not wait for the host but at the first."""
    import torch

    start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(steps):
        step()
    stop.record()
    stop.synchronize()
    return start.elapsed_time(stop) / steps


def measure(problem, contenders, exact_layers, seconds):
    """A row per contender."""
    import torch

    exact = problem.in_fp32().run(exact_layers, list(exact_layers.parameters()))
    rows, steps, limit = {}, {}, None
    for name, (layers, function) in contenders.items():
        outside = outside_bytes()
        work = lambda f=function, p=list(layers.parameters()): problem.run(f, p)  # noqa: E731
        started = time.perf_counter()
        error = error_of(work(), exact)
        limit = limit or 1.1 * error
        row = rows[name] = {"contender": name, "what": problem.what, "size": problem.size, "error": error}
        row["first_call_s"] = time.perf_counter() - started
        row["verified"] = error <= limit
        work()
        row["peak_bytes"] = peak_bytes(work)
        if row["verified"]:
            steps[name] = captured(work).replay if problem.what not in TRAINS else work
        row["outside_bytes"] = outside_bytes() - outside
    del exact
    samples = {name: [] for name in steps}
    for name, step in steps.items():
        for _ in range(3):
            step()
    torch.cuda.synchronize()
    end = time.perf_counter() + seconds * len(steps)
    # Whoever comes after a contender that leaves the chip cool runs faster: the order is drawn anew for each round.
    order, draw = list(steps), random.Random(1)
    while time.perf_counter() < end or len(samples[order[0]]) < 7:
        draw.shuffle(order)
        for name in order:
            samples[name].append(time_ms(steps[name], STEPS[problem.what]))
    for name, found in samples.items():
        found.sort()
        rows[name]["median_us"] = 1e3 * statistics.median(found)
        rows[name]["p20_us"], rows[name]["p80_us"] = (1e3 * found[len(found) * p // 100] for p in (20, 80))
        rows[name]["samples"] = len(found)
    return list(rows.values())


def print_rows(rows):
    own = next((row.get("median_us") for row in rows if row["contender"] == "hf"), None)
    for row in rows:
        time_text = f"{row['median_us']:10.1f}" if "median_us" in row else "     wrong"
        ratio = f"{own / row['median_us']:6.2f}x" if own and "median_us" in row else "      -"
        print(
            f"{row['what']:8} {row['size']:5}  {row['contender']:15} {time_text} us {ratio}"
            f"  peak {row['peak_bytes'] / 2**20:8.1f} MiB  outside {row['outside_bytes'] / 2**20:6.1f} MiB"
            f"  error {row['error']:.2e}",
            flush=True,
        )


def run(options):
    import torch
    import transformers

    if not torch.cuda.is_available():
        sys.exit("layers.py: PyTorch finds no GPU")
    torch.backends.cuda.matmul.allow_tf32 = False
    names = options.only.split(",") if options.only else list(CONTENDERS)
    about = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }
    for what in options.what.split(","):
        layers, rotary, config = make_layers(what)
        layers.bfloat16()
        exact_layers = copy.deepcopy(layers).float()
        for size in SIZES[what]:
            if options.sizes and str(size) not in options.sizes.split(","):
                continue
            torch._dynamo.reset()
            gc.collect()
            torch.cuda.empty_cache()
            contenders = {name: make_contender(name, layers) for name in names}
            rows = measure(Problem(what, size, rotary, config), contenders, exact_layers, options.time)
            print_rows(rows)
            if options.out:
                with open(options.out, "a", encoding="utf-8") as file:
                    file.writelines(json.dumps({**row, **about}) + "\n" for row in rows)


# ---- The figure -------------------------------------------------------------------------------------------------------


def plot(path, folder):
    """Speed over Hugging Face eager, and peak memory, a group of bars per problem."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with open(path, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file if line.strip()]
    problems = list(dict.fromkeys((row["what"], row["size"]) for row in rows))
    by = {(row["what"], row["size"], row["contender"]): row for row in rows if "median_us" in row}
    names = [name for name in CONTENDERS if any(key[2] == name for key in by)]
    colors = dict(zip(CONTENDERS, ["#7f7f7f", "#56b4e9", "#0072b2", "#e69f00", "#d55e00", "#009e73"]))
    figure, axes = plt.subplots(2, 1, figsize=(10, 7.2), layout="constrained")
    width = 0.8 / len(names)
    for axis, value, label in (
        (axes[0], lambda row, own: own["median_us"] / row["median_us"], "speed over Hugging Face eager"),
        (axes[1], lambda row, own: row["peak_bytes"] / own["peak_bytes"], "peak memory over Hugging Face eager's"),
    ):
        for i, name in enumerate(names):
            found = [(j, by[*p, name], by[*p, "hf"]) for j, p in enumerate(problems) if (*p, name) in by]
            at = [j + (i - (len(names) - 1) / 2) * width for j, _, _ in found]
            axis.bar(at, [value(row, own) for _, row, own in found], width, color=colors[name], label=CONTENDERS[name])
        axis.axhline(1, color="#555555", linewidth=1)
        axis.set_xticks(range(len(problems)), [f"{what} {size}" for what, size in problems])
        axis.set_ylabel(label)
        axis.grid(axis="y", color="#e4e4e4")
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    axes[1].legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncol=2, frameon=False)
    first = rows[0]
    figure.suptitle(f"Two Llama-3-8B layers, bf16: {first['device']}, PyTorch {first['torch']}, {first['date'][:10]}")
    for kind in ("png", "svg"):
        figure.savefig(os.path.join(folder, f"layers.{kind}"), dpi=150, metadata={"Date": None} if kind == "svg" else None)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", default=",".join(SIZES), help="which of them, separated by commas; default: all")
    parser.add_argument("--sizes", default="", help="sequences or tokens, separated by commas; default: all")
    parser.add_argument("--only", default="", help="contenders, separated by commas, hf first: " + ", ".join(CONTENDERS))
    parser.add_argument("--time", type=float, default=1.0, help="seconds of samples per row")
    parser.add_argument("--out", default="", help="a jsonl file to add rows to, or the folder of the figures")
    parser.add_argument("--plot", metavar="FILE", help="draw the rows of a file in place of measuring")
    options = parser.parse_args()
    if options.plot:
        plot(options.plot, options.out or ".")
    else:
        run(options)


if __name__ == "__main__":
    main()
