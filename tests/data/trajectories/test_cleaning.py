import dataclasses
import itertools
import json
import logging

import numpy as np
import pytest

from nmn_jax.data.trajectories import cleaning, records, sdd


def _line(length, speed=1.0, begin=0):
    """Frames and positions of going straight along x at 10 frames per second."""
    frames = np.arange(begin, begin + length)
    return frames, np.stack([speed * frames / 10, np.zeros(length)], -1)


def _frames(tracks):
    return [(int(track.number), track.frames.tolist()) for track in tracks]


def test_other_road_users_go(make_tracks):
    tracks = make_tracks(_line(3), _line(3), _line(3))
    tracks = dataclasses.replace(tracks, labels=np.array(["car", "cyclist", "van"]))
    assert cleaning.road_users().apply(tracks).numbers.tolist() == [1]


def test_lost_points_go_and_unknown_ones_stay(make_tracks):
    lost = np.array([1, 0, -1, 1, 0, 1], np.int8)
    tracks = dataclasses.replace(make_tracks(_line(3), _line(3)), lost=lost)
    assert _frames(cleaning.seen().apply(tracks)) == [(0, [1, 2]), (1, [1])]


@pytest.mark.parametrize(
    ("places", "left"),
    [
        ([0, 0, 0, 1, 2, 2, 2], [2, 3, 4]),
        ([0, 0, 1, 1, 1, 2, 3], [1, 2, 3, 4, 5, 6]),
        ([0, 1, 0, 0], [0, 1, 2]),
        ([5, 5, 5], [2]),
        ([5], [0]),
    ],
)
def test_standing_at_the_ends_goes_but_for_one_point(places, left, make_tracks):
    x = np.array(places, float)
    track = (np.arange(len(x)), np.stack([x, 0 * x], -1))
    tracks = make_tracks(_line(4), track, track, _line(3))
    marks = np.zeros(len(tracks.lost), np.int8)
    assert cleaning.still_ends().apply(tracks) is not None
    known = dataclasses.replace(tracks, lost=marks)
    assert _frames(cleaning.still_ends().apply(known)) == _frames(tracks)
    marks[4 : 4 + len(x)] = records.UNKNOWN
    unknown = dataclasses.replace(tracks, lost=marks)
    found = _frames(cleaning.still_ends().apply(unknown))
    assert found[1] == (1, left)
    assert found[0] == (0, [0, 1, 2, 3]) and found[2:] == _frames(tracks)[2:]


def test_a_missing_frame_cuts(make_tracks):
    frames, xy = _line(6)
    frames = frames + np.array([0, 0, 0, 1, 1, 3])
    tracks = cleaning.gaps().apply(make_tracks((frames, xy), _line(2)))
    assert _frames(tracks) == [(0, [0, 1, 2]), (0, [4, 5]), (0, [8]), (1, [0, 1])]


def test_a_jump_cuts_where_it_is_faster_than_allowed(make_tracks):
    frames, xy = _line(6)
    xy[3:, 1] += 1.6  # 16 m/s along y within one frame
    tracks = make_tracks((frames, xy), (np.arange(3), [(90, 90)] * 3))
    assert _frames(cleaning.jumps(15.0).apply(tracks))[:2] == [
        (0, [0, 1, 2]),
        (0, [3, 4, 5]),
    ]
    assert len(cleaning.jumps(15.0).apply(tracks)) == 3  # none between two tracks
    assert len(cleaning.jumps(17.0).apply(tracks)) == 2
    slow = (2 * frames, xy)  # two frames apart, so half as fast
    assert len(cleaning.jumps(15.0).apply(make_tracks(slow))) == 1


def test_who_stays_in_a_square_is_standing(make_tracks):
    angle = np.linspace(0, 6.28, 50)
    circle = np.stack([np.cos(angle), np.sin(angle)], -1)
    tracks = make_tracks(*((np.arange(50), size / 2 * circle) for size in (0.7, 0.9)))
    assert cleaning.standing(0.8).apply(tracks).numbers.tolist() == [1]
    wide = make_tracks((np.arange(50), circle * [0.1, 0.5]))
    assert len(cleaning.standing(0.8).apply(wide)) == 1


def test_short_tracks_go(make_tracks):
    tracks = make_tracks(_line(4), _line(5), _line(6))
    assert cleaning.short(5).apply(tracks).numbers.tolist() == [1, 2]


@pytest.mark.parametrize("rule", [cleaning.jumps, cleaning.standing, cleaning.short])
@pytest.mark.parametrize("value", [0, -1])
def test_a_rule_that_leaves_nothing_or_all_is_refused(rule, value):
    with pytest.raises(ValueError, match=f"={value}: must be positive"):
        rule(value)


def test_the_report_counts_what_every_rule_did(make_tracks, caplog):
    frames, xy = _line(8)
    broken = (np.delete(frames, 4), np.delete(xy, 4, axis=0))
    tracks = records.concatenate(
        [
            make_tracks(_line(8), broken, label="cyclist"),
            make_tracks((frames, 0 * xy), label="pedestrian", recording="there_0"),
            make_tracks(_line(9), label="car", recording="road_0"),
        ]
    )
    rules = [
        cleaning.road_users(),
        cleaning.gaps(),
        cleaning.standing(0.15),
        cleaning.short(4),
    ]
    with caplog.at_level(logging.INFO, logger="nmn_jax"):
        cleaned, report = cleaning.clean(tracks, rules)
    assert [step.changed for step in report] == [0, 1, 1, 1, 1]
    count = cleaning.Count
    assert report[0].left == {
        "cyclist": count(2, 2, 15), "pedestrian": count(1, 1, 8), "car": count(1, 1, 9)
    }  # fmt: skip
    assert report[1].left == {"cyclist": count(2, 2, 15), "pedestrian": count(1, 1, 8)}
    assert report[2].left == {"cyclist": count(2, 3, 15), "pedestrian": count(1, 1, 8)}
    assert report[3].left == {"cyclist": count(2, 3, 15)}
    assert report[4].left == {"cyclist": count(2, 2, 12)}
    assert _frames(cleaned) == [(0, [*range(8)]), (1, [0, 1, 2, 3])]
    table = cleaning.describe(report)
    assert table.splitlines() == [record.message for record in caplog.records]
    assert "| cut at missing frames | 1 |" in table and "| 2 / 3 / 15 |" in table
    stored = json.loads(json.dumps(cleaning.as_json(report)))
    assert cleaning.from_json(stored) == report
    assert stored[4]["left"]["cyclist"] == {"users": 2, "tracks": 2, "points": 12}


def test_who_loses_points_is_counted(make_tracks):
    marks = np.array([0, 0, 1, 0, 1, 0, 0, 0, 0], np.int8)
    tracks = dataclasses.replace(make_tracks(*3 * [_line(3)]), lost=marks)
    report = cleaning.clean(tracks, [cleaning.seen()]).report
    assert report[1].changed == 2
    assert report[1].left == {"cyclist": cleaning.Count(3, 3, 7)}


def test_nothing_left_is_counted_too(make_tracks):
    tracks = make_tracks(_line(4))
    rules = [cleaning.short(9), *cleaning.standard(9)]
    cleaned, report = cleaning.clean(tracks, rules)
    assert len(cleaned) == 0 and [step.changed for step in report] == [0, 1, *[0] * 7]


@pytest.fixture(scope="session")
def full(real_folder):
    return sdd.load("30hz", real_folder("trajectories", sdd.FILES["30hz"]))


def test_real_people_standing(full):
    """64 pedestrians and no cyclist never leave 20 pixels, which is about 0.8 m."""
    moving = cleaning.standing(0.8).apply(full)
    gone = records.select(
        full, ~np.isin(records.identities(full), _users(full, moving))
    )
    assert len(gone) == 64 and set(gone.labels) == {"pedestrian"}


def _users(whole, part):
    both = records.identities(records.concatenate([whole, part]))
    return both[len(whole) :]


JUMPING = {
    ("deathCircle_2", 7), ("deathCircle_4", 8), ("deathCircle_4", 32), ("gates_5", 27),
    ("gates_8", 7), ("gates_8", 21), ("nexus_4", 46), ("nexus_10", 40),
}  # fmt: skip


def test_real_jumps(full):
    """The 8 tracks with more than 20 pixels between consecutive frames are cut."""
    pieces = cleaning.gaps().apply(full)
    found = cleaning.jumps().apply(pieces)
    names = list(zip(found.recordings.tolist(), found.numbers.tolist(), strict=True))
    before = zip(pieces.recordings.tolist(), pieces.numbers.tolist(), strict=True)
    more = _more_pieces(before, names)
    assert more >= JUMPING and len(more) == 23
    speeds = [
        30 * np.linalg.norm(np.diff(track.xy, axis=0), axis=1).max(initial=0)
        for track in found
    ]
    assert max(speeds) <= cleaning.SPEED


def _more_pieces(before, after):
    counts = [
        {name: len(list(group)) for name, group in itertools.groupby(sorted(names))}
        for names in (before, after)
    ]
    return {name for name, number in counts[1].items() if number > counts[0][name]}


def test_real_marks_agree_with_what_the_rule_for_unmarked_tracks_takes(real_folder):
    """On 23 videos with marks: 65 % of the lost points and 10 % of the others go."""
    tracks = sdd.load("3hz", real_folder("trajectories", sdd.FILES["3hz"]))
    numbered = dataclasses.replace(tracks, frames=np.arange(len(tracks.frames)))
    unmarked = dataclasses.replace(numbered, lost=np.full_like(tracks.lost, -1))
    left = cleaning.still_ends().apply(unmarked).frames
    gone = np.ones(len(tracks.frames), bool)
    gone[left] = False
    assert gone[tracks.lost == records.LOST].mean() == pytest.approx(0.65, abs=0.01)
    assert gone[tracks.lost == records.SEEN].mean() == pytest.approx(0.10, abs=0.01)


def test_real_tracks_after_all_rules(full):
    cleaned, report = cleaning.clean(full, cleaning.standard(100))
    assert (np.diff(cleaned.frames) == 1)[~cleaned.begins[1:]].all()
    assert cleaned.lengths.min() >= 100
    assert report[-1].left["cyclist"].users == 307  # as the data's description says
    assert report[-1].left["pedestrian"].users > 450
