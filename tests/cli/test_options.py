import argparse

import pytest

from keras_gce.cli import options


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (options.number, "1/4", 0.25),
        (options.number, "0", 0.0),
        (options.numbers, "1/2,0.25", [0.5, 0.25]),
        (options.any_number, "-3/2", -1.5),
        (options.count, "10", 10),
        (options.seed, "0", 0),
        (options.names_among(("a", "b")), "b,a", ["b", "a"]),
        (options.names_among(("ab", "c_d")), " AB, c-d,ab,", ["ab", "c_d"]),
        (options.numbers, "8/255, 0.1,", [8 / 255, 0.1]),
        (options.percent, "40%", 40.0),
        (options.percent, "0.5%", 0.5),
    ],
)
def test_types(kind, text, value):
    assert kind(text) == value


@pytest.mark.parametrize(
    ("kind", "text", "received"),
    [
        (options.number, "-1", "-1"),
        (options.number, "1/0", "1/0"),
        (options.number, "nan", "nan"),
        (options.number, "inf", "inf"),
        (options.number, "1e999", "1e999"),
        (options.numbers, "1/2,x", "x"),
        (options.numbers, ",", "none"),
        (options.any_number, "inf", "inf"),
        (options.count, "0", "0"),
        (options.count, "2.0", "2.0"),
        (options.seed, "-1", "-1"),
        (options.names_among({"fgsm": 1, "pgd": 2}), "fgsm,cw", "cw"),
        (options.names_among(("fgsm",)), " ,", "none"),
    ],
)
def test_types_refuse(kind, text, received):
    with pytest.raises(argparse.ArgumentTypeError, match=f"Received: {received}$"):
        kind(text)
