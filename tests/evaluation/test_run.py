"""The attacks of a plan, run in batches."""

import numpy as np
from networks import balanced, labelled

from keras_gce.attacks import BIM
from keras_gce.evaluation import evaluate


def test_batch_size_loses_no_example():
    model = balanced()
    data = labelled(model, 37)
    reports = [
        evaluate(
            model,
            data,
            BIM(eps=0.03),
            "crossentropy",
            batch_size=n,
            progress=False,
            diagnostics=False,
        )
        for n in (10, 37, 500)
    ]
    assert 0.1 < reports[0].worst_case_accuracy < 0.9
    for other in reports[1:]:
        np.testing.assert_array_equal(other.robust, reports[0].robust)
