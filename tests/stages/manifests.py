"""Manifests for runs whose files a test has made without a training."""

from __future__ import annotations

from pathlib import Path

from ssmlab.artifacts.manifest import PUBLISHED, Manifest, file_hashes, publish
from ssmlab.artifacts.provenance import provenance_of


def add_manifest(folder: Path, study: str, epochs: int = 2) -> None:
    """Write the manifest of the files in a run's folder; an empty history if there is none."""
    (folder / "history.csv").touch()
    contents = {name: (folder / name).read_bytes() for name in PUBLISHED}
    provenance = provenance_of("train", {}, {}, root=folder)
    manifest = Manifest(
        study=study,
        run=folder.name,
        files=file_hashes(contents),
        epochs_done=epochs,
        epochs_asked=epochs,
        ended="all epochs",
        provenance=provenance,
    )
    publish(folder, contents, manifest)
