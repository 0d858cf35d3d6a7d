"""What is seen in a figure."""

import pytest


@pytest.fixture
def texts():
    """A function: all that is written in a figure, once it is drawn."""

    def texts(figure):
        figure.draw_without_rendering()
        return " | ".join(text.get_text() for text in figure.findobj(match=is_text))

    return texts


def is_text(artist):
    return hasattr(artist, "get_text") and artist.get_visible()


@pytest.fixture
def looks():
    """A function: each line's dash and marker, without its colour."""
    return lambda ax: [(x.get_linestyle(), x.get_marker()) for x in ax.get_lines()]
