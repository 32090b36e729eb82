"""Takes the terminal back after a stop (SIGSTOP, Ctrl-Z), and ends the app when its terminal is gone.

Textual 8.2 starts to use the terminal again at every SIGCONT, even after a stop that it did not notice. Then a second
thread reads the keys, and nothing ends the first thread. When the terminal is closed later, these threads read its end
again and again, keep the process alive and use a whole core.
"""

from __future__ import annotations

import asyncio
import os
import signal
import termios
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from textual.app import App
from textual.timer import Timer

LOOK_EVERY = 1.0  # seconds between two checks of the terminal
GONE = 3.0  # seconds; after its terminal has gone, the app must end within this time
SETTLED = 0.2  # seconds without another SIGCONT


def terminal_is_gone(descriptor: int) -> bool:
    """Whether a terminal has been closed."""
    try:
        termios.tcgetattr(descriptor)
    except (termios.error, OSError):
        return True
    return False


def watch_terminal(descriptor: int, gone: Callable[[], None]) -> threading.Thread:
    """Call `gone` in a separate thread when the terminal has been closed; end the process if that does not help.

    SIGHUP is not enough: it may have been ignored when the app was started, and the app's own loop may be waiting for
    the terminal.
    """

    def watch() -> None:
        while not terminal_is_gone(descriptor):
            time.sleep(LOOK_EVERY)
        gone()
        time.sleep(GONE)
        os._exit(128 + signal.SIGHUP)

    thread = threading.Thread(target=watch, name="watching the terminal", daemon=True)
    thread.start()
    return thread


class OutlivesStops(App[None]):
    """An app that ends cleanly at a signal, and takes the terminal back once after every stop."""

    back_timer: Timer | None = None

    def heed_signals(self) -> None:
        """Handle SIGTERM, SIGHUP and SIGCONT (SIGCONT in place of Textual); to be called when the app runs."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, partial(self.end_by_signal, 128 + number))
        loop.add_signal_handler(signal.SIGCONT, self.continued)

    def end_by_signal(self, code: int) -> None:
        """End like `q`; if the terminal is gone, end after GONE seconds, because Textual would wait for it for ever."""
        last_resort = threading.Timer(GONE, os._exit, [code])
        last_resort.daemon = True
        last_resort.start()
        self.exit(None, code)

    def end_without_terminal(self) -> None:
        """End as at SIGHUP; called in another thread."""
        with suppress(RuntimeError):  # the loop has ended already
            self.call_later(self.end_by_signal, 128 + signal.SIGHUP)

    def continued(self) -> None:
        """Take the terminal back a moment after the last of several SIGCONTs."""
        if self.back_timer is not None:
            self.back_timer.stop()
        self.back_timer = self.set_timer(SETTLED, self.take_terminal_back)

    def take_terminal_back(self) -> None:
        """Release the terminal, unless this was done before the stop, and begin to use it again."""
        self.back_timer = None
        driver = self._driver
        if driver is None or self._exit:
            return
        if not getattr(driver, "_must_signal_resume", False):  # set where Textual itself has prepared the stop
            driver.suspend_application_mode()
        driver.resume_application_mode()
        self.refresh(layout=True)
