"""Rare classes: what is refused before the first step, and that methods run at all."""

from __future__ import annotations

import dataclasses
import importlib

import pytest

from experiments.rare_classes import config, protocol, records, sources
from nmn_jax.run import parallel
from nmn_jax.settings import reader

job = importlib.import_module("experiments.rare_classes.__main__")

SMALL = {"channels": 2, "width": 16, "key_width": 4, "slots": 12}
RUN = records.Run(
    data=records.Data("digits", period=3, held_out=300),
    train=records.Train(steps=4, validate_every=4, checkpoint_every=4),
    validate=records.Validate(images=50),
    model=SMALL,
)


def prepared(run):
    return protocol.prepare(run, parallel.make_mesh())


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: records.Data(frequent=(0, 11)), "data.frequent"),
        (lambda: records.Data(frequent=()), "data.frequent"),
        (lambda: records.Data(frequent=tuple(range(10))), "but not all"),
        (lambda: records.Data(period=1), "data.period=1"),
        (lambda: records.Data(held_out=0), "data.held_out=0"),
        (lambda: records.Data("cifar"), "data.source='cifar'"),
        (lambda: records.Validate("training"), "validate.part='training'"),
        (lambda: records.Validate(images=1), "validate.images=1"),
        (lambda: records.Train(steps=0), "train.steps=0"),
        (lambda: records.Train(batch=0), "train.batch=0"),
        (lambda: records.Train(minutes=float("nan")), "train.minutes=nan"),
        (lambda: records.Run(seed=2**32), "seed="),
        (lambda: records.Run(preset="mine"), "preset='mine'"),
        (lambda: records.Run(model={"presentations": 2}), "presentations=2 has no"),
    ],
)
def test_records_check_themselves(made, said):
    with pytest.raises(ValueError, match=said):
        made()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"method": "prototype"}, "unknown method 'prototype'.*cnn_replay"),
        ({"method": "cnn", "model": {}, "sg": {"use": "both"}}, "sg.use='both' has no"),
        ({"method": "cnn"}, "model.width=16 has no effect"),
        ({"replay": {"count": 3}}, "replay.count=3 has no effect"),
        ({"sg": {"use": "off", "control": "zeroed"}}, "sg.control='zeroed'"),
        ({"sg": {"use": "off"}, "stream": {"target": "step"}}, "stream.target='step'"),
        ({"optim": {"lr": -1.0}}, "optim.lr=-1.0"),
        ({"train": records.Train(batch=1)}, "a window of 1 example"),
        ({"train": records.Train(steps_per_call=4)}, "multiple of .*steps_per_call=4"),
    ],
)
def test_what_has_no_effect_or_cannot_be_is_refused_before_data_are_read(changes, said):
    with pytest.raises(ValueError, match=said):
        prepared(dataclasses.replace(RUN, **changes))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (records.Data("digits", held_out=5_000), "data.held_out=5000"),
        (records.Data("digits", held_out=1), "need some of both kinds"),
    ],
)
def test_data_that_cannot_make_the_stream_are_refused(data, said):
    with pytest.raises(ValueError, match=said):
        sources.load(data, "validation")


def test_synthetic_gradients_are_used_both_ways_unless_a_run_says_otherwise():
    assert prepared(RUN).settings.sg.use == "both"
    assert (
        prepared(dataclasses.replace(RUN, sg={"use": "off"})).settings.sg.use == "off"
    )
    plain = prepared(dataclasses.replace(RUN, method="cnn", model={}))
    assert plain.settings.sg.use == "off"
    assert job.run_name(prepared(RUN)) == (
        "rare-digits-nmn_stream-recommended-sg-both-seed0"
    )


@pytest.mark.parametrize("variant", sorted(config.VARIANTS))
def test_every_variant_is_a_run(variant):
    run = reader.from_mapping(records.Run, config.get_config(variant))
    assert prepared(run).run.data.source == variant
    with pytest.raises(ValueError, match="unknown variant 'letters'"):
        config.get_config("letters")


def test_a_neural_memory_network_runs_through_the_job(tmp_path):
    result = job.main(dataclasses.replace(RUN, method="nmn_replay"), tmp_path, "")
    measured = result["extra"]["gradients"]
    assert set(measured) == {"input", "output", "write"}
    assert measured["write"]["true"]["curve"]["rare_steps"] == [3]
    assert result["measures"]["rare accuracy"]["n"] > 100
    assert result["columns"]["replay"] == "10 a window"
