"""`ssmlab export RUN MODEL.onnx`: onnxruntime gives the checkpoint's logits for any batch, from every mixer."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from typer.testing import CliRunner

from ssmlab.artifacts.checkpoint import load, save
from ssmlab.cli.app import app
from ssmlab.core.errors import UserError
from ssmlab.data.dataset import Split, make_dataset, save_dataset
from ssmlab.nets import Classifier, build
from ssmlab.nets.longconv import by_toeplitz
from ssmlab.params import ModelParams, Params
from ssmlab.stages.onnx_export import export
from ssmlab.stages.onnx_export.export import export_onnx
from ssmlab.stages.onnx_export.onnx_file import OnnxAgreement, compare_with_onnx, onnx_bytes
from ssmlab.stages.onnx_export.traceable import GroupedConvolution, traceable
from tests.artifacts.trained_metadata import trained_metadata
from tests.nets.tiny_models import CHANGES, tiny_model

SHAPE, CLASSES = (1, 28, 28), 3
AS_ONNX = ("s4, gelu and glu", "s4, both ways", "s4 and attention", "s5", "mamba", "mega")  # S4D, DSS: S4's graph
ORDERS = ("published", "column", "snake", "permuted")


def with_order(order: str) -> Classifier:
    params: dict[str, object] = {
        "mixer": "s4", "enhancement": "none", "tokens": order, "patch": 1 if order == "published" else 2, "d_model": 4,
        "d_state": 4, "layers": 1, "pointwise": "gelu", "output": "linear", "dropout": 0.5,
    }  # fmt: skip
    return build(ModelParams.model_validate(params), (3, 4, 6), 5, seed=0).eval()


@pytest.mark.parametrize("name", [*CHANGES, *ORDERS])
def test_the_traceable_form_is_the_same_function_without_complex_numbers(name: str) -> None:
    model = with_order(name) if name in ORDERS else tiny_model(name, (3, 4, 6), layers=2).eval()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    twin = traceable(model)
    for batch in (1, 5):
        x = torch.rand(batch, 3, 4, 6)
        torch.testing.assert_close(twin(x), model(x), rtol=1e-5, atol=1e-6)
    assert not any(tensor.is_complex() for tensor in twin.buffers())
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 17), st.integers(1, 17), st.booleans())
def test_a_grouped_convolution_is_the_toeplitz_product_for_every_chunk(length: int, chunk: int, both: bool) -> None:
    draw = torch.Generator().manual_seed(length * 31 + chunk)
    lags = 2 * length - 1 if both else length
    taps, u = (torch.randn(*size, generator=draw, dtype=torch.float64) for size in ((3, lags), (3, 2, length)))
    torch.testing.assert_close(GroupedConvolution(taps, length, chunk)(u), by_toeplitz(u, taps))


@pytest.mark.slow
@pytest.mark.parametrize("name", AS_ONNX)
def test_every_kind_of_graph_as_onnx_gives_its_logits_for_any_batch(name: str) -> None:
    pytest.importorskip("onnxruntime", reason="needs ssmlab[onnx]")
    side = 9 if name == "s4, both ways" else 3  # 81 tokens go in chunks
    model = tiny_model(name, (1, side, side), layers=1).eval()
    agreement = compare_with_onnx(model, onnx_bytes(model, {}, name), torch.rand(40, 1, side, side))
    assert agreement.is_close and agreement.difference < 1e-5 and agreement.same == agreement.n == 40


def split(n: int, seed: int) -> Split:
    draw = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, *SHAPE), generator=draw, dtype=torch.uint8)
    return Split(images, torch.arange(n) % CLASSES, torch.arange(n))


class Eigenvalues(nn.Module):
    """A layer that ONNX has no operation for."""

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        return h * torch.linalg.eigvalsh(h.transpose(1, 2) @ h).sum()


class Branch(nn.Module):
    """A layer that branches on the batch size, which a graph cannot express."""

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        return 2 * h if len(h) < 7 else 3 * h


@pytest.mark.slow
def test_a_layer_that_onnx_cannot_say_is_one_line_and_so_is_one_that_depends_on_the_batch() -> None:
    pytest.importorskip("onnxruntime", reason="needs ssmlab[onnx]")
    model = tiny_model("s4", (1, 3, 3), layers=1).eval()
    model.layers[0] = Eigenvalues()
    with pytest.raises(UserError, match=r"^a\.safetensors: torch .* cannot write it as ONNX .*linalg_eigh") as caught:
        onnx_bytes(model, {}, "a.safetensors")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 500
    model.layers[0] = Branch()
    with pytest.raises(UserError, match=r"^b\.safetensors: cannot be one ONNX file for every batch"):
        onnx_bytes(model, {}, "b.safetensors")


@pytest.fixture
def folder(tmp_path: Path, project: Path, tiny_params: Params, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The smoke study with a checkpoint of the run `ads` and its prepared data, whose classes have names."""
    parts = {name: split(12, seed) for seed, name in enumerate(("train", "validation", "test"))}
    data = make_dataset("mine", CLASSES, parts, class_names=("egg", "flour", "milk"))
    (tmp_path / "data").mkdir()
    save_dataset(tmp_path / "data" / "smoke.safetensors", data)
    settings = tiny_params.run("ads")
    metadata = trained_metadata(settings, classes=CLASSES, data_name="mine", data_fingerprint=data.fingerprint)
    (tmp_path / "models" / "smoke" / "ads").mkdir(parents=True)
    file = tmp_path / "models" / "smoke" / "ads" / "best.safetensors"
    save(file, build(settings.model, SHAPE, CLASSES, 0), metadata)
    shutil.copy(project / "studies" / "smoke.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_a_run_becomes_a_file_that_says_where_it_comes_from_and_agrees_with_the_checkpoint(folder: Path) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="needs ssmlab[onnx]")
    result = CliRunner().invoke(app, ["export", "ads", "out/ads.onnx"])
    assert result.exit_code == 0, result.output
    assert "compared in onnxruntime on 12 test images of mine" in result.stdout and "12 of 12" in result.stdout
    content = (folder / "out" / "ads.onnx").read_bytes()
    assert str(Path(export.__file__).parents[2]).encode() not in content  # torch notes where its code was called
    session = runtime.InferenceSession(content)
    assert [(each.name, each.shape) for each in session.get_inputs()] == [("images", ["batch", *SHAPE])]
    assert [(each.name, each.shape) for each in session.get_outputs()] == [("logits", ["batch", CLASSES])]
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["class_names"]) == ["egg", "flour", "milk"]
    assert (about["study"], about["run"], about["checkpoint"]) == ("smoke", "ads", "best")
    model, metadata = load("models/smoke/ads/best.safetensors")
    assert ModelParams.model_validate_json(about["model"]) == metadata.model
    x = torch.rand(3, *SHAPE)
    torch.testing.assert_close(torch.from_numpy(session.run(None, {"images": x.numpy()})[0]), model(x).detach())

    other = build(metadata.model, SHAPE, CLASSES, seed=1).eval()
    assert not compare_with_onnx(other, content, x).is_close


@pytest.mark.slow
def test_a_file_elsewhere_is_compared_on_noise_and_gives_equal_bytes(folder: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs ssmlab[onnx]")
    file = shutil.copy("models/smoke/ads/best.safetensors", "best.safetensors")
    (folder / "data" / "smoke.safetensors").unlink()
    found = [export_onnx(Path(file), Path(name)) for name in ("a.onnx", "b.onnx")]
    assert found[0].images == "100 images of noise" and found[0].agreement.n == 100
    assert Path("a.onnx").read_bytes() == Path("b.onnx").read_bytes()


def test_logits_that_are_not_the_models_are_never_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "onnx_bytes", lambda *_: b"")
    monkeypatch.setattr(
        export, "compare_with_onnx", lambda *_: OnnxAgreement(12, difference=2e-3, largest=10.0, same=12)
    )
    with pytest.raises(UserError, match=r"best\.safetensors: no ONNX file is written, .* differ by 2\.0e-03"):
        export_onnx(Path("models/smoke/ads/best.safetensors"), Path("ads.onnx"))
    assert not Path("ads.onnx").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("ads",), "ssmlab export RUN model.onnx"),
        (("ads", "ads.onnx", "--to", "hub"), "ssmlab export RUN --to FOLDER"),
        (("ads", "ads.pt"), "ads.pt: the name of an ONNX file must end in .onnx"),
        (("adz", "ads.onnx"), "no run 'adz'"),
        (("ads", "ads.onnx", "--checkpoint", "last"), "models/smoke/ads/last.safetensors: no such checkpoint"),
        (("ads", "ads.onnx", "--license", "mit"), "--license mit: it is for the model card"),
        (("ads", "ads.onnx", "--onnx"), "--onnx: it is for the folder of --to FOLDER"),
        (("best.safetensors", "a.onnx", "--checkpoint", "last"), "best.safetensors is one checkpoint already"),
        (("nowhere.safetensors", "a.onnx"), "nowhere.safetensors: no such checkpoint"),
        (("best.safetensors", "--to", "hub"), "--to hub: name a run of the study, not best"),
    ],
)
def test_a_model_that_cannot_be_exported_is_refused_in_one_line(
    folder: Path, arguments: tuple[str, ...], says: str
) -> None:
    result = CliRunner().invoke(app, ["export", *arguments])
    assert result.exit_code == 1 and result.stderr.count("\n") == 1
    assert says in result.stderr and result.stdout == ""


def test_a_missing_package_is_named_with_the_command_that_installs_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match=r"onnx is not installed; run `pip install 'ssmlab\[onnx\]'`"):
        export_onnx(Path("models/smoke/ads/best.safetensors"), Path("ads.onnx"))
