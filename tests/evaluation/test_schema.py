"""The JSON of a report: back again, from older versions too, and damaged."""

import json
import pathlib

import numpy as np
import pytest

from keras_gce import evaluation
from keras_gce.errors import InputError
from keras_gce.evaluation import RobustnessReport


def test_json_round_trip(report, tmp_path):
    text = report.to_json()
    assert "NaN" not in text
    again = RobustnessReport.from_json(text)
    assert again.to_dict() == report.to_dict() == json.loads(text)
    np.testing.assert_array_equal(again.robust, report.robust)
    with pytest.raises(InputError, match="schema_version=99"):
        RobustnessReport.from_json('{"schema_version": 99}')
    with pytest.raises(InputError, match="'nonsense'"):
        RobustnessReport.from_json("nonsense")


def test_the_schema_says_what_a_report_is(report):
    import jsonschema

    path = pathlib.Path(evaluation.__file__).parent / "report.schema.json"
    schema = json.loads(path.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    data = json.loads(report.to_json())
    jsonschema.validate(data, schema)
    # Nothing is written that it doesn't describe.
    assert set(schema["properties"]) == set(data)
    for name, kind in (
        ("results", "result"),
        ("checks", "check"),
        ("curves", "curve"),
        ("gallery", "example"),
        ("worst_cases", "worst_case"),
    ):
        assert set(schema["$defs"][kind]["properties"]) == set(data[name][0]), name
    for wrong in (
        data | {"worst_case_accuracy": 43.5},
        data | {"flags": [{"name": "zero_gradients"}]},
        {name: value for name, value in data.items() if name != "checks"},
        data | {"schema_version": 2},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


def test_version_1_still_loads():
    # Written by the code of 2026-11-24, before version 2.
    text = (pathlib.Path(__file__).parent / "report_v1.json").read_text()
    old = RobustnessReport.from_json(text)
    assert json.loads(text)["schema_version"] == 1
    assert old.clean_accuracy == 0.975 and old.worst_case_accuracy == 0.0
    assert [flag.name for flag in old.flags] == ["training_loss_hides"]
    assert len(old.results) == 6 and old.results[1].robust_accuracy == 0.175
    assert RobustnessReport.from_json(old.to_json()).to_dict() == old.to_dict()
    assert "Robustness of small_cnn" in old.to_html()
    with pytest.raises(InputError, match="schema version 1"):
        old.per_class()


def test_broken_json_is_refused(report):
    data = report.to_dict()
    for broken in (
        {"schema_version": 2},
        data | {"results": [{"name": "FGSM"}]},
        data | {"clean": "AA=="},
        data | {"gallery": [{"clean": {"dtype": "uint8"}}]},
        [],
        data | {"results": []},
        data | {"row_robust": data["row_robust"][1:]},
        data | {"class_names": ["zero"]},
        data | {"class_names": 5},
        data | {"setup": []},
        data | {"setup": {"dataset": 3}},
        data | {"versions": None},
        data | {"threat_model": 3},
        data | {"checks": [data["checks"][0] | {"value": "much"}]},
        data | {"checks": [data["checks"][0] | {"value": float("nan")}]},
        *(
            data | {"results": [data["results"][0] | wrong, *data["results"][1:]]}
            for wrong in (
                {"seconds": None},
                {"settings": None},
                {"robust_accuracy": "0.4"},
                {"robust_accuracy": 43.5},
                {"eps": -1},
            )
        ),
    ):
        with pytest.raises(InputError, match="JSON of a report"):
            RobustnessReport.from_json(json.dumps(broken))
    with pytest.raises(InputError, match="schema_version=4"):
        RobustnessReport.from_json(json.dumps(data | {"schema_version": 4}))
