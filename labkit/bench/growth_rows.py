"""What a table of a million rows costs: peak memory, the split, and the audit of groups and copies."""

import json
import subprocess
import sys
from collections.abc import Iterator

from labkit.bench.rows import Goal, Row, figure_row
from labkit.bench.setting import Setting
from labkit.params import PROJECT

# In a process of its own: its peak is then nobody else's.
PROBE = """
import json, resource, sys, time
import numpy as np, pandas as pd
from labkit import audit
from labkit.data.splits import assign_splits

n = int(sys.argv[1])
ids = [f"{k // 2}_{('left', 'right')[k % 2]}" for k in range(n)]
grades = np.random.default_rng(0).choice(5, n, p=[0.734, 0.069, 0.154, 0.025, 0.018])
text = {"image_id": ids, "path": [f"images/{name}.jpeg" for name in ids], "group": [name.split("_")[0] for name in ids]}
text |= {"side": [name.split("_")[1] for name in ids], "split": [None] * n}
table = pd.DataFrame({name: pd.array(values, dtype="string") for name, values in text.items()})
table["label"] = pd.array(grades, dtype="Int64")
hashes = pd.Series([f"{k:064x}" for k in range(n)], index=ids)
start = time.perf_counter()
rule = {"split": "group", "split_seed": 0, "val_fraction": 0.15, "test_fraction": 0.2}
table = assign_splits(table, hashes=hashes, **rule)
split = time.perf_counter()
found = audit.audit(table, hashes, list("01234"), "patient")
assert not found.leak
audited = time.perf_counter()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps({"split": split - start, "audit": audited - split, "peak": peak / 1e9}))
"""


def growth_rows(setting: Setting) -> Iterator[Row]:
    """Rows of peak memory (the table and Python with torch included) and of seconds, the median of the rounds."""
    n = setting.size(1_000_000, 2_000)
    setting.tell(f"labkit bench: split and audit of {n:,} rows …")
    command = [sys.executable, "-c", PROBE, str(n)]
    rounds = [
        json.loads(subprocess.run(command, capture_output=True, text=True, check=True, cwd=PROJECT).stdout)
        for _ in range(setting.rounds)
    ]
    middle = {key: sorted(one[key] for one in rounds)[len(rounds) // 2] for key in rounds[0]}
    where, times = f"{n:,} images of {n // 2:,} patients", {"rounds": len(rounds)}
    yield figure_row("growth: peak memory", where, "GB", middle["peak"], goal=Goal("≤", 1.5, "ours"), **times)
    together = middle["split"] + middle["audit"]
    note = f"split {middle['split']:.1f} s, audit of groups, fellow eyes and exact copies {middle['audit']:.1f} s"
    goal = Goal("≤", 30, "ours")
    yield figure_row("growth: split and audit", where, "s", together, goal=goal, note=note, **times)
