"""`labkit judge` makes the report of tables of predictions, and refuses those that it cannot believe."""

import numpy as np
import pandas as pd
import pytest
from pypdf import PdfReader

from labkit.cli import main
from labkit.reporting.page.browser import find_browser


@pytest.mark.slow
def test_judge_makes_a_report_with_pictures_and_without_what_needs_a_training(
    image_folder, tmp_path, capsys, own_reports
):
    ids = [path.stem for path in sorted((image_folder / "images").iterdir())]
    label = np.arange(len(ids)) % 2
    table = pd.DataFrame({"image_id": ids, "label": label, "group": [name[:3] for name in ids]})
    for name, noise in (("better", 3), ("worse", 7)):
        said = np.where(np.arange(len(ids)) % 10 < noise, 1 - label, label)
        table.assign(prob_1=np.where(said, 0.9, 0.2)).to_csv(tmp_path / f"{name}.csv", index=False)
    files = [str(tmp_path / f"{name}.csv") for name in ("better", "worse")]
    printing = [] if find_browser() else ["--no-pdf"]
    assert main(["judge", *files, "--images", str(image_folder / "images"), *printing]) == 0, capsys.readouterr().err
    folder = own_reports / "judged" / "better"
    page = (folder / "report.html").read_text()
    assert "The models scored differently" in page and "The worst mistakes" in page and page.count("<img") >= 2
    assert "explore.ipynb" not in page and "Learning curves" not in page and "Not shown" not in page
    if find_browser():
        assert 4 <= len(PdfReader(folder / "report.pdf").pages) <= 9
    pd.read_csv(files[0]).assign(image_id="same").to_csv(files[0], index=False)
    assert main(["judge", *files, "--no-pdf"]) == 2
    assert "better.csv, row 3" in capsys.readouterr().err
