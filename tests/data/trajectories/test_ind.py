import numpy as np
import pytest

from nmn_jax.data.trajectories import (
    cleaning,
    ind,
    ind_writer,
    records,
    synthetic,
    tables,
)


@pytest.fixture(scope="module")
def small():
    return synthetic.make(3, cyclists=5, pedestrians=4, locations=2, recordings=1)


def _renamed(tracks, **labels):
    """Tracks in which the numbers given have another label."""
    own = [t._replace(label=labels.get(f"n{t.number}", t.label)) for t in tracks]
    return records.from_tracks(own)


def test_what_was_written_is_read(small, tmp_path):
    written = _renamed(small, n2="car", n4="truck_bus")
    ind_writer.write(tmp_path, written)
    assert len(list(tmp_path.iterdir())) == 6
    found = ind.load(tmp_path)
    assert len(found) == len(written) == 9
    for one, other in zip(found, written, strict=True):
        assert one[:5] == other[:5]
        np.testing.assert_array_equal(one.frames, other.frames)
        np.testing.assert_allclose(one.xy, other.xy, atol=1e-5)
    assert sorted(set(found.labels)) == ["car", "cyclist", "pedestrian", "truck_bus"]
    assert cleaning.clean(found, cleaning.standard()).report[1].changed == 2


HEADERS = {
    "tracks": "recordingId,trackId,frame,trackLifetime,xCenter,yCenter,heading,width,"
    "length,xVelocity,yVelocity,xAcceleration,yAcceleration,lonVelocity,latVelocity,"
    "lonAcceleration,latAcceleration",
    "tracksMeta": "recordingId,trackId,initialFrame,finalFrame,numFrames,width,length,"
    "class",
    "recordingMeta": "recordingId,locationId,frameRate,speedLimit,weekday,startTime,"
    "duration,numTracks,numVehicles,numVRUs,latLocation,lonLocation,xUtmOrigin,"
    "yUtmOrigin,orthoPxToMeter",
}
BY_HAND = {
    "tracks": "7,3,10,0,1.5,-2.5,0.0,0.0,0.0,25.0,0.0,0,0,25.0,0,0,0\n"
    "7,3,11,1,2.5,-2.5,0.0,0.0,0.0,25.0,0.0,0,0,25.0,0,0,0\n"
    "7,8,0,0,9,9,90,4.5,1.8,0,0,0,0,0,0,0,0\n",
    "tracksMeta": "7,3,10,11,2,0.0,0.0,bicycle\n7,8,0,0,1,4.5,1.8,car\n",
    "recordingMeta": '7,1,25,50,"tuesday",12:00,0.48,2,1,1,50.7,6.1,29348,56297,0.0127'
    "\n",
}


@pytest.fixture
def by_hand(tmp_path):
    for table, rows in BY_HAND.items():
        path = tmp_path / f"07_{table}.csv"
        path.write_text(f"{HEADERS[table]}\n{rows}", encoding="utf-8")
    return tmp_path


def test_a_recording_written_by_hand(by_hand):
    tracks = ind.load(by_hand)
    first, second = tracks
    assert first[:5] == ("07", "1", 3, "cyclist", 25.0)
    assert first.frames.tolist() == [10, 11] and first.xy.tolist() == [
        [1.5, -2.5],
        [2.5, -2.5],
    ]
    assert second[:5] == ("07", "1", 8, "car", 25.0) and second.xy.tolist() == [[9, 9]]


def test_the_order_of_the_table_of_tracks_does_not_matter(by_hand):
    expected = ind.load(by_hand)
    path = by_hand / "07_tracksMeta.csv"
    header, *rows = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([header, *reversed(rows)]), encoding="utf-8")
    assert [t[:5] for t in ind.load(by_hand)] == [t[:5] for t in expected]


def _lines(path):
    return path.read_text(encoding="utf-8").splitlines()


ACCEPTED = {
    "byte order mark": lambda text: "\ufeff" + text,
    "line ends of Windows": lambda text: text.replace("\n", "\r\n"),
    "line ends of old Macs": lambda text: text.replace("\n", "\r"),
    "no last line end": lambda text: text.rstrip("\n"),
    "empty lines at the end": lambda text: text + "\n\n",
    "spaces": lambda text: text.replace(",1", ", 1"),
    "quotes": lambda text: "\n".join(
        ",".join(f'"{field}"' for field in line.replace('"', "").split(","))
        for line in text.splitlines()
    ),
    "another order": lambda text: "\n".join(
        ",".join(reversed(line.split(","))) for line in text.splitlines()
    ),
    "whole numbers as decimals": lambda text: text.replace(
        "7,3,10,0,", "7.0,3.0,1e1,0.0,"
    ),
}


@pytest.mark.parametrize("case", ACCEPTED)
@pytest.mark.parametrize("table", ind.TABLES)
def test_other_ways_of_writing_the_same_are_read(case, table, by_hand):
    expected = ind.load(by_hand)
    path = by_hand / f"07_{table}.csv"
    text = path.read_text(encoding="utf-8")
    path.write_bytes(ACCEPTED[case](text).encode())
    for one, other in zip(ind.load(by_hand), expected, strict=True):
        assert one[:5] == other[:5]
        np.testing.assert_array_equal(one.frames, other.frames)
        np.testing.assert_array_equal(one.xy, other.xy)


def test_no_recording_says_what_to_do(tmp_path):
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n")
    with pytest.raises(FileNotFoundError) as error:
        ind.load(tmp_path)
    for part in ("NMN_DATA_DIR", "inD/", "synthetic", "_recordingMeta.csv"):
        assert part in str(error.value)


@pytest.mark.parametrize("table", ind.TABLES)
def test_a_missing_table_is_named(table, by_hand):
    (by_hand / f"07_{table}.csv").unlink()
    with pytest.raises(ValueError, match=f"07_{table}.csv: this table is missing"):
        ind.load(by_hand)


def test_recordings_of_two_rates_are_refused(small, tmp_path):
    ind_writer.write(tmp_path, small)
    path = tmp_path / "01_recordingMeta.csv"
    header, row = _lines(path)
    path.write_text(f"{header}\n{row.replace('25.0', '20.0', 1)}\n")
    message = "01_recordingMeta.csv, row 2, column 'frameRate': 20 where 00 has 25"
    with pytest.raises(ValueError, match=message):
        ind.load(tmp_path)


def test_what_the_format_cannot_hold_is_not_written(small, tmp_path):
    named = records.from_tracks([t._replace(recording="gates_2") for t in small])
    with pytest.raises(ValueError, match="'gates_2': inD numbers recordings"):
        ind_writer.write(tmp_path, named)
    assert not list(tmp_path.iterdir())


def test_a_large_recording_keeps_its_rows(tmp_path, monkeypatch):
    """Rows are converted in blocks; nothing is lost or doubled where two meet."""
    monkeypatch.setattr(tables, "_BLOCK", 7)
    tracks = synthetic.make(1, cyclists=2, pedestrians=1, locations=1, recordings=1)
    ind_writer.write(tmp_path, tracks)
    found = ind.load(tmp_path)
    np.testing.assert_allclose(found.xy, tracks.xy, atol=1e-5)
    np.testing.assert_array_equal(found.frames, tracks.frames)
    path = tmp_path / "00_tracks.csv"
    lines = _lines(path)
    lines[29] += "x"
    path.write_text("\n".join(lines))
    with pytest.raises(ValueError, match="00_tracks.csv, row 30, column"):
        ind.load(tmp_path)
