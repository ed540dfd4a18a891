"""What a report shows, one file per topic: each function takes `StudyResults` and returns `Exhibit`s for `show`."""

from dataclasses import replace
from functools import wraps

from labkit.reporting.exhibits.benefit import benefit
from labkit.reporting.exhibits.blocks import architecture
from labkit.reporting.exhibits.calibration import reliability
from labkit.reporting.exhibits.checklist import limits, references, review
from labkit.reporting.exhibits.comparisons import differences
from labkit.reporting.exhibits.confusion import confusions
from labkit.reporting.exhibits.cost import costs
from labkit.reporting.exhibits.deviations import deviations
from labkit.reporting.exhibits.external import external
from labkit.reporting.exhibits.mistakes import errors
from labkit.reporting.exhibits.power import power
from labkit.reporting.exhibits.protocol import curves, provenance, unfinished, variants
from labkit.reporting.exhibits.published import published_scores
from labkit.reporting.exhibits.roc import class_curves, screening
from labkit.reporting.exhibits.saliency import saliency
from labkit.reporting.exhibits.scores import scores
from labkit.reporting.exhibits.sensitivity import by_class, class_tables
from labkit.reporting.exhibits.subgroups import subgroups
from labkit.reporting.exhibits.summary import page_one, trust
from labkit.reporting.exhibits.worth import further_scores, leaks
from labkit.reporting.show import Exhibit

OF_FIRST = "This is of the first seed alone."


def _of_training(exhibit):
    """The exhibit; of predictions that were made elsewhere nothing, since nothing is known of their training."""
    return wraps(exhibit)(lambda results: exhibit(results) if results.trained else ())


def _of_first_seed(exhibit):
    """The exhibit; where a study has several seeds, its sentences and alternative texts say that they are of one."""

    @wraps(exhibit)
    def told(results, *asked):
        shown = exhibit(results, *asked)
        for one in (shown,) if isinstance(shown, Exhibit) else shown:
            end = "\n\n" if "\n" in one.text else " "
            if results.of_first:
                one = replace(one, alt=one.alt and f"{one.alt} {OF_FIRST}", text=one.text and one.text + end + OF_FIRST)
            yield one

    return told


benefit, class_curves, class_tables, confusions = map(_of_first_seed, (benefit, class_curves, class_tables, confusions))
errors, reliability, screening, subgroups = map(_of_first_seed, (errors, reliability, screening, subgroups))
saliency = _of_first_seed(saliency)
architecture, costs, curves = map(_of_training, (architecture, costs, curves))
deviations, published_scores, saliency = map(_of_training, (deviations, published_scores, saliency))
