"""What a report rests on: the papers of its networks, data and statistics, only those that it uses."""

from labkit.data.catalog import facts
from labkit.data.source import PHANTOMS
from labkit.reporting.results import StudyResults
from labkit.reporting.worth import Worth

RESNET = "K. He, X. Zhang, S. Ren, J. Sun. Deep residual learning for image recognition. CVPR 2016."
EFFICIENTNET = "M. Tan, Q. Le. EfficientNet: rethinking model scaling for convolutional neural networks. ICML 2019."
KAPPA = (
    "J. Cohen. Weighted kappa: nominal scale agreement with provision for scaled disagreement or partial credit. "
    "Psychological Bulletin 70(4), 1968."
)
CLUSTERED = "G. Ying et al. Receiver-operating characteristic analysis for correlated eye data. 2021, PMC8586066."
SEEDS = "X. Bouthillier et al. Accounting for variance in machine learning benchmarks. MLSys 2021."
MCNEMAR = (
    "Q. McNemar. Note on the sampling error of the difference between correlated proportions or percentages. "
    "Psychometrika 12, 1947."
)
HOLM = "S. Holm. A simple sequentially rejective multiple test procedure. Scandinavian Journal of Statistics 6, 1979."
CALIBRATION = "C. Guo, G. Pleiss, Y. Sun, K. Weinberger. On calibration of modern neural networks. ICML 2017."
GRADCAM = "R. Selvaraju et al. Grad-CAM: visual explanations from deep networks. ICCV 2017."
SANITY = "J. Adebayo et al. Sanity checks for saliency maps. NeurIPS 2018."
CLAIM = (
    "A. Tejani et al. Checklist for artificial intelligence in medical imaging (CLAIM): 2024 update. "
    "Radiology: Artificial Intelligence 6(4), 2024, e240300."
)
STARD_AI = (
    "V. Sounderajah et al. The STARD-AI reporting guideline for diagnostic accuracy studies using artificial "
    "intelligence. Nature Medicine 31, 2025."
)
TRIPOD_AI = (
    "G. Collins et al. TRIPOD+AI statement: updated guidance for reporting clinical prediction models that use "
    "regression or machine learning methods. BMJ 385, 2024, e078378."
)
MEDMNIST = "J. Yang et al. MedMNIST v2: a large-scale lightweight benchmark. Scientific Data 10, 2023."


def references(results: StudyResults, found: Worth) -> list[str]:
    """In alphabetical order; the data's own source and what published numbers stand in come last."""
    archs = {run["params"].arch for run in results.runs}
    dataset = results.runs[0]["params"].dataset
    compared = next(results.comparisons(), None) is not None
    used = {
        RESNET: True,  # every report's introduction
        EFFICIENTNET: any("efficientnet" in arch for arch in archs),
        KAPPA: results.score == "qwk",
        CLUSTERED: not results.runs[0]["n_without_group"],
        SEEDS: len(results.runs) > len(results.tests),
        MCNEMAR: compared,
        HOLM: compared,
        CALIBRATION: bool(found.calibrations),
        **dict.fromkeys((GRADCAM, SANITY, CLAIM, STARD_AI, TRIPOD_AI), True),  # every report's figure and checklist
        MEDMNIST: dataset.endswith("mnist"),
    }
    listed = sorted(text for text, is_used in used.items() if is_used)
    if results.runs[0]["params"].data not in PHANTOMS and facts(dataset).source:
        listed.append(f"Data: {facts(dataset).source}.")
    sources = dict.fromkeys(one.source for one in results.study.published)
    return [*listed, *(f"Published numbers: {source}." for source in sources)]
