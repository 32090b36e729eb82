"""Where a path in `data.source` lies on this machine.

params.yaml is shared, and the folder with the data sets is not in the same place on every machine. So a relative path
may lie in the project, or in the folder that the environment variable SSMLAB_DATA names.
"""

from __future__ import annotations

import os
from pathlib import Path

from ssmlab.core.errors import UserError
from ssmlab.core.files import expand_home

VARIABLE = "SSMLAB_DATA"


def local_source(named: str) -> Path:
    """The archive or folder that the path `named` means; the project's own has precedence. It may not exist.

    Raises:
        UserError: a home folder in it does not exist, or a relative path is neither in the project nor in SSMLAB_DATA.
    """
    path, folder = expand_home(named), os.environ.get(VARIABLE)
    if path.is_absolute() or path.exists() or not folder:
        return path
    elsewhere = expand_home(folder) / path
    if not elsewhere.exists():
        raise UserError(
            f"{path}: there is no such folder or file here, and no {elsewhere} ({VARIABLE} is {folder}); "
            "data.source takes the path of an archive or a folder"
        )
    return elsewhere
