from keras_gce import models, saving


def test_wrong_input(refused, saved, tmp_path):
    evaluate = ["--dataset", "digits", "--eps", "0.1"]
    nonsense = tmp_path / "nonsense.keras"
    nonsense.write_text("no model")
    narrow = tmp_path / "narrow.keras"
    saving.save_model(models.SmallCNN(num_classes=7), narrow)
    wide = tmp_path / "wide.keras"
    saving.save_model(models.SmallCNN(input_shape=(32, 32, 3)), wide)
    for received, *arguments in (
        ("none.keras, no file", "evaluate", "none.keras", *evaluate),
        ("nonsense.keras", "evaluate", str(nonsense), *evaluate),
        ("with 7", "evaluate", str(narrow), *evaluate),
        ("(N, 32, 32, 3)", "evaluate", str(wide), *evaluate),
        ("svhn", "evaluate", saved, "--dataset", "svhn", "--eps", "0.1"),
        ("Received: cw", "evaluate", saved, *evaluate, "--attacks", "fgsm,cw"),
        ("'blind'", "evaluate", saved, *evaluate, "--threat-model", "blind"),
        ("-1", "evaluate", saved, "--dataset", "digits", "--eps=-1"),
        ("nan", "evaluate", saved, "--dataset", "digits", "--eps", "nan"),
        ("a folder", "evaluate", saved, *evaluate, "--output", str(tmp_path)),
    ):
        line = refused(*arguments)
        assert received in line, line


def test_no_output_takes_the_place_of_an_input(saved, tmp_path, refused):
    before = (tmp_path / "model.keras").read_bytes()
    (tmp_path / "link.json").symlink_to(saved)
    report = str(tmp_path / "report.json")
    for outputs in (
        ["--output", saved],
        ["--html", str(tmp_path / "link.json")],
        ["--output", report, "--html", report],
    ):
        line = refused(
            *("evaluate", saved, "--dataset", "digits", "--eps", "0.1", *outputs)
        )
        assert "a file of its own" in line
    assert (tmp_path / "model.keras").read_bytes() == before
