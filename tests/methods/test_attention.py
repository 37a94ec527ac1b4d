"""The attention baseline against a loop in NumPy: what it sees, and what it says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from nmn_jax.methods import attention
from nmn_jax.nets import leaves
from nmn_jax.settings import override, preset
from nmn_jax.tasks import trajectories

SEEN, ASKED, UNITS, FRAMES = 4, 3, 3, 2
TASK = trajectories.forecast(observed=SEEN, horizon=ASKED, batch=2)
# By how much answers are enlarged.
UNIT = {"absolute": 1.0, "displacement": 0.1, "velocity": 0.1}


def design_of(frame):
    settings = override(
        preset("recommended", ways=2, shots=1),
        forecast={"units": UNITS, "frame": frame, "velocity_frames": FRAMES},
    )
    return attention.make_design(settings, TASK, steps=5)


def anchor(frame, seen, ahead):
    """What an answer for so many steps ahead is added to."""
    if frame == "absolute":
        return np.zeros(2)
    move = (seen[-1] - seen[-1 - FRAMES]) / FRAMES
    return seen[-1] + (ahead * move if frame == "velocity" else 0)


def looped(design, frame, params, seen):
    """Read what was seen; then say a step, each time looking back at all of it."""
    lstm = leaves.make_lstm(UNITS)
    carry, states = lstm.carry(), []
    for step in design.frame.inputs(jnp.asarray(seen)):
        carry, hidden = lstm.apply(params["encoder"], carry, step)
        states.append(hidden)
    states = np.stack(states)
    said = (seen[-1] - anchor(frame, seen, 0)) / UNIT[frame]
    positions = []
    for ahead in range(1, ASKED + 1):
        asking = design.score.apply(params["score"], hidden)
        likeness = np.exp(states @ np.asarray(asking))
        attended = (likeness / likeness.sum()) @ states
        given = jnp.concatenate([jnp.asarray(said), jnp.asarray(attended)])
        carry, hidden = lstm.apply(params["decoder"], carry, given)
        said = np.asarray(design.head.apply(params["head"], hidden))
        positions.append(UNIT[frame] * said + anchor(frame, seen, ahead))
    return np.stack(positions)


@pytest.mark.parametrize("frame", UNIT)
@tiny.float64
def test_a_forecast_is_a_loop(frame):
    design = design_of(frame)
    method = attention.make_method(design)
    state = tiny.filled(1, jax.eval_shape(method.init, jax.random.key(0)))
    seen = tiny.normal(2, 2, SEEN, 2)
    found = tiny.jit(lambda: method.predict(state, seen).output)()
    for said, each in zip(found, np.asarray(seen), strict=True):
        expected = looped(design, frame, state.network.params, each)
        np.testing.assert_allclose(said, expected, rtol=1e-9, atol=1e-12)
