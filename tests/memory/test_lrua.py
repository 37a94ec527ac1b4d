"""Least recently used access against a loop, and what its options refuse."""

import jax
import numpy as np
import pytest
import tiny

from nmn_jax import memory
from nmn_jax.memory.lrua import LruaParams

SLOTS, WIDTH, HEADS, STEPS, DECAY = 4, 3, 2, 6, 0.8


def cosine(rows, key):
    lengths = np.sqrt((rows**2).sum(1) + 1e-12)
    return rows @ key / (lengths * np.sqrt((key**2).sum() + 1e-12))


def softmax(values):
    shares = np.exp(values - values.max())
    return shares / shares.sum()


def by_hand(gate, keys):
    """The equations of Santoro et al. in turn: what is recalled, `[T, H, K]`."""
    rows, usage = np.full((SLOTS, WIDTH), 1e-6), np.zeros(SLOTS)
    last, recalled = np.zeros((HEADS, SLOTS)), []
    for step in keys:
        order = np.argsort(usage, kind="stable")
        rows = rows.copy()
        rows[order[0]] = 0
        counted = DECAY * usage
        for head, key in enumerate(step):
            write = gate * last[head]
            write[order[head]] += 1 - gate
            rows += np.outer(write, key)
            counted = counted + write
        last = np.stack([softmax(cosine(rows, key)) for key in step])
        usage = counted + last.sum(0)
        recalled.append(last @ rows)
    return np.stack(recalled), rows, usage


@tiny.float64
def test_reads_and_writes_are_those_of_a_loop():
    made = memory.lrua(slots=SLOTS, width=WIDTH, heads=HEADS, decay=DECAY)
    assert (made.width, made.reads) == (HEADS * WIDTH, HEADS * SLOTS)
    alpha = 0.7
    params = LruaParams(np.asarray(alpha))
    keys = np.asarray(tiny.normal(0, STEPS, HEADS, WIDTH))

    def step(state, key):
        reading = made.read(params, state, key)
        return made.write(params, state, reading, key).state, reading.recalled

    start = made.start(made.init(jax.random.key(0)))
    state, recalled = jax.lax.scan(step, start, keys.reshape(STEPS, -1))
    expected, rows, usage = by_hand(1 / (1 + np.exp(-alpha)), keys)
    np.testing.assert_allclose(
        recalled.reshape(expected.shape), expected, rtol=1e-7, atol=1e-9
    )
    np.testing.assert_allclose(state.rows, rows, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(state.usage, usage, rtol=1e-7)


def test_what_cannot_be_is_refused():
    for changes, said in (
        ({"heads": 5}, "5 heads on 4 slots"),
        ({"heads": 0}, "0 heads"),
        ({"decay": 1.5}, "decay=1.5"),
        ({"width": 0}, "width 0"),
    ):
        with pytest.raises(ValueError, match=said):
            memory.lrua(**{"slots": 4, "width": 3, **changes})
