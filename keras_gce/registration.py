"""The losses are registered with Keras as soon as there is Keras.

A saved model loads after `import keras_gce` alone, but Keras finds a registered class
only once its module has been imported. To import the losses at once would bring Keras,
and TensorFlow with it: seconds, for `keras-gce --help` too. So where Keras isn't there
yet, a finder waits on `sys.meta_path` until somebody imports it, imports the losses
right after it, and goes.
"""

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

__all__ = ["register_losses"]


def register_losses() -> None:
    """Imports the losses: now where Keras is loaded, else right after it."""
    if "keras" in sys.modules:
        _import_losses()
    elif _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


def _import_losses() -> None:
    # The statement, not `importlib.import_module`: where the losses are being imported
    # already, by whom Keras is imported here or by another thread, they are taken as
    # they are. What they need of ours must not import Keras: it would be half loaded.
    import keras_gce.losses  # noqa: F401


class _Finder(MetaPathFinder):
    """Finds Keras where the finders after it do, and puts the losses behind it."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Returns Keras's spec, with the losses behind it."""
        finders = list(sys.meta_path)
        if fullname != "keras" or self not in finders:
            return None
        for finder in finders[finders.index(self) + 1 :]:
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:  # Else it is a mere folder of that name.
                    spec.loader = _Loader(spec.loader)
                return spec
        return None


class _Loader(Loader):
    """Loads Keras as its own loader does, and the losses after it.

    It acts when Keras is executed: to look for it, as `importlib.util.find_spec` does,
    loads nothing, and where it fails the finder stays for the next try.
    """

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Returns the module to execute; `None`: a usual one."""
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Executes Keras, whose loader is its own again from here on."""
        module.__loader__ = self.loader
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        self.loader.exec_module(module)
        _import_losses()
        if _finder in sys.meta_path:
            sys.meta_path.remove(_finder)


_finder = _Finder()
