"""MLflow stores with nothing in them, without the seconds that making one takes."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from hyperskin.tracking.store import ARTIFACTS, STORE


def copy_store(origin: Path, root: Path) -> None:
    """Put a copy of the store in the file `origin` into the repository `root`; files of runs go to its own folder."""
    (root / STORE).parent.mkdir(parents=True)
    shutil.copyfile(origin, root / STORE)
    with closing(sqlite3.connect(root / STORE)) as database:
        place = (root / ARTIFACTS).as_uri()
        database.execute("update experiments set artifact_location = ? where name like 'hyperskin%'", [place])
        database.commit()
