"""Measures the use of the machine: processor, memory, disk, GPUs, and the processes of the runs. Needs no Textual."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from ssmlab.artifacts.heartbeat import PROBE_PROGRESS, read_heartbeat
from ssmlab.params.paths import Paths
from ssmlab.project.status import latest_beat


@dataclass(frozen=True)
class Gpu:
    """One GPU: use in percent, memory in bytes, temperature in degrees Celsius; None if it is not reported."""

    name: str
    use: int | None
    memory_used: int | None
    memory_total: int | None
    temperature: int | None


@dataclass(frozen=True)
class RunProcess:
    """The process of a run. cpu: percent of one core. memory: bytes."""

    run: str
    pid: int
    cpu: float
    memory: int
    threads: int


@dataclass(frozen=True)
class Machine:
    """One measurement; sizes in bytes. gpus is None if there is no working driver."""

    cpu: float
    cores: int
    load: float
    memory_used: int
    memory_total: int
    disk_free: int
    disk_total: int
    gpus: tuple[Gpu, ...] | None
    processes: tuple[RunProcess, ...]


class MachineWatcher:
    """Measures the machine. It keeps psutil's process objects, which measure since the last call, and GPU handles."""

    def __init__(self) -> None:
        self.processes: dict[int, psutil.Process] = {}
        self.gpu_names: list[tuple[object, str]] | None = opened_gpus()

    def look(self, root: Path, paths: Paths | None, runs: Sequence[str]) -> Machine:
        """Measure now. `runs`: the runs that may have a process."""
        memory, disk = psutil.virtual_memory(), psutil.disk_usage(str(root))
        return Machine(
            psutil.cpu_percent(),
            psutil.cpu_count() or 1,
            psutil.getloadavg()[0],
            memory.total - memory.available,
            memory.total,
            disk.free,
            disk.total,
            None if self.gpu_names is None else tuple(gpu_now(handle, name) for handle, name in self.gpu_names),
            tuple(self.run_processes(paths, runs)) if paths is not None else (),
        )

    def run_processes(self, paths: Paths, runs: Sequence[str]) -> Iterator[RunProcess]:
        """The processes named by the heartbeats that are alive on this machine."""
        for run in runs:
            main, probe = (read_heartbeat(paths.live(run) / name) for name in ("progress.json", PROBE_PROGRESS))
            beat = latest_beat(main, probe)
            if beat is None:
                continue
            try:
                process = self.processes.setdefault(beat.pid, psutil.Process(beat.pid))
                with process.oneshot():
                    memory = process.memory_info().rss
                    yield RunProcess(run, beat.pid, process.cpu_percent(), memory, process.num_threads())
            except psutil.Error:
                self.processes.pop(beat.pid, None)


def opened_gpus() -> list[tuple[object, str]] | None:
    """Handles and names of the NVIDIA GPUs; None if the package or the driver is missing."""
    try:
        import pynvml

        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        return [(handle, str(pynvml.nvmlDeviceGetName(handle))) for handle in handles]
    except ImportError:
        return None
    except pynvml.NVMLError:
        return None


def gpu_now(handle: object, name: str) -> Gpu:
    """The use of one GPU; None for values that it does not report."""
    import pynvml

    try:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        use = pynvml.nvmlDeviceGetUtilizationRates(handle).gpu
        degrees = pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU)
    except pynvml.NVMLError:
        return Gpu(name, None, None, None, None)
    return Gpu(name, int(use), int(memory.used), int(memory.total), int(degrees))
