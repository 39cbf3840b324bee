"""Processes of our own: started so that they die with us, and found again when they did not.

Knows nothing of Django nor of what the processes do; standard library only. Run as a script it is
the launcher between us and a child, see `spawn`.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1
_NOBODY_ELSE = "-"
_RESET = (
    *(signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP),
    *(signal.SIGINT, signal.SIGQUIT, signal.SIGTERM),
)


@dataclass(frozen=True)
class Account:
    """A user of the operating system that a process is to run as."""

    uid: int
    gid: int
    name: str


def spawn(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    cwd: Path,
    output: int | IO[bytes],
    orphaned: signal.Signals,
    account: Account | None = None,
) -> subprocess.Popen[bytes]:
    """Start `command` in a session of its own, with both its outputs going to `output`.

    `orphaned` is the signal it gets when the calling *thread* ends (Linux), so call this from the
    main thread only. A launcher stands between because `prctl` has to follow the change of user,
    and `preexec_fn` is not safe once there are threads.
    """
    launcher = [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(int(orphaned))]
    identity = (
        [_NOBODY_ELSE, _NOBODY_ELSE] if account is None else [str(account.uid), str(account.gid)]
    )
    return subprocess.Popen(  # noqa: S603  our own arguments, no shell
        [*launcher, *identity, *map(str, command)],
        env=dict(env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def die_with_parent(signal_number: int) -> None:
    """Have the kernel send `signal_number` to this process when its parent's thread ends.

    For children of a pool, whose parent may be killed. Without effect outside Linux.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)


def launch(arguments: Sequence[str]) -> None:
    """Become the command in `arguments`, as `spawn` has written them. Does not return."""
    parent, orphaned, uid, gid, *command = arguments
    if uid != _NOBODY_ELSE:
        os.setgroups([])
        os.setgid(int(gid))
        os.setuid(int(uid))
    # After the change of user, which resets it.
    die_with_parent(int(orphaned))
    if os.getppid() != int(parent):
        sys.exit("The process that wanted this one is gone.")
    # Python, nohup and shells leave signals ignored, and that outlives an exec.
    for number in _RESET:
        signal.signal(number, signal.SIG_DFL)
    os.execv(command[0], command)  # noqa: S606  the point of a launcher


def working_in(directory: Path, program: str, noted: int | None = None) -> list[int]:
    """Return the processes of the program named `program` whose working directory is `directory`.

    Where there is no /proc, only the process id `noted` is looked at, which a pid file in that
    directory gives.
    """
    if not Path("/proc/self").exists():
        return [noted] if noted and _name_by_ps(noted) == program else []
    return [pid for pid in _others() if _name(pid) == program and _cwd(pid) == str(directory)]


def marked(variable: str) -> list[int]:
    """Return the processes that carry `variable`, as NAME=value, in their environment.

    Only those whose environment we may read: our own ones, or everybody's when we are root.
    """
    if not Path("/proc/self").exists():
        return [pid for pid in _marked_by_ps(variable) if pid != os.getpid()]
    wanted = os.fsencode(variable)
    return [pid for pid in _others() if wanted in _read(pid, "environ").split(b"\0")]


def end(find: Callable[[], list[int]], *, gently: signal.Signals, patience: float) -> int:
    """End what `find` finds: signal `gently`, wait `patience` seconds, then kill. Return how many.

    `find` is asked anew each time, so that a process id that was given to somebody else meanwhile
    is not hit.
    """
    found = find()
    for pid in found:
        _send(pid, gently)
    deadline = time.monotonic() + patience
    while (left := find()) and time.monotonic() < deadline + 5:
        if time.monotonic() > deadline:
            for pid in left:
                _send(pid, signal.SIGKILL)
        time.sleep(0.05)
    return len(found)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the session that `spawn` started for `process`, itself included."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        # PermissionError is what macOS answers for a group of zombies.
        return


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _others() -> list[int]:
    return [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and int(entry.name) != os.getpid()
    ]


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _name(pid: int) -> str:
    return _read(pid, "comm").decode(errors="replace").strip()


def _cwd(pid: int) -> str:
    """Where the process works; empty for a zombie, one that is gone, and somebody else's."""
    try:
        return str(Path(f"/proc/{pid}/cwd").readlink())
    except OSError:
        return ""


def _ps(*arguments: str) -> list[str]:
    done = subprocess.run(  # noqa: S603  our own arguments, no shell
        ["/bin/ps", *arguments],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    return done.stdout.splitlines()


def _name_by_ps(pid: int) -> str:
    return "".join(Path(line.strip()).name for line in _ps("-p", str(pid), "-o", "comm="))


def _marked_by_ps(variable: str) -> list[int]:
    lines = _ps("-axEww", "-o", "pid=,command=")
    return [int(line.split()[0]) for line in lines if f" {variable} " in f"{line} "]


if __name__ == "__main__":
    launch(sys.argv[1:])
