"""What killed processes and full disks leave behind is found, and nobody else's is touched."""

import os
import time

from hyperskin.health.leftovers import look

HOUR_S = 3600


def test_transfers_that_a_full_disk_broke_off_are_removed_and_those_at_work_are_not(root):
    folder = root / ".dvc" / "cache" / "files" / "md5" / "94"
    folder.mkdir(parents=True)
    broken, young, whole = folder / ".xXcs5dJszvZmtyZaIBNBaw.tmp", folder / ".8aKX1UUvQj0ArGbCfytydw.tmp", folder / "01"
    for path in (broken, young, whole):
        path.write_bytes(bytes(2_000_000))
        os.utime(path, (time.time() - 2 * HOUR_S,) * 2)
    os.utime(young)
    [finding] = look(root)
    assert (finding.severity, finding.remedy) == ("warning", "hyperskin doctor --fix")
    assert "it also holds 1 that were broken off, 2 MB" in finding.what
    assert finding.fix is not None
    assert finding.fix() == "Files that were broken off are removed from DVC's cache: 1."
    assert sorted(folder.iterdir()) == sorted([young, whole])
    assert list(look(root)) == []
