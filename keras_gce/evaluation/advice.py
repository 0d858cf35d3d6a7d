"""What to run next, where a robust accuracy is high and no flag says why."""

from typing import Any

__all__ = ["GUIDE", "not_tried"]

GUIDE = "https://keras-gce.github.io/keras_gce/guides/report/#what-was-not-tried"
# Of the clean accuracy: from this share on a robust accuracy is called high.
HIGH = 0.5
# Of Square, as its authors have it.
QUERIES = 5000


def not_tried(report: Any) -> list[str]:
    """Returns what could still break a model that looks robust, each in words.

    Args:
        report: A `RobustnessReport`, whose file imports this one.
    """
    worst = report.worst_case_accuracy
    if report.flags or not report.has_radius or worst < HIGH * report.clean_accuracy:
        return []
    names = {row.name for row in report.results}
    queries = [r.settings["queries"] for r in report.results if r.name == "Square"]
    advice = []
    if report.threat_model != "adaptive":
        advice.append("the adaptive threat model (--threat-model adaptive)")
    if not any(name.startswith(("APGD", "FAB")) for name in names):
        advice.append("AutoAttack (--attacks autoattack)")
    if not any(name.startswith("Transfer") for name in names):
        advice.append(
            "transfer from a model trained in the plain way (--source OTHER.keras)"
        )
    if max(queries, default=0) < QUERIES:
        advice.append(f"Square with {QUERIES} queries or more")
    return [*advice, "an attack made for this very model"]
