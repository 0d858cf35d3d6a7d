"""Section 2 of DESIGN.md, read from the imports of every file, in functions too."""

import ast
import functools
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).parents[1] / "keras_gce"

# Bottom to top: a room imports rooms of its own floor and of those below.
FLOORS = (
    ("errors", "names"),
    ("checks", "per_feature", "progress", "files", "imports"),
    ("workers",),
    ("losses",),
    ("backend", "seeds", "saving", "registration"),
    ("fingerprint", "classifier"),
    ("attacks",),
    ("training", "callbacks", "evaluation", "features"),
    ("plotting",),
    ("tuning", "recipes"),
    ("cli",),
)
# What stands alone: all that it imports of ours.
ALONE = {
    "losses": {"errors", "checks"},
    "models": {"errors", "checks", "names"},
    "datasets": {"errors", "checks", "names", "seeds"},
}
ROOT = {"__init__", "__main__"}
# Not seen above: an older public name, which is looked up in the upper room that it
# moved to, when it is asked for.
LAZY = {("keras_gce.evaluation", "keras_gce.recipes.paper_attacks")}
# Other packages -> where alone they are imported.
DOORS = {
    "cleverhans": ("keras_gce.evaluation.cleverhans",),
    "keras_tuner": ("keras_gce.tuning.",),
    "tensorflow_datasets": ("keras_gce.datasets.",),
    "tensorflow": (
        "keras_gce.backend.tensorflow",
        "keras_gce.datasets.tf_batches",
        "keras_gce.datasets.t",  # TFDS's readers
        "keras_gce.evaluation.cleverhans",
    ),
    "jax": ("keras_gce.backend.jax",),
    "torch": ("keras_gce.backend.torch",),
    "matplotlib": ("keras_gce.plotting.",),
    "ray": ("keras_gce.workers.",),
    "sklearn": ("keras_gce.features", "keras_gce.datasets.digits"),
}
# KerasTuner's, of its grid.
PRIVATE = {"_ordered_ids", "_populate_next", "_compare"}


def name_of(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def room_of(name):
    """`attacks` of `keras_gce.attacks.base`; what the classifier is made of is one."""
    room = name.split(".")[1] if "." in name else "__init__"
    return "classifier" if room.startswith("classifier") else room


@functools.cache
def tree_of(name):
    return ast.parse(FILES[name].read_text(encoding="utf-8"))


@functools.cache
def imports_of(name):
    """Pairs of a module and a name of it (or `None`) that a file imports anywhere."""
    found = set()
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.Import):
            found |= {(alias.name, None) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: a relative import"
            found |= {(node.module, alias.name) for alias in node.names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
            "import_module"
        ):
            found |= {
                (argument.value, None)
                for argument in node.args
                if isinstance(argument, ast.Constant)
            }
    return frozenset(found)


@functools.cache
def arrows_of(name):
    """Our files that a file imports."""
    found = set()
    for module, member in imports_of(name):
        whole = f"{module}.{member}"
        target = whole if whole in FILES else module
        if target in FILES and target not in ("keras_gce", name):
            found.add(target)
    return frozenset(found)


def test_the_reader_reads():
    """Both kinds of imports, in functions too; or what follows proves nothing."""
    assert "keras_gce.attacks.in_ball" in arrows_of("keras_gce.attacks.gradient")
    assert "keras_gce.datasets.tfds" in arrows_of("keras_gce.datasets.loading")
    assert "keras_gce.backend" in arrows_of("keras_gce.attacks.gradient")
    assert ("keras_gce.evaluation", "keras_gce.recipes.paper_attacks") in {
        ("keras_gce.evaluation", target) for target in arrows_of("keras_gce.evaluation")
    }


def test_every_room_has_its_floor():
    floors = [room for floor in FLOORS for room in floor]
    rooms = {room_of(name) for name in FILES} - ROOT
    assert len(set(floors)) == len(floors)
    assert rooms == {*floors, *ALONE}


def test_no_arrow_points_upwards():
    height = {room: i for i, floor in enumerate(FLOORS) for room in floor}
    wrong = []
    for name in FILES:
        room = room_of(name)
        if room in ROOT:
            continue
        for target in arrows_of(name):
            to = room_of(target)
            if to == room or (name, target) in LAZY:
                continue
            if room in ALONE:
                allowed = to in ALONE[room]
            elif to in ("models", "datasets"):
                # Alone, and for the uppermost rooms.
                allowed = height[room] >= height["tuning"]
            else:
                allowed = to in height and height[to] <= height[room]
            if not allowed:
                wrong.append(f"{name} -> {target}")
    assert not wrong


def test_there_is_no_circle():
    """Between files; a package's `__init__` is a file of its own."""
    state, circles = {}, []

    def visit(name, way):
        state[name] = "open"
        for target in sorted(arrows_of(name)):
            if (name, target) in LAZY:
                continue
            if state.get(target) == "open":
                circles.append(" -> ".join([*way[way.index(target) :], target]))
            elif target not in state:
                visit(target, [*way, target])
        state[name] = "done"

    for name in FILES:
        if name not in state:
            visit(name, [name])
    assert not circles


@pytest.mark.parametrize("package", DOORS)
def test_other_packages_come_in_by_their_door(package):
    inside = {
        name
        for name in FILES
        if any(module.split(".")[0] == package for module, _ in imports_of(name))
    }
    assert inside, f"nothing imports {package}"
    assert not {name for name in inside if not name.startswith(DOORS[package])}


def test_private_names_of_keras_tuner_stay_in_the_adapter():
    touching = {
        name
        for name in FILES
        for node in ast.walk(tree_of(name))
        if isinstance(node, ast.Attribute) and node.attr in PRIVATE
    }
    assert touching == {"keras_gce.tuning.keras_tuner"}


def test_what_crosses_rooms_is_public():
    """A name that another room imports is in `__all__` where it lives."""
    wrong = []
    for name in FILES:
        for module, member in imports_of(name):
            if module not in FILES or member is None or f"{module}.{member}" in FILES:
                continue
            if room_of(module) != room_of(name) and member not in public(module):
                wrong.append(f"{name} imports {module}.{member}")
    assert not wrong


@functools.cache
def public(name):
    for node in tree_of(name).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names = node.value.elts
            return {n.value for n in names if isinstance(n, ast.Constant)}
    return set()


def test_no_module_is_hidden_by_a_name_of_its_package():
    hidden = [
        f"{name}.{member}"
        for name, path in FILES.items()
        if path.name == "__init__.py"
        for module, member in imports_of(name)
        if f"{name}.{member}" in FILES and module != name
    ]
    assert not hidden


def test_sizes():
    """A file that grows past this has a second subject to move out."""
    lines = {name: path.read_text().count("\n") for name, path in FILES.items()}
    assert {name: n for name, n in lines.items() if n > 320} == {}
    assert sorted(lines.values())[len(lines) // 2] < 150


@pytest.mark.parametrize("room", ["attacks", "evaluation", "training", "tuning"])
def test_probes_are_few(room):
    """A protocol answers for itself; what is left asks objects that are not ours."""
    probes = [
        f"{name}: {ast.unparse(node)}"
        for name in FILES
        if room_of(name) == room
        for node in ast.walk(tree_of(name))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("hasattr", "getattr")
        and isinstance(node.args[1], ast.Constant)
    ]
    assert len(probes) <= 4, probes
