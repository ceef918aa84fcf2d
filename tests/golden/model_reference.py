"""transformers as the reference of a checkpoint, and how far other computations are from it."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.models.deepseek_v2.modeling_deepseek_v2 import DeepseekV2TopkRouter
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3TopkRouter
from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeTopKRouter

import deepseek_formulas
import gqa_formulas
from model_fixtures import dequantised, is_mla, write_json


class Reference:
    """transformers in float32, eager attention, loaded through from_pretrained."""

    def __init__(self, folder: Path) -> None:
        self.config = json.loads((folder / "config.json").read_text())
        self.weights = dequantised(folder)
        with tempfile.TemporaryDirectory() as scratch:
            if "quantization_config" in self.config:
                folder = self._dequantise_into(Path(scratch))
            self.model = self._load(folder, "eager")
            self.sdpa = self._load(folder, "sdpa")
        self.formulas = deepseek_formulas if is_mla(self.config) else gqa_formulas
        self.margins: list[Tensor] = []
        for module in self.model.modules():
            if isinstance(module, (DeepseekV2TopkRouter, DeepseekV3TopkRouter, Qwen3MoeTopKRouter)):
                module.register_forward_hook(self._watch)

    def _dequantise_into(self, folder: Path) -> Path:
        plain = {k: v for k, v in self.config.items() if k != "quantization_config"}
        write_json(folder / "config.json", plain)
        save_file(self.weights, folder / "model.safetensors", metadata={"format": "pt"})
        return folder

    def _load(self, folder: Path, attention: str) -> PreTrainedModel:
        model, info = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation=attention,
            experts_implementation="eager", output_loading_info=True)
        mtp = f"model.layers.{self.config['num_hidden_layers']}."
        left = [key for key in info["unexpected_keys"] if not key.startswith(mtp)]
        assert not left and not info["missing_keys"] and not info["mismatched_keys"], info
        return model.eval()

    def _watch(self, router: torch.nn.Module, inputs: tuple, outputs: tuple) -> None:
        """Keeps, for each token, by how much the choice of groups and experts was decided."""
        choice, of_group, groups, kept = outputs[0], 1, 1, 1  # logits are ranked as the softmax is
        if isinstance(router, DeepseekV3TopkRouter):
            choice, of_group = choice.sigmoid() + router.e_score_correction_bias, 2
        if getattr(router, "topk_method", "") != "greedy" and hasattr(router, "num_group"):
            groups, kept = router.num_group, router.topk_group
        split = choice.unflatten(-1, (groups, -1))
        ranked = split.topk(of_group, -1)[0].sum(-1).sort(-1, descending=True)
        margin = torch.full(choice.shape[:1], torch.inf)
        if kept < groups:
            margin = ranked[0][:, kept - 1] - ranked[0][:, kept]
        places = ranked[1][:, :kept, None].expand(-1, -1, split.shape[-1])
        best = split.gather(1, places).flatten(1).sort(-1, descending=True)[0]
        if router.top_k < best.shape[1]:
            margin = margin.minimum(best[:, router.top_k - 1] - best[:, router.top_k])
        self.margins.append(margin)

    def logits(self, ids: list[int]) -> tuple[Tensor, Tensor]:
        """(tokens, vocab_size), and the smallest margin of each token's routing (tokens)."""
        self.margins.clear()
        with torch.inference_mode():
            out = self.model(torch.tensor([ids]), use_cache=False).logits[0]
        margins = [torch.full((len(ids),), torch.inf), *self.margins]
        return out, torch.stack(margins).amin(0)

    def check(self, ids: list[int], logits: Tensor, allowed: float) -> dict[str, float]:
        """How far other computations of the same logits are; fails if one is not the same."""
        with torch.inference_mode():
            others = {
                "sdpa": self.sdpa(torch.tensor([ids]), use_cache=False).logits[0],
                "formulas_float64": self.formulas.forward(self.config, self.weights, ids),
            }
        gaps = {name: (other - logits).abs().max().item() for name, other in others.items()}
        assert max(gaps.values()) < allowed, gaps
        return gaps
