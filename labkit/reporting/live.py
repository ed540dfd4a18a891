"""The curve that grows while a run trains, for a person who watches it in JupyterLab."""

from collections.abc import Callable

import pandas as pd
from IPython.display import display

from labkit.reporting.plots_training import learning_curves
from labkit.reporting.show import CSS_PIXELS_PER_INCH, picture
from labkit.training.progress import in_browser


def live_curve(run: str, quantity: str = "accuracy") -> Callable[[pd.DataFrame], None] | None:
    """A function for `fit(watch=…)`: one figure, drawn again after every epoch. None where nobody watches.

    An executed notebook then holds the epochs' lines alone, and its curve in the cell that follows the training.
    """
    if not in_browser():
        return None
    handle = None

    def draw(history: pd.DataFrame) -> None:
        nonlocal handle
        figure = learning_curves(history.assign(run=run), quantity=quantity)
        alt = f"{quantity} of {run} after {len(history)} epochs"
        kind, data = picture(figure)
        content = {kind: data, "text/plain": f"[Figure: {alt}]"}
        metadata = {kind: {"alt": alt, "width": round(figure.get_figwidth() * CSS_PIXELS_PER_INCH)}}
        if handle is None:
            handle = display(content, raw=True, metadata=metadata, display_id=True)
        else:
            handle.update(content, raw=True, metadata=metadata)

    return draw
