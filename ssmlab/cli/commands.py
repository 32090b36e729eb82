"""All commands of `ssmlab`: where their code is, their examples, and their order in the help."""

from __future__ import annotations

from ssmlab.cli.lazy import CommandEntry

RUN = "Run a study"
LOOK = "Look at runs and results"
MODELS = "Data and models"
CHECK = "Find and repair problems"
STAGES = "Stages (what `dvc repro` calls)"

COMMANDS: dict[str, CommandEntry] = {
    "use": CommandEntry(
        "use:use",
        "Examples: `ssmlab use` (list the studies), `ssmlab use smoke --dry-run`, `ssmlab use --format json`, "
        "`ssmlab use cifar10-small --set data.source=../cifar-10-python.tar.gz`",
        panel=RUN,
    ),
    "repro": CommandEntry(
        "repro:repro",
        "Examples: `ssmlab repro` (everything), `ssmlab repro ads attention` (all seeds of two "
        "models), `ssmlab repro ads-s0` (one run), `ssmlab repro report` (one stage and what it needs)",
        panel=RUN,
    ),
    "grid": CommandEntry(
        "grid:grid",
        "Examples: `ssmlab grid` (every run that is out of date), `ssmlab grid ads ssm --jobs 2`, "
        "`ssmlab grid --cluster slurm --jobs 8 --gpus-per-run 1`, `ssmlab grid --dry-run`",
        panel=RUN,
    ),
    "run-stages": CommandEntry("run_stages:run_stages", hidden=True),  # called by the jobs of a grid
    "stop": CommandEntry(
        "repro:stop", "Example: `ssmlab stop ads-s0`; `ssmlab repro ads-s0 --force` continues from there", panel=RUN
    ),
    "new": CommandEntry(
        "project:new", "Examples: `ssmlab new my-project`, `ssmlab new my-project --study smoke`", panel=RUN
    ),
    "schema": CommandEntry("project:schema", "Example: `ssmlab schema > params.schema.json`", panel=RUN),
    "tui": CommandEntry("tui:tui", "Examples: `ssmlab tui`, `ssmlab tui ~/projects/mnist`", panel=LOOK),
    "runs": CommandEntry(
        "runs:runs",
        "Examples: `ssmlab runs`, `ssmlab runs --json`, `ssmlab runs --format csv > runs.csv`, "
        "`ssmlab runs --json --watch`",
        panel=LOOK,
    ),
    "status": CommandEntry("runs:runs", hidden=True),  # the name that git and DVC use for it
    "compare": CommandEntry(
        "compare:compare",
        "Examples: `ssmlab compare ads attention`, `ssmlab compare ssm ads --format md`, "
        "`ssmlab compare models/mnist5k/ads-s0/best.safetensors other-study/ads`",
        panel=LOOK,
    ),
    "alerts": CommandEntry("runs:alerts", "Examples: `ssmlab alerts`, `ssmlab alerts --json`", panel=LOOK),
    "samples": CommandEntry(
        "samples:samples",
        "Examples: `ssmlab samples ads-s0`, `ssmlab samples ads-s0 --attack pgd-10 --to flipped.npz`",
        panel=LOOK,
    ),
    "transfer": CommandEntry(
        "transfer:transfer",
        "Examples: `ssmlab transfer`, `ssmlab transfer ads ssm-s0 --attack fgsm --images 500`, "
        "`ssmlab transfer --format csv > transfer.csv`",
        panel=LOOK,
    ),
    "track": CommandEntry(
        "track:track",
        "Examples: `ssmlab track --to tensorboard --folder tracking` (then `tensorboard --logdir tracking`), "
        "`ssmlab track ads --to wandb --folder tracking --follow`",
        panel=LOOK,
    ),
    "data": CommandEntry("data:app", panel=MODELS),
    "export": CommandEntry(
        "export:export",
        "Examples: `ssmlab export ads-s0 ads.onnx`, `ssmlab export best.safetensors model.onnx`, "
        "`ssmlab export ads-s0 --to exported/ads --license apache-2.0`",
        panel=MODELS,
    ),
    "import": CommandEntry(
        "published:import_",
        "Examples: `ssmlab import mega.pt`, `ssmlab import s4_ads.pt --ads relu --image-size 32 --to "
        "models/imported/s4-ads`",
        panel=MODELS,
    ),
    "parity": CommandEntry("published:parity", "Example: `ssmlab parity ../shared/parity`", panel=MODELS),
    "doctor": CommandEntry(
        "doctor:doctor", "Examples: `ssmlab doctor`, `ssmlab doctor --fix`, `ssmlab doctor --json`", panel=CHECK
    ),
    "verify": CommandEntry("verify:verify", "Examples: `ssmlab verify`, `ssmlab verify --json`", panel=CHECK),
    "prepare": CommandEntry("stages:prepare", "Example: `ssmlab prepare`", STAGES),
    "train": CommandEntry(
        "stages:train",
        "Examples: `ssmlab train ads-s0 --device cpu`, `torchrun --nproc-per-node 2 -m ssmlab train ads-s0` "
        "(on two GPUs)",
        STAGES,
    ),
    "attack": CommandEntry(
        "stages:attack",
        "Examples: `ssmlab attack ads-s0`, `ssmlab attack models/imported/NAME/best.safetensors`, "
        "`ssmlab attack best.safetensors --eps 8/255 --attacks pgd-50,autoattack --images 500`",
        STAGES,
    ),
    "probe": CommandEntry("stages:probe", "Example: `ssmlab probe ads-s0`", STAGES),
    "analyze": CommandEntry("stages:analyze", "Example: `ssmlab analyze`, then `ssmlab report`", STAGES),
    "report": CommandEntry("stages:report", "Example: `ssmlab report`", STAGES),
}
