import inspect
import types

from keras_gce import cli, recipes


def test_demo_is_a_table_on_digits(monkeypatch, capsys, tmp_path):
    calls, signature = [], inspect.signature(recipes.reproduce)

    def reproduce(*args, **kwargs):
        calls.append(signature.bind(*args, **kwargs).arguments)
        return types.SimpleNamespace(to_markdown=lambda: "what it came to")

    monkeypatch.setattr(recipes, "reproduce", reproduce)
    assert cli.main(["demo", "--output", str(tmp_path)]) == 0
    expected = {"table": "table3", "dataset_name": "digits", "output": str(tmp_path)}
    expected |= {"seeds": 1, "engine": "keras_gce"}
    expected |= {"attacks": ["fgsm", "bim", "pgd", "mim"]}
    assert calls == [expected]
    out = capsys.readouterr().out
    assert out.startswith("what it came to\n")
    assert "quote the adaptive column" in out and str(tmp_path) in out
