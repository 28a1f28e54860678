"""The SQLite file: its tables, and the transactions on them. Blocking; one process has it at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from worker_vllm.errors import WorkerError
from worker_vllm.gateway.storage.rows import Batch, Key, Row
from worker_vllm.json_bytes import dump

FORMAT = 1
TABLES = """
CREATE TABLE IF NOT EXISTS submission (
    endpoint TEXT, id TEXT, input BLOB NOT NULL, forwarded BLOB NOT NULL, sync INTEGER NOT NULL,
    execution_timeout_s REAL NOT NULL, webhook BLOB, PRIMARY KEY (endpoint, id));
CREATE TABLE IF NOT EXISTS job (
    endpoint TEXT, id TEXT, status TEXT NOT NULL, worker TEXT, created REAL NOT NULL, started REAL, ended REAL,
    ttl_s REAL NOT NULL, retries INTEGER NOT NULL, error BLOB, delivered INTEGER NOT NULL,
    webhook_due INTEGER NOT NULL, result_bytes INTEGER NOT NULL, PRIMARY KEY (endpoint, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS output (endpoint TEXT, id TEXT, json BLOB NOT NULL, PRIMARY KEY (endpoint, id));
CREATE TABLE IF NOT EXISTS endpoint (
    name TEXT PRIMARY KEY, completed INTEGER NOT NULL, failed INTEGER NOT NULL, retried INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS worker (endpoint TEXT, id TEXT, interval_s REAL, PRIMARY KEY (endpoint, id));
"""
JOBS = """
SELECT submission.*, status, worker, created, started, ended, ttl_s, retries, error, delivered, webhook_due,
    result_bytes, json
FROM submission JOIN job USING (endpoint, id) LEFT JOIN output USING (endpoint, id)
ORDER BY retries = 0, created, submission.rowid
"""


class CannotStore(WorkerError):
    """The file cannot be opened, read or written; the message says why, and what to do."""

    status = 503


@dataclass(frozen=True, slots=True)
class StoredState:
    """Everything in a file, as rows."""

    jobs: list[Row]
    endpoints: list[Row]
    workers: list[Row]


class JobFile:
    """An open file; `path` `:memory:` is a database that ends with the process."""

    def __init__(self, path: Path | str) -> None:
        self._path = path
        with _explained(path):
            self._connection = sqlite3.connect(path, timeout=0.5, isolation_level=None, check_same_thread=False)
            try:
                self._prepare()
            except BaseException:
                self._connection.close()
                raise

    def load(self) -> StoredState:
        """Read everything; waiting jobs in the order in which they are to run."""
        with _explained(self._path):
            return StoredState(
                self._connection.execute(JOBS).fetchall(),
                self._connection.execute("SELECT * FROM endpoint").fetchall(),
                self._connection.execute("SELECT * FROM worker").fetchall(),
            )

    def write(self, batch: Batch) -> None:
        """Write a batch in one transaction. Raises CannotStore, with nothing written."""
        do = self._connection.executemany
        with _explained(self._path), self._transaction():
            do("INSERT OR REPLACE INTO submission VALUES (?, ?, ?, ?, ?, ?, ?)", batch.submissions)
            do("INSERT OR REPLACE INTO job VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", batch.jobs)
            texts = [(endpoint, job_id, dump(output)) for endpoint, job_id, output in batch.outputs]
            do("INSERT OR REPLACE INTO output VALUES (?, ?, ?)", texts)
            self._delete("output", batch.retried)
            for table in ("submission", "job", "output"):
                self._delete(table, batch.deleted)
            do("INSERT OR REPLACE INTO endpoint VALUES (?, ?, ?, ?)", batch.endpoints)
            do("INSERT OR REPLACE INTO worker VALUES (?, ?, ?)", batch.workers)

    def export(self, target: Path) -> None:
        """Write everything to a new file, complete or not at all. Raises CannotStore when it exists already."""
        with _explained(target):
            if target.exists():
                raise CannotStore(f"{target}: exists already; choose another file for --export")
            self._connection.execute("VACUUM INTO ?", (str(target),))

    def close(self) -> None:
        """Close the file; it is one file then, without those of the write-ahead log."""
        self._connection.close()

    def _delete(self, table: str, keys: list[Key]) -> None:
        self._connection.executemany(f"DELETE FROM {table} WHERE endpoint = ? AND id = ?", keys)

    def _prepare(self) -> None:
        execute = self._connection.execute
        execute("PRAGMA locking_mode = EXCLUSIVE")  # a second gateway on the file is refused
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = NORMAL")  # outlives the process; a power cut may lose the last moments
        version = execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, FORMAT):
            raise CannotStore(f"{self._path}: got format {version}, expected {FORMAT}; choose another file for --db")
        with self._transaction():
            for statement in TABLES.split(";"):
                execute(statement)
            execute(f"PRAGMA user_version = {FORMAT}")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")


def read_export(path: Path) -> StoredState:
    """Everything in an exported file. Raises CannotStore."""
    if not path.is_file():
        raise CannotStore(f"--import {path}: no such file; expected one that --export has written")
    with closing(JobFile(path)) as file:
        return file.load()


@contextmanager
def _explained(path: Path | str) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise CannotStore(
                f"{path}: another gateway has this file; stop it, choose another --db, or --ephemeral"
            ) from error
        raise CannotStore(f"{path}: cannot be used as the gateway's state: {error}") from error
    except sqlite3.DatabaseError as error:
        raise CannotStore(f"{path}: is no state of a gateway ({error}); choose another file for --db") from error
