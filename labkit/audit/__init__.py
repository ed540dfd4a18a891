"""Is the data sound? Leaks from train to test, duplicates, broken files, and what could be scored without looking."""

from labkit.audit.findings import Findings, audit, in_caption, stamps
from labkit.audit.leaks import LeakEffect, inherited_leak, leak_effect, leak_effect_sentence, leaked, learnt_from
