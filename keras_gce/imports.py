"""A package that isn't loaded yet is loaded inside a context, whoever imports it.

A finder waits on `sys.meta_path` until somebody imports the package, and goes once
that has succeeded.
"""

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TypeAlias

__all__ = ["around_import"]

# Makes what a package is loaded inside.
Context: TypeAlias = Callable[[], AbstractContextManager[None]]


def around_import(name: str, context: Context) -> None:
    """Has a package loaded inside a context, if it isn't loaded yet.

    Args:
        name: The package's name.
        context: What makes the context; asked each time the package is executed, until
            that succeeds.
    """
    waiting = [f.name for f in sys.meta_path if isinstance(f, _Finder)]
    if name not in sys.modules and name not in waiting:
        sys.meta_path.insert(0, _Finder(name, context))


class _Finder(MetaPathFinder):
    """Finds a package where the finders after it do, and has it loaded in a context."""

    def __init__(self, name: str, context: Context) -> None:
        self.name = name
        self.context = context

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Returns the package's spec, with a loader of ours around its own."""
        finders = list(sys.meta_path)
        if fullname != self.name or self not in finders:
            return None
        for finder in finders[finders.index(self) + 1 :]:
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:  # Else it is a mere folder of that name.
                    spec.loader = _Loader(spec.loader, self)
                return spec
        return None


class _Loader(Loader):
    """Loads a package as its own loader does, inside the finder's context.

    It acts when the package is executed: to look for it, as `importlib.util.find_spec`
    does, loads nothing, and where it fails the finder stays for the next try.
    """

    def __init__(self, loader: Loader, finder: _Finder) -> None:
        self.loader = loader
        self.finder = finder

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Returns the module to execute; `None`: a usual one."""
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Executes the package, whose loader is its own again from here on."""
        module.__loader__ = self.loader
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        with self.finder.context():
            self.loader.exec_module(module)
        if self.finder in sys.meta_path:
            sys.meta_path.remove(self.finder)
