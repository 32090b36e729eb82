"""The machine: processor, memory, disk, GPUs, and the share of each run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual import work
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.widget import Widget
from textual.widgets import Static

from ssmlab.tui import labels
from ssmlab.tui.machine import Gpu, Machine, MachineWatcher
from ssmlab.tui.screens.base import BACK, LabScreen

POLL = 2.0  # seconds
BEGIN = 0.5  # seconds until the first figures: the use of a processor can only be measured between two looks
BAR = 20  # cells
ROOM_FOR_BARS = 60  # cells of a terminal; a narrower one shows the figures without bars


class SystemScreen(LabScreen):
    """The use of the machine, measured only while the screen is open."""

    heading = "system"
    BINDINGS: ClassVar[list[BindingType]] = [*BACK]

    def body(self) -> Iterable[Widget]:
        with VerticalScroll(id="machine"):
            yield Static("measuring ...", id="figures")

    def on_mount(self) -> None:
        self.query_one("#machine").focus()
        self.measure()

    @work(exclusive=True)
    async def measure(self) -> None:
        """Measure repeatedly in one separate thread: psutil measures from its last answer to the same thread."""
        loop, thread = asyncio.get_running_loop(), ThreadPoolExecutor(1, "machine")
        try:
            watcher, begun = await self.unless_closed(loop.run_in_executor(thread, MachineWatcher)), False
            while True:
                look = self.look
                paths = look.paths if look is not None else None
                running = [view.name for view in look.runs if view.running] if look is not None else []
                looked = loop.run_in_executor(thread, watcher.look, self.lab.root, paths, running)
                machine = await self.unless_closed(looked)
                if begun:
                    bar = BAR if self.app.size.width >= ROOM_FOR_BARS else 0
                    self.query_one("#figures", Static).update(machine_table(machine, bar))
                await asyncio.sleep(POLL if begun else BEGIN)
                begun = True
        finally:
            thread.shutdown(wait=False)


def machine_table(machine: Machine, bar: int = BAR) -> Table:
    """The measurement as a table, one line per figure, with bars of `bar` cells."""
    table, size = Table.grid(padding=(0, 2)), labels.byte_size
    table.add_row(
        "processor",
        usage_bar(machine.cpu / 100, bar),
        f"{machine.cpu:.0f}% of {machine.cores} cores, load {machine.load:.1f}",
    )
    memory = machine.memory_used / machine.memory_total
    table.add_row(
        "memory",
        usage_bar(memory, bar),
        f"{size(machine.memory_used)} of {size(machine.memory_total)}",
    )
    disk = 1 - machine.disk_free / machine.disk_total
    table.add_row("disk", usage_bar(disk, bar), f"{size(machine.disk_free)} free of {size(machine.disk_total)}")
    if not machine.gpus:
        table.add_row("GPU", "", "n/a")
    for number, gpu in enumerate(machine.gpus or ()):
        table.add_row(f"GPU {number}", usage_bar((gpu.use or 0) / 100, bar), gpu_text(gpu))
    table.add_row("", "", "")
    if not machine.processes:
        table.add_row("runs", "", "no process of a run is running on this machine")
    for process in machine.processes:
        used = f"{process.cpu:.0f}% of a core, {labels.byte_size(process.memory)}, {process.threads} threads"
        table.add_row(
            process.run, usage_bar(process.cpu / (100 * machine.cores), bar), f"process {process.pid}, {used}"
        )
    return table


def gpu_text(gpu: Gpu) -> str:
    """`NVIDIA H100: 93%, 40.1 GB of 80.0 GB, 61 °C`."""
    use = "n/a" if gpu.use is None else f"{gpu.use}%"
    degrees = "n/a" if gpu.temperature is None else f"{gpu.temperature} °C"
    return f"{gpu.name}: {use}, {labels.byte_size(gpu.memory_used)} of {labels.byte_size(gpu.memory_total)}, {degrees}"


def usage_bar(part: float, cells: int) -> Text:
    """A bar with this number of cells for a number from 0 to 1."""
    full = round(min(max(part, 0.0), 1.0) * cells)
    return Text("█" * full).append("░" * (cells - full), "dim")
