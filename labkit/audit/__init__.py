"""Is the data sound? Leaks from train to test, duplicates, broken files, and what could be scored without looking.

`audit` takes the image table with its splits, the files' hashes and the store's near duplicates; asked to, it also
reads the files and the stored pixels. It needs no model.
"""

from labkit.audit.findings import Findings, audit, in_caption, stamps
from labkit.audit.leaks import LeakEffect, inherited_leak, leak_effect, leak_effect_sentence, leaked, learnt_from
