"""What a report rests on: the papers of its networks, data and statistics, only those that it uses."""

from labkit.data.catalog import facts
from labkit.data.source import PHANTOMS
from labkit.reporting.results import StudyResults
from labkit.reporting.worth import Worth


def references(results: StudyResults, found: Worth) -> list[str]:
    """In alphabetical order; the data's own source and what published numbers stand in come last."""
    dataset = results.runs[0]["params"].dataset
    light, mnist = any("efficientnet" in run["params"].arch for run in results.runs), dataset.endswith("mnist")
    grouped, seeds = not results.runs[0]["n_without_group"], len(results.runs) > len(results.tests)
    compared, calibrated = next(results.comparisons(), None) is not None, bool(found.calibrations)
    used = {
        "A. Tejani et al. Checklist for artificial intelligence in medical imaging (CLAIM): 2024 update. "
        "Radiology: Artificial Intelligence 6(4), 2024, e240300.": True,  # every report has a checklist
        "G. Collins et al. TRIPOD+AI statement: updated guidance for reporting clinical prediction models that use "
        "regression or machine learning methods. BMJ 385, 2024, e078378.": True,
        "V. Sounderajah et al. The STARD-AI reporting guideline for diagnostic accuracy studies using artificial "
        "intelligence. Nature Medicine 31, 2025.": True,
        "K. He, X. Zhang, S. Ren, J. Sun. Deep residual learning for image recognition. CVPR 2016.": True,
        "J. Adebayo et al. Sanity checks for saliency maps. NeurIPS 2018.": True,
        "R. Selvaraju et al. Grad-CAM: visual explanations from deep networks. ICCV 2017.": True,
        "M. Tan, Q. Le. EfficientNet: rethinking model scaling for convolutional neural networks. ICML 2019.": light,
        "J. Cohen. Weighted kappa: nominal scale agreement with provision for scaled disagreement or partial credit. "
        "Psychological Bulletin 70(4), 1968.": results.score == "qwk",
        "G. Ying et al. Receiver-operating characteristic analysis for correlated eye data. 2021, PMC8586066.": grouped,
        "X. Bouthillier et al. Accounting for variance in machine learning benchmarks. MLSys 2021.": seeds,
        "Q. McNemar. Note on the sampling error of the difference between correlated proportions or percentages. "
        "Psychometrika 12, 1947.": compared,
        "S. Holm. A simple sequentially rejective multiple test procedure. Scandinavian Journal of Statistics 6, "
        "1979.": compared,
        "C. Guo, G. Pleiss, Y. Sun, K. Weinberger. On calibration of modern neural networks. ICML 2017.": calibrated,
        "J. Yang et al. MedMNIST v2: a large-scale lightweight benchmark. Scientific Data 10, 2023.": mnist,
    }
    listed = sorted(text for text, is_used in used.items() if is_used)
    if results.runs[0]["params"].data not in PHANTOMS and facts(dataset).source:
        listed.append(f"Data: {facts(dataset).source}.")
    sources = dict.fromkeys(one.source for one in results.study.published)
    return [*listed, *(f"Published numbers: {source}." for source in sources)]
