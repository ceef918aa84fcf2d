"""Adds the logits of the multi-token-prediction layer to the checkpoints that have one. See
README.md.

    python make_mtp_golden.py

transformers leaves this layer out, but its decoder layer is an ordinary one: loaded as layer
num_hidden_layers of the model, transformers computes it; what is around it is written here.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import rms_norm
from transformers import AutoConfig, AutoModelForCausalLM

import deepseek_formulas as formulas
from make_model_golden import ALLOWED, MODELS, settle
from model_reference import Reference

NAMES = ["mla_yarn_f32", "v3_mtp_bf16"]
ROUTE_MARGIN = 1e-4


class MtpReference(Reference):
    """The reference with one layer more."""

    def _load(self, folder: Path, attention: str) -> AutoModelForCausalLM:
        config = AutoConfig.from_pretrained(folder)
        config.num_hidden_layers += 1
        return AutoModelForCausalLM.from_pretrained(
            folder, config=config, dtype=torch.float32, attn_implementation=attention,
            experts_implementation="eager").eval()

    def mtp_logits(self, ids: list[int]) -> Tensor:
        """(tokens - 1, vocab_size)"""
        count = self.config["num_hidden_layers"]
        at, w = f"model.layers.{count}.", self.weights

        def norm(x: Tensor, name: str) -> Tensor:
            return rms_norm(x, x.shape[-1:], w[name + ".weight"], self.config["rms_norm_eps"])

        model = self.model.model
        trunk: list[Tensor] = []
        hook = model.layers[count - 1].register_forward_hook(lambda m, i, out: trunk.append(out))
        with torch.inference_mode():
            self.model(torch.tensor([ids[:-1]]), use_cache=False)
            hook.remove()
            self.margins.clear()
            token = norm(w[at + "embed_tokens.weight"][ids[1:]], at + "enorm")[None]
            state = norm(norm(trunk[0], "model.norm"), at + "hnorm")
            x = torch.cat([token, state], -1) @ w[at + "eh_proj.weight"].T
            future = torch.full((x.shape[1], x.shape[1]), -torch.inf).triu(1)[None, None]
            rope = model.rotary_emb(x, torch.arange(x.shape[1])[None])
            x = model.layers[count](x, position_embeddings=rope, attention_mask=future)
            x = norm(x[0], at + "shared_head.norm")
            return x @ w[at + "shared_head.head.weight"].T


def make(folder: Path) -> None:
    reference = MtpReference(folder)
    expected = json.loads((folder / "expected.json").read_text())
    ids = expected["prompt"] + expected["greedy"]
    logits = reference.mtp_logits(ids)
    margin = torch.stack(reference.margins).min().item()
    gap = (formulas.mtp_forward(reference.config, reference.weights, ids) - logits).abs().max()
    assert gap < ALLOWED and margin > ROUTE_MARGIN, (gap, margin)
    np.save(folder / "mtp_logits.npy", logits.numpy())
    expected["mtp_logits"] = {"file": "mtp_logits.npy", "shape": list(logits.shape),
                              "dtype": "float32", "smallest_routing_margin": margin,
                              "largest_difference": {"formulas_float64": gap.item()}}
    (folder / "expected.json").write_text(json.dumps(expected) + "\n")
    print(folder.name, expected["mtp_logits"], logits.std().item())


if __name__ == "__main__":
    settle()
    for name in NAMES:
        make(MODELS / name)
