"""Every preset steps with every use of synthetic gradients and under every control.

The task is a regression of vectors, whose encoder is traced in no time.
"""

import chex
import jax
import jax.numpy as jnp
import pytest

from nmn_jax import losses
from nmn_jax.feedback import controls
from nmn_jax.methods import table
from nmn_jax.settings import presets, records
from nmn_jax.tasks.base import Batch, Context, Spec, Task

POINTS = 3
USES = [
    (name, use, "none") for name in ("paper", "recommended") for use in records.USES
]
CONTROLS = [
    ("recommended", "both", each) for each in controls.CONTROLS if each != "none"
]


def sample(key, step, source):
    """Two episodes of three points and two questions."""
    del step, source
    inputs = jax.random.normal(key, (2, POINTS + 2, 4))
    targets = inputs[..., :2]
    context = Context(inputs[:, :POINTS], targets[:, :POINTS])
    return Batch(context, inputs[:, POINTS:], targets[:, POINTS:])


VECTORS = Task(
    Spec("episodes", "regression", (4,), 2),
    sample,
    losses.squared_error,
    losses.regression_scores,
)


@pytest.mark.parametrize(("name", "use", "control"), USES + CONTROLS)
def test_settings_step(name, use, control):
    """One whole step is traced, without being compiled or run."""
    settings = presets.resolve(
        name, ways=POINTS, shots=1, uses=table.METHODS["nmn"].uses, default_use="off",
        overrides={"sg": {"use": use, "control": control}},
    )  # fmt: skip
    assert (settings.sg.use, settings.sg.control) == (use, control)
    method = table.METHODS["nmn"].make(settings, VECTORS, steps=10)
    key = jax.random.key(0)
    state = jax.eval_shape(method.init, key)
    batch = jax.eval_shape(VECTORS.sample, key, jnp.asarray(0), None)
    after, metrics = jax.eval_shape(method.step, state, batch)
    chex.assert_trees_all_equal_shapes_and_dtypes(after, state)
    assert metrics["loss"].shape == metrics["squared_error"].shape == ()
