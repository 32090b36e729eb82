from __future__ import annotations

import json
import random
import resource
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch

import ssmlab
from ssmlab.artifacts.checkpoint import load, save
from ssmlab.artifacts.metadata import FORMAT, KEY, Metadata, count_parameters, read_metadata
from ssmlab.core.errors import UserError
from ssmlab.core.tensors import sealable_metadata, sealed
from ssmlab.nets.build import build
from ssmlab.nets.classifier import Classifier
from ssmlab.params import Params
from tests.analysis.synthetic import data_summary, write_data
from tests.artifacts.trained_metadata import trained_metadata

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
    return trained_metadata(tiny_params.run("ads"))


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


def rewrite(path: Path, header: dict, tensors: bytes | None = None) -> None:
    """Write another header, with a correct digest if there is one, as an attacker could."""
    metadata = json.loads(header["__metadata__"][KEY]) if header["__metadata__"][KEY].startswith('{"') else {}
    if "digest" in metadata:
        header["__metadata__"][KEY] = sealable_metadata(metadata)
    text = json.dumps(header).encode()
    content = struct.pack("<Q", len(text)) + text + (parts(path)[1] if tensors is None else tensors)
    path.write_bytes(sealed(content) if "digest" in metadata else content)


def change_metadata(path: Path, **changes: object) -> None:
    header, _ = parts(path)
    header["__metadata__"][KEY] = json.dumps(json.loads(header["__metadata__"][KEY]) | changes)
    rewrite(path, header)


def one_line(caught: pytest.ExceptionInfo[UserError], path: Path) -> bool:
    return "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_a_saved_model_is_loaded_bit_by_bit(path: Path, model: Classifier, metadata: Metadata) -> None:
    loaded, found = load(path)
    assert found.model_copy(update={"constants": ()}) == metadata
    assert not loaded.training
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    x = torch.rand(3, *SHAPE)
    assert torch.equal(loaded(x), model.eval()(x))


def test_load_gives_the_saved_weights_and_not_new_ones(path: Path, model: Classifier, metadata: Metadata) -> None:
    """Not the initialisation from the seed, which `load` builds first."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.25
    save(path, model, metadata)
    loaded, _ = load(str(path))
    for before, after in zip(model.parameters(), loaded.parameters(), strict=True):
        assert torch.equal(before, after)


def test_ssmlab_load_is_the_function_load() -> None:
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


def test_metadata_is_read_without_torch(path: Path) -> None:
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


def test_tensors_that_are_not_trained_do_not_count_as_parameters(tmp_path: Path, metadata: Metadata) -> None:
    model = build(metadata.model, SHAPE, CLASSES, 0)
    before = sum(p.numel() for p in model.parameters())
    model.head.register_buffer("grid", torch.zeros(5))
    model.head.bias.requires_grad_(False)
    save(tmp_path / "odd", model, metadata)
    assert count_parameters(tmp_path / "odd") == before - CLASSES
    assert {"head.bias", "head.grid"} < set(read_metadata(tmp_path / "odd").constants)


def test_saving_over_a_checkpoint_leaves_no_other_file(path: Path, model: Classifier, metadata: Metadata) -> None:
    save(path, model, metadata.model_copy(update={"epoch": 3}))
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert read_metadata(path).epoch == 3


def test_a_missing_file_is_named_in_one_line(tmp_path: Path) -> None:
    for function in (read_metadata, count_parameters, load):
        with pytest.raises(UserError, match="no such checkpoint") as caught:
            function(tmp_path / "absent.safetensors")
        assert one_line(caught, tmp_path / "absent.safetensors")


@pytest.mark.parametrize("name", ["smoke/ads", "models/smoke/ads/best"])
def test_a_run_or_a_file_without_its_suffix_is_answered_with_the_file(
    name: str, model: Classifier, metadata: Metadata, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("models/smoke/ads").mkdir(parents=True)
    save(Path("models/smoke/ads/best.safetensors"), model, metadata)
    with pytest.raises(UserError, match=rf"^{name}: no .* \(did you mean 'models/smoke/ads/best.safetensors'\?\)$"):
        load(name)
    with pytest.raises(UserError, match="train the run with `ssmlab repro RUN`"):
        load("smoke/other")


@pytest.mark.parametrize("keep", [0, 5, 8, 200, 0.5, -1])
def test_a_truncated_file_is_refused_in_one_line(path: Path, keep: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if keep == 0.5 else int(keep)])
    for function in (read_metadata, count_parameters, load):
        with pytest.raises(UserError, match="not a complete checkpoint") as caught:
            function(path)
        assert one_line(caught, path)


def test_a_folder_is_refused_as_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"name a file in it, such as .*best\.safetensors") as caught:
        read_metadata(tmp_path)
    assert one_line(caught, tmp_path)


def test_a_prepared_data_set_is_called_one_and_no_newer_checkpoint(tmp_path: Path) -> None:
    write_data(tmp_path / "data.safetensors", data_summary())
    with pytest.raises(UserError, match="a prepared data set, not a checkpoint"):
        read_metadata(tmp_path / "data.safetensors")


def test_a_pointer_of_git_lfs_names_the_command_that_fetches_the_file(tmp_path: Path) -> None:
    (tmp_path / "lfs").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n")
    with pytest.raises(UserError, match="git lfs pull"):
        read_metadata(tmp_path / "lfs")


def test_a_file_of_another_program_is_refused(tmp_path: Path) -> None:
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
def test_metadata_of_another_version_or_kind_is_refused(path: Path, changes: dict, says: str) -> None:
    change_metadata(path, **changes)
    with pytest.raises(UserError, match=says) as caught:
        load(path)
    assert one_line(caught, path)


def test_metadata_that_is_not_json_is_refused(path: Path) -> None:
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
        path.write_bytes(sealed(safetensors.torch.save(wrong, metadata.header())))
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


def test_every_flipped_bit_of_a_checkpoint_is_found(path: Path) -> None:
    good, draw = path.read_bytes(), random.Random(0)
    header_bits = 8 * (8 + struct.unpack("<Q", good[:8])[0])
    for bit in [draw.randrange(8 * len(good)) for _ in range(200)] + [draw.randrange(header_bits) for _ in range(200)]:
        damaged = bytearray(good)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        for function in (read_metadata, load):
            with pytest.raises(UserError) as caught:
                function(path)
            assert one_line(caught, path)


def test_a_checkpoint_of_format_1_which_has_no_digest_is_still_loaded(path: Path, model: Classifier) -> None:
    header, _ = parts(path)
    metadata = json.loads(header["__metadata__"][KEY])
    del metadata["digest"]
    header["__metadata__"][KEY] = json.dumps(metadata | {"format": 1})
    rewrite(path, header)
    loaded, found = load(path)
    assert found.format == 1
    assert torch.equal(loaded.head.weight, model.head.weight)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite_is_refused_by_name(
    path: Path, model: Classifier, metadata: Metadata, value: float
) -> None:
    with torch.no_grad():
        model.head.weight[0, 0] = value
    save(path, model, metadata)
    with pytest.raises(UserError, match=r"tensor head\.weight contains NaN or infinity") as caught:
        load(path)
    assert one_line(caught, path)


SIZES = [-(2**70), -1, 0, 20_000, 10**8, 10**9, 2**63, 2**70]


def peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("key", ["layers", "d_model", "d_state", "patch", "classes", "channels", "height", "epoch"])
def test_a_wrong_size_in_the_metadata_is_refused_before_it_costs_memory(path: Path, key: str, size: int) -> None:
    """Within 2 s of CPU and 500 MB, in one line: the sizes of the tensors show what is possible."""
    header, _ = parts(path)
    metadata = json.loads(header["__metadata__"][KEY])
    if key in ("channels", "height"):
        change = {"image_shape": [size, 28, 28] if key == "channels" else [1, size, 28]}
    elif key in metadata:
        change = {key: size}
    else:
        change = {"model": metadata["model"] | {key: size}}
    change_metadata(path, **change)
    began, before = time.process_time(), peak_memory()
    try:
        load(path)
        assert key == "epoch" and 0 <= size < 2**63  # an epoch costs nothing
    except UserError as error:
        assert "\n" not in str(error) and str(path) in str(error)
    assert time.process_time() - began < 2
    assert peak_memory() - before < 500 * 2**20


@pytest.mark.parametrize("name", ["../../../..", "/etc/passwd", "", ".hidden", "a/b", "A B", "x" * 300, "caf\u00e9"])
@pytest.mark.parametrize("key", ["study", "run"])
def test_a_name_in_the_metadata_cannot_be_a_path(path: Path, key: str, name: str) -> None:
    change_metadata(path, **{key: name})
    with pytest.raises(UserError, match=f"{key}: must be a name") as caught:
        read_metadata(path)
    assert one_line(caught, path)


def test_a_trained_checkpoint_cannot_claim_to_be_imported(path: Path) -> None:
    change_metadata(path, study="imported")
    with pytest.raises(UserError, match="the study imported is for imported checkpoints"):
        read_metadata(path)


def test_metadata_nested_too_deep_is_one_line(path: Path) -> None:
    header, _ = parts(path)
    header["__metadata__"][KEY] = "[" * 2000 + "]" * 2000
    rewrite(path, header)
    with pytest.raises(UserError, match="nested too deep") as caught:
        load(path)
    assert one_line(caught, path)
