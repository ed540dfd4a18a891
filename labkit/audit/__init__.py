"""Is the data sound? Leaks from train to test, duplicates, broken files, and what could be scored without looking.

Stands after evaluation, since it scores baselines. `audit` takes the image table with its splits and the files' hashes
alone; `full_audit` looks at the files and the stored pixels, too. Neither needs a model.
"""

from labkit.audit.findings import Findings, audit, in_caption, stamps
from labkit.audit.inherited import inherited_leak, learnt_from

__all__ = [
    "Findings",
    "audit",
    "in_caption",
    "inherited_leak",
    "learnt_from",
    "stamps",
]
