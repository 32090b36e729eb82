"""Files that describe a published model: a model card of the Hugging Face Hub, and RobustBench's fields.

Hub: huggingface.co/docs/hub/model-cards (README.md with YAML on top). RobustBench: the JSON files in its model_info/.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

from ruamel.yaml import YAML

from ssmlab.analysis.format import attack_label, model_label, number, regime_label
from ssmlab.analysis.origin import Origin
from ssmlab.analysis.protocol import by_strength
from ssmlab.artifacts.metadata import Metadata
from ssmlab.core.text import percent
from ssmlab.evaluation.results import AttackResults, CheckpointResults, Measure
from ssmlab.params import NORM_NAMES, AutoAttackParams, TrainParams
from ssmlab.report.markup import markdown_text
from ssmlab.report.reproduction import commit_text
from ssmlab.report.table import Column, TextTable, to_markdown

WEIGHTS = "model.safetensors"
ONNX = "model.onnx"
USE = f"""import ssmlab

model, metadata = ssmlab.load("{WEIGHTS}")  # from images (B, C, H, W) in [0, 1] to logits
"""
ONNX_USE = (
    f"`{ONNX}` is the same model without torch: `images` (batch, C, H, W) in [0, 1] to `logits`. The numbers below "
    f"are of `{WEIGHTS}`, and its logits agree with them up to rounding."
)


def model_card(
    metadata: Metadata, results: AttackResults, which: CheckpointResults, license: str | None, has_onnx: bool = False
) -> str:
    """README.md of an exported checkpoint.

    Args:
        metadata: the metadata of the checkpoint.
        results: the attack results of its run.
        which: the attack results of this checkpoint.
        license: a licence identifier of the Hub ("apache-2.0"); if it is None, the card says "none given".
        has_onnx: whether the folder also contains the model as an ONNX file.
    """
    name = f"{metadata.study}-{metadata.run}"
    parts = [
        f"---\n{front_matter(name, metadata, results, which, license)}---",
        f"# {name}",
        introduction(metadata, results),
        *warnings_text(results, which),
        "## Use",
        f"```python\n{USE}```",
        *([ONNX_USE] if has_onnx else []),
        "## Model",
        to_markdown(facts_table(metadata, results, license), markdown_text),
        "## Robustness",
        f"Accuracy in percent on the first n test images, with 95% Wilson intervals. {threat_model(results)}",
        to_markdown(accuracy_table(results, which), markdown_text),
        "Robust accuracy is an upper bound: a stronger attack can only lower it. These are numbers of one training "
        "with one seed; another seed may differ by a few points.",
        "## How it was evaluated",
        evaluation_text(metadata, results),
    ]
    return "\n\n".join(parts) + "\n"


def front_matter(
    name: str, metadata: Metadata, results: AttackResults, which: CheckpointResults, license: str | None
) -> str:
    """The YAML that the Hub reads."""
    metrics = [
        {"type": "accuracy", "name": f"accuracy, {attack}", "value": round(100 * found.accuracy, 2)}
        for attack, found in ordered_measures(results, which)
    ]
    task = {"type": "image-classification", "name": "image classification"}
    data = {"type": metadata.data_name, "name": metadata.data_name, "split": "test"}
    content: dict[str, Any] = {
        **({"license": license} if license else {}),
        "library_name": "ssmlab",
        "pipeline_tag": "image-classification",
        "tags": ["adversarial-robustness", "state-space-model", metadata.model.mixer],
        "metrics": ["accuracy"],
        "model-index": [{"name": name, "results": [{"task": task, "dataset": data, "metrics": metrics}]}],
    }
    text = io.StringIO()
    writer = YAML()
    writer.width = 100
    writer.dump(content, text)
    return text.getvalue()


def introduction(metadata: Metadata, results: AttackResults) -> str:
    """What the model is, in one paragraph."""
    trained = regime_label(metadata.train) if metadata.train else "unknown training"
    return markdown_text(
        f"{model_label(metadata.model)} with {number(results.parameters)} parameters, trained by {trained} on "
        f"{metadata.data_name}; the {metadata.which} checkpoint (epoch {metadata.epoch}), selected on the "
        f"{metadata.selection_split} split."
    )


def warnings_text(results: AttackResults, which: CheckpointResults) -> Iterator[str]:
    """The warnings for users: an unfinished training, and the warnings of the evaluation."""
    manifest = results.manifest
    if manifest and manifest.epochs_done < manifest.epochs_asked:
        yield f"> **Warning.** Unfinished training: {manifest.epochs_done} of {manifest.epochs_asked} epochs."
    for warning in which.warnings:
        yield f"> **Warning.** {markdown_text(warning)}"


def facts_table(metadata: Metadata, results: AttackResults, license: str | None) -> TextTable:
    """Architecture, data, training and versions."""
    channels, height, width = metadata.image_shape
    data = results.protocol.data
    origin = Origin.of(results.manifest.provenance if results.manifest else None)
    rows = [
        ("architecture", f"{model_label(metadata.model)}, {number(results.parameters)} parameters"),
        ("images", f"{channels} x {height} x {width}, pixels in [0, 1], {metadata.classes} classes"),
        ("data", f"{data.name}: {number(data.train)} training images, {number(data.validation)} validation images"),
        ("additional data", "none"),
        *(training_rows(metadata.train) if metadata.train else ()),
        ("licence of the weights", license or "none given"),
        ("licence of the data", "see the publisher of the data"),
        ("code", f"ssmlab {results.code_version}" + (f", commit {commit_text(origin)}" if origin else "")),
        ("SHA-256 of the weights", results.checkpoints[metadata.which].sha256),
    ]
    return TextTable((Column("what", left=True), Column("value", left=True)), tuple(rows))


def training_rows(train: TrainParams) -> Iterator[tuple[str, str]]:
    """How the model was trained."""
    yield "training", f"{regime_label(train)}, {train.epochs} epochs, seed {train.seed}"
    if train.adversarial:
        yield (
            "training adversary",
            f"{NORM_NAMES[train.adversary.norm]}, eps {train.adversary.eps}, {train.adversary.steps} steps",
        )


def threat_model(results: AttackResults) -> str:
    """`Threat model: L-inf, eps 8/255, pixels in [0, 1].`"""
    protocol = results.protocol
    return markdown_text(f"Threat model: {protocol.norm_name}, eps {protocol.eps.text}, pixels in [0, 1].")


def ordered_measures(results: AttackResults, which: CheckpointResults) -> list[tuple[str, Measure]]:
    """Clean accuracy, then the accuracies under the attacks from the weakest kind to the strongest."""
    names = ("clean", *by_strength(results.protocol.attacks))
    return [(name, which.measures[name]) for name in names if name in which.measures]


def accuracy_table(results: AttackResults, which: CheckpointResults) -> TextTable:
    """Clean accuracy and the accuracy under every attack."""
    rows = []
    for name, found in ordered_measures(results, which):
        spec = results.protocol.attacks.get(name)
        low, high = found.interval
        label = attack_label(name, spec) if spec else name
        rows.append((label, f"{100 * found.accuracy:.1f}", f"{100 * low:.1f} to {100 * high:.1f}", number(found.n)))
    columns = (Column("attack", left=True), *map(Column, ("accuracy", "95% interval", "n")))
    return TextTable(columns, tuple(rows))


def evaluation_text(metadata: Metadata, results: AttackResults) -> str:
    """The command of the evaluation, its device and its versions."""
    found = results.provenance
    versions = ", ".join(f"{name} {version}" for name, version in found.versions.items()) if found else "unknown"
    device = (found.device if found else None) or results.protocol.device
    return (
        f"```sh\nssmlab attack {metadata.run}\n```\n\n"
        f"Run in the project of study `{metadata.study}`, on {device}. Versions: {markdown_text(versions)}. "
        "attack.json beside this card has the result of every attack on every image."
    )


def robustbench_json(metadata: Metadata, results: AttackResults, which: CheckpointResults) -> str:
    """RobustBench's fields as far as they are known; the publisher of the model adds link, authors and venue.

    `autoattack_acc` is given only for the standard ensemble. Accuracies are percentages as text, as in RobustBench.
    """
    standard = [
        found
        for name, found in which.measures.items()
        if isinstance(spec := results.protocol.attacks.get(name), AutoAttackParams) and spec.standard
    ]
    clean = which.measures["clean"]
    value = {
        "name": f"{metadata.study}-{metadata.run}",
        "dataset": results.protocol.data.name,
        "threat_model": results.protocol.norm_name.replace("-", ""),
        "eps": results.protocol.eps.text,
        "architecture": model_label(metadata.model),
        "additional_data": False,
        "number_forward_passes": 1,
        "clean_acc": percent(clean.accuracy).rstrip("%"),
        "autoattack_acc": percent(standard[0].accuracy).rstrip("%") if standard else None,
        "footnote": f"clean on {clean.n} images"
        + (f", AutoAttack on {standard[0].n}" if standard else ", no standard AutoAttack"),
        "evaluation_command": f"ssmlab attack {metadata.run}",
    }
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"
