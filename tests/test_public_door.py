"""`import ssmlab`: the public names are there, say what they are, and cost nothing until they are used."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import ssmlab

PUBLIC = [name for name in ssmlab.__all__ if name != "__version__"]
README = Path(__file__).resolve().parents[1] / "README.md"


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
