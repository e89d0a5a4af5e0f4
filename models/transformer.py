"""The Music Transformer: one causal network over steps, and a small decoder that writes a note's fields.

    facts ──embed, add──► [ attention (index | musical time) ─ SwiGLU ] x layers ──► state of the step
    state ──► field decoder: position ► (chord there) ► pitch ► duration ► velocity ► micro

Relative attention (Huang et al. 2018, Music Transformer) by rotation (Su et al. 2021): the heads of one
half see how many steps apart two steps are, those of the other how many grid ticks, so "the same place
one bar ago" is one relation at any tempo. Their wavelengths are musical: the periods 3 * 2^(i/3) contain
the eighth, quarter, half and whole note, the two-bar and the four-bar unit exactly.

This file is the reference and what training uses; `models.engine` runs the same arithmetic without torch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.architecture import NORM_EPSILON, RECENT, ModelConfig, rotation_speeds
from models.figures import KINDS, OF_FIELD, OPEN, belong
from models.hints import (
    AFTER,
    DURATION,
    ECHOES,
    END,
    LEVELS,
    LOUD,
    MEMORY,
    MICRO,
    NEXT,
    ONSETS,
    PROFILE,
    REFERENCE,
    SAME,
    SOUNDING,
    VELOCITY,
)  # fmt: skip
from models.piece import CHORDS, MAX_BAR, VELOCITY_BINS
from models.tokens import FIELD_SIZES, WIDEST_INTERVAL


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate pairs (i, i + half) of the last axis."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


class RMSNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight, NORM_EPSILON)


class SwiGLU(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_up = nn.Linear(width, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        out: Tensor = self.down(F.silu(gate) * up)
        return out


class Attention(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.qkv = nn.Linear(config.width, (config.heads + 2 * config.kv_heads) * config.head_size, bias=False)
        self.out = nn.Linear(config.heads * config.head_size, config.width, bias=False)
        self.query_norm = RMSNorm(config.head_size)
        self.key_norm = RMSNorm(config.head_size)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None) -> Tensor:
        c = self.config
        batch, length, _ = x.shape
        qkv = self.qkv(x).view(batch, length, c.heads + 2 * c.kv_heads, c.head_size).transpose(1, 2)
        q, k, v = qkv.split([c.heads, c.kv_heads, c.kv_heads], dim=1)
        group = c.heads // c.kv_heads
        q = rotate(self.query_norm(q), cos.repeat_interleave(group, 1), sin.repeat_interleave(group, 1))
        k = rotate(self.key_norm(k), cos, sin)
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        if mask is not None and mask.is_floating_point():
            mixed = ((q * c.head_size**-0.5) @ k.mT + mask).softmax(-1) @ v
        else:
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, length, -1))
        return out


class Block(nn.Module):
    def __init__(self, config: ModelConfig, dropout: float) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.width)
        self.attention = Attention(config)
        self.mlp_norm = RMSNorm(config.width)
        self.mlp = SwiGLU(config.width, config.hidden)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None) -> Tensor:
        x = x + self.dropout(self.attention(self.attention_norm(x), cos, sin, mask))
        return x + self.dropout(self.mlp(self.mlp_norm(x)))


class Memory(nn.Module):
    """What is remembered of each figure that the next note would continue: `memory_rows` rows a kind."""

    def __init__(self, config: ModelConfig, dropout: float) -> None:
        super().__init__()
        self.rows = config.memory_rows
        self.dropout = dropout  # of whole kinds: a figure seen once must not be all that is listened to
        self.table = nn.Parameter(torch.zeros(len(KINDS) * config.memory_rows, config.memory_width))
        self.tags: Tensor  # of the rows, as models/figures.py has them
        self.register_buffer("tags", torch.full((len(self.table),), OPEN, dtype=torch.uint8))
        self.read = nn.ModuleList(
            nn.Linear((kinds.stop - kinds.start) * config.memory_width, config.field_width, bias=False)
            for kinds in OF_FIELD
        )
        self.first: Tensor
        self.register_buffer("first", torch.arange(len(KINDS)) * config.memory_rows, persistent=False)

    def forward(self, hints: Tensor) -> list[Tensor]:
        """hints: [n, HINTS] -> what to add to each field's input: [n, field_width] each."""
        hashes = hints[:, MEMORY[0].start : MEMORY[-1].stop]
        rows = (hashes & (self.rows - 1)) + self.first
        found = F.embedding(rows, self.table, sparse=True) * belong(self.tags[rows], hashes)[..., None]
        found = F.dropout1d(found, self.dropout, self.training)
        return [read(found[:, kinds].flatten(1)) for read, kinds in zip(self.read, OF_FIELD, strict=True)]


class FieldDecoder(nn.Module):
    """Writes a note's fields one after the other, each seeing those before it. Embeddings are tied to outputs."""

    def __init__(self, config: ModelConfig, memory_dropout: float) -> None:
        super().__init__()
        width = config.field_width
        self.from_state = nn.Linear(config.width, width, bias=False)
        self.tables = nn.ParameterList([nn.Parameter(torch.randn(size, width) * 0.02) for size in FIELD_SIZES])
        self.chord = nn.Parameter(torch.zeros(CHORDS, width))
        self.start = nn.Parameter(torch.randn(len(FIELD_SIZES), width) * 0.02)
        self.norms = nn.ModuleList([RMSNorm(width) for _ in range(config.field_layers)])
        self.mlps = nn.ModuleList([SwiGLU(width, config.field_hidden) for _ in range(config.field_layers)])
        self.final_norm = RMSNorm(width)
        self.distance = nn.Parameter(torch.zeros(MAX_BAR, width))
        self.interval = nn.Parameter(torch.zeros(2 * WIDEST_INTERVAL + 3, width))
        self.position_gates = nn.Linear(width, len(ECHOES) + ONSETS)
        self.pitch_gates = nn.Linear(width, len(ECHOES) + 1)
        self.rest_gates = nn.ModuleList([nn.Linear(width, 1 + len(ECHOES)) for _ in range(3)])
        self.loudness = nn.Parameter(torch.zeros(len(LOUD), 2 * VELOCITY_BINS + 1, width))
        self.memory = Memory(config, memory_dropout) if config.memory_rows else None
        self.profile_gates = nn.Linear(width, LEVELS)

    def forward(self, state: Tensor, targets: Tensor, chord: Tensor, hints: Tensor, onsets: Tensor) -> list[Tensor]:
        """Logits of every field given the true values of the fields before it.

        state: [n, width]; targets: [n, 5], a negative value standing for "not there"; chord: [n].
        Returns five tensors [n, FIELD_SIZES[i]].
        """
        seen = self.from_state(state)
        inputs = []
        recalled = self.memory(hints) if self.memory else [torch.zeros((), device=seen.device)] * len(FIELD_SIZES)
        for index, table in enumerate(self.tables):
            inputs.append(seen + self.start[index] + recalled[index])
            if index + 1 < len(FIELD_SIZES):
                seen = seen + table[targets[:, index].clamp(min=0)]
                if index == 0:
                    seen = seen + self.chord[chord]
        x = torch.stack(inputs, dim=1)
        for norm, mlp in zip(self.norms, self.mlps, strict=True):
            x = x + mlp(norm(x))
        x = self.final_norm(x)
        logits = [x[:, index] @ table.T for index, table in enumerate(self.tables)]
        logits[0] = logits[0] + self._position_hints(x[:, 0], hints, onsets)
        logits[1] = logits[1] + self._pitch_hints(x[:, 1], hints)
        for index, columns in enumerate((DURATION, VELOCITY, MICRO)):
            field = 2 + index
            gates = self.rest_gates[index](x[:, field])
            logits[field] = logits[field] + _echoes(gates, hints[:, columns], FIELD_SIZES[field])
        for table, column in zip(self.loudness, LOUD, strict=True):
            heard = hints[:, column]
            louder = torch.arange(VELOCITY_BINS, device=x.device) - heard[:, None] + VELOCITY_BINS
            by_change = (x[:, 3] @ table.T).gather(1, louder.clamp(0, 2 * VELOCITY_BINS))
            logits[3] = logits[3] + by_change * (heard >= 0)[:, None]
        return logits

    def _position_hints(self, x: Tensor, hints: Tensor, onsets: Tensor) -> Tensor:
        """What hints add to the logits of positions: [n, END + 1]."""
        count = FIELD_SIZES[0]
        after = hints[:, AFTER]
        since = torch.arange(count, device=x.device) - after[:, None]
        by_distance = (x @ self.distance.T).gather(1, since.clamp(0, MAX_BAR - 1))
        inside = (since >= 0) & (after >= 0)[:, None] & (torch.arange(count, device=x.device) < END)
        gates = self.position_gates(x)
        echoes = _echoes(gates[:, : len(ECHOES)], hints[:, NEXT], count)
        struck = torch.einsum("nk,nkp->np", gates[:, len(ECHOES) :], onsets.to(gates.dtype))
        return by_distance * inside + echoes + F.pad(struck, (0, 1))

    def _pitch_hints(self, x: Tensor, hints: Tensor) -> Tensor:
        """What hints add to the logits of pitches: [n, 256]."""
        count = FIELD_SIZES[1]
        pitch = torch.arange(128, device=x.device)
        reference = hints[:, REFERENCE]
        step = (pitch - reference[:, None]).clamp(-WIDEST_INTERVAL - 1, WIDEST_INTERVAL + 1) + WIDEST_INTERVAL + 1
        by_interval = (x @ self.interval.T).gather(1, step) * (reference >= 0)[:, None]
        gates = self.pitch_gates(x)
        sounding = (hints[:, SOUNDING, None].clamp(min=0) >> (pitch % 12)) & 1
        echoes = _echoes(gates[:, : len(ECHOES)], hints[:, SAME], count)
        level = (hints[:, PROFILE, None].clamp(min=0) >> (2 * (pitch % 12))) & (LEVELS - 1)
        by_profile = self.profile_gates(x).gather(1, level)
        return echoes + F.pad(by_interval + gates[:, len(ECHOES) :] * sounding + by_profile, (0, count - 128))


def _echoes(gates: Tensor, values: Tensor, count: int) -> Tensor:
    """Logits [n, count] in which each hinted value [n, k] is raised by its gate [n, k]; a negative value
    hints nothing."""
    spare = torch.zeros(len(gates), count + 1, device=gates.device, dtype=gates.dtype)
    return spare.scatter_add(1, values.where(values >= 0, count), gates)[:, :count]


class MusicTransformer(nn.Module):
    def __init__(self, config: ModelConfig, dropout: float = 0.0, memory_dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.width, padding_idx=0)
        self.recent = nn.Parameter(torch.zeros(RECENT, config.width))
        self.text = nn.Linear(config.text_width, config.width, bias=False) if config.text_width else None
        self.blocks = nn.ModuleList([Block(config, dropout) for _ in range(config.layers)])
        self.final_norm = RMSNorm(config.width)
        self.fields = FieldDecoder(config, memory_dropout)
        self.dropout = nn.Dropout(dropout)
        self.speeds: Tensor
        self.register_buffer("speeds", torch.from_numpy(rotation_speeds(config)), persistent=False)
        for name, parameter in self.named_parameters():
            if name.endswith(("out.weight", "down.weight", "text.weight")) or "gates" in name:
                nn.init.zeros_(parameter)
            elif parameter.dim() == 2 and not any(
                part in name
                for part in (
                    "fields.tables",
                    "fields.chord",
                    "fields.distance",
                    "fields.interval",
                    "fields.loudness",
                    "memory.table",
                )
            ):
                nn.init.normal_(parameter, std=0.02 if "embedding" in name else parameter.shape[1] ** -0.5)
        with torch.no_grad():
            self.embedding.weight[0].zero_()

    def _with_recent(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Embeddings with those of the last few steps mixed in, feature by feature: what an n-gram sees, from the
        first layer on. Steps that the mask hides stay out."""
        out = x
        for back, weight in enumerate(self.recent, 1):
            before = F.pad(x, (0, 0, back, 0))[:, : x.shape[1]]
            if mask is not None:
                before = before * F.pad(mask[:, 0].diagonal(-back, 1, 2), (back, 0))[..., None]
            out = out + before * weight
        return out

    def forward(
        self,
        facts: Tensor,
        time: Tensor,
        mask: Tensor | None = None,
        text: Tensor | None = None,
        text_at: Tensor | None = None,
    ) -> Tensor:
        """States of the steps: [batch, length, width].

        facts: [batch, length, WIDTH] fact ids; time: [batch, length] grid ticks; mask: [batch, 1, length,
        length] True where a step may look, causal when None. Only differences of `time` matter.
        text: [k, text_width] sentence vectors of the steps text_at: [k, 2] (row, step).
        """
        bags = F.embedding_bag(facts.flatten(0, 1), self.embedding.weight, mode="sum", padding_idx=0)
        x = bags.view(*facts.shape[:2], -1)
        if self.text is not None and text is not None and text_at is not None:
            x = x.index_put((text_at[:, 0], text_at[:, 1]), self.text(text).to(x.dtype), accumulate=True)
        x = self.dropout(self._with_recent(x, mask))
        by_steps = self.config.heads_by_steps
        steps = torch.arange(facts.shape[1], device=facts.device, dtype=torch.float64).expand(time.shape)
        place = torch.stack([steps] * by_steps + [time.double()] * (self.config.kv_heads - by_steps), dim=1)
        angle = place[..., None] * self.speeds[None, :, None, :]
        cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
        if mask is not None and torch.is_autocast_enabled("cpu"):
            # In bfloat16 on a processor, products and softmax one by one take half the time of the fused kernel.
            mask = torch.zeros(mask.shape, dtype=torch.bfloat16).masked_fill_(~mask, -torch.inf)
        for block in self.blocks:
            x = block(x, cos, sin, mask)
        out: Tensor = self.final_norm(x)
        return out


def field_losses(
    model: MusicTransformer, state: Tensor, targets: Tensor, chord: Tensor, hints: Tensor, onsets: Tensor
) -> tuple[Tensor, Tensor]:
    """Nats per field of the predicted steps.

    state: [n, width]; targets: [n, 5]; chord: [n]. Returns losses [n, 5] (zero where a field has no target)
    and the [n, 5] mask of fields that count.
    """
    logits = model.fields(state, targets, chord, hints, onsets)
    losses = [
        F.cross_entropy(logit.float(), targets[:, index], ignore_index=-1, reduction="none")
        for index, logit in enumerate(logits)
    ]
    counted = targets >= 0
    counted[:, 1:] &= (targets[:, 0] != FIELD_SIZES[0] - 1)[:, None]
    return torch.stack(losses, dim=1), counted
