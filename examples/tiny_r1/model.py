"""DeepSeek-V3 / R1's architecture in plain PyTorch, small enough to train on a CPU.

Names follow the Hugging Face checkpoint, so that export.py only has to split the stacked experts.
Attention is computed in MLA's expanded form. Right-padded batches need no mask in training: a
causal query never sees the padding that follows it.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass
class Config:
    vocab_size: int = 640
    hidden_size: int = 160
    intermediate_size: int = 384
    moe_intermediate_size: int = 64
    num_hidden_layers: int = 4
    num_attention_heads: int = 5
    n_shared_experts: int = 1
    n_routed_experts: int = 16
    routed_scaling_factor: float = 2.5
    kv_lora_rank: int = 64
    q_lora_rank: int = 96
    qk_rope_head_dim: int = 16
    v_head_dim: int = 32
    qk_nope_head_dim: int = 32
    n_group: int = 4
    topk_group: int = 2
    num_experts_per_tok: int = 4
    first_k_dense_replace: int = 1
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    yarn_factor: float = 4.0
    yarn_original: int = 512
    yarn_beta_fast: float = 32.0
    yarn_beta_slow: float = 1.0
    yarn_mscale: float = 1.0
    yarn_mscale_all_dim: float = 1.0
    max_position_embeddings: int = 2048
    num_nextn_predict_layers: int = 1

    def to_dict(self) -> dict:
        return asdict(self)


def yarn_mscale(factor: float, mscale: float) -> float:
    return 1.0 if factor <= 1 else 0.1 * mscale * math.log(factor) + 1.0


def yarn_frequencies(c: Config) -> Tensor:
    """One angular frequency for each pair of rotary dimensions, as YaRN interpolates them."""
    dim = c.qk_rope_head_dim

    def pair_of(rotations: float) -> float:
        # The pair that makes this many turns over the original context.
        return dim * math.log(c.yarn_original / (rotations * 2 * math.pi)) \
            / (2 * math.log(c.rope_theta))

    low = max(math.floor(pair_of(c.yarn_beta_fast)), 0)
    high = min(math.ceil(pair_of(c.yarn_beta_slow)), dim - 1)
    plain = 1.0 / c.rope_theta ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim)
    ramp = ((torch.arange(dim // 2, dtype=torch.float32) - low)
            / max(high - low, 0.001)).clamp(0, 1)
    return plain / c.yarn_factor * ramp + plain * (1 - ramp)


class RMSNorm(nn.Module):
    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), self.weight, self.eps)


def linear(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs, bias=False)
    nn.init.normal_(layer.weight, std=inputs ** -0.5)
    return layer


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Interleaved rotation: dimensions (2i, 2i+1) are one complex number. The result is laid out
    as all first parts, then all second parts; queries and keys agree, so scores are the same."""
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


class Attention(nn.Module):
    """Multi-head latent attention with a low-rank query."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.c = c
        heads, width = c.num_attention_heads, c.qk_nope_head_dim + c.qk_rope_head_dim
        self.q_a_proj = linear(c.hidden_size, c.q_lora_rank)
        self.q_a_layernorm = RMSNorm(c.q_lora_rank, c.rms_norm_eps)
        self.q_b_proj = linear(c.q_lora_rank, heads * width)
        self.kv_a_proj_with_mqa = linear(c.hidden_size, c.kv_lora_rank + c.qk_rope_head_dim)
        self.kv_a_layernorm = RMSNorm(c.kv_lora_rank, c.rms_norm_eps)
        self.kv_b_proj = linear(c.kv_lora_rank, heads * (c.qk_nope_head_dim + c.v_head_dim))
        self.o_proj = linear(heads * c.v_head_dim, c.hidden_size)
        m = yarn_mscale(c.yarn_factor, c.yarn_mscale_all_dim)
        self.scale = width ** -0.5 * m * m

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], mask: Tensor | None,
                cache: list | None) -> Tensor:
        c, (batch, length, _) = self.c, x.shape
        cos, sin = rope
        q = self.q_b_proj(self.q_a_layernorm(self.q_a_proj(x)))
        q = q.view(batch, length, c.num_attention_heads, -1).transpose(1, 2)
        q_nope, q_rope = q.split([c.qk_nope_head_dim, c.qk_rope_head_dim], dim=-1)
        latent, k_rope = self.kv_a_proj_with_mqa(x).split([c.kv_lora_rank, c.qk_rope_head_dim], -1)
        kv = self.kv_b_proj(self.kv_a_layernorm(latent))
        kv = kv.view(batch, length, c.num_attention_heads, -1).transpose(1, 2)
        k_nope, v = kv.split([c.qk_nope_head_dim, c.v_head_dim], dim=-1)
        k_rope = rotate(k_rope[:, None], cos, sin).expand(-1, c.num_attention_heads, -1, -1)
        q = torch.cat([q_nope, rotate(q_rope, cos, sin)], dim=-1)
        k = torch.cat([k_nope, k_rope], dim=-1)
        if cache is not None:
            if cache:
                k, v = torch.cat([cache[0], k], dim=2), torch.cat([cache[1], v], dim=2)
            cache[:] = [k, v]
        # Values padded to the width of the keys let torch take its fused kernel.
        out = F.scaled_dot_product_attention(q, k, F.pad(v, (0, q.shape[-1] - c.v_head_dim)),
                                             attn_mask=mask, is_causal=mask is None,
                                             scale=self.scale)[..., :c.v_head_dim]
        return self.o_proj(out.transpose(1, 2).reshape(batch, length, -1))


class MLP(nn.Module):
    def __init__(self, hidden: int, inner: int) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = linear(hidden, inner), linear(hidden, inner)
        self.down_proj = linear(inner, hidden)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Gate(nn.Module):
    """Sigmoid router with group-limited choice (noaux_tc). The correction bias moves the choice
    only, never the weights; the trainer moves it against the load (no auxiliary loss)."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.c = c
        self.weight = nn.Parameter(torch.randn(c.n_routed_experts, c.hidden_size)
                                   * c.hidden_size ** -0.5)
        self.register_buffer("e_score_correction_bias", torch.zeros(c.n_routed_experts))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        c = self.c
        scores = F.linear(x.float(), self.weight.float()).sigmoid()
        with torch.no_grad():
            choice = scores + self.e_score_correction_bias
            grouped = choice.view(-1, c.n_group, c.n_routed_experts // c.n_group)
            best = grouped.topk(2, dim=-1)[0].sum(-1).topk(c.topk_group, dim=-1)[1]
            keep = torch.zeros(grouped.shape[:2], dtype=torch.bool).scatter_(1, best, True)
            choice = grouped.masked_fill(~keep[..., None], -math.inf).flatten(1)
            picked = choice.topk(c.num_experts_per_tok, dim=-1)[1]
        weights = scores.gather(1, picked)
        weights = weights / (weights.sum(-1, keepdim=True) + 1e-20) * c.routed_scaling_factor
        return picked, weights


class Experts(nn.Module):
    """All routed experts of a layer, stacked; gate and up projections share one tensor."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        e, h, i = c.n_routed_experts, c.hidden_size, c.moe_intermediate_size
        self.gate_up_proj = nn.Parameter(torch.randn(e, 2 * i, h) * h ** -0.5)
        self.down_proj = nn.Parameter(torch.randn(e, h, i) * i ** -0.5)

    def forward(self, x: Tensor, picked: Tensor, weights: Tensor) -> Tensor:
        # Rows sorted by expert, so that each expert sees one contiguous block.
        order = picked.flatten().argsort()
        rows = order // picked.shape[1]
        counts = picked.flatten().bincount(minlength=self.down_proj.shape[0]).tolist()
        blocks = x[rows].split(counts)
        outs = []
        for block, gate_up, down in zip(blocks, self.gate_up_proj.unbind(), self.down_proj.unbind()):
            if block.shape[0]:
                gate, up = F.linear(block, gate_up).chunk(2, dim=-1)
                outs.append(F.linear(F.silu(gate) * up, down))
        out = torch.cat(outs) * weights.flatten()[order][:, None]
        return torch.zeros_like(x).index_add(0, rows, out)


class MoE(nn.Module):
    def __init__(self, c: Config) -> None:
        super().__init__()
        self.gate = Gate(c)
        self.experts = Experts(c)
        self.shared_experts = MLP(c.hidden_size, c.moe_intermediate_size * c.n_shared_experts)
        self.load: Tensor | None = None  # tokens each expert got in the last forward

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        flat = x.flatten(0, 1)
        picked, weights = self.gate(flat)
        counted = picked if valid is None else picked[valid.flatten()]
        self.load = counted.flatten().bincount(minlength=self.gate.weight.shape[0])
        return (self.experts(flat, picked, weights) + self.shared_experts(flat)).view_as(x)


class Layer(nn.Module):
    def __init__(self, c: Config, index: int) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.self_attn = Attention(c)
        self.post_attention_layernorm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.mlp = MLP(c.hidden_size, c.intermediate_size) if index < c.first_k_dense_replace \
            else MoE(c)

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], mask: Tensor | None = None,
                cache: list | None = None, valid: Tensor | None = None) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), rope, mask, cache)
        normed = self.post_attention_layernorm(x)
        return x + (self.mlp(normed, valid) if isinstance(self.mlp, MoE) else self.mlp(normed))


class MTPLayer(Layer):
    """The multi-token-prediction module: joins the main model's normed last hidden state h_i with
    the embedding of t_{i+1} and predicts t_{i+2} through the shared head."""

    def __init__(self, c: Config, index: int) -> None:
        super().__init__(c, index)
        self.enorm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.hnorm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.eh_proj = linear(2 * c.hidden_size, c.hidden_size)
        self.shared_head = nn.ModuleDict({"norm": RMSNorm(c.hidden_size, c.rms_norm_eps)})

    def predict(self, embedded: Tensor, hidden: Tensor, rope: tuple[Tensor, Tensor],
                mask: Tensor | None = None, cache: list | None = None,
                valid: Tensor | None = None) -> Tensor:
        x = self.eh_proj(torch.cat([self.enorm(embedded), self.hnorm(hidden)], dim=-1))
        return self.shared_head["norm"](self(x, rope, mask, cache, valid))


class TinyR1(nn.Module):
    def __init__(self, c: Config) -> None:
        super().__init__()
        self.c = c
        self.embed_tokens = nn.Embedding(c.vocab_size, c.hidden_size)
        nn.init.normal_(self.embed_tokens.weight, std=0.5)
        self.layers = nn.ModuleList(
            [Layer(c, i) for i in range(c.num_hidden_layers)] + [MTPLayer(c, c.num_hidden_layers)])
        self.norm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.lm_head = linear(c.hidden_size, c.vocab_size)
        angles = torch.arange(c.max_position_embeddings)[:, None] * yarn_frequencies(c)
        scale = yarn_mscale(c.yarn_factor, c.yarn_mscale) \
            / yarn_mscale(c.yarn_factor, c.yarn_mscale_all_dim)
        self.register_buffer("cos", angles.cos() * scale, persistent=False)
        self.register_buffer("sin", angles.sin() * scale, persistent=False)
        with torch.no_grad():  # what is written back into the residual stream starts small
            for name, p in self.named_parameters():
                if name.endswith(("o_proj.weight", "down_proj.weight", "experts.down_proj")):
                    p.mul_((2 * c.num_hidden_layers) ** -0.5)

    @property
    def mtp(self) -> MTPLayer:
        return self.layers[-1]

    def moe_layers(self) -> list[MoE]:
        return [layer.mlp for layer in self.layers if isinstance(layer.mlp, MoE)]

    def hidden(self, ids: Tensor, mask: Tensor | None = None, caches: list[list] | None = None,
               start: int = 0, valid: Tensor | None = None) -> Tensor:
        """The last hidden state after the final norm."""
        rope = self.cos[start:start + ids.shape[1]], self.sin[start:start + ids.shape[1]]
        x = self.embed_tokens(ids)
        for i, layer in enumerate(self.layers[:-1]):
            x = layer(x, rope, mask, caches[i] if caches is not None else None, valid)
        return self.norm(x)

    def forward(self, ids: Tensor) -> Tensor:
        return self.lm_head(self.hidden(ids))

    def losses(self, ids: Tensor, learn: Tensor, valid: Tensor, mtp: bool = True
               ) -> tuple[Tensor, Tensor]:
        """Mean losses of the next token and of the token after it, where `learn` marks targets."""
        hidden = self.hidden(ids, valid=valid)
        want = learn[:, 1:]
        loss = F.cross_entropy(self.lm_head(hidden[:, :-1][want]), ids[:, 1:][want])
        if not mtp:
            return loss, loss.new_zeros(())
        length = ids.shape[1] - 1
        out = self.mtp.predict(self.embed_tokens(ids[:, 1:]), hidden[:, :-1],
                               (self.cos[:length], self.sin[:length]), valid=valid[:, 1:])
        want = learn[:, 2:]
        second = F.cross_entropy(self.lm_head(out[:, :-1][want]), ids[:, 2:][want])
        return loss, second


@torch.inference_mode()
def generate(model: TinyR1, prompts: list[list[int]], eos: int = 1, most: int = 512
             ) -> list[list[int]]:
    """Greedy continuations of a batch. Prompts are padded on the left; rotary positions are
    relative, so a masked padding changes nothing."""
    width, batch = max(map(len, prompts)), len(prompts)
    ids = torch.full((batch, width), eos)
    seen = torch.zeros(batch, width, dtype=torch.bool)
    for i, p in enumerate(prompts):
        ids[i, width - len(p):] = torch.tensor(p)
        seen[i, width - len(p):] = True
    causal = torch.ones(width, width, dtype=torch.bool).tril()
    mask = (causal & seen[:, None, :]) | torch.eye(width, dtype=torch.bool)
    caches: list[list] = [[] for _ in range(model.c.num_hidden_layers)]
    logits = model.lm_head(model.hidden(ids, mask[:, None], caches, valid=seen)[:, -1])
    done = torch.zeros(batch, dtype=torch.bool)
    live = torch.arange(batch)
    outs: list[list[int]] = [[] for _ in prompts]
    for step in range(most):
        token = logits.argmax(-1)
        for row, t in zip(live.tolist(), token.tolist()):
            outs[row].append(t)
        going = token != eos
        if not going.all():  # finished rows leave the batch
            live, token, seen = live[going], token[going], seen[going]
            for cache in caches:
                cache[:] = [cache[0][going], cache[1][going]]
        if not live.numel() or step == most - 1:
            break
        seen = torch.cat([seen, torch.ones(live.numel(), 1, dtype=torch.bool)], dim=1)
        out = model.hidden(token[:, None], seen[:, None, None], caches, width + step)
        logits = model.lm_head(out[:, -1])
    return outs
