"""The weights folder in the ecosystem: transformers loads and saves it, peft adapts it, and it writes what the
engine writes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel

from models.adapters import MEMORY_FILE, read_adapter
from models.architecture import SIZES
from models.drawing import Sampling
from models.engine import Engine
from models.errors import UserError
from models.generators import Rows, Task, TransformerGenerator
from models.hub import DATA_SETS, DescantConfig, DescantModel, with_style, write_card_head
from models.tokens import TEXT_WIDTH
from models.training.checkpoint import export_weights, load_weights
from models.training.loop import batch_losses, is_matrix, nats_per_note, to_device
from models.training.lora import adapter_tensors, add_adapters, save_adapter
from models.training.sampling import Corpus, random_batch
from models.training.shards import Item
from models.transformer import MusicTransformer
from tests.builders import random_model, random_piece, random_task

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
torch.set_num_threads(1)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    export_weights(random_model(SIZES["tiny"]), folder, {"step": 3})
    return folder


@pytest.fixture
def model(weights: Path) -> DescantModel:
    return AutoModel.from_pretrained(weights)


@pytest.fixture(scope="module")
def batch() -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(3)
    items = [Item(random_piece(rng, 6, 3), {"set": "a", "work": str(number)}) for number in range(3)]
    return to_device(random_batch(Corpus(items), 1, 0, range(2), 160), CPU)


def logits(model: MusicTransformer | DescantModel, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Of all fields, side by side."""
    with torch.no_grad():
        out = model(batch["facts"], batch["time"], batch["mask"], batch["text"], batch["text_at"])
        states = out if isinstance(out, torch.Tensor) else out.last_hidden_state
        where = (batch["targets"][..., 0] >= 0).flatten().nonzero()[:, 0]
        rest = (batch[name].flatten(0, 1)[where] for name in ("targets", "chord", "hints", "onsets"))
        return torch.cat(model.fields(states.flatten(0, 1)[where], *rest), dim=1)


def same_parameters(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    first, second = dict(one.named_parameters()), dict(other.named_parameters())
    return first.keys() == second.keys() and all(torch.equal(p, second[name]) for name, p in first.items())


def test_a_weights_folder_is_a_model_of_transformers(
    weights: Path, model: DescantModel, batch: dict[str, torch.Tensor]
) -> None:
    config = AutoConfig.from_pretrained(weights)
    assert isinstance(config, DescantConfig) and config.shape == SIZES["tiny"] and config.step == 3
    assert isinstance(model, DescantModel) and not model.training
    reference = load_weights(weights)
    assert same_parameters(model, reference)
    assert torch.equal(logits(model, batch), logits(reference, batch))


def test_a_model_without_a_memory_loads_too(tmp_path: Path, batch: dict[str, torch.Tensor]) -> None:
    plain = random_model(replace(SIZES["tiny"], memory_rows=0))
    export_weights(plain, tmp_path, {}, torch.float32)
    assert torch.equal(logits(AutoModel.from_pretrained(tmp_path), batch), logits(plain, batch))


@pytest.mark.parametrize("shard", ["5GB", "200KB"])
def test_what_is_saved_is_loaded_again(
    model: DescantModel, batch: dict[str, torch.Tensor], tmp_path: Path, shard: str
) -> None:
    model.save_pretrained(tmp_path, max_shard_size=shard)
    files = {path.name for path in tmp_path.iterdir()}
    assert not [name for name in files if not name.endswith((".safetensors", ".json"))]
    assert ("model.safetensors.index.json" in files) == (shard == "200KB")
    again = AutoModel.from_pretrained(tmp_path)
    assert again.config.shape == SIZES["tiny"] and again.config.sha256 == model.config.sha256
    assert same_parameters(again, model)
    assert torch.equal(logits(again, batch), logits(model, batch))


def test_the_loss_is_that_of_our_own_training(
    weights: Path, model: DescantModel, batch: dict[str, torch.Tensor]
) -> None:
    losses, counted, _ = batch_losses(load_weights(weights), batch)
    out = model(**batch)
    assert torch.equal(out.loss, nats_per_note(losses, counted)) and torch.equal(out.nats, losses * counted)


def cells(task: Task, rows: Rows) -> bool:
    return all(task.region[bar, track] for bar, track, *_ in rows)


@pytest.mark.parametrize("seed", [1, 2])
def test_it_writes_what_the_engine_writes(weights: Path, model: DescantModel, seed: int) -> None:
    task = random_task(np.random.default_rng(seed), bars=2, tracks=2)
    seeds, sampling = [(seed, 0), (seed, 1)], Sampling(0.9, 0.95, pitch_factor=0.7)
    written = model.generate(task, seeds, sampling)
    fast: list[Rows] = [[] for _ in seeds]
    for progress in TransformerGenerator(Engine(weights, bits=32)).generate(task, seeds, sampling):
        fast[progress.candidate].extend(progress.rows)
    assert written == fast
    assert any(written) and all(cells(task, rows) for rows in written)
    for rows in written:
        table = np.array(rows, dtype=np.int64).reshape(-1, 7)
        assert (table[:, 2] < task.piece.bars[table[:, 0], 0]).all() and (table[:, 3] < 128).all()
        assert [tuple(row) for row in table[:, :4]] == sorted(tuple(row) for row in table[:, :4])


def test_guidance_is_not_known_here_and_that_is_said(model: DescantModel) -> None:
    task = replace(
        random_task(np.random.default_rng(1), bars=1, tracks=1), text=np.ones((1, TEXT_WIDTH), np.float32)
    )
    with pytest.raises(UserError, match="guidance"):
        model.generate(task, [(1, 0)], Sampling(guidance=2.0))


def test_an_adapter_of_peft_learns(
    weights: Path, model: DescantModel, batch: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    before = logits(model, batch)
    styled = get_peft_model(model, LoraConfig(r=4, target_modules=["qkv", "gate_up", "from_state"]))
    learning = [name for name, p in styled.named_parameters() if p.requires_grad]
    assert learning and all("lora_" in name for name in learning)
    optimizer = torch.optim.AdamW([p for p in styled.parameters() if p.requires_grad], lr=2e-2)
    found = []
    for _ in range(5):
        loss = styled(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        found.append(loss.item())
    assert found[-1] < found[0]
    after = logits(styled.get_base_model(), batch)
    assert not torch.equal(after, before)
    styled.save_pretrained(tmp_path)
    assert PeftConfig.from_pretrained(tmp_path).base_model_name_or_path == str(weights)
    fresh = DescantModel(model.config)
    fresh.load_state_dict(plain_state(styled))
    loaded = PeftModel.from_pretrained(fresh, tmp_path).get_base_model()
    assert torch.allclose(logits(loaded, batch), after, atol=1e-5)
    assert torch.allclose(logits(styled.merge_and_unload(), batch), after, atol=1e-4)


def plain_state(styled: PeftModel) -> dict[str, torch.Tensor]:
    """The weights below an adapter."""
    state = styled.get_base_model().state_dict()
    return {name.replace(".base_layer", ""): value for name, value in state.items() if "lora_" not in name}


@pytest.mark.parametrize("with_memory", [False, True])
@pytest.mark.parametrize("strength", [1.0, 0.4])
def test_a_style_of_ours_is_an_adapter_of_peft(
    weights: Path,
    model: DescantModel,
    batch: dict[str, torch.Tensor],
    tmp_path: Path,
    with_memory: bool,
    strength: float,
) -> None:
    trained = load_weights(weights)
    before = logits(trained, batch)
    add_adapters(trained, rank=3)
    generator = torch.Generator().manual_seed(1)
    tensors = {
        name: 0.3 * torch.randn(value.shape, generator=generator)
        for name, value in adapter_tensors(trained).items()
    }
    memory = None
    if with_memory:
        rows = torch.arange(0, len(model.fields.memory.table), 2)
        memory = rows, torch.randn(len(rows), model.fields.memory.table.shape[1], generator=generator)
    save_adapter(tmp_path, tensors, memory, {"base": model.config.sha256, "name": "mine"})
    assert (tmp_path / MEMORY_FILE).exists() == with_memory

    style = read_adapter(tmp_path)
    merged = load_weights(weights)
    with torch.no_grad():
        for name, (a, b) in style.pairs.items():
            change = torch.from_numpy(b @ a) * style.scale * strength
            merged.get_parameter(name).add_(change)
        if with_memory:
            merged.fields.memory.table[torch.from_numpy(style.rows)] += strength * torch.from_numpy(style.values)
    styled = with_style(model, tmp_path, strength)
    assert isinstance(styled, PeftModel)
    found = logits(styled.get_base_model(), batch)
    assert torch.allclose(found, logits(merged, batch), atol=2e-3)
    assert not torch.allclose(found, before, atol=0.1)

    task = random_task(np.random.default_rng(5), bars=2, tracks=2)
    engine = TransformerGenerator(Engine(weights, bits=32)).styled([(style, strength)])
    fast = [row for progress in engine.generate(task, [(7,)], Sampling()) for row in progress.rows]
    if not with_memory:  # the engine keeps rows of the memory in eight bits, so there the numbers differ a little
        assert styled.generate(task, [(7,)]) == [fast]


def test_the_head_of_a_card_is_read_by_the_hub(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n\n# small\n\nText.\n")
    figures = tmp_path / "heldout.json"
    figures.write_text('{"split": "valid", "sets": [{"name": "all", "nats": {"network": 3.5994, "Markov": 4.4}}]}')
    for given in (figures, figures, None):
        write_card_head(tmp_path, given)
        card = ModelCard.load(tmp_path / "README.md")
        assert card.text.strip() == "# small\n\nText."
        assert card.data.license == "apache-2.0" and set(card.data.datasets) == set(DATA_SETS)
        results = card.data.eval_results or []
        assert [result.metric_value for result in results] == ([3.599] if given else [])
    fresh = tmp_path / "tiny"
    fresh.mkdir()
    write_card_head(fresh, None)
    assert ModelCard.load(fresh / "README.md").text.strip() == "# tiny"


def test_the_card_names_the_sets_that_are_documented() -> None:
    table = (ROOT / "docs" / "data.md").read_text("utf-8")
    assert tuple(re.findall(r"^\| ([a-z0-9-]+) \| [\d,]+ \|", table, re.M)) == DATA_SETS


def test_the_weights_that_ship_load_with_transformers() -> None:
    folder = ROOT / "models" / "weights" / "small"
    shipped = AutoModel.from_pretrained(folder)
    assert shipped.config.sha256 == AutoConfig.from_pretrained(folder).sha256
    stored = load_file(folder / "model.safetensors")
    names = [name for name, p in shipped.named_parameters() if is_matrix(name, p)]
    assert names and all(torch.equal(shipped.get_parameter(name).half(), stored[name].half()) for name in names)
