"""Is the data sound? Leaks from train to test, duplicates, broken files, and what could be scored without looking.

`audit` takes the image table with its splits and the files' hashes
alone; `full_audit` looks at the files and the stored pixels, too. Neither needs a model.
"""

from labkit.audit.baselines import fellow_eye_sentence, shortcut_sentence
from labkit.audit.damaged import file_sentences
from labkit.audit.findings import Findings, audit, full_audit, in_caption, stamps
from labkit.audit.leaks import (
    UNSPLIT,
    LeakEffect,
    duplicate_sentences,
    group_sentences,
    inherited_leak,
    leak_effect,
    leak_effect_sentence,
    leaked,
    learnt_from,
    near_sentences,
)

__all__ = [
    "UNSPLIT",
    "Findings",
    "LeakEffect",
    "audit",
    "duplicate_sentences",
    "fellow_eye_sentence",
    "file_sentences",
    "full_audit",
    "group_sentences",
    "in_caption",
    "inherited_leak",
    "leak_effect",
    "leak_effect_sentence",
    "leaked",
    "learnt_from",
    "near_sentences",
    "shortcut_sentence",
    "stamps",
]
