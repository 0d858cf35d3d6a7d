"""The threat models: what each attack ascends, and how its lines look."""

import dataclasses

__all__ = ["THREAT_MODELS", "ThreatModel"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ThreatModel:
    """A threat model, always named beside a figure.

    Args:
        name: Its name.
        losses: What each gradient attack ascends; per example the worst counts.
        label: Its name in figures.
        color: The colour of its line, Okabe and Ito's.
        dash: The dashes of its line, as SVG has them; `None`: a full line.
        marker: `"square"`, `"triangle"` or `"circle"`: for readers without colour.
    """

    name: str
    losses: tuple[str, ...]
    label: str
    color: str
    dash: str | None
    marker: str


THREAT_MODELS = {
    model.name: model
    for model in (
        ThreatModel(
            name="paper",
            losses=("training",),
            label="paper (the training loss)",
            color="#0072b2",
            dash="8 4",
            marker="square",
        ),
        ThreatModel(
            name="crossentropy",
            losses=("crossentropy",),
            label="crossentropy",
            color="#d55e00",
            dash="2 4",
            marker="triangle",
        ),
        ThreatModel(
            name="adaptive",
            losses=("crossentropy", "training", "margin"),
            label="adaptive (worst case)",
            color="#000000",
            dash=None,
            marker="circle",
        ),
    )
}
