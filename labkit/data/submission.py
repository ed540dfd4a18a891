"""Files to hand in: a prediction for every image of each list that came with the data, in the list's order."""

import numpy as np
import pandas as pd

from labkit.data.readers import ImageData

MAX_UNPREDICTED = 0.01  # of a list; more is no unreadable file, but images that the run has learnt from


def submissions(images: ImageData, predictions: pd.Series) -> dict[str, pd.DataFrame]:
    """List file name -> `ID` (path as the list writes it), `label` (class number), one row for each of the list's.

    `predictions`: class number by image_id. A file to hand in must be complete, so images without a prediction (they
    cannot be decoded, or have no file) get the class predicted most often in their list; `.attrs["notes"]` says so. A
    list of which more than one image and 1 % are not predicted is left out: under a split of one's own, the network
    has learnt from the rest.
    """
    by_image = predictions.astype("Int64").to_dict()
    done = {}
    for name, listed in images.lists.items():
        label = pd.Series([by_image.get(image, pd.NA) for image in listed["image_id"]], dtype="Int64")
        open_ = label.isna().to_numpy(bool)
        if open_.all() or open_.sum() > max(1, MAX_UNPREDICTED * len(label)):
            continue
        usual = int(np.bincount(label.dropna().to_numpy(np.int64)).argmax())
        done[name] = pd.DataFrame({"ID": listed["path"], "label": label.fillna(usual).astype("int64")})
        done[name].attrs["notes"] = []
        if open_.any():
            done[name].attrs["notes"].append(
                f"{name}: {open_.sum():,} of {len(label):,} images cannot be read and are handed in as the class "
                f"predicted most often, {images.facts.classes[usual]}: {', '.join(listed.loc[open_, 'path'].head(5))}"
            )
    return done
