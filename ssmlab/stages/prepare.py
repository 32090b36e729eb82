"""The stage `prepare`: from the source's images to the prepared data set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ssmlab.artifacts.stage_run import start_stage
from ssmlab.core.errors import UserError
from ssmlab.core.events import Listener, Note, silence
from ssmlab.ingest.open_source import open_source
from ssmlab.ingest.provenance import describe_use
from ssmlab.ingest.splits import split_rows
from ssmlab.ingest.workdir import workdir_beside
from ssmlab.ingest.writer import write_dataset
from ssmlab.params import Params
from ssmlab.params.paths import Paths


def prepare(
    params: Params,
    paths: Paths,
    on_event: Listener = silence,
    reread: Callable[[], Params] | None = None,
) -> None:
    """Split the data set of `params.data` and write it to `paths.prepared`.

    Besides `data`, only the study's name is read. `reread` returns the present params.yaml.

    After an interruption, there is either the old file or the complete new one. After a kill, the next `prepare`
    removes the temporary files.

    Raises:
        UserError: the source is missing or damaged, the splits do not fit it, the file cannot be written, or params or
            code have changed meanwhile.
    """
    wanted = params.data
    started = start_stage("prepare", prepare_params, params, [], [paths.prepared], root=paths.root, reread=reread)
    with workdir_beside(paths.prepared) as workdir, open_source(wanted, workdir, on_event) as source:
        rows = split_rows(
            {name: part.labels for name, part in source.parts.items()},
            train=wanted.train,
            validation=wanted.validation,
            test=wanted.test,
            seed=wanted.seed,
        )
        source = describe_use(source, rows)
        noise = (wanted.label_noise or 0.0, wanted.label_noise_seed or 0)
        description = write_dataset(paths.prepared, source, rows, wanted.seed, workdir, noise=noise, listen=on_event)
    if changed := started.changed():
        raise UserError(
            f"{changed} since `ssmlab prepare` started, and {paths.prepared} was made without "
            f"the change; run `ssmlab prepare` again"
        )
    if description.name != wanted.name:
        noisy = " with label noise" if description.label_noise else ""
        what = f"these images are {description.provenance}{noisy}, so results name the data set {description.name}"
        on_event(Note(f"data.name is {wanted.name}; {what}"))
    counts = ", ".join(f"{len(part)} {name}" for name, part in rows.items())
    on_event(
        Note(f"{paths.prepared}: {description.provenance}, {counts} images, fingerprint {description.fingerprint[:12]}")
    )


def prepare_params(params: Params) -> dict[str, Any]:
    """The part of params.yaml that the stage reads."""
    return {"study": params.study, "data": params.data.plain()}
