"""Every method by name: one line each, from the file that defines it."""

from __future__ import annotations

from nmn_jax.methods import (
    attention,
    averaging,
    cnn,
    kinematic,
    lstm_stream,
    maml,
    maml_forecast,
    maml_plus,
    mann,
    matching,
    metanet,
    nmn,
    nmn_forecast,
    nmn_stream,
    prototype,
    replay,
    reptile,
    snail,
)
from nmn_jax.methods.base import Entry

EPISODES: dict[str, Entry] = {
    "nmn": nmn.ENTRY,
    "prototype": prototype.ENTRY,
    "matching": matching.ENTRY,
    "mann": mann.ENTRY,
    "metanet": metanet.ENTRY,
    "snail": snail.ENTRY,
    **maml.ENTRIES,
    "maml_plus": maml_plus.ENTRY,
    "reptile": reptile.ENTRY,
}
METHODS: dict[str, Entry] = {
    **{name: averaging.around(line) for name, line in EPISODES.items()},
    "nmn_stream": nmn_stream.ENTRY,
    "nmn_replay": replay.around(nmn_stream.ENTRY),
    "lstm_stream": lstm_stream.ENTRY,
    "cnn": cnn.ENTRY,
    "cnn_replay": replay.around(cnn.ENTRY),
    "nmn_forecast": nmn_forecast.ENTRY,
    "attention": attention.ENTRY,
    "maml_forecast": maml_forecast.MAML,
    "maml_plus_forecast": maml_forecast.MAML_PLUS,
    "constant_velocity": kinematic.VELOCITY,
    "constant_position": kinematic.POSITION,
}


def entry(name: str, *, form: str) -> Entry:
    """The line of a method for tasks of a form: `episodes`, `stream` or `forecast`.

    Raises:
      ValueError: if there is none of that name and form; names those there are.
    """
    known = sorted(each for each, line in METHODS.items() if line.form == form)
    if name not in known:
        raise ValueError(f"unknown method {name!r}; choose one of {known}")
    return METHODS[name]
