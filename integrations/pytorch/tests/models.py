"""A small random model of each family that patch() knows."""

import importlib

import torch

SIZES = dict(
    vocab_size=211,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=16,
    max_position_embeddings=128,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
    tie_word_embeddings=False,
)

# family: (what it adds to the sizes, fused calls per layer, norms alone per layer)
FAMILIES = {
    "Llama": ({}, 2, 0),
    "Mistral": ({}, 2, 0),
    "Qwen2": ({}, 2, 0),
    "Qwen3": ({}, 2, 2),
    "Phi3": ({}, 2, 0),
    "Gemma": ({}, 2, 0),
    "Gemma2": ({"query_pre_attn_scalar": 16, "sliding_window": 64}, 2, 2),
    "Gemma3": ({"query_pre_attn_scalar": 16, "sliding_window": 64}, 2, 4),
    "Olmo2": ({}, 0, 4),
}


def classes(family):
    folder = family.lower()
    module = importlib.import_module(f"transformers.models.{folder}.modeling_{folder}")
    config = f"{family}TextConfig" if hasattr(module, f"{family}TextConfig") else f"{family}Config"
    return getattr(module, f"{family}ForCausalLM"), getattr(module, config)


def make(family, dtype=torch.float32, device="cpu", seed=1, **changes):
    """A model whose norms and biases are random too, in evaluation mode."""
    model_class, config_class = classes(family)
    torch.manual_seed(seed)
    model = model_class(config_class(**{**SIZES, **FAMILIES[family][0], **changes}))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.3)
            else:
                parameter.mul_(4)
    return model.to(device=device, dtype=dtype).eval()


def tokens(rows, columns, device="cpu", seed=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, SIZES["vocab_size"], (rows, columns), generator=generator).to(device)
