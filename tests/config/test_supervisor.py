"""The supervisor with small programs of its own kind: real processes, which say what happens."""

import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from config import processes, supervisor
from config.supervisor import Program, Screen, StopRequest, Supervisor, Watch

pytestmark = [pytest.mark.processes, pytest.mark.xdist_group("processes")]

POLITE = """
import signal, sys, time
def leave(*_):
    print("leaves", flush=True)
    sys.exit()
signal.signal(signal.SIGTERM, leave)
print("works", flush=True)
time.sleep(60)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("works", flush=True)
time.sleep(60)
"""
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print("child", child.pid, flush=True)
time.sleep(60)
"""


class Server:
    """Stands for PostgreSQL or Redis: says on the screen when it is asked to end."""

    def __init__(self, name: str, screen: Screen) -> None:
        self.name = name
        self.launched = 0
        self.is_dead = False
        self._screen = screen

    def launch(self) -> None:
        self.launched += 1
        self.is_dead = False

    def ready(self) -> bool:
        return True

    def dead(self) -> bool:
        return self.is_dead

    def ask(self) -> None:
        self._screen.say(self.name, "leaves")

    def ended(self) -> bool:
        return True

    def kill(self) -> None:
        self.is_dead = False

    def last_words(self) -> str:
        return ""


class Stage:
    """A supervisor with what it writes, run on the test's own thread until a condition holds."""

    def __init__(self, *programs: Program, services: tuple[str, ...] = ()) -> None:
        self.out = io.StringIO()
        self.screen = Screen(self.out, ["postgres", "worker"])
        self.request = StopRequest()
        self.servers = [Server(name, self.screen) for name in services]
        self.supervisor = Supervisor(
            programs, self.servers, screen=self.screen, request=self.request, cwd=Path("/")
        )

    def run_until(self, condition: Callable[[], bool], seconds: float = 20) -> None:
        """Run; stop as soon as `condition` holds, at the latest after `seconds`."""

        def watch() -> None:
            deadline = time.monotonic() + seconds
            while not condition() and time.monotonic() < deadline:
                time.sleep(0.02)
            self.request.receive()

        thread = threading.Thread(target=watch)
        thread.start()
        self.supervisor.run()
        thread.join()
        assert condition()

    def lines(self) -> list[str]:
        return self.out.getvalue().splitlines()


def program(name: str, code: str, patience: float = 10) -> Program:
    return Program(name, (sys.executable, "-c", code), dict(os.environ), patience)


def alive(pid: int) -> bool:
    """Whether the process runs; one that nobody has reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_lines_carry_the_name_of_who_said_them() -> None:
    stage = Stage(
        program(
            "web", "print('one'); import time; print('two', end='', flush=True); time.sleep(60)"
        )
    )

    stage.run_until(lambda: "web      | one" in stage.lines())
    stage.supervisor.stop()

    assert "web      | two" in stage.lines()
    assert "\x1b" not in stage.out.getvalue()


def test_programs_end_in_the_reverse_order_and_the_servers_after_them() -> None:
    names = ("web", "worker", "beat")
    order = (names[1], names[0], names[2])
    stage = Stage(*(program(name, POLITE) for name in order), services=("postgres", "redis"))

    stage.run_until(lambda: stage.out.getvalue().count("works") == 3)
    stage.supervisor.stop()

    left = [line.split()[0] for line in stage.lines() if line.endswith("leaves")]
    assert left == ["beat", "web", "worker", "redis", "postgres"]


def test_a_program_that_dies_is_started_again() -> None:
    stage = Stage(program("worker", "import os; print('pid', os.getpid())"))

    stage.run_until(lambda: stage.out.getvalue().count("worker   | pid") >= 2)
    stage.supervisor.stop()

    assert any("worker has ended; it starts again in 0.5 s" in line for line in stage.lines())


def test_a_server_that_dies_is_started_again() -> None:
    stage = Stage(services=("postgres",))
    (server,) = stage.servers
    server.is_dead = True

    stage.run_until(lambda: server.launched == 1)

    assert not server.is_dead


def test_one_that_does_not_listen_is_killed_when_its_patience_is_over() -> None:
    stage = Stage(program("worker", STUBBORN, patience=0.5))
    stage.run_until(lambda: "worker   | works" in stage.lines())

    started = time.monotonic()
    stage.supervisor.stop()

    assert 0.5 <= time.monotonic() - started < 5


def test_what_a_program_started_ends_with_it() -> None:
    stage = Stage(program("worker", PARENT))
    stage.run_until(lambda: "child" in stage.out.getvalue())
    child = int(stage.out.getvalue().split()[-1])
    assert alive(child)

    stage.supervisor.stop()

    deadline = time.monotonic() + 5
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(child)


def test_lost_patience_ends_the_wait() -> None:
    stage = Stage(program("worker", STUBBORN, patience=60))
    stage.run_until(lambda: "worker   | works" in stage.lines())
    stage.request.hurried = True

    started = time.monotonic()
    stage.supervisor.stop()

    assert time.monotonic() - started < 5


def test_a_repeated_signal_is_not_a_second_wish_until_five_seconds_have_passed() -> None:
    now = [100.0]
    request = StopRequest(clock=lambda: now[0])

    request.receive(signal.SIGTERM)
    now[0] = 104.9
    request.receive(signal.SIGTERM)
    assert not request.hurried

    now[0] = 105.0
    request.receive(signal.SIGINT)
    assert request.hurried


def test_the_first_wish_breaks_off_the_preparations_only() -> None:
    request = StopRequest()
    request.interrupts = True
    with pytest.raises(supervisor.Interrupted):
        request.receive(signal.SIGINT)

    request.interrupts = False
    request.receive(signal.SIGINT)

    assert not request.hurried


def test_the_delay_grows_and_is_forgotten_once_it_has_run_steadily() -> None:
    watch = Watch("worker", launch=lambda: None, dead=lambda: True)
    delays = []
    now = 0.0
    for _ in range(7):
        watch.start(now)
        delays.append(watch.look(now))
        assert watch.look(now) is None, "it is being waited for already"
        assert not watch.due(now)
        now += 10
        assert watch.due(now)

    assert delays == [0.5, 1, 2, 4, 8, 10, 10]

    watch.start(now)
    assert watch.look(now + supervisor.STEADY_SECONDS + 1) == 0.5


def test_a_screen_that_nobody_reads_ends_the_run() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as out:
        screen = Screen(out, ["worker"])
        screen.say("up", "is anybody there?")
        keeper = Supervisor([], [], screen=screen, request=StopRequest(), cwd=Path("/"))

        keeper.run()

        assert screen.closed
        # What is still in the buffer cannot be written when it is closed.
        with pytest.raises(BrokenPipeError):
            out.close()


def test_marked_processes_are_found_by_the_whole_variable() -> None:
    env = dict(os.environ) | {"EVALSCHED_TEST_MARK": "/some where/data2"}
    process = processes.spawn(
        ["/bin/sleep", "30"],
        env=env,
        cwd=Path("/"),
        output=1,
        orphaned=signal.SIGKILL,
    )
    deadline = time.monotonic() + 5
    mark = "EVALSCHED_TEST_MARK=/some where/data2"
    while not processes.marked(mark) and time.monotonic() < deadline:
        time.sleep(0.02)

    try:
        assert processes.marked(mark) == [process.pid]
        assert processes.marked(mark.removesuffix("2")) == []
    finally:
        assert processes.end(lambda: processes.marked(mark), gently=signal.SIGTERM, patience=3) == 1
        process.wait()
