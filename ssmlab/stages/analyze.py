"""Stage `analyze`: the attack results of all runs become analysis/summary.json, metrics.json and plots/."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ssmlab.analysis.metrics_and_plots import metrics, plot_files
from ssmlab.analysis.summarize import run_params, summarize
from ssmlab.analysis.summary import StudySettings, Summary
from ssmlab.analysis.training_record import TrainingRecord
from ssmlab.artifacts.history import parse_history, published_bytes
from ssmlab.artifacts.manifest import HISTORY
from ssmlab.artifacts.stage_run import file_input, start_stage
from ssmlab.core.blocked_paths import require_all
from ssmlab.core.collector import collector_paused
from ssmlab.core.errors import UserError
from ssmlab.core.events import Listener, Note, silence
from ssmlab.core.files import remove_other_files, write_atomic, write_changed
from ssmlab.core.json_text import readable_json
from ssmlab.data.header import SPLITS, DataSummary, read_data_summary
from ssmlab.evaluation.results import AttackResults, load_results
from ssmlab.params import DataParams, Params
from ssmlab.params.paths import Paths


@collector_paused()
def analyze(
    params: Params,
    paths: Paths,
    on_event: Listener = silence,
    reread: Callable[[], Params] | None = None,
) -> None:
    """Write the summary of a study from its attack results, training histories and prepared data set.

    It also writes metrics.json and plots/, which have the numbers in the form that DVC shows and compares.

    From params.yaml, it reads the study's name, the names of its runs and how to judge them. It also reads the sections
    `data`, `attack` and `probe`, because the report says how to reproduce the numbers. `reread` returns the present
    params.yaml.

    Raises:
        UserError: a run has no attack results, a claim asks for a measure that was not taken, the prepared data set
            is missing or is not the one that was attacked, or params, code or results have changed meanwhile.
        ProtocolMismatch: the runs were attacked under different protocols.
    """
    require_all(paths.prepared, *map(paths.attack, params.runs), remedy="run `ssmlab repro`")
    inputs = [file_input(paths.attack(run)) for run in params.runs if paths.attack(run).is_file()]
    outputs = (paths.analysis, paths.metrics, *(paths.plots / "learning" / f"{run}.csv" for run in params.runs))
    started = start_stage("analyze", analyze_params, params, inputs, outputs, root=paths.root, reread=reread)
    results = [read_results(run, paths) for run in params.runs]
    prepared = read_data_summary(paths.prepared)
    texts = read_histories(params, paths)
    summary = summarize(
        params.study,
        results,
        params.analyze,
        prepared,
        training_records(results, texts, paths),
        settings=settings_used(params, results[0], prepared),
        left_out=left_out(params, paths),
    )
    started.require_unchanged(paths.analysis, "ssmlab analyze")
    write_for_dvc(summary, {run: content.decode() for run, content in texts.items()}, paths)
    write_atomic(paths.analysis, readable_json(summary.plain()))
    for claim in summary.claims:
        on_event(Note(f"{claim.says}: {claim.sentence}"))
    on_event(Note(f"wrote {paths.analysis}"))


def write_for_dvc(summary: Summary, histories: Mapping[str, str], paths: Paths) -> None:
    """Write metrics.json and plots/, and remove from plots/ what earlier runs left there.

    The plots, three for each run, are not synced to the disk: DVC knows their hashes, and the next run of the stage
    writes every file that is not as it should be.
    """
    write_atomic(paths.metrics, readable_json(metrics(summary)))
    plots = plot_files(summary, histories)
    files = {paths.plots / name: content for name, content in plots.items()}
    write_changed(files, durable=False)
    remove_other_files(paths.plots, files)


def analyze_params(params: Params) -> dict[str, Any]:
    """The part of params.yaml that the stage reads. DVC hashes complete runs, so complete runs are compared."""
    runs = {name: run.plain() for name, run in params.runs.items()}
    sections = {name: getattr(params, name).plain() for name in ("data", "attack", "probe", "analyze")}
    return {"study": params.study, "runs": runs, **sections}


def settings_used(params: Params, results: AttackResults, prepared: DataSummary) -> StudySettings:
    """The settings behind the numbers, except those of the runs.

    Attack results record their own section. A prepared data set does not, so params.yaml is compared with the
    description in the data set.
    """
    return StudySettings(
        data=params.data.plain(),
        attack=results.provenance.params["attack"] if results.provenance else params.attack.plain(),
        probe=params.probe.plain(),
        analyze=params.analyze.plain(),
        is_prepared=is_made_with(params.data, prepared),
    )


def is_made_with(data: DataParams, prepared: DataSummary) -> bool:
    """Whether a prepared data set can be the one that these settings ask for, as far as its description says."""
    description, (channels, height, width) = prepared.description, prepared.image_shape
    counts = all(getattr(data, split) in ("all", getattr(prepared, split)) for split in SPLITS)
    images = data.channels in (None, channels) and (data.size is None or (height, width) == (data.size, data.size))
    made = description.label_noise
    noise = (made.fraction, made.seed) if made else None
    asked = (data.label_noise, data.label_noise_seed or 0) if data.label_noise else None
    labels = data.classes in (None, description.classes) and noise == asked
    return counts and images and labels and data.seed == description.seed


def left_out(params: Params, paths: Paths) -> list[str]:
    """Runs with attack results that are not, or no longer, in params.yaml."""
    return sorted({file.stem for file in paths.attacks.glob("*.json")} - set(params.runs))


def read_histories(params: Params, paths: Paths) -> dict[str, bytes]:
    """The content of history.csv of the runs that have one; raises UserError if one cannot be read."""
    folders = {run: paths.model(run) for run in params.runs}
    return {run: published_bytes(folder) for run, folder in folders.items() if (folder / HISTORY).is_file()}


def training_records(
    results: Sequence[AttackResults], histories: Mapping[str, bytes], paths: Paths
) -> dict[str, TrainingRecord]:
    """What the history of each run says, by run name; the rows, often hundreds of thousands, are not kept.

    Raises:
        UserError: a history is damaged, or another version of ssmlab wrote the attack results of a run.
    """
    found = {}
    for result in results:
        content = histories.get(result.run)
        if content is not None and (rows := parse_history(content, paths.model(result.run) / HISTORY)):
            found[result.run] = TrainingRecord.of(rows, run_params(result).train.passes)
    return found


def read_results(run: str, paths: Paths) -> AttackResults:
    """The attack results of a run; raises UserError if they are missing, damaged or of another run."""
    results = load_results(paths.attack(run))
    if (results.study, results.run) != (paths.study, run):
        raise UserError(
            f"{paths.attack(run)}: these are the results of {results.study}/{results.run}; run `ssmlab attack {run}`"
        )
    return results
