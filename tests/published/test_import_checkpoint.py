"""Checkpoints of the published code, from a file to numbers beside those of our own runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from typer.testing import CliRunner

import ssmlab
from ssmlab.analysis.compare.compare import compare
from ssmlab.analysis.compare.entries import resolve_entry
from ssmlab.artifacts.checkpoint import save
from ssmlab.artifacts.metadata import Metadata, count_parameters, read_metadata
from ssmlab.cli.app import app
from ssmlab.core.errors import UserError
from ssmlab.core.files import sha256_file
from ssmlab.data.dataset import load_dataset
from ssmlab.evaluation.results import load_results
from ssmlab.nets import Classifier, build
from ssmlab.params import ModelParams, Params
from ssmlab.params.paths import Paths
from ssmlab.published.import_checkpoint import import_checkpoint, name_of
from ssmlab.report.terminal.tables import render
from ssmlab.stages.attack.stage import attack_file
from ssmlab.stages.prepare import prepare
from ssmlab.stages.trained_run import check_same_data
from tests.artifacts.trained_metadata import trained_metadata

SIDE = 6


def params(mixer: str = "dss", **changes: Any) -> ModelParams:
    base = {
        "mixer": mixer,
        "enhancement": "none",
        "tokens": "published",
        "patch": 1,
        "d_model": 8,
        "d_state": 4,
        "layers": 2,
        "pointwise": "none",
        "output": "linear",
        "dropout": 0.0,
    }
    return ModelParams.model_validate(base | changes)


def published(model: Classifier, length: int | None = None) -> dict[str, Tensor]:
    """The state dict that the published code would save of a DSS model, or of an S4 one made for `length` tokens."""
    theirs = {}
    for name, tensor in model.state_dict().items():
        part, _, rest = name.partition(".")
        if part != "layers":
            theirs[{"embed": "input", "norm": "post_norm", "head": "output"}[part] + "." + rest] = tensor
            continue
        i, _, rest = rest.partition(".")
        layer = f"mapping_layers.{i}."
        leaf = rest.rpartition(".")[2]
        if rest.startswith("norm."):
            theirs[f"norms.{i}.{leaf}"] = tensor
        elif rest == "mixer.ssm.skip":
            theirs[layer + "D"] = tensor[None]
        elif rest.startswith("mixer.output."):
            theirs[f"{layer}output_linear.{leaf}"] = tensor
        elif rest.startswith("mixer.enhancement."):
            theirs[layer + rest.replace("mixer.enhancement", "adss")] = tensor
        else:
            new = {"Lambda": "w", "log_decay": "log_w_real", "frequency": "w_imag"}.get(leaf, leaf)
            theirs[f"{layer}kernel.kernel.{new}"] = {
                "log_dt": tensor,
                "P": tensor[None, None],
                "B": tensor[None, None],
            }.get(leaf, tensor[None])
            if length:
                theirs[layer + "kernel.kernel.L"] = torch.tensor(length)
    return {name: tensor.clone() for name, tensor in theirs.items()}


@pytest.fixture
def model() -> Classifier:
    return build(params(), (3, SIDE, SIDE), 7, seed=1)


@pytest.fixture
def state(model: Classifier) -> dict[str, Tensor]:
    return published(model)


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def saved(state: dict[str, Any], name: str = "theirs.safetensors") -> Path:
    path = Path(name)
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return path


def refused(says: str, *arguments: Any, **options: Any) -> None:
    with pytest.raises(UserError, match=says) as caught:
        import_checkpoint(*arguments, **options)
    assert "\n" not in str(caught.value)
    assert not Path("models").exists(), "a refused import leaves nothing behind"


@pytest.mark.parametrize(
    ("name", "prefix"),
    [("a.safetensors", ""), ("b.safetensors", "param."), ("c.pt", ""), ("d.pth", "module."), ("e.pt", "net.module.")],
)
def test_an_imported_model_equals_the_published_one(
    model: Classifier, state: dict[str, Tensor], name: str, prefix: str
) -> None:
    others = {"x": torch.zeros(2), "logits": torch.zeros(1)} if prefix else {}
    path = saved({prefix + key: tensor for key, tensor in state.items()} | others, name)
    imported = import_checkpoint(path, image_size=SIDE)
    assert imported.path == Path("models/imported") / path.stem / "best.safetensors"
    loaded, about = ssmlab.load(imported.path)
    x = torch.rand(5, 3, SIDE, SIDE)
    assert torch.equal(loaded(x), model.eval()(x))
    assert (about.study, about.run, about.which) == ("imported", path.stem, "best")
    assert (about.model, about.image_shape, about.classes) == (params(), (3, SIDE, SIDE), 7)
    assert about.source is not None and (about.source.name, about.source.sha256) == (name, sha256_file(path))
    assert imported.parameters == count_parameters(imported.path) == sum(p.numel() for p in model.parameters())


def test_unknown_metadata_are_left_out(state: dict[str, Tensor]) -> None:
    about = read_metadata(import_checkpoint(saved(state), image_size=SIDE).path)
    unknown = (about.epoch, about.train, about.val_clean, about.val_robust, about.selection_split)
    assert {*unknown, about.data_name, about.data_fingerprint, about.params_fingerprint} == {None}
    assert "val_clean" not in about.header()["ssmlab"]
    with pytest.raises(ValueError, match="imported"):
        Metadata.model_validate(about.model_dump() | {"val_clean": 0.9})
    with pytest.raises(ValueError, match="epoch is missing"):
        Metadata.model_validate(about.model_dump() | {"source": None})


def test_equal_files_give_equal_bytes(state: dict[str, Tensor]) -> None:
    path = saved(state)
    first = import_checkpoint(path, image_size=SIDE).path.read_bytes()
    assert import_checkpoint(path, image_size=SIDE).path.read_bytes() == first


def test_other_precisions_become_float32(state: dict[str, Tensor]) -> None:
    path = saved({name: tensor.double() for name, tensor in state.items()})
    loaded, _ = ssmlab.load(import_checkpoint(path, image_size=SIDE).path)
    assert {tensor.dtype for tensor in loaded.state_dict().values()} == {torch.float32}


@pytest.mark.parametrize("act", ["relu", "sigmoid", "tanh"])
def test_ads_needs_its_activation(act: str) -> None:
    model = build(params("s4", enhancement="ads", ads={"act": act, "parts": "both"}), (1, SIDE, SIDE), 10, seed=1)
    path = saved(published(model, length=64))
    refused("--ads relu", path, image_size=SIDE)
    loaded, about = ssmlab.load(import_checkpoint(path, act, SIDE).path)
    x = torch.rand(2, 1, SIDE, SIDE)
    assert torch.equal(loaded(x), model.eval()(x))
    assert about.model.ads is not None and about.model.ads.act == act


def test_no_ads_takes_no_activation(state: dict[str, Tensor]) -> None:
    refused("leave --ads out", saved(state), act="relu", image_size=SIDE)


def test_the_image_size_of_s4_is_held_to_its_length() -> None:
    model = build(params("s4"), (1, SIDE, SIDE), 10, seed=1)
    path = saved(published(model, length=64))
    refused(r"--image-size N.*6 to 8", path)
    refused("L = 64, not for --image-size 9", path, image_size=9)
    refused("L = 64, not for --image-size 5", path, image_size=5)
    assert import_checkpoint(path, image_size=7).metadata.image_shape == (1, 7, 7)
    for wrong in (0, 60, 2, -4, 1 << 62):
        bad = published(model, length=64) | {"mapping_layers.1.kernel.kernel.L": torch.tensor(wrong)}
        with pytest.raises(UserError, match="stores C for"):
            import_checkpoint(saved(bad, "bad.safetensors"), image_size=SIDE)
    without = {name: tensor for name, tensor in published(model, 64).items() if not name.endswith("kernel.L")}
    with pytest.raises(UserError, match=r"kernel\.L, the length .* is missing"):
        import_checkpoint(saved(without, "bad.safetensors"), image_size=SIDE)


def test_importing_dss_needs_the_image_size(state: dict[str, Tensor]) -> None:
    refused("--image-size N", saved(state))


def test_the_image_size_of_mega_follows_from_its_tensors(shared: Path) -> None:
    case = shared / "parity" / "mega_3ch.safetensors"
    refused("6 x 6 pixels, not 8 x 8", case, image_size=8)
    imported = import_checkpoint(case)
    assert imported.metadata.image_shape == (3, 6, 6)
    state = {name: tensor for name, tensor in load_file(case).items() if name.startswith("param.")}
    table = "param.mapping_layers.0.layers.0.mega_layer.rel_pos_bias.rel_pos_bias"
    for entries in (70, 73, 2 * 35 - 1):
        with pytest.raises(UserError, match="do not fit a square image"):
            import_checkpoint(saved(state | {table: torch.zeros(entries)}))
    gates = "param.mapping_layers.1.layers.0.mega_layer.mx_proj.weight"
    for shape in ((111, 16), (16,), (112, 15)):
        with pytest.raises(UserError, match=r"layers\.1\.attention"):
            import_checkpoint(saved(state | {gates: torch.zeros(shape)}))


def damaged(state: dict[str, Tensor], **changes: Tensor | None) -> dict[str, Tensor]:
    kept = {name: tensor for name, tensor in state.items() if name not in changes}
    return kept | {name: tensor for name, tensor in changes.items() if tensor is not None}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"input.weight": None}, "input.weight"),
        ({"extra.input.weight": torch.zeros(8, 3)}, "several models"),
        ({"head.weight": torch.zeros(2)}, "head.weight: not a parameter"),
        ({"output.bias": None}, "head.bias is missing"),
        ({"output.weight": torch.zeros(7, 9)}, "output.weight"),
        ({"output.weight": torch.zeros(7)}, "output.weight"),
        ({"input.weight": torch.zeros(8)}, r"input.weight.*\(8,\)"),
        ({"input.weight": torch.zeros(5000, 3)}, "more than any published model"),
        ({"input.weight": torch.zeros(2000, 3)}, "more numbers"),
        ({"mapping_layers.0.kernel.kernel.w": None}, "not a state dict of the published models"),
        ({"mapping_layers.0.kernel.kernel.w": torch.zeros(1, 0, 2)}, "kernel.w"),
        ({"mapping_layers.0.kernel.kernel.w": torch.zeros(1, 9999, 2)}, "more than any published model"),
        ({"mapping_layers.1.kernel.kernel.w": torch.zeros(1, 3, 2)}, "layers.1.*not torch.float32"),
        ({"mapping_layers.0.kernel.kernel.C": torch.tensor(1.0)}, "kernel.C"),
        ({"mapping_layers.1.D": torch.full((1, 8), torch.nan)}, "not finite"),
        ({"mapping_layers.900000000.D": torch.zeros(1, 8)}, "mapping_layers.2 is missing"),
    ],
)
def test_foreign_and_damaged_state_dicts_are_refused(
    state: dict[str, Tensor], changes: dict[str, Any], says: str
) -> None:
    refused(says, saved(damaged(state, **changes)), image_size=SIDE)


def test_an_existing_checkpoint_is_not_overwritten(state: dict[str, Tensor], tiny_params: Params) -> None:
    path = saved(state)
    other = saved({name: tensor + 1 for name, tensor in state.items()}, "other.safetensors")
    first = import_checkpoint(path, image_size=SIDE, to=Path("models/imported/x"))
    content = first.path.read_bytes()
    with pytest.raises(UserError, match="import of another file, theirs"):
        import_checkpoint(other, image_size=SIDE, to=Path("models/imported/x"))
    assert first.path.read_bytes() == content
    run = tiny_params.run("ads")
    trained = trained_metadata(run)
    save(Path("models/smoke/ads/best.safetensors"), build(run.model, (1, 28, 28), 10, 0), trained)
    with pytest.raises(UserError, match="trained here"):
        import_checkpoint(path, image_size=SIDE, to=Path("models/smoke/ads"))
    with pytest.raises(UserError, match="attacked by its name"):
        attack_file(tiny_params, Path("models/smoke/ads/best.safetensors"), Paths("smoke"))


def test_names() -> None:
    assert name_of(Path("a/S4 AdS (relu).PT")) == "s4-ads-relu-"
    for odd in ("Ä.pt", "___.pt"):
        with pytest.raises(UserError, match="--to"):
            name_of(Path(odd))
    for folder in ("Models/Odd Name", "x/best.safetensors"):
        with pytest.raises(UserError, match="name a folder"):
            import_checkpoint(Path("absent.pt"), to=Path(folder))


@pytest.fixture
def grey(tiny_params: Params) -> Path:
    """An imported model for the images of the smoke study, which are prepared."""
    prepare(tiny_params, Paths(tiny_params.study))
    model = build(params(d_model=4, layers=1), (1, 28, 28), 10, seed=1)
    return import_checkpoint(saved(published(model), "grey.pt"), image_size=28).path


def test_an_import_is_attacked_and_compared_like_a_run(tiny_params: Params, grey: Path) -> None:
    paths = Paths(tiny_params.study)
    before = compare([str(grey), "imported/grey"], paths)
    assert sum(f"run `ssmlab attack {grey}`" in note for note in before.notes) == 2

    notes: list[Any] = []
    target = attack_file(tiny_params, grey, paths, "cpu", notes.append)
    assert target == Path("results/imported/attack/grey.json")
    assert any("may contain the test images" in getattr(note, "text", "") for note in notes)
    results = load_results(target)
    assert list(results.checkpoints) == ["best"] and results.train == {}
    found = results.checkpoints["best"]
    assert (found.epoch, found.val_clean) == (None, None)
    assert results.protocol.attacks == tiny_params.attack.attacks

    data, (model, _) = load_dataset(paths.prepared), ssmlab.load(grey)
    right = model(data.test.images / 255).argmax(1) == data.test.labels
    assert found.measures["clean"].correct == int(right.sum())

    both = compare([str(grey), "imported/grey"], paths)
    assert both.notes[0] == f"{grey} and imported/grey are the same checkpoint."  # which it is, named in two ways
    assert any(line.measure == "fgsm" for line in both.lines)
    for form in ("table", "md", "csv", "json"):
        assert render(both, form)
    assert not [key for key in resolve_entry(str(grey), paths).settings if key.startswith("train.")]


def test_the_stage_does_not_take_an_import_for_a_trained_run(tiny_params: Params, grey: Path) -> None:
    data = load_dataset(Paths(tiny_params.study).prepared)
    with pytest.raises(UserError, match="it was imported"):
        check_same_data(read_metadata(grey), data, "ads", "best")


def test_other_images_are_refused(tiny_params: Params, state: dict[str, Tensor]) -> None:
    prepare(tiny_params, Paths(tiny_params.study))
    colour = import_checkpoint(saved(state), image_size=SIDE).path
    with pytest.raises(UserError, match=r"\(3, 6, 6\).*mnist5k"):
        attack_file(tiny_params, colour, Paths(tiny_params.study))


def test_the_command_imports_a_checkpoint_and_refuses_a_missing_file_in_one_line(state: dict[str, Tensor]) -> None:
    result = CliRunner().invoke(app, ["import", str(saved(state)), "--image-size", str(SIDE)])
    assert result.exit_code == 0, result.output
    assert "dss, 2 layers of 8" in result.output and "models/imported/theirs/best.safetensors" in result.output
    result = CliRunner().invoke(app, ["import", "absent.pt"])
    assert result.exit_code == 1
    assert result.stderr.startswith("error: absent.pt") and len(result.stderr.strip().splitlines()) == 1
