"""Loads flipped test images: from their file, or by `ssmlab samples` in another process, which needs torch.

This module needs no Textual and never imports torch.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path

from ssmlab.core.errors import UserError
from ssmlab.params import Params, Which
from ssmlab.params.paths import Paths
from ssmlab.project import dvc_command
from ssmlab.stages.samples.sample_file import FlippedSamples, load_samples

COUNT = 24  # images


@dataclass(frozen=True)
class SampleRequest:
    """Which flipped images to show."""

    run: str
    attack: str
    which: Which = "best"

    def path(self, paths: Paths) -> Path:
        """Their file in the live folder of the run, which DVC does not track."""
        return paths.live(self.run) / f"samples-{self.which}-{self.attack}.npz"


def kept_samples(request: SampleRequest, params: Params, paths: Paths) -> FlippedSamples | None:
    """The images that were computed earlier, if the checkpoint and the attack are still the same."""
    path = request.path(paths)
    try:
        if path.stat().st_mtime_ns < paths.checkpoint(request.run, request.which).stat().st_mtime_ns:
            return None
        samples = load_samples(path)
    except (OSError, UserError):
        return None
    header, settings = samples.header, params.attack
    spec = settings.attacks.get(request.attack)
    same = spec is not None and header.attack_params == spec.plain()
    asked = (settings.norm, float(settings.eps), settings.seed)
    return samples if same and (header.norm, header.eps, header.seed) == asked else None


async def compute_samples(request: SampleRequest, paths: Paths) -> FlippedSamples:
    """Compute the images in another process, which ends if this is cancelled.

    Raises:
        UserError: there is no checkpoint, or `ssmlab samples` reports another error.
    """
    path = request.path(paths).resolve()
    last = ["--last"] if request.which == "last" else []
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ssmlab", "samples", request.run, "--attack", request.attack),
        *("--count", str(COUNT), "--to", str(path), *last),
        cwd=paths.root,
        env=dvc_command.environment(paths.root),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode != 0:
        lines = [line for line in errors.decode(errors="replace").splitlines() if line.strip()]
        raise UserError(lines[-1].removeprefix("error: ") if lines else "`ssmlab samples` ended without a message")
    return await asyncio.to_thread(load_samples, path)
