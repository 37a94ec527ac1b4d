import numpy as np
import pytest

from nmn_jax.data.trajectories import cleaning, cutting, records, synthetic


@pytest.fixture(scope="module")
def made():
    return synthetic.make()


def _speeds(tracks, label):
    """Metres per second from point to point, of all tracks of one class."""
    return np.concatenate(
        [
            np.linalg.norm(np.diff(track.xy, axis=0), axis=1) * track.fps
            for track in tracks
            if track.label == label
        ]
    )


def test_cyclists_are_fast_and_pedestrians_slow(made):
    cyclists, pedestrians = (_speeds(made, label) for label in records.LABELS)
    assert 3.5 < np.median(cyclists) < 5.0 and cyclists.max() < 12.0
    assert 1.0 < np.median(pedestrians) < 1.6 and pedestrians.max() < 4.0


def test_some_stop(made):
    for label, least in (("cyclist", 0.05), ("pedestrian", 0.1)):
        stopped = [
            (np.diff(track.xy, axis=0) == 0).all(1).any()
            for track in made
            if track.label == label
        ]
        assert least < np.mean(stopped) < 0.4


def test_pedestrians_turn_sharper(made):
    """Radians per metre, where they move."""
    bends = {}
    for label in records.LABELS:
        found = []
        for track in made:
            if track.label == label:
                step = np.diff(track.xy, axis=0)
                length = np.linalg.norm(step, axis=1)
                moving = (length[1:] > 0.01) & (length[:-1] > 0.01)
                course = np.unwrap(np.arctan2(step[:, 1], step[:, 0]))
                found.append(np.abs(np.diff(course))[moving] / length[1:][moving])
        bends[label] = np.median(np.concatenate(found))
    assert bends["pedestrian"] > 3 * bends["cyclist"] > 0


def test_there_are_enough_for_the_protocol(made):
    cleaned, report = cleaning.clean(made, cleaning.standard())
    assert all(step.changed == 0 for step in report)  # nothing is wrong with them
    drawn = cutting.draw(cutting.windows(cleaned), 0)
    assert [len(part) for part in drawn] == [150, 50, 10, 110]
    assert set(made.locations) == {"1", "2"} and len(set(made.recordings)) == 4
    assert len(np.unique(records.identities(made))) == len(made)


def test_a_seed_and_a_number_decide_a_track(made):
    again = synthetic.make()
    np.testing.assert_array_equal(made.xy, again.xy)
    np.testing.assert_array_equal(made.frames, again.frames)
    other = synthetic.make(1)
    assert other.lengths.tolist() != made.lengths.tolist()
    few = {t.number: t for t in synthetic.make(cyclists=6, pedestrians=3)}
    many = {t.number: t for t in made}
    for number, track in few.items():
        np.testing.assert_array_equal(track.xy, many[number].xy)
        assert track[:5] == many[number][:5]


def test_a_count_below_one_is_refused():
    for name in ("cyclists", "pedestrians", "locations", "recordings"):
        with pytest.raises(ValueError, match=f"{name}=0: must be at least 1"):
            synthetic.make(**{name: 0})
