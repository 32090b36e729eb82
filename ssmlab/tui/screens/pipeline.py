"""The pipeline as a tree by run: which stages are up to date, changed (and why), running or failed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import Tree
from textual.widgets.tree import TreeNode

from ssmlab.core.errors import UserError
from ssmlab.tui import labels
from ssmlab.tui.look import Look
from ssmlab.tui.pipeline import PipelineState, ask_dvc, read_stages
from ssmlab.tui.screens.base import BACK, LabScreen
from ssmlab.tui.screens.launching import LAUNCH_KEYS, Launching

WHOLE = "the whole study"  # the branch for stages that belong to no run
StageState = tuple[str, str]  # a word, and the name of a theme variable


class PipelineScreen(Launching, LabScreen):
    """The stages. DVC is asked when the screen opens, after every launch, and on a key."""

    heading = "pipeline"
    BINDINGS: ClassVar[list[BindingType]] = [
        *BACK,
        *LAUNCH_KEYS,
        Binding("u", "ask", "ask DVC", tooltip="ask DVC again what is out of date", id="ask-dvc"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.state: PipelineState | None = None
        self.stages: tuple[str, ...] = ()
        self.shown: tuple[object, ...] = ()

    def body(self) -> Iterable[Widget]:
        tree: Tree[str] = Tree("pipeline", id="stages")
        tree.show_root = False
        yield tree

    def on_mount(self) -> None:
        self.query_one(Tree).focus()
        self.action_ask()

    def show_look(self, look: Look) -> None:
        """Draw running and failed stages from the heartbeats, the others from DVC's last answer."""
        states = tuple(view.status.state for view in look.runs)
        if look.ended is not None:
            self.action_ask()
        if (self.stages, self.state, states) != self.shown:
            self.shown = (self.stages, self.state, states)
            self.draw(look)

    @work(group="dvc", exclusive=True)
    async def action_ask(self) -> None:
        """Ask DVC which stages are out of date."""
        params = self.params_in_use()
        if params is None:
            return
        self.say("asking DVC what is out of date ...")
        try:
            self.stages = await self.unless_closed(read_stages(params, self.lab.root))
            if self.look is not None:
                self.show_look(self.look)  # DVC takes some seconds; stages can be chosen and launched meanwhile
            self.state = await self.unless_closed(ask_dvc(self.stages, self.lab.root))
        except UserError as error:
            self.say(str(error), "bad")
            return
        if self.state.problem is not None:
            self.say(self.state.problem, "bad")
        elif not self.state.changed:
            self.say("nothing to do: every stage is up to date", "good")
        else:
            self.say(f"{len(self.state.changed)} of {len(self.state.stages)} stages are out of date")
        if self.look is not None:
            self.show_look(self.look)

    def draw(self, look: Look) -> None:
        """Build the tree again; the cursor keeps its line."""
        tree: Tree[str] = self.query_one(Tree)
        line = tree.cursor_line
        tree.clear()
        if self.state is not None and self.state.problem is not None:
            tree.root.add_leaf(Text(self.state.problem), data="")
        whole = tree.root.add(WHOLE, data="", expand=True)
        branches: dict[str, TreeNode[str]] = {}
        for stage in self.stages:
            name, _, run = stage.partition("@")
            if run and run not in branches:
                branches[run] = tree.root.add(run, data=run, expand=True)
            self.add_stage(branches[run] if run else whole, stage, name, look)
        tree.root.expand()
        tree.call_after_refresh(tree.move_cursor_to_line, max(line, 0))

    def add_stage(self, branch: TreeNode[str], stage: str, name: str, look: Look) -> None:
        """One stage with its reasons below it."""
        word, variable = self.stage_state(stage, look)
        colour = self.app.theme_variables.get(variable, "")
        text = Text(f"{name:<9}").append(word, style=colour if colour.startswith("#") else "")
        why = self.state.changed.get(stage, ()) if self.state is not None else ()
        if not why:
            branch.add_leaf(text, data=stage)
            return
        node = branch.add(text, data=stage, expand=len(why) <= 4)
        for reason in why:
            node.add_leaf(Text(str(reason), style="dim"), data=stage)

    def stage_state(self, stage: str, look: Look) -> StageState:
        """The state of a stage, as text and as a colour."""
        name, _, run = stage.partition("@")
        view = look.run(run)
        if view is not None and view.status.stage == name and view.running:
            return f"▶ running  {view.status.task}", "text-primary"
        if view is not None and view.status.stage == name and view.status.state in ("failed", "killed", "stale"):
            return labels.state(view.status.state), "text-error"
        if self.state is None or self.state.problem is not None:
            return "? not known yet", "text-muted"
        if stage in self.state.changed:
            return f"≠ changed ({len(self.state.changed[stage])})", "text-warning"
        return "✔ up to date", "text-success"

    def chosen_names(self) -> list[str]:
        """The run or stage under the cursor."""
        node = self.query_one(Tree).cursor_node
        return [node.data] if node is not None and node.data else []
