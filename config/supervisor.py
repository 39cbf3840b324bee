"""Keeps a handful of processes running in one terminal, shows what they say, and ends them.

Knows neither Django nor what the processes do. Everything here happens on the main thread, because
children end with the thread that started them; only `Screen.say` may be called from others.
"""

import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from types import FrameType
from typing import IO

from config import processes
from config.embedded import Service
from config.places import Trouble

# make passes SIGTERM on to a process that has had it already, and a terminal's Ctrl-C reaches the
# whole group: a repetition within this time is not a second wish.
REPEATED_SECONDS = 5.0
FIRST_DELAY, LONGEST_DELAY, STEADY_SECONDS = 0.5, 10.0, 30.0
SERVICE_PATIENCE = 3.0
_LONGEST_LINE = 64 * 1024
_COLOURS = {"web": "36", "worker": "33", "ticker": "34", "courier": "31", "beat": "35", "up": "32"}


class Interrupted(BaseException):
    """Somebody asked to stop while things were still being prepared."""


class StopRequest:
    """Whether somebody asked us to stop, and whether they have lost patience since."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.asked_at: float | None = None
        self.hurried = False
        self.interrupts = False
        self._clock = clock

    def listen(self) -> None:
        """Take Ctrl-C, SIGTERM and a closed terminal as the wish to stop, from now on."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self.receive)

    def receive(self, number: int = 0, frame: FrameType | None = None) -> None:
        """Note the wish. While `interrupts`, the first one breaks off what is being done.

        Raises:
            Interrupted: let it pass up to where the servers are stopped.
        """
        del number, frame
        now = self._clock()
        if self.asked_at is None:
            self.asked_at = now
            if self.interrupts:
                raise Interrupted
        elif now - self.asked_at >= REPEATED_SECONDS:
            self.hurried = True


@dataclass(frozen=True)
class Program:
    """A process to keep running. It has `patience` seconds from SIGTERM until it is killed.

    Neighbours of one `group` are asked to end at the same time.
    """

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    patience: float
    group: str = ""


class Screen:
    """Writes lines with the name of who said them in front, in colour on a terminal only."""

    def __init__(self, out: IO[str], names: Sequence[str]) -> None:
        self._out = out
        self._width = max(map(len, names))
        self._coloured = out.isatty() and "NO_COLOR" not in os.environ
        self._lock = threading.Lock()
        self.closed = False

    def say(self, name: str, line: str) -> None:
        """Write one line. Once nobody reads them any more, lines are dropped."""
        head = f"{name:<{self._width}} |"
        if self._coloured:
            head = f"\x1b[{_COLOURS.get(name, '37')}m{head}\x1b[0m"
        with self._lock:
            try:
                self._out.write(f"{head} {line}\n")
                self._out.flush()
            except (OSError, ValueError):
                self.closed = True


class Child:
    """One process of a program, and when to start the next one."""

    def __init__(self, program: Program, cwd: Path, screen: Screen) -> None:
        self.program = program
        self.process: subprocess.Popen[bytes] | None = None
        self._cwd = cwd
        self._screen = screen
        self._rest = b""

    def launch(self) -> None:
        """Start it."""
        self.process = processes.spawn(
            self.program.command,
            env=self.program.env,
            cwd=self._cwd,
            output=subprocess.PIPE,
            # Tried: a worker asked politely here waits for ever for the servers that ended too.
            orphaned=signal.SIGKILL,
        )
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)

    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self.process is not None and self.process.poll() is None

    def ask(self) -> None:
        """Ask its main process to end; a pool's children die of the signal and lose their work."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)

    def dead(self) -> bool:
        """Whether its main process has ended."""
        return self.process is not None and self.process.poll() is not None

    def show(self) -> None:
        """Write the lines that it has said since."""
        if self.process is None or self.process.stdout is None:
            return
        try:
            # No more than this in a row: one that never pauses must not silence the others.
            for _ in range(16):
                chunk = os.read(self.process.stdout.fileno(), 65536)
                *lines, self._rest = (self._rest + chunk).split(b"\n")
                for line in lines:
                    self._say(line)
                if len(self._rest) > _LONGEST_LINE:
                    self._flush()
                if not chunk:
                    self.process.stdout.close()
                    self.process.stdout = None
                    return
        except BlockingIOError:
            return

    def kill(self) -> None:
        """End what is left of it and of everything it started, and show its last words."""
        if self.process is None:
            return
        processes.kill_group(self.process)
        self.process.wait()
        self.show()
        self._flush()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.process = None

    def _flush(self) -> None:
        if self._rest:
            self._say(self._rest)
        self._rest = b""

    def _say(self, line: bytes) -> None:
        self._screen.say(self.program.name, line.decode(errors="replace").rstrip("\r"))


def _group(child: Child) -> str:
    return child.program.group or child.program.name


def _all_ended(children: Sequence[Child]) -> bool:
    return not any(child.running() for child in children)


class Watch:
    """When something that keeps dying is started again: soon at first, then less and less often."""

    def __init__(self, name: str, launch: Callable[[], None], dead: Callable[[], bool]) -> None:
        self.name = name
        self.launch = launch
        self.dead = dead
        self.started = 0.0
        self._delay = FIRST_DELAY
        self._due: float | None = None

    def start(self, now: float) -> None:
        """Start it. `now` is monotonic, as everywhere here."""
        self._due = None
        self.started = now
        self.launch()

    def look(self, now: float) -> float | None:
        """Return in how many seconds it will be started again, if it was just found dead."""
        if self._due is not None or not self.dead():
            return None
        if now - self.started > STEADY_SECONDS:
            self._delay = FIRST_DELAY
        delay, self._delay = self._delay, min(self._delay * 2, LONGEST_DELAY)
        self._due = now + delay
        return delay

    def due(self, now: float) -> bool:
        """Whether it is dead and its time to be started again has come."""
        return self._due is not None and now >= self._due

    def postpone(self, now: float) -> None:
        """Try again later: starting it has failed."""
        self._due = now + self._delay
        self._delay = min(self._delay * 2, LONGEST_DELAY)


class Supervisor:
    """Runs programs beside services that run already, until somebody asks to stop.

    `programs` stand in the order of their start; `stop` ends them in the reverse order and then the
    services in the reverse order of theirs.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        services: Sequence[Service],
        *,
        screen: Screen,
        request: StopRequest,
        cwd: Path,
    ) -> None:
        self._children = [Child(program, cwd, screen) for program in programs]
        self._services = services
        self._screen = screen
        self._request = request
        self._watches = [Watch(s.name, s.launch, s.dead) for s in services] + [
            Watch(c.program.name, self._relaunch(c), c.dead) for c in self._children
        ]

    def run(self) -> None:
        """Start the programs and keep them and the services running until somebody asks to stop."""
        now = time.monotonic()
        for watch in self._watches:
            if watch.name in {child.program.name for child in self._children}:
                watch.start(now)
            else:
                watch.started = now
        while self._request.asked_at is None and not self._screen.closed:
            self._pump(0.2)
            for watch in self._watches:
                self._mend(watch, time.monotonic())

    def stop(self) -> None:
        """End everything in order, at once when somebody loses patience. Leaves no process."""
        for _, group in groupby(reversed(self._children), key=_group):
            together = list(group)
            alive = [child for child in together if child.running()]
            for child in alive:
                child.ask()
            if alive:
                patience = max(child.program.patience for child in alive)
                self._wait(partial(_all_ended, alive), patience)
            for child in together:
                child.kill()
        for service in reversed(self._services):
            service.ask()
            self._wait(service.ended, SERVICE_PATIENCE)
            service.kill()

    def _wait(self, done: Callable[[], bool], patience: float) -> None:
        deadline = time.monotonic() + patience
        while not done() and not self._request.hurried and time.monotonic() < deadline:
            self._pump(0.05)

    def _mend(self, watch: Watch, now: float) -> None:
        """Start again what has died, when its time has come."""
        if (delay := watch.look(now)) is not None:
            self._screen.say("up", f"{watch.name} has ended; it starts again in {delay:g} s")
        if not watch.due(now):
            return
        try:
            watch.start(now)
        except (Trouble, OSError) as problem:
            watch.postpone(now)
            self._screen.say("up", f"{watch.name} cannot be started: {problem}")

    def _pump(self, seconds: float) -> None:
        """Show what the children say, for as long as `seconds` unless one speaks sooner."""
        with selectors.DefaultSelector() as selector:
            for child in self._children:
                if child.process is not None and child.process.stdout is not None:
                    if child.dead():
                        child.show()
                    else:
                        selector.register(child.process.stdout, selectors.EVENT_READ, child)
            if not selector.get_map():
                time.sleep(seconds)
            for key, _ in selector.select(seconds):
                key.data.show()

    def _relaunch(self, child: Child) -> Callable[[], None]:
        def relaunch() -> None:
            child.kill()
            child.launch()

        return relaunch
