"""Where a gateway keeps its jobs: in a file, or in memory alone; what it starts with, and what it leaves behind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from worker_vllm.gateway.storage.job_file import CannotStore, JobFile, StoredState, read_export

MEMORY = ":memory:"


@dataclass(frozen=True, slots=True)
class Storage:
    """`file` None keeps nothing; `imported` is added to what the file holds; `export_to` is written at the end."""

    file: JobFile | None = None
    imported: StoredState | None = None
    export_to: Path | None = None

    @classmethod
    def open(cls, path: Path | None, *, import_from: Path | None = None, export_to: Path | None = None) -> Storage:
        """Open the file at `path`, made where it is missing, and read the file to import. Raises CannotStore.

        An export without a file needs a database in memory, from which it is written.
        """
        if export_to is not None and export_to.exists():
            raise CannotStore(f"--export {export_to}: the file exists already; choose another one")
        imported = None if import_from is None else read_export(import_from)
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise CannotStore(
                    f"{path.parent}: cannot be created: {error.strerror}; choose another --db"
                ) from error
            return cls(JobFile(path), imported, export_to)
        return cls(JobFile(MEMORY) if export_to is not None else None, imported, export_to)
