"""How the secret of the first start reaches the person who installs the hub, and nobody else."""

import logging
import os
from pathlib import Path
from typing import Final, TextIO

log = logging.getLogger(__name__)

FILE: Final = "first-admin-secret"


def show(secret: str | None, folder: Path, terminal: TextIO) -> None:
    """Show the secret on the terminal, or leave it in a file that only the hub's user can read.

    What runs without a terminal has its errors written to a log, where a secret would stay. Once
    there is an admin (None) the file goes.

    Raises:
        OSError: the file cannot be written.
    """
    path = folder / FILE
    path.unlink(missing_ok=True)
    if secret is None:
        return
    if terminal.isatty():
        terminal.write(
            "\nThis hub has no admin yet. Make one with this secret, which is shown only here:\n\n"
            f"    {secret}\n\n    machikoba hub setup\n\n"
        )
        terminal.flush()
        return
    folder.mkdir(parents=True, exist_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:  # noqa: PTH123 (with a mode)
        file.write(f"{secret}\n")
    log.warning("this hub has no admin yet: the secret to make one is in %s", path)
