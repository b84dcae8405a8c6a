"""A real server under a good address is fine; a bad address, a password for all to see and a closed door are not."""

import sqlite3
import subprocess
import sys

import pytest

from hyperskin.health.databases import look
from hyperskin.sqlite import fault
from tests.health.conftest import VARIABLES
from tests.postgres import PASSWORD, USER

OWN = "HYPERSKIN_DATABASE"


@pytest.fixture
def address(root, postgres, tmp_path, monkeypatch):
    """The address of a real database without the password, which lies in a closed file."""
    place = postgres.rpartition("@")[2]
    port = place.partition("/")[0].rpartition(":")[2]
    secret = tmp_path / "pgpass"
    secret.write_text(f"127.0.0.1:{port}:*:{USER}:{PASSWORD}\n")
    secret.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(secret))
    return f"postgresql+psycopg://{USER}@{place}"


@pytest.fixture
def found(root):
    return lambda: list(look(root))


def test_a_server_that_lets_us_in_is_fine(address, found, monkeypatch):
    monkeypatch.setenv(OWN, address)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", address.replace("psycopg", "asyncpg"))
    assert found() == []


def test_a_password_in_an_address_is_warned_of_and_not_repeated(postgres, found, monkeypatch):
    monkeypatch.setenv(OWN, postgres)
    [finding] = found()
    assert finding.severity == "warning"
    assert PASSWORD not in finding.what + finding.remedy
    assert f"postgresql+psycopg://{USER}@127.0.0.1" in finding.remedy


@pytest.fixture
def type_in(tmp_path, monkeypatch):
    """Type a remedy into a shell, and the password when it asks; what it exports is there from then on."""
    monkeypatch.setenv("HOME", str(tmp_path))

    def type_it(remedy):
        said = subprocess.run(
            ["bash", "-c", f"{remedy}\nenv -0"], input=f"{PASSWORD}\n", capture_output=True, text=True, check=True
        )
        assert said.stderr == ""
        for name, _, value in (line.partition("=") for line in said.stdout.split("\0")):
            if name in VARIABLES:
                monkeypatch.setenv(name, value)

    return type_it


@pytest.mark.parametrize("file", ["", "my passwords"])
@pytest.mark.parametrize("scheme", ["postgresql+psycopg", "postgresql", "postgres"])
def test_what_is_advised_can_be_typed_as_it_stands_and_mends_all(
    postgres, found, monkeypatch, tmp_path, type_in, scheme, file
):
    monkeypatch.setenv(OWN, f"{scheme}:{postgres.partition(':')[2]}?application_name=a%20b&connect_timeout=5")
    if file:
        monkeypatch.setenv("PGPASSFILE", str(tmp_path / file))
        (tmp_path / file).touch(mode=0o600)
    findings = found()
    assert [one.severity for one in findings] == (["broken"] if "+" not in scheme else []) + ["warning"]
    for finding in findings:
        assert PASSWORD not in finding.what + finding.remedy
        assert "***" not in finding.what + finding.remedy
        type_in(finding.remedy)
    assert found() == []
    kept = tmp_path / (file or ".pgpass-hyperskin")
    assert PASSWORD in kept.read_text()
    assert kept.stat().st_mode & 0o777 == 0o600


def test_a_place_with_colons_is_kept_as_drivers_read_it(found, monkeypatch, type_in, tmp_path):
    monkeypatch.setenv(OWN, f"postgresql://m%3Ae:{PASSWORD}@[::1]/it")
    type_in(found()[1].remedy)
    assert (tmp_path / ".pgpass-hyperskin").read_text() == f"\\:\\:1:5432:*:m\\:e:{PASSWORD}\n"


def test_a_password_file_that_others_can_read_is_ignored_and_mended(address, found, monkeypatch, tmp_path):
    monkeypatch.setenv(OWN, address)
    (tmp_path / "pgpass").chmod(0o644)
    [is_open, _] = found()  # the server does not let us in, either
    assert "must be closed to other users" in is_open.what
    assert is_open.fix is not None
    is_open.fix()
    assert found() == []


def test_a_password_file_that_is_not_there_is_said(address, found, monkeypatch, tmp_path):
    monkeypatch.setenv(OWN, address)
    (tmp_path / "pgpass").unlink()
    assert "PGPASSFILE must name the file" in found()[0].what


def test_a_server_that_was_stopped_and_a_wrong_password_are_told_apart(postgres_server, found, monkeypatch):
    pytest.importorskip("psycopg")
    monkeypatch.setenv(OWN, postgres_server.address().replace(PASSWORD, "another-one"))
    wrong = found()[-1].what
    assert "authentication failed" in wrong
    assert "another-one" not in wrong
    monkeypatch.setenv(OWN, postgres_server.address())
    postgres_server.stop()
    assert "refused" in found()[-1].what


@pytest.mark.parametrize("address", ["mysql://me@host/database", "postgresql+psycopg2://me:s3cret@127.0.0.1:1/it"])
def test_another_kind_of_database_is_refused_without_its_password(found, monkeypatch, address):
    monkeypatch.setenv(OWN, address)
    findings = found()
    assert findings[0].severity == "broken"
    assert not any("s3cret" in finding.what + finding.remedy for finding in findings)


def test_a_database_that_somebody_writes_or_was_killed_in_is_not_damaged(tmp_path):
    path = tmp_path / "a.db"
    script = (
        "import os, sqlite3, sys; connection = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "connection.execute('PRAGMA cache_spill = 1'); connection.execute('PRAGMA cache_size = 1')\n"
        "connection.execute('CREATE TABLE numbers (number)')\n"
        "connection.execute('BEGIN'); connection.execute('INSERT INTO numbers VALUES (zeroblob(100000))')\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert path.with_name("a.db-journal").exists()
    assert fault(path) == ""
    other = tmp_path / "b.db"
    connection = sqlite3.connect(other, isolation_level=None)
    connection.execute("CREATE TABLE numbers (number)")
    connection.execute("BEGIN EXCLUSIVE")
    assert fault(other) == ""
    connection.close()
    assert fault(other) == ""
    other.write_bytes(b"no database" * 100)
    assert "not a database" in fault(other)
