"""Recipes seed by seed."""

from recipes import tiny

from keras_gce.recipes import runs
from keras_gce.recipes.runs import over_seeds


def test_seeds_before_recipes(capsys, tmp_path, monkeypatch):
    recipes = [tiny.recipe("crossentropy"), tiny.recipe("cot")]
    calls, watched = [], []

    def trained(recipe, dataset, seed, folder, progress, callbacks):
        assert dataset == "digits"
        watched.append(callbacks)
        return seed

    def measure(recipe, model, folder):
        calls.append((recipe.name, model, folder))
        return len(calls), f"{len(calls)} run(s) [so far]"

    monkeypatch.setattr(runs, "trained", trained)
    results = over_seeds(recipes, [0, 1], tmp_path, "digits", measure, progress=True)
    # A seed is finished before the next one: a table of fewer seeds is there sooner.
    assert calls == [
        (name, seed, tmp_path / f"{name}-seed{seed}")
        for seed in (0, 1)
        for name in ("crossentropy", "cot")
    ]
    assert results == {recipes[0]: [1, 3], recipes[1]: [2, 4]}
    out, err = capsys.readouterr()
    assert err.splitlines()[1] == "digits, cot-seed0: 2 run(s) [so far]"
    assert len(err.splitlines()) == 4 and not out
    assert watched == [()] * 4
    over_seeds(
        *(recipes, [3], tmp_path, "digits", measure),
        progress=False,
        callbacks=lambda recipe, folder: [recipe.name, folder],
    )
    assert watched[4:] == [
        [name, tmp_path / f"{name}-seed3"] for name in ("crossentropy", "cot")
    ]
    assert capsys.readouterr() == ("", "")
