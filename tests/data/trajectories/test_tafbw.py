import gzip

import numpy as np
import pytest

from nmn_jax.data.trajectories import tafbw

ROWS = """\
recording,sequence,track_id,frame_id,timestamp_ms,agent_type,x,y,vx,vy,psi_rad
k729_a,000,7,2,500,Pedestrian,1.5,-20,0,0,0.3
k729_a,000,7,4,600,Pedestrian,1.6,-21,0,0,0.3
k729_a,001,7,3,100,Bike,4,5,0,0,0.3
"""


@pytest.mark.parametrize("name", ["rows.csv", "rows.csv.gz"])
def test_rows_become_tracks(name, tmp_path):
    path = tmp_path / name
    content = ROWS.encode()
    path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    first, second = tafbw.read(path)
    assert first[:5] == ("k729_a/000", "k729", 7, "pedestrian", 10.0)
    assert first.frames.tolist() == [5, 6] and first.xy.tolist() == [
        [1.5, -20],
        [1.6, -21],
    ]
    assert second[:5] == ("k729_a/001", "k729", 7, "cyclist", 10.0)
    assert second.xy.tolist() == [[4, 5]]


def test_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        tafbw.load(tmp_path)
    for part in (tafbw.FILE, "NMN_DATA_DIR", "synthetic"):
        assert part in str(error.value)


def test_real_tracks(real_folder):
    """Counts as the data's own description has them."""
    tracks = tafbw.load(real_folder("trajectories", tafbw.FILE))
    assert len(tracks.frames) == 15_422
    long = tracks.lengths >= 100
    for label, number, with_100 in (("cyclist", 13, 11), ("pedestrian", 71, 25)):
        own = tracks.labels == label
        assert (own.sum(), (own & long).sum()) == (number, with_100)
    assert set(tracks.locations[tracks.labels == "cyclist"]) == {"k733"}
    assert set(tracks.locations) == {"k729", "k733"}
    assert (np.diff(tracks.frames) == 1)[~tracks.begins[1:]].all()  # no gaps
