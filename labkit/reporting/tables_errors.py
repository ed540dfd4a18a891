"""Tables of single answers and of subgroups."""

import pandas as pd

from labkit.format import DASH, metric, whole, with_interval


def subgroup_table(table: pd.DataFrame, score: str) -> pd.DataFrame:
    """Columns factor, part, measured, images, groups, and the score with its interval."""
    cells = [with_interval(score, *ends) for ends in zip(table["estimate"], table["low"], table["high"], strict=True)]
    return pd.DataFrame(
        {
            "factor": table["factor"],
            "part": table["part"],
            "measured": [span or DASH for span in table["range"]],
            "images": [whole(n) for n in table["n"]],
            "groups": [whole(n) for n in table["n_groups"]],
            metric(score).short: cells,
        }
    )
