"""The whole step of both speeds on several devices: the update of one."""

import chex
import jax
import pytest
import tiny
import tiny_model
from tiny import float64

from nmn_jax.feedback import fast
from nmn_jax.run import parallel

EPISODES = 8


def make():
    model = tiny_model.make_model("linear", label_input="write")
    chosen = tiny_model.make_sg(rule="add", fast=fast.make_fast_path(("output",)))
    method = tiny_model.make_method(tiny_model.make_design(model, chosen))
    return tiny.jit(method.step), tiny_model.method_state(1, method, model)


def mesh_of(devices):
    auto = (jax.sharding.AxisType.Auto,)
    return jax.make_mesh(
        (devices,), (parallel.AXIS,), axis_types=auto, devices=jax.devices()[:devices]
    )


@pytest.mark.parametrize("devices", [2, 8])
@float64
def test_a_sharded_step_is_the_step_of_one_device(devices):
    step, state = make()
    batch = tiny_model.make_batch(2, episodes=EPISODES)
    expected = step(state, batch)
    mesh = mesh_of(devices)
    rows = parallel.shard_batch(mesh, batch)
    assert len(rows.queries.sharding.device_set) == devices
    found = step(parallel.replicate(mesh, state), rows)
    # Plain gradient steps of rate one: equal states are equal gradients.
    chex.assert_trees_all_close(found, expected, rtol=1e-10, atol=1e-12)
    for leaf in jax.tree.leaves(found[0].network.params):
        assert leaf.sharding.is_fully_replicated
