"""The network as a model of the Hugging Face ecosystem: transformers loads and saves it, peft fine-tunes it.

    import models.hub
    model = transformers.AutoModel.from_pretrained("models/weights/small")

Importing this module registers it. The running assistant never does: it uses models.engine. What is generated here
is drawn from the whole sequence anew for every note, slowly; it is the reference that the engine is held against.

    python3 -m models.hub models/weights/small --figures heldout.json

writes the head of a model card, which the hub reads, into the folder's README.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import EvalResult, ModelCardData
from numpy.typing import NDArray
from peft import PeftModel
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from models.adapters import read_adapter
from models.architecture import MEMORY_FILES, MODEL_TYPE, SIZES, ModelConfig, rotation_speeds
from models.constraints import Draft
from models.drawing import Sampling, sample
from models.engine import CellDone, Plan
from models.errors import Cancelled, UserError
from models.generators import Rows, Task, TransformerGenerator
from models.hints import ECHOES, NONE, Cells, Notes, Outlook, cell_order, note_table
from models.piece import MICRO_LIMIT
from models.tokens import END, FIELDS, OFFSET, TRACK_TARGET, Steps, note_facts
from models.training.checkpoint import load_weights
from models.training.loop import nats_per_note
from models.transformer import Memory, MusicTransformer, field_losses

DATA_SETS = (
    "chopin-first-editions", "free-midi-chords", "freedoom-music", "groove-midi", "hydrogen-drum-patterns",
    "lmms-demos", "mcgill-billboard-chords", "mma-backing-tracks", "mutopia", "openewld-leadsheets",
    "openscore-lieder", "openscore-orchestra", "openscore-quartets", "piano-midi-de", "polish-scores", "pop909",
    "tavern",
)  # fmt: skip


class DescantConfig(PreTrainedConfig):  # type: ignore[misc]
    """config.json of a weights folder. architecture: the fields of ModelConfig."""

    model_type = MODEL_TYPE
    architecture: dict[str, int] = field(default_factory=lambda: asdict(SIZES["small"]))
    sha256: str = ""

    @property
    def shape(self) -> ModelConfig:
        return ModelConfig(**self.architecture)

    # What the network itself asks its configuration for.

    @property
    def heads_by_steps(self) -> int:
        return self.shape.heads_by_steps

    @property
    def kv_heads(self) -> int:
        return self.shape.kv_heads


@dataclass
class Output(ModelOutput):  # type: ignore[misc]
    """last_hidden_state: states of the steps [batch, length, width]. Where targets were given: loss, in nats per
    note, and the nats of every field of every predicted step, [n, 5]."""

    loss: Tensor | None = None
    last_hidden_state: Tensor | None = None
    nats: Tensor | None = None


class DescantModel(PreTrainedModel):  # type: ignore[misc]
    """MusicTransformer under transformers' roof: its parameters go by the same names, so weights and styles fit."""

    config_class = DescantConfig
    main_input_name = "facts"
    _no_split_modules = ("Block",)
    _tied_weights_keys: dict[str, str] = {}  # noqa: RUF012  (a field's table is its output layer, one tensor)

    def __init__(self, config: DescantConfig, dropout: float = 0.0) -> None:
        super().__init__(config)
        network = MusicTransformer(config.shape, dropout)
        for name, part in network._modules.items():
            self.register_module(name, part)
        self.recent = network.recent
        self.speeds: Tensor
        self.register_buffer("speeds", network.speeds, persistent=False)
        self.post_init()

    _with_recent = MusicTransformer._with_recent

    def _init_weights(self, module: nn.Module) -> None:
        """Fill what no file holds; parameters were given their first values by their own modules."""
        if module is self:
            init.copy_(self.speeds, torch.from_numpy(rotation_speeds(self.config.shape)))
        elif isinstance(module, Memory):
            count = len(module.first)
            init.copy_(module.first, torch.arange(count) * (len(module.table) // count))

    def get_input_embeddings(self) -> nn.Module:
        return self.embedding

    @classmethod
    def from_pretrained(cls, source: str | Path | None, *arguments: Any, **options: Any) -> DescantModel:
        """A weights folder as it ships, its memory in eight bits, or one that save_pretrained wrote. Raises what
        transformers raises."""
        if source is None or not (Path(source) / MEMORY_FILES[0]).exists():
            return super().from_pretrained(source, *arguments, **options)
        folder = Path(source)
        config = options.pop("config", None) or DescantConfig.from_pretrained(folder)
        options.setdefault("dtype", torch.float32)
        whole = load_weights(folder).state_dict()
        model = super().from_pretrained(None, *arguments, config=config, state_dict=whole, **options)
        model.name_or_path = model.config.name_or_path = str(folder)  # peft notes what an adapter was made for
        return model

    def forward(
        self,
        facts: Tensor,
        time: Tensor,
        mask: Tensor | None = None,
        text: Tensor | None = None,
        text_at: Tensor | None = None,
        targets: Tensor | None = None,
        chord: Tensor | None = None,
        hints: Tensor | None = None,
        onsets: Tensor | None = None,
    ) -> Output:
        """What MusicTransformer reads; with the rest of a batch (models.training.loop.to_device) its loss too."""
        states = MusicTransformer.forward(self, facts, time, mask, text, text_at)
        if targets is None or chord is None or hints is None or onsets is None:
            return Output(last_hidden_state=states)
        wanted = targets.flatten(0, 1)
        where = (wanted[:, 0] >= 0).nonzero()[:, 0]
        losses, counted = field_losses(
            self,
            states.flatten(0, 1)[where],
            wanted[where],
            chord.flatten()[where],
            hints.flatten(0, 1)[where],
            onsets.flatten(0, 1)[where],
        )
        return Output(nats_per_note(losses, counted), states, losses * counted)

    @torch.no_grad()
    def generate(
        self,
        task: Task,
        seeds: Sequence[Sequence[int]] = ((0,),),
        sampling: Sampling = Sampling(),
        cancelled: Callable[[], bool] = lambda: False,
    ) -> list[Rows]:
        """The notes of the task's region, a candidate a seed: rows of Piece.notes. Every note obeys the task's
        rules, and a seed gives what the engine gives."""
        self.eval()
        rows: list[Rows] = [[] for _ in seeds]
        generator = TransformerGenerator(_Reference(self))  # type: ignore[arg-type]
        for progress in generator.generate(task, seeds, sampling, cancelled):
            rows[progress.candidate].extend(progress.rows)
        return rows


class _Reference:
    """Writes as the engine does, one candidate after the other: what the network has seen is read anew for every
    note, and hints are taken from the notes in sight."""

    def __init__(self, model: DescantModel) -> None:
        self._model = model
        self.model_hash: str = model.config.sha256

    def prefill(self, steps: Steps) -> Steps:
        return steps

    def write(
        self,
        contexts: Sequence[Steps],
        notes: Sequence[Notes],
        plan: Plan,
        drafts: Sequence[Draft],
        randoms: Sequence[np.random.Generator],
        sampling: Sampling,
        cancelled: Callable[[], bool],
        wordless: Sequence[Steps],
        stale: Callable[[Draft], bool],
    ) -> Iterator[CellDone]:
        """Fill the plan's cells in every draft. Raises Cancelled, and UserError where guidance is asked for.

        No cell is written twice: without a choice nothing is stale.
        """
        if wordless:
            raise UserError("The reference knows no guidance", "Leave it at 1, or use the assistant's engine.")
        headers = plan.headers
        kinds = headers.facts[:, 0] - OFFSET["kind"]
        for number, (context, seen, draft, random) in enumerate(zip(contexts, notes, drafts, randoms, strict=True)):
            text = torch.from_numpy(context.text)
            facts, time = context.facts, context.time
            for at, kind in enumerate(kinds.tolist()):
                facts = np.concatenate([facts, headers.facts[at : at + 1]])
                time = np.concatenate([time, headers.time[at : at + 1]])
                if kind != TRACK_TARGET:
                    continue
                bar, track = headers.cell[at].tolist()
                draft.enter(bar, track)
                while self._another(facts, time, text, seen, plan, draft, random, sampling):
                    if cancelled():
                        raise Cancelled
                    rows = np.array(draft.rows[-draft.in_cell :], dtype=np.int32)
                    inside = np.ones(len(rows), dtype=bool)
                    chords = plan.chords[bar][rows[:, 2]]
                    fresh = note_table(rows[-1:], plan.programs, plan.slots, plan.bar_time, inside[-1:])
                    seen = Notes(*(np.concatenate(pair, axis=-1) for pair in zip(seen, fresh, strict=True)))
                    step = note_facts(rows, plan.programs, plan.slots, chords, inside)[-1:]
                    facts, time = np.concatenate([facts, step]), np.append(time, fresh.start)
                yield CellDone(number, bar, track)

    def _another(
        self,
        facts: NDArray[np.int32],
        time: NDArray[np.int32],
        text: Tensor,
        seen: Notes,
        plan: Plan,
        draft: Draft,
        random: np.random.Generator,
        sampling: Sampling,
    ) -> bool:
        """Draw the cell's next note into the draft; False where the cell ends instead."""
        outlook = Outlook(seen, _cells(plan, draft))
        at = torch.zeros(len(text), 2, dtype=torch.long)
        steps, ticks = torch.from_numpy(facts).long()[None], torch.from_numpy(time)[None]
        state = self._model(steps, ticks, text=text, text_at=at).last_hidden_state[0, -1:]
        drawn, chord = torch.zeros(1, len(FIELDS), dtype=torch.long), torch.zeros(1, dtype=torch.long)
        numbers = random.random(len(FIELDS))

        def draw(field: int, mask: NDArray[np.bool_]) -> int:
            hints, onsets = torch.from_numpy(outlook.table).long(), torch.from_numpy(outlook.onsets)
            logits = self._model.fields(state, drawn, chord, hints, onsets)[field][0].float().numpy()
            value = sample(logits, mask, float(numbers[field]), sampling.of(field))
            drawn[0, field] = value
            return value

        position = draw(0, draft.positions())
        if position == END:
            return False
        chord[0] = int(plan.chords[draft.cell.bar][position])
        outlook.draw_position(np.array([position]), np.array([draft.cell.start + position]))
        pitch = draw(1, draft.pitches(position))
        outlook.draw_pitch(np.array([pitch]))
        duration = draw(2, draft.durations(position, pitch))
        draft.accept(position, pitch, duration, draw(3, draft.velocities()), draw(4, draft.micros(position)))
        return True


def _cells(plan: Plan, draft: Draft) -> Cells:
    """Where a draft's next note is to be predicted."""
    cell = draft.cell
    bar, track = (np.array([value], dtype=np.int32) for value in (cell.bar, cell.track))
    last = np.full(len(FIELDS), NONE, dtype=np.int32)
    if draft.in_cell:
        last[:] = np.array(draft.rows[-1][2:]) + (0, 128 if cell.drum else 0, 0, 0, MICRO_LIMIT)
    return Cells(
        bar=bar,
        track=track,
        order=cell_order(bar, plan.slots[track]),
        in_region=np.ones(1, dtype=bool),
        after=last[:1],
        above=last[1:2],
        last=last[2:, None],
        known=bar[:, None] - np.array(ECHOES) >= plan.first,
        begin=np.array([cell.start], dtype=np.int32),
        length=np.array([len(cell.micros)], dtype=np.int32),
        program=plan.programs[track],
        lane=np.zeros(1, dtype=np.int32),
    )


def with_style(model: DescantModel, folder: Path, strength: float = 1.0) -> PeftModel:
    """The model with a style of models.adapters: its matrices by peft, its figures laid over the model's memory.

    Raises UserError where the folder holds no style.
    """
    style = read_adapter(folder)
    if len(style.rows) and model.fields.memory is not None:
        table = model.fields.memory.table
        with torch.no_grad():
            table[torch.from_numpy(style.rows)] += strength * torch.from_numpy(style.values).to(table.dtype)
    styled = PeftModel.from_pretrained(model, str(folder))
    for layer in styled.modules():
        if hasattr(layer, "scale_layer"):
            layer.scale_layer(strength)
    return styled


def card_head(name: str, figures: Mapping[str, Any]) -> str:
    """The front matter of a model card. figures: what `scripts/evaluate.py heldout --json` wrote,
    with any number of sets."""
    results = [
        EvalResult(
            task_type="music-generation",
            dataset_type=row["name"],
            dataset_name=row["name"],
            dataset_split=figures["split"],
            metric_type="nats-per-note",
            metric_name="nats per note",
            metric_value=round(row["nats"]["network"], 3),
        )
        for row in figures["sets"]
    ]
    data = ModelCardData(
        model_name=f"descant-{name}",
        license="apache-2.0",
        library_name="descant",
        tags=["music", "midi", "symbolic-music", "music-transformer", "infilling", "descant"],
        datasets=list(DATA_SETS),
        metrics=["nats-per-note"],
        eval_results=results or None,
    )
    return f"---\n{data.to_yaml()}\n---\n"


def write_card_head(folder: Path, figures: Path | None) -> None:
    """Put the front matter before what README.md of a weights folder says, in place of what was there."""
    card = folder / "README.md"
    text = card.read_text("utf-8") if card.exists() else f"\n# {folder.name}\n"
    if text.startswith("---\n"):
        text = text.split("\n---\n", 1)[1]
    found = json.loads(figures.read_text("utf-8")) if figures else {"sets": []}
    card.write_text(card_head(folder.name, found) + text, encoding="utf-8")


AutoConfig.register(MODEL_TYPE, DescantConfig)
AutoModel.register(DescantConfig, DescantModel)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the head of a model card.")
    parser.add_argument("folder", type=Path, help="a weights folder")
    parser.add_argument("--figures", type=Path, metavar="FILE", help="JSON of `scripts/evaluate.py heldout`")
    args = parser.parse_args()
    write_card_head(args.folder, args.figures)
