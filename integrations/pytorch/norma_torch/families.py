"""What patch() knows of the model families of the `transformers` library, as data.

A family is named as its classes are: "Llama" has LlamaRMSNorm, LlamaDecoderLayer and LlamaForCausalLM, in the module
transformers.models.llama.modeling_llama. `contract` and `offset` say what its RMSNorm computes, to the bit (docs/numerics.md),
and `feeds` which norm of a decoder layer feeds which Linears, as paths within the layer. Every other norm stands alone, but
for the last one, which feeds the classifier.
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
    last_norm: str = "model.norm"
    classifier: str = "lm_head"

    def owns(self, module, suffix):
        """Is `module` this family's class of that kind: "RMSNorm", "DecoderLayer" or "ForCausalLM"?"""
        name, folder = self.name + suffix, self.name.lower()
        kind = type(module)
        return kind.__name__ == name and kind.__module__ == f"transformers.models.{folder}.modeling_{folder}"


FAMILIES = (
    #      name       contract offset eps                  feeds
    Family("Llama", "twice", 0.0, "variance_epsilon", _BEFORE_BOTH),
    Family("Mistral", "twice", 0.0, "variance_epsilon", _BEFORE_BOTH),
    Family("Qwen2", "twice", 0.0, "variance_epsilon", _BEFORE_BOTH),
    Family("Qwen3", "twice", 0.0, "variance_epsilon", _BEFORE_BOTH),
    Family("Phi3", "twice", 0.0, "variance_epsilon", _PACKED),
    Family("Gemma", "once", 1.0, "eps", _BEFORE_BOTH),
    Family("Gemma2", "once", 1.0, "eps", _AROUND_BOTH),
    Family("Gemma3", "once", 1.0, "eps", _AROUND_BOTH),
    Family("Olmo2", "once", 0.0, "variance_epsilon", {}),
)
