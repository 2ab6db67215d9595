"""Small configurations of many architectures: built from their configuration, on the CPU, without a download."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import nn


class Specimen(NamedTuple):
    """A model and what it is called with."""

    model: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


# -- timm: architecture, size of the image, and what makes it small ----------------------------------------------------

_TINY_VIT = {"embed_dim": 48, "depth": 2, "num_heads": 3}

TIMM: dict[str, tuple[str, int, dict[str, Any]]] = {
    # convolutional
    "resnet18": ("resnet18", 64, {}),
    "resnext26ts": ("resnext26ts", 64, {}),
    "seresnet50": ("seresnet50", 32, {}),
    "res2net50_26w_4s": ("res2net50_26w_4s", 32, {}),
    "densenet121": ("densenet121", 64, {}),
    "vgg11": ("vgg11", 32, {}),
    "mobilenetv2_050": ("mobilenetv2_050", 64, {}),
    "mobilenetv3_small_050": ("mobilenetv3_small_050", 64, {}),
    "efficientnet_b0": ("efficientnet_b0", 64, {}),
    "regnety_002": ("regnety_002", 64, {}),
    "convnext_atto": ("convnext_atto", 64, {}),
    "convnextv2_atto": ("convnextv2_atto", 64, {}),
    "ghostnet_050": ("ghostnet_050", 64, {}),
    "inception_v3": ("inception_v3", 96, {}),
    "nf_resnet50": ("nf_resnet50", 32, {}),
    "repvgg_a0": ("repvgg_a0", 64, {}),
    "tinynet_e": ("tinynet_e", 64, {}),
    # transformers
    "vit": ("vit_tiny_patch16_224", 32, {"img_size": 32, **_TINY_VIT}),
    "deit": ("deit_tiny_distilled_patch16_224", 32, {"img_size": 32, **_TINY_VIT}),
    "beit": ("beit_base_patch16_224", 32, {"img_size": 32, **_TINY_VIT}),
    "eva02": ("eva02_tiny_patch14_224", 28, {"img_size": 28, **_TINY_VIT}),
    "swin": ("swin_tiny_patch4_window7_224", 56, {"img_size": 56, "embed_dim": 24, "depths": (2, 2, 2, 2)}),
    "swinv2": ("swinv2_tiny_window8_256", 64, {"img_size": 64, "embed_dim": 24, "depths": (2, 2, 2, 2)}),
    "cait": ("cait_xxs24_224", 32, {"img_size": 32, "embed_dim": 48, "depth": 2, "num_heads": 3}),
    "xcit": ("xcit_nano_12_p16_224", 32, {"img_size": 32, "depth": 2}),
    "pvt_v2": ("pvt_v2_b0", 64, {}),
    # neither or both
    "mlp_mixer": ("mixer_s32_224", 64, {"img_size": 64}),
    "gmlp": ("gmlp_ti16_224", 32, {"img_size": 32}),
    "coatnet": ("coatnet_nano_rw_224", 64, {"img_size": 64}),
    "maxvit": ("maxvit_pico_rw_256", 64, {"img_size": 64}),
    "mobilevit": ("mobilevit_xxs", 64, {}),
    "levit": ("levit_128s", 64, {"img_size": 64}),
    "poolformer": ("poolformer_s12", 64, {}),
    "fastvit": ("fastvit_t8", 64, {}),
    "edgenext": ("edgenext_xx_small", 64, {}),
}


def from_timm(timm: Any, name: str) -> Specimen:
    architecture, size, options = TIMM[name]
    model = timm.create_model(architecture, num_classes=10, **options).eval()
    return Specimen(model, (torch.randn(2, 3, size, size),), {})


# -- transformers ------------------------------------------------------------------------------------------------------

_DECODER: dict[str, Any] = {
    "vocab_size": 128,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_ENCODER: dict[str, Any] = {k: v for k, v in _DECODER.items() if k != "num_key_value_heads"}
_SEQ2SEQ: dict[str, Any] = {
    "vocab_size": 128,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}
_MOE: dict[str, Any] = {
    **_DECODER,
    "num_experts": 4,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
}
_VISION: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
}


def _text() -> dict[str, Any]:
    return {"input_ids": torch.arange(2 * 12).reshape(2, 12) % 100 + 3}


def _masked_text() -> dict[str, Any]:
    mask = torch.ones(2, 12, dtype=torch.long)
    mask[1, 8:] = 0
    return {**_text(), "attention_mask": mask}


def _pairs() -> dict[str, Any]:
    return {**_text(), "decoder_input_ids": _text()["input_ids"][:, :6]}


def _image(size: int = 32) -> dict[str, Any]:
    return {"pixel_values": torch.randn(2, 3, size, size)}


def _waveform() -> dict[str, Any]:
    return {"input_values": torch.randn(2, 2000)}


TRANSFORMERS: dict[str, tuple[str, dict[str, Any], Any]] = {
    # encoders
    "bert": ("BertModel", _ENCODER, _masked_text),
    "roberta": ("RobertaForMaskedLM", _ENCODER, _masked_text),
    "distilbert": (
        "DistilBertModel",
        {"vocab_size": 128, "dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 4},
        _masked_text,
    ),
    "albert": ("AlbertModel", {**_ENCODER, "embedding_size": 16}, _text),
    "electra": ("ElectraModel", {**_ENCODER, "embedding_size": 16}, _masked_text),
    "deberta_v2": (
        "DebertaV2Model",
        {**_ENCODER, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
        _masked_text,
    ),
    "modernbert": ("ModernBertModel", _ENCODER, _masked_text),
    "mpnet": ("MPNetModel", _ENCODER, _masked_text),
    "funnel": (
        "FunnelModel",
        {"vocab_size": 128, "block_sizes": [1, 1], "d_model": 32, "n_head": 4, "d_head": 8, "d_inner": 64},
        _text,
    ),
    "longformer": ("LongformerModel", {**_ENCODER, "attention_window": 4}, _masked_text),
    "fnet": ("FNetModel", _ENCODER, _text),
    # decoders
    "gpt2": (
        "GPT2LMHeadModel",
        {"vocab_size": 128, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
        _masked_text,
    ),
    "gpt_neox": ("GPTNeoXForCausalLM", _ENCODER, _text),
    "opt": ("OPTForCausalLM", {**_ENCODER, "ffn_dim": 64, "word_embed_proj_dim": 32}, _masked_text),
    "bloom": ("BloomForCausalLM", {"vocab_size": 128, "hidden_size": 32, "n_layer": 2, "n_head": 4}, _text),
    "llama": ("LlamaForCausalLM", _DECODER, _masked_text),
    "mistral": ("MistralForCausalLM", {**_DECODER, "sliding_window": 4}, _text),
    "qwen3": ("Qwen3ForCausalLM", {**_DECODER, "head_dim": 8}, _text),
    "gemma2": ("Gemma2ForCausalLM", {**_DECODER, "head_dim": 8}, _text),
    "phi3": ("Phi3ForCausalLM", _DECODER, _text),
    "falcon": (
        "FalconForCausalLM",
        {"vocab_size": 128, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4},
        _text,
    ),
    "xlnet": ("XLNetLMHeadModel", {"vocab_size": 128, "d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64}, _text),
    # encoder-decoders
    "t5": (
        "T5Model",
        {"vocab_size": 128, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4},
        _pairs,
    ),
    "bart": ("BartModel", _SEQ2SEQ, _pairs),
    "pegasus": ("PegasusModel", _SEQ2SEQ, _pairs),
    "whisper": (
        "WhisperModel",
        {**_SEQ2SEQ, "num_mel_bins": 8, "max_source_positions": 20, "max_target_positions": 20},
        lambda: {"input_features": torch.randn(2, 8, 40), "decoder_input_ids": _text()["input_ids"][:, :6]},
    ),
    "time_series": (
        "TimeSeriesTransformerModel",
        {
            "prediction_length": 4,
            "context_length": 8,
            "d_model": 16,
            "lags_sequence": [1, 2],
            "encoder_layers": 1,
            "decoder_layers": 1,
            "num_time_features": 2,
        },
        lambda: {
            "past_values": torch.randn(2, 10),
            "past_time_features": torch.randn(2, 10, 2),
            "past_observed_mask": torch.ones(2, 10),
            "future_values": torch.randn(2, 4),
            "future_time_features": torch.randn(2, 4, 2),
        },
    ),
    # mixtures of experts
    "mixtral": ("MixtralForCausalLM", _MOE, _text),
    "qwen3_moe": ("Qwen3MoeForCausalLM", {**_MOE, "head_dim": 8}, _text),
    "olmoe": ("OlmoeForCausalLM", _MOE, _text),
    # state spaces and recurrences
    "mamba": (
        "MambaForCausalLM",
        {"vocab_size": 128, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4},
        _text,
    ),
    "mamba2": (
        "Mamba2ForCausalLM",
        {
            "vocab_size": 128,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "state_size": 8,
            "num_heads": 8,
            "head_dim": 8,
            "n_groups": 1,
            "chunk_size": 4,
        },
        _text,
    ),
    "rwkv": (
        "RwkvModel",
        {"vocab_size": 128, "hidden_size": 32, "num_hidden_layers": 2, "attention_hidden_size": 32},
        _text,
    ),
    "recurrent_gemma": ("RecurrentGemmaForCausalLM", {**_DECODER, "lru_width": 32, "num_hidden_layers": 3}, _text),
    # images
    "hf_vit": ("ViTModel", _VISION, _image),
    "hf_swin": (
        "SwinModel",
        {"image_size": 32, "patch_size": 4, "embed_dim": 8, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4},
        _image,
    ),
    "dinov2": ("Dinov2Model", _VISION, _image),
    "segformer": ("SegformerModel", {"hidden_sizes": [8, 16, 16, 32], "depths": [1, 1, 1, 1]}, _image),
    "detr": (
        "DetrForObjectDetection",
        {
            "use_timm_backbone": False,
            "use_pretrained_backbone": False,
            "backbone": None,
            "d_model": 32,
            "encoder_layers": 1,
            "decoder_layers": 1,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 64,
            "decoder_ffn_dim": 64,
            "num_queries": 5,
            "backbone_config": {
                "model_type": "resnet",
                "hidden_sizes": [16, 16, 32, 32],
                "depths": [1, 1, 1, 1],
                "embedding_size": 8,
                "layer_type": "basic",
                "out_features": ["stage4"],
            },
        },
        lambda: _image(64),
    ),
    "hf_convnext": (
        "ConvNextModel",
        {"hidden_sizes": [8, 16, 16, 32], "depths": [1, 1, 1, 1]},
        lambda: _image(64),
    ),
    # sound
    "wav2vec2": (
        "Wav2Vec2Model",
        {
            **_VISION,
            "conv_dim": (16, 16),
            "conv_stride": (5, 4),
            "conv_kernel": (10, 8),
            "num_conv_pos_embeddings": 8,
            "num_conv_pos_embedding_groups": 2,
        },
        _waveform,
    ),
    "hubert": (
        "HubertModel",
        {
            **_VISION,
            "conv_dim": (16, 16),
            "conv_stride": (5, 4),
            "conv_kernel": (10, 8),
            "num_conv_pos_embeddings": 8,
            "num_conv_pos_embedding_groups": 2,
        },
        _waveform,
    ),
    "ast": (
        "ASTModel",
        {**_VISION, "max_length": 32, "num_mel_bins": 16, "frequency_stride": 8, "time_stride": 8},
        lambda: {"input_values": torch.randn(2, 32, 16)},
    ),
    "encodec": (
        "EncodecModel",
        {
            "num_filters": 4,
            "hidden_size": 16,
            "num_lstm_layers": 1,
            "upsampling_ratios": [4, 2],
            "codebook_size": 16,
            "codebook_dim": 16,
        },
        lambda: {"input_values": torch.randn(1, 1, 400)},
    ),
    # images and text
    "clip": (
        "CLIPModel",
        {"text_config": {**_ENCODER}, "vision_config": {**_VISION}, "projection_dim": 16},
        lambda: {**_image(), **_masked_text()},
    ),
    "siglip": (
        "SiglipModel",
        {"text_config": {**_ENCODER}, "vision_config": {**_VISION}},
        lambda: {**_image(), **_text()},
    ),
    "blip": (
        "BlipModel",
        {"text_config": {**_ENCODER, "encoder_hidden_size": 32}, "vision_config": {**_VISION}},
        lambda: {**_image(), **_masked_text()},
    ),
    "vilt": (
        "ViltModel",
        {**_VISION, "vocab_size": 128, "max_position_embeddings": 64},
        lambda: {**_image(), **_masked_text()},
    ),
    "llava": (
        "LlavaForConditionalGeneration",
        {
            "text_config": {"model_type": "llama", **_DECODER},
            "vision_config": {"model_type": "clip_vision_model", **_VISION},
            "image_token_id": 99,
            "image_token_index": 99,
        },
        lambda: {**_image(), "input_ids": torch.cat([torch.full((2, 16), 99), _text()["input_ids"] % 90], 1)},
    ),
}


def from_transformers(transformers: Any, name: str) -> Specimen:
    class_name, options, inputs = TRANSFORMERS[name]
    kind = getattr(transformers, class_name)
    torch.manual_seed(0)
    model = kind(kind.config_class(**options)).eval()
    return Specimen(model, (), inputs())


# -- neither has one ---------------------------------------------------------------------------------------------------


class DenoisingUNet(nn.Module):
    """The UNet of a diffusion model: residual blocks under a time embedding, attention in the middle, skips."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.time = nn.Sequential(nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width))
        self.enter = nn.Conv2d(3, width, 3, padding=1)
        self.down = nn.ModuleList(_Block(width, width) for _ in range(2))
        self.shrink = nn.ModuleList(nn.Conv2d(width, width, 3, stride=2, padding=1) for _ in range(2))
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.up = nn.ModuleList(_Block(2 * width, width) for _ in range(2))
        self.leave = nn.Conv2d(width, 3, 3, padding=1)
        self.width = width

    def forward(self, x: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        frequencies = torch.exp(-torch.arange(self.width // 2, device=x.device) / self.width)
        angles = step[:, None].to(x.dtype) * frequencies
        time = self.time(torch.cat([angles.sin(), angles.cos()], 1))
        x = self.enter(x)
        skips = []
        for block, shrink in zip(self.down, self.shrink, strict=True):
            x = block(x, time)
            skips.append(x)
            x = shrink(x)
        tokens = x.flatten(2).transpose(1, 2)
        x = x + self.attention(tokens, tokens, tokens, need_weights=False)[0].transpose(1, 2).reshape(x.shape)
        for block in self.up:
            x = nn.functional.interpolate(x, scale_factor=2.0)
            x = block(torch.cat([x, skips.pop()], 1), time)
        return self.leave(x)


class _Block(nn.Module):
    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(4, inputs)
        self.first = nn.Conv2d(inputs, width, 3, padding=1)
        self.time = nn.Linear(width, width)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        y = self.first(nn.functional.silu(self.norm(x))) + self.time(time)[:, :, None, None]
        return self.second(nn.functional.silu(y))


class Tagger(nn.Module):
    """A bidirectional LSTM over words, with lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(128, 16)
        self.lstm = nn.LSTM(16, 16, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(32, 5)

    def forward(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(self.embedding(ids), lengths, batch_first=True, enforce_sorted=False)
        output, _ = nn.utils.rnn.pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        return self.head(output)


OWN: dict[str, tuple[type[nn.Module], Any]] = {
    "denoising_unet": (DenoisingUNet, lambda: (torch.randn(2, 3, 16, 16), torch.tensor([3, 5]))),
    "tagger": (Tagger, lambda: (torch.ones(2, 7, dtype=torch.long), torch.tensor([4, 7]))),
}


def own(name: str) -> Specimen:
    kind, inputs = OWN[name]
    return Specimen(kind().eval(), inputs(), {})
