"""Docstrings in Keras's order, as griffe and Markdown read them."""

import re
import textwrap

import griffe


class KerasDocstrings(griffe.Extension):
    """Makes of "Example:" and "Reference:" what they look like in a terminal."""

    def on_instance(self, *, obj, **kwargs):
        if obj.docstring is not None:
            obj.docstring.value = _markdown(obj.docstring.value)

    def on_package(self, *, pkg, **kwargs):
        # Public constants have no docstring, and would be left out.
        for module in _modules(pkg):
            for name in module.exports or ():
                member = module.members.get(str(name))
                if member is None or member.is_alias or member.docstring is not None:
                    continue
                if member.is_attribute:
                    text = f"Constant of `{module.path}`."
                    member.docstring = griffe.Docstring(text, parent=member)


def _modules(module):
    yield module
    for child in module.members.values():
        if not child.is_alias and child.is_module:
            yield from _modules(child)


def _markdown(text):
    # To Markdown ">>>" begins a quotation.
    text = re.sub(r"(?m)^(>>> (?:.+\n?)+)", _fenced, text)
    text = re.sub(r"(?m)^(Example|Usage.*):$", r"**\1**", text)
    # To griffe any "Name:" before an indented text is a box, closed at first.
    return re.sub(
        r"(?m)^Reference:\n((?: {4}.*\n?|\n)+)",
        lambda match: f"**Reference**\n\n{textwrap.dedent(match[1])}",
        text,
    )


def _fenced(match):
    return f"```pycon\n{match[1].rstrip()}\n```\n"
