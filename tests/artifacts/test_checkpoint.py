from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

import ssmlab
from ssmlab.artifacts.checkpoint import load, save
from ssmlab.artifacts.metadata import FORMAT, KEY, Metadata, count_parameters, read_metadata
from ssmlab.core.errors import UserError
from ssmlab.nets.build import build
from ssmlab.nets.classifier import Classifier
from ssmlab.params import Params

SHAPE, CLASSES = (1, 28, 28), 10

SAVE_IN_A_PROCESS_OF_ITS_OWN = """
import sys
from pathlib import Path
from ssmlab.artifacts.checkpoint import save
from ssmlab.artifacts.metadata import Metadata
from ssmlab.nets.build import build
metadata = Metadata.model_validate_json(sys.argv[2])
save(Path(sys.argv[1]), build(metadata.model, metadata.image_shape, metadata.classes, 0), metadata)
"""


@pytest.fixture
def metadata(tiny_params: Params) -> Metadata:
    settings = tiny_params.run("ads")
    return Metadata(
        study="smoke",
        run="ads",
        which="best",
        epoch=2,
        model=settings.model,
        train=settings.train,
        image_shape=SHAPE,
        classes=CLASSES,
        val_clean=0.91,
        val_robust=2 / 3,
        selection_split="validation",
        data_name="mnist5k",
        data_fingerprint="0" * 64,
        params_fingerprint=settings.fingerprint(),
        code_version="0.0.0",
    )


@pytest.fixture
def model(metadata: Metadata) -> Classifier:
    return build(metadata.model, SHAPE, CLASSES, 0)


@pytest.fixture
def path(tmp_path: Path, model: Classifier, metadata: Metadata) -> Path:
    path = tmp_path / "best.safetensors"
    save(path, model, metadata)
    return path


def parts(path: Path) -> tuple[dict, bytes]:
    """Header and tensors of a safetensors file, by the format's own description: length, JSON, bytes."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def rewrite(path: Path, header: dict) -> None:
    _, tensors = parts(path)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + tensors)


def one_line(caught: pytest.ExceptionInfo[UserError], path: Path) -> bool:
    return "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_round_trip(path: Path, model: Classifier, metadata: Metadata) -> None:
    loaded, about = load(path)
    assert about.model_copy(update={"constants": ()}) == metadata
    assert not loaded.training
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    x = torch.rand(3, *SHAPE)
    assert torch.equal(loaded(x), model.eval()(x))


def test_it_is_the_state_that_is_loaded(path: Path, model: Classifier, metadata: Metadata) -> None:
    """Not the initialisation from the seed, which `load` builds first."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.25
    save(path, model, metadata)
    loaded, _ = load(str(path))
    for before, after in zip(model.parameters(), loaded.parameters(), strict=True):
        assert torch.equal(before, after)


def test_load_is_the_public_function() -> None:
    assert ssmlab.load is load


def test_equal_state_gives_equal_bytes(tmp_path: Path, path: Path, metadata: Metadata) -> None:
    for name in ("one", "two"):
        arguments = [str(tmp_path / name), metadata.model_dump_json(exclude_none=True)]
        subprocess.run([sys.executable, "-c", SAVE_IN_A_PROCESS_OF_ITS_OWN, *arguments], check=True)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes() == path.read_bytes()


def test_there_is_one_metadata_key_and_no_time(path: Path) -> None:
    header, _ = parts(path)
    assert list(header["__metadata__"]) == [KEY]
    assert list(json.loads(header["__metadata__"][KEY])) == sorted(json.loads(header["__metadata__"][KEY]))


def test_metadata_comes_without_torch(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from ssmlab.artifacts.metadata import count_parameters, read_metadata;"
        "print(read_metadata(Path(sys.argv[1])).run, count_parameters(Path(sys.argv[1])), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["ads", str(count_parameters(path)), "False"]


def test_read_metadata_agrees_with_load(path: Path) -> None:
    assert read_metadata(path) == load(path)[1]


def test_parameters_are_counted_from_the_header(path: Path, model: Classifier) -> None:
    assert count_parameters(path) == sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_constants_are_no_parameters(tmp_path: Path, metadata: Metadata) -> None:
    model = nn.Linear(3, 2)
    model.register_buffer("grid", torch.zeros(5))
    model.bias.requires_grad_(False)
    save(tmp_path / "odd", model, metadata)
    assert count_parameters(tmp_path / "odd") == 6
    assert read_metadata(tmp_path / "odd").constants == ("bias", "grid")


def test_saving_over_a_checkpoint_leaves_no_other_file(path: Path, model: Classifier, metadata: Metadata) -> None:
    save(path, model, metadata.model_copy(update={"epoch": 3}))
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert read_metadata(path).epoch == 3


def test_missing_file(tmp_path: Path) -> None:
    for function in (read_metadata, count_parameters, load):
        with pytest.raises(UserError, match="no such checkpoint") as caught:
            function(tmp_path / "absent.safetensors")
        assert one_line(caught, tmp_path / "absent.safetensors")


@pytest.mark.parametrize("keep", [0, 5, 8, 200, 0.5, -1])
def test_truncated_file(path: Path, keep: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if keep == 0.5 else int(keep)])
    for function in (read_metadata, count_parameters, load):
        with pytest.raises(UserError, match="not a whole checkpoint") as caught:
            function(path)
        assert one_line(caught, path)


def test_a_folder_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        read_metadata(tmp_path)
    assert one_line(caught, tmp_path)


def test_foreign_file(tmp_path: Path) -> None:
    for metadata in (None, {"format": "pt"}):
        safetensors.torch.save_file({"w": torch.zeros(2)}, tmp_path / "other", metadata)
        with pytest.raises(UserError, match="not a checkpoint of ssmlab"):
            read_metadata(tmp_path / "other")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"format": FORMAT + 1}, "newer ssmlab"),
        ({"format": "one"}, "no format version"),
        ({"epoch": "two"}, "epoch"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_metadata_of_another_kind(path: Path, changes: dict, says: str) -> None:
    header, _ = parts(path)
    header["__metadata__"][KEY] = json.dumps(json.loads(header["__metadata__"][KEY]) | changes)
    rewrite(path, header)
    with pytest.raises(UserError, match=says) as caught:
        load(path)
    assert one_line(caught, path)


def test_metadata_that_is_no_json(path: Path) -> None:
    header, _ = parts(path)
    for text in ("{", "[]", "null"):
        header["__metadata__"][KEY] = text
        rewrite(path, header)
        with pytest.raises(UserError, match="cannot be read"):
            read_metadata(path)


def test_tensors_must_be_those_of_the_model(path: Path, model: Classifier, metadata: Metadata) -> None:
    state = dict(model.state_dict())
    name = next(iter(state))
    rest = {key: tensor for key, tensor in state.items() if key != name}
    for wrong, says in (
        (rest, "is missing"),
        (state | {"extra": torch.zeros(1)}, "extra is not part of the model"),
        (rest | {name: torch.zeros(7, 7, 7)}, r"\(7, 7, 7\)"),
        (rest | {name: state[name].double()}, "torch.float64"),
    ):
        path.write_bytes(safetensors.torch.save(wrong, metadata.header()))
        with pytest.raises(UserError, match=says) as caught:
            load(path)
        assert one_line(caught, path)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_models_are_saved_from_the_cpu(path: Path, model: Classifier, metadata: Metadata) -> None:
    content = path.read_bytes()
    save(path, model.to("cuda"), metadata)
    assert path.read_bytes() == content
    loaded, _ = load(path, "cuda")
    assert all(parameter.is_cuda for parameter in loaded.parameters())
