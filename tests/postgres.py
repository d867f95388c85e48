"""A real PostgreSQL for tests: one private cluster on a unix socket, a database for each test."""

import contextlib
import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import psycopg

from tests.brokers import wait_until

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name))
START_S = 30.0


def available():
    """Tell whether this box has a PostgreSQL server to start."""
    return bool(BINARIES)


class Cluster:
    """One server with its own data directory. It listens on a unix socket only."""

    def __init__(self, folder, *settings):
        assert BINARIES, "PostgreSQL is not installed: apt-get install postgresql"
        self._folder = Path(folder)
        self._data = self._folder / "data"
        self._log = self._folder / "log"
        self._settings = settings
        self._numbers = itertools.count(1)
        self._process = None
        # The server refuses to run as root; its files then belong to the user that Debian made.
        self._user = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}

    def create(self):
        """Make the data directory."""
        if self._user:
            who = pwd.getpwnam("postgres")
            os.chown(self._folder, who.pw_uid, who.pw_gid)
        options = ("--auth=trust", "--username=machikoba", "--encoding=UTF8", "--no-sync")
        # It sorts by the rules of a language, so that sorting without saying how would show.
        language = ("--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en")
        words = [BINARIES[-1] / "initdb", "-D", self._data, *options, *language]
        done = subprocess.run(
            words, capture_output=True, text=True, check=False, cwd=self._folder, **self._user
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return self

    def start(self):
        """Start it and wait until it answers."""
        settings = [f"-c{each}" for each in ("listen_addresses=", *self._settings)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [BINARIES[-1] / "postgres", "-D", self._data, "-k", self._folder, *settings],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                **self._user,
            )
        wait_until(self._answers, f"PostgreSQL to answer: {self._log}", START_S)
        return self

    def kill(self):
        """End it at once, as a crash does; committed rows survive."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            # Its children notice that their parent is gone and leave by themselves.
            (self._data / "postmaster.pid").unlink(missing_ok=True)

    def stop(self):
        """End it in order (SIGINT: the server's fast shutdown)."""
        if self._process is not None:
            self._process.send_signal(2)
            self._process.wait(START_S)
            self._process = None

    def new_database(self):
        """Make an empty database; return its URL."""
        name = f"hub_{next(self._numbers)}"
        with self.connect("postgres") as connection:
            connection.execute(f"CREATE DATABASE {name} STRATEGY file_copy")
        return f"postgresql://machikoba@/{name}?host={self._folder}"

    def drop(self, url):
        """Remove a database, whoever is still connected to it."""
        name = url.partition("?")[0].rpartition("/")[2]
        with self.connect("postgres") as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def connect(self, database):
        """Connect by hand, each statement its own transaction."""
        return psycopg.connect(
            host=str(self._folder), user="machikoba", dbname=database, autocommit=True
        )

    def _answers(self):
        assert self._process.poll() is None, self._log.read_text()
        with contextlib.suppress(psycopg.OperationalError), self.connect("postgres"):
            return True
        return False


@contextlib.contextmanager
def running_cluster(*settings):
    """Run a server for the time of a block."""
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # a socket path must be short
    cluster = Cluster(folder, *settings)
    try:
        yield cluster.create().start()
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)
