"""The embedded servers themselves: real ones, each test with its own data directory."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from config import embedded, generated, places, processes, surroundings

pytestmark = [pytest.mark.processes, pytest.mark.xdist_group("processes")]

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A directory with a space in its name that the servers' user can reach."""
    top = Path(tempfile.mkdtemp(prefix="evalsched embedded-"))
    top.chmod(0o755)
    yield top / "data"
    for path in top.iterdir():
        embedded.end_leftovers(path)
        shutil.rmtree(places.noted(path), ignore_errors=True)
        shutil.rmtree(places.sockets(path), ignore_errors=True)
    shutil.rmtree(top)


def ask(addresses: embedded.Addresses, sql: str) -> object:
    with psycopg.connect(addresses.database_url, autocommit=True) as connection:
        cursor = connection.execute(sql)
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None


def of_ours(data_dir: Path) -> list[int]:
    """The processes of both servers of `data_dir`."""
    place = places.noted(data_dir.resolve())
    return [
        pid
        for name, program in (("postgres", "postgres"), ("redis", "valkey-server"))
        for pid in processes.working_in(place / name, program)
    ]


def test_both_servers_answer_and_stop_without_a_trace(data_dir: Path) -> None:
    servers = embedded.start(data_dir, durable=False)

    assert embedded.running(data_dir)
    assert embedded.holder(data_dir) == os.getpid()
    assert ask(servers.addresses, "SELECT 6 * 7") == 42
    assert redis.from_url(servers.addresses.redis_url).ping()

    servers.stop()

    assert not embedded.running(data_dir)
    assert embedded.holder(data_dir) is None
    assert of_ours(data_dir) == []
    assert not places.sockets(data_dir).exists()


def test_the_login_may_make_databases_and_roles_and_is_no_superuser(data_dir: Path) -> None:
    servers = embedded.start(data_dir, durable=False)
    try:
        rights = ask(
            servers.addresses,
            "SELECT (rolsuper, rolcreatedb, rolcreaterole)::text FROM pg_roles "
            "WHERE rolname = current_user",
        )
        owner = ask(
            servers.addresses,
            "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()",
        )
    finally:
        servers.stop()

    assert rights == "(f,t,t)"
    assert owner == "evalsched"


def test_data_is_found_again_after_everything_was_killed(data_dir: Path) -> None:
    code = """
        import sys, time
        from pathlib import Path
        from config import embedded
        servers = embedded.start(Path(sys.argv[1]), durable=True)
        print("up", flush=True)
        time.sleep(60)
    """
    runner = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(data_dir)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    assert runner.stdout is not None
    with runner, runner.stdout:
        assert runner.stdout.readline() == b"up\n"
        addresses = embedded.addresses(data_dir)
        ask(addresses, "CREATE TABLE kept AS SELECT 'it is here' AS word")
        redis.from_url(addresses.redis_url).set("kept", "here too")
        time.sleep(1.2)  # its file is written once a second
        for pid in [*of_ours(data_dir), runner.pid]:
            os.kill(pid, signal.SIGKILL)

    servers = embedded.start(data_dir, durable=True)
    try:
        assert ask(servers.addresses, "SELECT word FROM kept") == "it is here"
        assert redis.from_url(servers.addresses.redis_url).get("kept") == b"here too"
    finally:
        servers.stop()


def test_the_servers_end_with_a_killed_runner(data_dir: Path) -> None:
    code = """
        import os, signal, sys
        from pathlib import Path
        from config import embedded
        embedded.start(Path(sys.argv[1]), durable=False)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(data_dir)], cwd=ROOT, check=False
    )

    deadline = time.monotonic() + 10
    while of_ours(data_dir) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert of_ours(data_dir) == []


def test_a_stale_pid_file_that_names_a_living_process_is_no_hindrance(data_dir: Path) -> None:
    embedded.start(data_dir, durable=False).stop()
    pid_file = places.noted(data_dir) / "postgres" / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n/somewhere\n")

    servers = embedded.start(data_dir, durable=False)
    try:
        assert ask(servers.addresses, "SELECT 1") == 1
    finally:
        servers.stop()


def test_a_foreign_process_in_the_same_directory_is_left_alone(data_dir: Path) -> None:
    embedded.start(data_dir, durable=False).stop()
    cluster = places.noted(data_dir) / "postgres"
    with subprocess.Popen(["/bin/sleep", "30"], cwd=cluster) as bystander:
        embedded.start(data_dir, durable=False).stop()

        assert bystander.poll() is None
        bystander.kill()


def test_two_data_directories_are_served_at_once(data_dir: Path) -> None:
    other = data_dir.with_name("other")
    first = embedded.start(data_dir, durable=False)
    second = embedded.start(other, durable=False)
    try:
        ask(first.addresses, "CREATE TABLE here ()")
        assert ask(second.addresses, "SELECT to_regclass('here')") is None
    finally:
        second.stop()
        first.stop()


def test_a_second_start_says_who_is_running(data_dir: Path) -> None:
    servers = embedded.start(data_dir, durable=False)
    try:
        with pytest.raises(embedded.AlreadyRunning, match=f"process {os.getpid()}"):
            embedded.start(data_dir, durable=False)
    finally:
        servers.stop()


def test_a_server_that_was_killed_or_lost_its_socket_is_dead_and_starts_again(
    data_dir: Path,
) -> None:
    servers = embedded.start(data_dir, durable=False)
    try:
        postgres, valkey = servers.services
        assert not postgres.dead()
        assert not valkey.dead()
        os.kill(of_ours(data_dir)[-1], signal.SIGKILL)
        (places.sockets(data_dir) / ".s.PGSQL.5432").unlink()
        deadline = time.monotonic() + 5
        while not (postgres.dead() and valkey.dead()) and time.monotonic() < deadline:
            time.sleep(0.02)

        for service in (postgres, valkey):
            assert service.dead()
            service.launch()
            while not service.ready() and time.monotonic() < deadline + 20:
                time.sleep(0.02)

        assert ask(servers.addresses, "SELECT 1") == 1
        assert redis.from_url(servers.addresses.redis_url).ping()
    finally:
        servers.stop()


def test_a_hostile_environment_does_not_matter(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "PGHOST": "db.example",
        "PGPORT": "6543",
        "PGDATA": "/nowhere",
        "PGOPTIONS": "-c nonsense=1",
        "DATABASE_URL": "postgres://db.example/other",
        "LD_LIBRARY_PATH": "/nowhere",
        "LANG": "xx_YY.UTF-8",
        "TZ": "Australia/Lord_Howe",
        "TMPDIR": "/nowhere",
    }.items():
        monkeypatch.setenv(name, value)

    servers = embedded.start(data_dir, durable=False)
    try:
        monkeypatch.delenv("PGOPTIONS")
        assert ask(servers.addresses, "SELECT current_database()") == "evalsched"
        assert ask(servers.addresses, "SHOW timezone") == "UTC"
    finally:
        servers.stop()


def test_a_cluster_of_another_version_is_refused_with_the_way_out(data_dir: Path) -> None:
    embedded.start(data_dir, durable=False).stop()
    (places.noted(data_dir) / "postgres" / "PG_VERSION").write_text("16\n")

    with pytest.raises(places.Trouble, match=r"written by PostgreSQL 16.*pg_dump"):
        embedded.start(data_dir, durable=False)

    assert embedded.holder(data_dir) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the servers as somebody else")
def test_root_in_a_place_of_its_own_serves_from_one_that_others_can_reach(data_dir: Path) -> None:
    data_dir.mkdir(mode=0o700)
    data_dir.chmod(0o700)

    servers = embedded.start(data_dir, durable=False)
    try:
        assert places.noted(data_dir) != data_dir
        assert ask(servers.addresses, "SELECT 1") == 1
    finally:
        servers.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the servers as somebody else")
def test_a_copy_of_the_programs_runs_as_well_as_the_original(data_dir: Path) -> None:
    data_dir.mkdir(mode=0o711)
    wheels = places.wheels()

    copy = places.copied(wheels, data_dir)
    again = places.copied(wheels, data_dir)

    account = places.settle(data_dir).account
    assert account is not None
    assert copy == again
    assert places.can_run(account, places.programs_in(copy))

    data_dir.chmod(0o700)
    assert not places.can_run(account, places.programs_in(copy))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_somebody_elses_socket_directory_is_refused(data_dir: Path) -> None:
    sockets = places.sockets(data_dir)
    sockets.mkdir(mode=0o700)
    os.chown(sockets, 12345, 12345)

    with pytest.raises(places.Trouble, match="belongs to the user 12345"):
        embedded.start(data_dir, durable=False)

    os.chown(sockets, 0, 0)


def test_addresses_depend_on_the_resolved_data_directory_alone(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "data")

    assert embedded.addresses(tmp_path / "link") == embedded.addresses(tmp_path / "data")
    assert embedded.addresses(tmp_path / "data") != embedded.addresses(tmp_path / "other")


def test_the_secrets_are_made_once_and_kept_to_their_owner(tmp_path: Path) -> None:
    assert generated.load(tmp_path / "data") == {}

    made = generated.ensure(tmp_path / "data")

    assert set(made) == {"SECRET_KEY", "FIELD_ENCRYPTION_KEYS"}
    assert generated.ensure(tmp_path / "data") == generated.load(tmp_path / "data") == made
    (file,) = (tmp_path / "data").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["", "[]", '{"SECRET_KEY": 1}'])
def test_a_broken_file_of_secrets_is_not_replaced(tmp_path: Path, content: str) -> None:
    (tmp_path / "secrets.json").write_text(content)

    with pytest.raises(generated.Unreadable):
        generated.ensure(tmp_path)

    assert (tmp_path / "secrets.json").read_text() == content


def test_up_fills_in_only_what_nobody_has_set(tmp_path: Path) -> None:
    environ = {"EVALSCHED_DEMO": "0", "EVALSCHED_DATA_DIR": str(tmp_path)}

    surroundings.for_up(environ, tmp_path)

    assert environ["EVALSCHED_DEMO"] == "0"
    assert environ["EVALSCHED_TICK_SECONDS"] == "2"


def test_libpqs_variables_go_unless_a_server_was_named() -> None:
    embedded_one = {"PGPORT": "1", "DJANGO_SETTINGS_MODULE": "other.settings"}
    own_one = {"PGSSLMODE": "verify-full", "DATABASE_URL": "postgres://db.example/evalsched"}

    surroundings.tidy(embedded_one)
    surroundings.tidy(own_one)

    assert embedded_one == {"DJANGO_SETTINGS_MODULE": "config.settings"}
    assert own_one["PGSSLMODE"] == "verify-full"


def test_a_foreign_python_path_comes_last() -> None:
    path = ["/project", "/foreign", "/usr/lib/python", "/more"]

    sorted_path = surroundings.path_without_strangers(path, {"PYTHONPATH": "/foreign:/more"})

    assert sorted_path == ["/project", "/usr/lib/python", "/foreign", "/more"]
