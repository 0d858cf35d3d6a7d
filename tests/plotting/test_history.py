"""A training, epoch by epoch."""

import pytest
from matplotlib.figure import Figure
from networks import balanced, labelled

from keras_gce import attacks, losses, plotting
from keras_gce.callbacks import RobustAccuracy
from keras_gce.errors import InputError


@pytest.mark.integration
def test_training_curves(texts, looks):
    model = balanced()
    model.compile(
        "adam", losses.GuidedComplementEntropy(from_logits=True), metrics=["accuracy"]
    )

    data = labelled(model, 20)
    attack = [attacks.FGSM(eps=0.1), attacks.FGSM(eps=0.1, loss="margin")]
    history = model.fit(
        *data,
        epochs=3,
        verbose=0,
        validation_data=data,
        callbacks=[RobustAccuracy(data, attack, every=2)],
    )
    figure = plotting.training_curves(history, title="digits", attack=attack, every=2)
    above, below = figure.axes
    robust = above.get_lines()[2]
    assert robust.get_xdata().tolist() == [2, 3]
    assert all(tick % 1 == 0 for tick in below.get_xticks())
    assert robust.get_ydata()[1] == 100 * history.history["val_robust_accuracy"][1]
    assert len(set(looks(above))) == 3 and len(below.get_lines()) == 2
    written = texts(figure)
    assert "robust, FGSM linf eps 0.1 (crossentropy, margin)" in written
    assert "accuracy (%)" in written and "epoch" in written
    into = Figure().subplots()
    assert plotting.training_curves(history.history, into, every=2) is into.figure
    assert len(into.get_lines()) == 3
    with pytest.raises(InputError, match=r"every=1, val_robust_accuracy with 2"):
        plotting.training_curves(history)
    with pytest.raises(InputError, match="Received: loss"):
        plotting.training_curves({"loss": [1.0]})


def test_training_curves_name_an_attack_without_a_ball(texts):
    history = {
        "accuracy": [0.5, 0.6],
        "loss": [1.0, 0.9],
        "val_robust_accuracy": [0, 1],
    }
    for attack in (attacks.JSMA(), attacks.CarliniWagnerL2()):
        figure = plotting.training_curves(history, attack=attack)
        assert f"robust, {attack.name}" in texts(figure)
