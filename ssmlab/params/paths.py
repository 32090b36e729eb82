"""The paths of all files of a study, relative to the project's folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ssmlab.params import Which


@dataclass(frozen=True)
class Paths:
    """The files of one study.

    Outputs of stages (owned by DVC) are in data/, models/ and results/. runs/ has the live state of work in progress,
    which DVC does not know.
    """

    study: str
    root: Path = Path()

    @property
    def prepared(self) -> Path:
        """The prepared data set."""
        return self.root / "data" / f"{self.study}.safetensors"

    @property
    def models(self) -> Path:
        """The published folders of all runs."""
        return self.root / "models" / self.study

    def model(self, run: str) -> Path:
        """The published folder of a run: best.safetensors, last.safetensors, history.csv."""
        return self.models / run

    def checkpoint(self, run: str, which: Which) -> Path:
        """One of a run's two checkpoints."""
        return self.model(run) / f"{which}.safetensors"

    def live(self, run: str) -> Path:
        """The live folder of a run: history.csv, progress.json, log.txt, checkpoints of the current training."""
        return self.root / "runs" / self.study / run

    @property
    def attacks(self) -> Path:
        """The folder of all attack results."""
        return self.results / "attack"

    def attack(self, run: str) -> Path:
        """The attack results of a run."""
        return self.attacks / f"{run}.json"

    @property
    def probes(self) -> Path:
        """The folder of all probe results."""
        return self.results / "probe"

    def probe(self, run: str) -> Path:
        """The probe results of a run."""
        return self.probes / f"{run}.json"

    @property
    def transfer(self) -> Path:
        """The results of transfer: how every run classifies the adversarial images of the other runs."""
        return self.results / "transfer.json"

    @property
    def analysis(self) -> Path:
        """The analysis of the study."""
        return self.results / "analysis" / "summary.json"

    @property
    def metrics(self) -> Path:
        """The accuracies of every run, as DVC shows and compares them."""
        return self.results / "metrics.json"

    @property
    def plots(self) -> Path:
        """CSV files for DVC's plots: learning/, accuracy-eps/ and accuracy-steps/."""
        return self.results / "plots"

    @property
    def results(self) -> Path:
        """The folder of everything that is measured: attack/, probe/, analysis/, report.md, report.html, figures/."""
        return self.root / "results" / self.study

    @property
    def report_md(self) -> Path:
        """The report for a terminal or a git hosting site."""
        return self.results / "report.md"

    @property
    def report_html(self) -> Path:
        """The report as one self-contained page."""
        return self.results / "report.html"

    @property
    def study_as_measured(self) -> Path:
        """The study that the report is about, as a file that can be used as params.yaml."""
        return self.results / "study.yaml"

    @property
    def tables(self) -> Path:
        """The report's tables as CSV and LaTeX."""
        return self.results / "tables"

    @property
    def figures(self) -> Path:
        """The report's pictures."""
        return self.results / "figures"
