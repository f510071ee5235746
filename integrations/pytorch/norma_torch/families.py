"""What patch() knows of the model families of the `transformers` library, as data.

A family is named as its classes are: "Llama" has LlamaRMSNorm, LlamaDecoderLayer and LlamaForCausalLM, in the module
transformers.models.llama.modeling_llama. `contract` and `offset` say what its RMSNorm computes, to the bit (docs/numerics.md),
and `feeds` which norm of a decoder layer feeds which Linears, as paths within the layer. Every other norm stands alone, but
for the last one, which feeds the classifier. `addend` is the module of a layer whose output, and nothing in between, is added
to the residual stream for one of these norms.
"""

from dataclasses import dataclass

_QKV = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
_GATE_UP = ("mlp.gate_proj", "mlp.up_proj")
_BEFORE_BOTH = {"input_layernorm": _QKV, "post_attention_layernorm": _GATE_UP}
_AROUND_BOTH = {"input_layernorm": _QKV, "pre_feedforward_layernorm": _GATE_UP}
_PACKED = {"input_layernorm": ("self_attn.qkv_proj",), "post_attention_layernorm": ("mlp.gate_up_proj",)}


@dataclass(frozen=True)
class Family:
    name: str
    contract: str
    offset: float
    eps: str
    feeds: dict
    addend: str = None
    last_norm: str = "model.norm"
    classifier: str = "lm_head"

    def owns(self, module, suffix):
        """Is `module` this family's class of that kind: "RMSNorm", "DecoderLayer" or "ForCausalLM"?"""
        name, folder = self.name + suffix, self.name.lower()
        kind = type(module)
        return kind.__name__ == name and kind.__module__ == f"transformers.models.{folder}.modeling_{folder}"


FAMILIES = (
    #      name       contract offset eps                feeds         addend
    Family("Llama", "twice", 0.0, "variance_epsilon", _BEFORE_BOTH, "self_attn.o_proj"),
    Family("Mistral", "twice", 0.0, "variance_epsilon", _BEFORE_BOTH, "self_attn.o_proj"),
    Family("Qwen2", "twice", 0.0, "variance_epsilon", _BEFORE_BOTH, "self_attn.o_proj"),
    Family("Qwen3", "twice", 0.0, "variance_epsilon", _BEFORE_BOTH, "self_attn.o_proj"),
    Family("Phi3", "twice", 0.0, "variance_epsilon", _PACKED),  # a dropout stands before its addition
    Family("Gemma", "once", 1.0, "eps", _BEFORE_BOTH, "self_attn.o_proj"),
    Family("Gemma2", "once", 1.0, "eps", _AROUND_BOTH, "post_attention_layernorm"),
    Family("Gemma3", "once", 1.0, "eps", _AROUND_BOTH, "post_attention_layernorm"),
    Family("Olmo2", "once", 0.0, "variance_epsilon", {}),
)
