import numpy as np
import pytest

from nmn_jax.data.trajectories import records


@pytest.fixture
def three(make_tracks):
    return make_tracks(
        ([4, 5, 6], [(0, 1), (2, 3), (4, 5)]), ([9], [(6, 7)]), ([1, 3], [(8, 9)] * 2)
    )


def test_a_track_is_taken_out_as_it_was_put_in(three):
    assert len(three) == 3 and list(three.lengths) == [3, 1, 2]
    track = three[2]
    assert track[:5] == ("here_0", "here", 2, "cyclist", 10.0)
    assert track.frames.tolist() == [1, 3] and track.xy.tolist() == [[8, 9], [8, 9]]
    assert [each.number for each in three] == [0, 1, 2]
    assert three.owners.tolist() == [0, 0, 0, 1, 2, 2]
    assert np.flatnonzero(three.begins).tolist() == [0, 3, 4]


def test_selected_tracks_keep_their_points(three):
    left = records.select(three, np.array([False, True, True]))
    for found, kept in zip(left, (three[1], three[2]), strict=True):
        assert found[:5] == kept[:5]
        np.testing.assert_array_equal(found.xy, kept.xy)
        np.testing.assert_array_equal(found.frames, kept.frames)


def test_a_track_without_points_left_goes(three):
    left = records.keep_points(three, np.array([True, False, True, False, False, True]))
    assert left.numbers.tolist() == [0, 2]
    assert left[0].frames.tolist() == [4, 6] and left[1].frames.tolist() == [3]


def test_pieces_of_a_cut_track_are_one_road_user(three):
    pieces = records.cut(three, np.array([True, False, True, False, False, True]))
    assert [each.frames.tolist() for each in pieces] == [[4, 5], [6], [9], [1], [3]]
    assert pieces.numbers.tolist() == [0, 0, 1, 2, 2]
    users = records.identities(pieces)
    assert users[0] == users[1] and users[3] == users[4]
    assert len(set(users.tolist())) == 3


def test_one_number_in_two_recordings_is_two_road_users(three, make_tracks):
    other = make_tracks(([4], [(0, 0)]), recording="there_1", label="pedestrian")
    both = records.concatenate([three, other])
    assert len(both) == 4 and both[3][:4] == ("there_1", "there", 0, "pedestrian")
    assert both[3].xy.tolist() == [[0, 0]] and both[2].frames.tolist() == [1, 3]
    assert len(set(records.identities(both).tolist())) == 4


def test_several_rates_are_refused(three, make_tracks):
    assert records.one_rate(three) == 10.0
    other = make_tracks(([4], [(0, 0)]), fps=25.0)
    with pytest.raises(ValueError, match="10, 25; one rate is needed"):
        records.one_rate(records.concatenate([three, other]))
    with pytest.raises(ValueError, match="no tracks"):
        records.one_rate(records.select(three, np.zeros(3, bool)))


def test_nothing_to_join_is_said():
    with pytest.raises(ValueError, match="at least one Tracks"):
        records.concatenate([])
    empty = records.Track(
        "a", "a", 5, "cyclist", 1.0, np.zeros(0, int), np.zeros((0, 2))
    )
    with pytest.raises(ValueError, match="track 5 has no points"):
        records.from_tracks([empty])
    assert len(records.from_tracks([])) == 0
