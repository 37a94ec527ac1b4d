import json
import sys

import numpy as np
import pytest

from nmn_jax.data.trajectories import records, statistics, synthetic


@pytest.fixture
def few(make_tracks):
    """A cyclist on a straight line, a pedestrian there and back, and a single point."""
    frames = np.arange(21)
    straight = np.stack([0.3 * frames, 0.4 * frames], -1)  # 5 m/s at 10 frames/s
    back = np.stack([0.1 * np.minimum(frames, 20 - frames), 0 * frames], -1)
    return records.concatenate(
        [
            make_tracks((frames, straight)),
            make_tracks((frames, back), label="pedestrian", recording="there_1"),
            make_tracks((frames[:1], back[:1]), label="pedestrian", recording="up_1"),
        ]
    )


def test_numbers_by_hand(few):
    found = statistics.summarise(few)
    cyclist, pedestrian = found["cyclist"], found["pedestrian"]
    assert cyclist.users == 1 and cyclist.seconds == 2.0
    assert cyclist.minutes == pytest.approx(2 / 60)
    assert cyclist.speed == pytest.approx(5.0)
    assert cyclist.straightness == pytest.approx(1.0)
    assert cyclist.by_location == {"here": 1, "there": 0, "up": 0}
    assert pedestrian.users == 1 and pedestrian.speed == pytest.approx(1.0)
    assert pedestrian.straightness == pytest.approx(0.0, abs=1e-9)
    assert json.loads(json.dumps(statistics.as_json(found)))["cyclist"]["users"] == 1
    row = "| cyclist | 1 | 0.0 | 2.0 | 5.00 | 1.00 | here 1, there 0, up 0 |"
    assert row in statistics.describe(found).splitlines()


def test_standing_still_has_no_direction(make_tracks):
    still = make_tracks((np.arange(9), np.zeros((9, 2))))
    assert statistics.summarise(still)["cyclist"].straightness == 0.0


def test_a_page_says_what_is_left():
    text = statistics.page("made up", synthetic.make(cyclists=4, pedestrians=3), 150)
    assert "## made up, 25 frames per second" in text
    assert "| read | 0 |" in text and "fewer than 150 points" in text
    assert "| cyclist | 4 |" in text and "| pedestrian | 3 |" in text


def test_the_command_says_what_is_not_at_hand(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("NMN_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["statistics", "ind", "synthetic"])
    statistics.main()
    said = capsys.readouterr().out
    assert "## ind\n\nNot at hand: inD: no NN_tracks.csv" in said
    assert "## synthetic, 25 frames per second" in said
    monkeypatch.setattr(sys, "argv", ["statistics", "inD"])
    with pytest.raises(SystemExit):
        statistics.main()
    assert "no data set 'inD'; choose of sdd_30hz" in capsys.readouterr().err
