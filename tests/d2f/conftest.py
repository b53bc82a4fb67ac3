import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from lohovla.d2f.denoiser import DecoderDenoiser, attention_bias

VOCABULARY, MASK, EOS = 40, 39, 38
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "attn_implementation": "sdpa",
    "tie_word_embeddings": False,
}


def sharpen(model, seed=0):
    """Random weights whose confidences spread over the whole of [0, 1], and whose answers depend on the context."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / parameter.shape[1] ** 0.5)
        model.get_output_embeddings().weight.mul_(3.0)
    return model.eval()


def wrap(model, shift, **options):
    return DecoderDenoiser(
        model.model, model.model.embed_tokens, model.lm_head, mask_id=MASK, eos_ids=(EOS,), shift=shift, **options
    )


def whole_forward(model):
    """``model(ids, mask)`` for the reference: logits of a whole sequence without any cache."""

    @torch.inference_mode()
    def run(ids, allowed):
        mask = attention_bias(allowed[None, None], torch.float32)
        return model(input_ids=ids[None], attention_mask=mask, use_cache=False).logits[0].float()

    return run


@pytest.fixture(scope="session")
def models():
    """A model without shift, in Llama's classes, and one with, in Qwen2's."""
    torch.manual_seed(0)
    return {
        False: sharpen(LlamaForCausalLM(LlamaConfig(**SIZES))),
        True: sharpen(Qwen2ForCausalLM(Qwen2Config(**SIZES))),
    }


@pytest.fixture(scope="session")
def prompts():
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(0, EOS, (length,), generator=generator).tolist() for length in (5, 9, 3, 12)]
