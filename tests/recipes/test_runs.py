"""Recipes seed by seed."""

import pathlib

from recipes import tiny

from keras_gce.recipes.runs import over_seeds


def test_seeds_before_recipes(capsys, tmp_path):
    recipes = [tiny.recipe("crossentropy"), tiny.recipe("cot")]
    calls = []

    def measure(recipe, seed, folder):
        calls.append((recipe.name, seed, folder))
        return len(calls), f"{len(calls)} run(s) [so far]"

    results = over_seeds(recipes, 2, tmp_path, measure, progress=True)
    # A seed is finished before the next one: a table of fewer seeds is there sooner.
    assert calls == [
        (name, seed, tmp_path / f"{name}-seed{seed}")
        for seed in (0, 1)
        for name in ("crossentropy", "cot")
    ]
    assert results == {recipes[0]: [1, 3], recipes[1]: [2, 4]}
    out, err = capsys.readouterr()
    assert err.splitlines()[1] == "digits, cot, seed 0: 2 run(s) [so far]"
    assert len(err.splitlines()) == 4 and not out
    over_seeds(recipes, 1, pathlib.Path(tmp_path), measure, progress=False)
    assert capsys.readouterr() == ("", "")
