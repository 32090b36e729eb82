"""`import ssmlab`: the public names are there, say what they are, and cost nothing until they are used."""

from __future__ import annotations

import dataclasses
import inspect
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest
import torch

import ssmlab
from ssmlab.analysis.compare.compare import Comparison
from ssmlab.evaluation.results import Evaluation, Measure

PUBLIC = [name for name in ssmlab.__all__ if name != "__version__"]
README = Path(__file__).resolve().parents[1] / "README.md"
REFERENCE = README.parent / "docs" / "reference.md"


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_listed_and_has_a_docstring_and_types(name: str) -> None:
    assert name in dir(ssmlab)
    value = getattr(ssmlab, name)
    assert value is getattr(ssmlab, name)
    assert inspect.getdoc(value)
    if inspect.isfunction(value):
        parameters = inspect.signature(value).parameters.values()
        assert all(parameter.annotation is not inspect.Parameter.empty for parameter in parameters)
        assert "Raises:" in (value.__doc__ or "") or "Returns:" in (value.__doc__ or "")


def test_the_names_of_the_package_are_only_the_public_ones() -> None:
    assert [name for name in dir(ssmlab) if not name.startswith("__")] == sorted(PUBLIC)
    assert {name for name in PUBLIC if not re.search(rf"\b{name}\b", ssmlab.__doc__ or "")} == set()


def documented_functions() -> Iterator[tuple[str, Callable[..., object]]]:
    """What the page "Python API" shows, functions and public methods, by name."""
    for line in REFERENCE.read_text().splitlines():
        if line.startswith("::: "):
            module, _, name = line.removeprefix("::: ").rpartition(".")
            value = getattr(import_module(module), name)
            members = vars(value).items() if inspect.isclass(value) else ((name, value),)
            for member, function in members:
                if inspect.isfunction(function) and not member.startswith("_") and inspect.getdoc(function):
                    yield f"{name}.{member}" if inspect.isclass(value) else name, function


FUNCTIONS = dict(documented_functions())
RECORDS = (ssmlab.Attack, Evaluation, Measure, Comparison)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_documented_function_says_what_its_parameters_are(name: str) -> None:
    text = inspect.getdoc(FUNCTIONS[name]) or ""
    parameters = set(inspect.signature(FUNCTIONS[name]).parameters) - {"self", "cls"}
    assert parameters - set(re.findall(r"^    (\w+): ", text, re.M)) == set()


@pytest.mark.parametrize("name", [name for name in PUBLIC if inspect.isfunction(getattr(ssmlab, name))])
def test_a_public_function_names_its_errors_and_the_shapes_of_its_tensors(name: str) -> None:
    function = getattr(ssmlab, name)
    text = inspect.getdoc(function) or ""
    assert "Returns:\n" in text
    assert "Raises:\n    UserError: " in text
    if any(word in str(inspect.signature(function)) for word in ("Tensor", "Classifier", "Dataset")):
        assert re.search(r"\([BNn], ", text), "no shape"


@pytest.mark.parametrize("record", RECORDS, ids=[record.__name__ for record in RECORDS])
def test_a_documented_record_says_what_its_fields_are(record: type) -> None:
    fields = getattr(record, "model_fields", None) or [field.name for field in dataclasses.fields(record)]
    text = "\n".join(inspect.getdoc(base) or "" for base in record.__mro__ if base.__module__.startswith("ssmlab"))
    assert [field for field in fields if not re.search(rf"\b{field}\b", text)] == []


def test_the_lazy_names_are_the_public_names_that_are_not_loaded_at_once() -> None:
    assert set(ssmlab.LAZY) == set(PUBLIC) - {"UserError"}


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = ssmlab.lode


def test_importing_the_package_loads_no_torch() -> None:
    program = "import ssmlab, sys; dir(ssmlab); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], text=True, capture_output=True, check=True)
    assert done.stdout.strip() == "False"


def test_pgd_takes_floats_and_needs_nothing_else() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
    x, y = torch.rand(5, 1, 4, 4), torch.randint(3, (5,))
    attack = ssmlab.Attack(eps=8 / 255, alpha=2 / 255, steps=10)
    x_adv = ssmlab.pgd(model, x, y, attack)
    assert x_adv.shape == x.shape
    assert float((x_adv - x).abs().max()) <= 8 / 255 + 1e-6
    assert torch.nn.functional.cross_entropy(model(x_adv), y) > torch.nn.functional.cross_entropy(model(x), y)


def test_the_readme_imports_nothing_but_the_package() -> None:
    imports = [line for line in README.read_text().splitlines() if line.startswith(("from ssmlab", "import ssmlab"))]
    assert imports
    assert set(imports) == {"import ssmlab"}
