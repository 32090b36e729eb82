"""All commands of `ssmlab`: where their code is, their examples, and their order in the help."""

from __future__ import annotations

from ssmlab.cli.lazy import CommandEntry

STAGES = "Stages (what `dvc repro` calls)"

COMMANDS: dict[str, CommandEntry] = {
    "repro": CommandEntry(
        "repro:repro",
        "Examples: `ssmlab repro` (everything), `ssmlab repro ads attention` (two runs), `ssmlab repro report` "
        "(one stage and what it needs)",
    ),
    "stop": CommandEntry("repro:stop", "Example: `ssmlab stop ads`; `ssmlab repro ads --force` continues from there"),
    "grid": CommandEntry(
        "grid:grid",
        "Examples: `ssmlab grid` (every run that is out of date), `ssmlab grid ads ssm --jobs 2`, "
        "`ssmlab grid --cluster slurm --jobs 8 --gpus-per-run 1`, `ssmlab grid --dry-run`",
    ),
    "run-stages": CommandEntry("run_stages:run_stages", hidden=True),  # called by the jobs of a grid
    "use": CommandEntry(
        "use:use",
        "Examples: `ssmlab use` (list the studies), `ssmlab use smoke --dry-run`, `ssmlab use --format json`, "
        "`ssmlab use cifar10-small --set data.source=../cifar-10-python.tar.gz`",
    ),
    "new": CommandEntry("project:new", "Examples: `ssmlab new my-project`, `ssmlab new my-project --study smoke`"),
    "schema": CommandEntry("project:schema", "Example: `ssmlab schema > params.schema.json`"),
    "status": CommandEntry("runs:runs", hidden=True),  # the name that git and DVC use for it
    "runs": CommandEntry(
        "runs:runs",
        "Examples: `ssmlab runs`, `ssmlab runs --json`, `ssmlab runs --format csv > runs.csv`, "
        "`ssmlab runs --json --watch`",
    ),
    "alerts": CommandEntry("runs:alerts", "Examples: `ssmlab alerts`, `ssmlab alerts --json`"),
    "samples": CommandEntry(
        "samples:samples", "Examples: `ssmlab samples ads`, `ssmlab samples ads --attack pgd-10 --to flipped.npz`"
    ),
    "transfer": CommandEntry(
        "transfer:transfer",
        "Examples: `ssmlab transfer`, `ssmlab transfer ads ssm-s0 --attack fgsm --images 500`, "
        "`ssmlab transfer --format csv > transfer.csv`",
    ),
    "export": CommandEntry(
        "export:export",
        "Examples: `ssmlab export ads ads.onnx`, `ssmlab export best.safetensors model.onnx`, "
        "`ssmlab export ads --to exported/ads --license apache-2.0`",
    ),
    "track": CommandEntry(
        "track:track",
        "Examples: `ssmlab track --to tensorboard --folder tracking` (then `tensorboard --logdir tracking`), "
        "`ssmlab track ads --to wandb --folder tracking --follow`",
    ),
    "verify": CommandEntry("verify:verify", "Examples: `ssmlab verify`, `ssmlab verify --json`"),
    "doctor": CommandEntry("doctor:doctor", "Examples: `ssmlab doctor`, `ssmlab doctor --fix`, `ssmlab doctor --json`"),
    "compare": CommandEntry(
        "compare:compare",
        "Examples: `ssmlab compare ads attention`, `ssmlab compare ssm ads --format md`, "
        "`ssmlab compare models/mnist5k/ads/best.safetensors other-study/ads`",
    ),
    "import": CommandEntry(
        "published:import_",
        "Examples: `ssmlab import mega.pt`, `ssmlab import s4_ads.pt --ads relu --image-size 32 --to "
        "models/imported/s4-ads`",
    ),
    "parity": CommandEntry("published:parity", "Example: `ssmlab parity ../shared/parity`"),
    "prepare": CommandEntry("stages:prepare", "Example: `ssmlab prepare`", STAGES),
    "train": CommandEntry(
        "stages:train",
        "Examples: `ssmlab train ads --device cpu`, `torchrun --nproc-per-node 2 -m ssmlab train ads` (on two GPUs)",
        STAGES,
    ),
    "attack": CommandEntry(
        "stages:attack",
        "Examples: `ssmlab attack ads`, `ssmlab attack models/imported/NAME/best.safetensors`, "
        "`ssmlab attack best.safetensors --eps 8/255 --attacks pgd-50,autoattack --images 500`",
        STAGES,
    ),
    "probe": CommandEntry("stages:probe", "Example: `ssmlab probe ads`", STAGES),
    "analyze": CommandEntry("stages:analyze", "Example: `ssmlab analyze`, then `ssmlab report`", STAGES),
    "report": CommandEntry("stages:report", "Example: `ssmlab report`", STAGES),
    "tui": CommandEntry("tui:tui", "Examples: `ssmlab tui`, `ssmlab tui ~/projects/mnist`"),
    "data": CommandEntry("data:app"),
}
