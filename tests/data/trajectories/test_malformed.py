"""Tables that are wrong in one place: the error names file, row and column."""

import gzip

import pytest

from nmn_jax.data.trajectories import annotations, ind, ind_writer, synthetic, tafbw

TAFBW = """\
recording,sequence,track_id,frame_id,timestamp_ms,agent_type,x,y,vx,vy,psi_rad
k729_a,000,7,2,0,Pedestrian,1.5,-20,0,0,0.3
k729_a,000,7,3,100,Pedestrian,1.6,-20,0,0,0.3
k729_a,000,9,3,100,Bike,4,4,0,0,0.3
k733_b,000,7,5,300,Bike,8,4,0,0,0.3
"""
SDD = """\
0 10 20 30 60 5 0 0 0 "Biker"
0 11 20 31 60 6 0 0 1 "Biker"
4 50 20 60 40 5 1 0 1 "Skater"
4 51 20 61 40 9 0 1 1 "Skater"
"""


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """Texts of the three tables: two cyclists and a pedestrian."""
    folder = tmp_path_factory.mktemp("inD")
    tracks = synthetic.make(cyclists=2, pedestrians=1, locations=1, recordings=1)
    ind_writer.write(folder, tracks)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _edit(row, column, value):
    """Change one field of a table with a header; ``column`` by name."""

    def edit(content):
        lines = content.decode().split("\n")
        fields = lines[row - 1].split(",")
        fields[lines[0].split(",").index(column)] = value
        lines[row - 1] = ",".join(fields)
        return "\n".join(lines).encode()

    return edit


def _lines(change):
    """Change the list of lines in place."""

    def edit(content):
        lines = content.decode().split("\n")
        change(lines)
        return "\n".join(lines).encode()

    return edit


def _drop(column):
    def edit(content):
        table = [line.split(",") for line in content.decode().splitlines()]
        place = table[0].index(column)
        kept = [fields[:place] + fields[place + 1 :] for fields in table]
        return "\n".join(map(",".join, kept)).encode()

    return edit


def _set(number, change):
    """Change line ``number`` by a function."""
    return _lines(
        lambda lines: lines.__setitem__(number - 1, change(lines[number - 1]))
    )


TRACKS, META, ONE = "00_tracks.csv", "00_tracksMeta.csv", "00_recordingMeta.csv"
IND = {
    "missing column": (TRACKS, _drop("yCenter"), 1, "yCenter", "is missing"),
    "missing class": (META, _drop("class"), 1, "class", "is missing"),
    "missing rate": (ONE, _drop("frameRate"), 1, "frameRate", "is missing"),
    "extra column": (META, _set(1, "{},colour".format), 1, "colour", "no column of"),
    "column twice": (TRACKS, _edit(1, "width", "length"), 1, "length", "two columns"),
    "no header": (META, _lines(lambda x: x.pop(0)), 1, "recordingId", "is missing"),
    "semicolons": (
        TRACKS, lambda c: c.replace(b",", b";"), 1, None, "separated by commas"
    ),
    "tabs": (ONE, lambda c: c.replace(b",", b"\t"), 1, None, "separated by commas"),
    "nothing": (TRACKS, lambda c: b"", 1, None, "the file is empty"),
    "only a line end": (META, lambda c: b"\r\n", 1, None, "the file is empty"),
    "only a header": (META, lambda c: c[: c.index(b"\n")], 2, None, "no rows after"),
    "nan": (TRACKS, _edit(4, "xCenter", "nan"), 4, "xCenter", "'nan' where a finite"),
    "empty field": (TRACKS, _edit(5, "yCenter", ""), 5, "yCenter", "'' where a finite"),
    "infinite": (TRACKS, _edit(6, "xVelocity", "-inf"), 6, "xVelocity", "'-inf' where"),
    "too large": (TRACKS, _edit(3, "heading", "1e999"), 3, "heading", "'1e999' where"),
    "text": (TRACKS, _edit(9, "width", "wide"), 9, "width", "'wide' where a finite"),
    "grouped digits": (META, _edit(2, "width", "1_0"), 2, "width", "'1_0' where"),
    "decimal comma": (TRACKS, _edit(4, "xCenter", '"1,5"'), 4, "xCenter", "'1,5'"),
    "half a frame": (TRACKS, _edit(4, "frame", "7.5"), 4, "frame", "a whole number"),
    "negative frame": (TRACKS, _edit(2, "frame", "-1"), 2, "frame", "at least 0"),
    "huge frame": (META, _edit(2, "finalFrame", "1e17"), 2, "finalFrame", "a whole"),
    "negative width": (TRACKS, _edit(3, "width", "-2"), 3, "width", "of at least 0"),
    "negative scale": (
        ONE, _edit(2, "orthoPxToMeter", "-0.1"), 2, "orthoPxToMeter", "at least 1e-09"
    ),
    "scale zero": (ONE, _edit(2, "orthoPxToMeter", "0"), 2, "orthoPxToMeter", "'0'"),
    "rate zero": (ONE, _edit(2, "frameRate", "0"), 2, "frameRate", "'0' where"),
    "tenfold rate": (ONE, _edit(2, "frameRate", "250"), 2, "frameRate", "10 times as"),
    "tenth of the rate": (
        ONE, _edit(2, "frameRate", "2.5"), 2, "frameRate", "0.1 times as"
    ),
    "fewer fields": (
        TRACKS, _set(7, lambda x: x.rpartition(",")[0]), 7, None, "16 fields where 17"
    ),
    "more fields": (META, _set(3, "{},1".format), 3, None, "9 fields where 8"),
    "empty line": (
        TRACKS, _lines(lambda x: x.insert(4, "")), 5, None, "an empty line"
    ),
    "open quote": (
        META, lambda c: c.replace(b"bicycle\n", b'"bicycle\n'), 4, None, "quotes closed"
    ),
    "quote over lines": (
        META, _lines(lambda x: x.__setitem__(slice(1, 3), ['"' + x[1], x[2] + '"'])),
        2, None, "runs over the end of the line",
    ),
    "not UTF-8": (
        META, lambda c: c.replace(b"bicycle", b"bicycl\xe9", 1), 2, None, "0xe9 is not"
    ),
    "UTF-16": (
        TRACKS, lambda c: c.decode().encode("utf-16"), 1, None, "byte 0xff is not UTF-8"
    ),
    "zero bytes": (TRACKS, _edit(4, "frame", "\0\0"), 4, "frame", "where a whole"),
    "packed": (TRACKS, gzip.compress, 1, None, "is not UTF-8"),
    "same frame": (
        TRACKS, _lines(lambda x: x.insert(3, x[2])), 4, "frame", "does not rise"
    ),
    "frames fall": (TRACKS, _edit(4, "frame", "0"), 4, "frame", "0 does not rise"),
    "missing frame": (
        TRACKS, _lines(lambda x: x.pop(9)), 10, "frame", "is not the next frame"
    ),
    "first frame": (TRACKS, _lines(lambda x: x.pop(1)), 2, "frame", "initialFrame"),
    "last frame": (TRACKS, _lines(lambda x: x.pop(-2)), 4, "numFrames", "the track"),
    "age": (TRACKS, _edit(8, "trackLifetime", "3"), 8, "trackLifetime", "since the"),
    "track goes on": (
        TRACKS, _lines(lambda x: x.insert(-1, x.pop(3))), None, "trackId", "goes on"
    ),
    "unknown class": (META, _edit(3, "class", "tram"), 3, "class", "'tram' is not"),
    "no class": (META, _edit(3, "class", ""), 3, "class", "empty"),
    "class in capitals": (META, _edit(2, "class", "Bicycle"), 2, "class", "'Bicycle'"),
    "number of frames": (META, _edit(3, "numFrames", "5"), 3, "numFrames", "5 is not"),
    "no frames": (META, _edit(3, "numFrames", "0"), 3, "numFrames", "at least 1"),
    "track twice": (
        META, _lines(lambda x: x.insert(3, x[2])), 4, "trackId", "a second row"
    ),
    "track without a row": (
        META, _lines(lambda x: x.pop(2)), 2, "numTracks", "has 2 tracks"
    ),
    "another number": (META, _edit(3, "trackId", "77"), None, "trackId", "has no row"),
    "row without a track": (
        META, _lines(lambda x: x.insert(4, "0,5,0,0,1,0,0,van")), 2, "numTracks", "4"
    ),
    "two recordings": (ONE, _lines(lambda x: x.insert(2, x[1])), 3, None, "2 rows"),
    "another recording": (
        TRACKS, _edit(5, "recordingId", "3"), 5, "recordingId", "3 in a file of"
    ),
    "wrong file": (ONE, _edit(2, "recordingId", "12"), 2, "recordingId", "12 in"),
    "number of tracks": (ONE, _edit(2, "numTracks", "4"), 2, "numTracks", "has 3"),
}  # fmt: skip


def _expect(path, row, column, problem):
    """A pattern for the message."""
    place = f"row {row}" if row else r"row \d+"
    words = f"{path}.*, {place}"
    words += f", column '{column}'" if column else ""
    return f"{words}.*: .*{problem or ''}"


@pytest.mark.parametrize("case", IND)
def test_inD_tables(case, recording, tmp_path):
    name, edit, row, column, problem = IND[case]
    content = edit(recording[name])
    assert content != recording[name]
    for other, original in recording.items():
        (tmp_path / other).write_bytes(content if other == name else original)
    named = META if case == "last frame" else ONE if column == "numTracks" else name
    named = TRACKS if case == "another number" else named
    with pytest.raises(ValueError, match=_expect(named, row, column, problem)):
        ind.load(tmp_path)


def test_a_row_for_a_track_that_is_not_there(recording, tmp_path):
    for other, original in recording.items():
        (tmp_path / other).write_bytes(original)
    with (tmp_path / META).open("a") as file:
        file.write("0,9,0,0,1,0,0,car\n")
    path = tmp_path / ONE
    path.write_bytes(_edit(2, "numTracks", "4")(path.read_bytes()))
    message = _expect(META, 5, "trackId", "track 9 has no rows in 00_tracks.csv")
    with pytest.raises(ValueError, match=message):
        ind.load(tmp_path)


def test_a_file_without_a_number(recording, tmp_path):
    for other, original in recording.items():
        (tmp_path / other.replace("00", "first")).write_bytes(original)
    with pytest.raises(
        ValueError, match="first_recordingMeta.csv: 'first' is no number"
    ):
        ind.load(tmp_path)


KARLSRUHE = {
    "class": (_edit(3, "agent_type", "Car"), 3, "agent_type", "'Car' is not one of"),
    "changed class": (
        _edit(3, "agent_type", "Bike"), 3, "agent_type", "'Bike' is another class"
    ),
    "odd time": (_edit(3, "timestamp_ms", "140"), 3, "timestamp_ms", "no multiple"),
    "same time": (_edit(3, "timestamp_ms", "0"), 3, "timestamp_ms", "0 does not rise"),
    "no number": (_edit(4, "y", "?"), 4, "y", r"'\?' where a finite number"),
    "missing time": (_drop("timestamp_ms"), 1, "timestamp_ms", "is missing"),
    "track goes on": (
        _lines(lambda x: x.insert(4, x[2])), 5, "track_id", "track 7 goes on after"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", KARLSRUHE)
@pytest.mark.parametrize("packed", [False, True])
def test_tafbw_tables(case, packed, tmp_path):
    edit, row, column, problem = KARLSRUHE[case]
    path = tmp_path / ("rows.csv.gz" if packed else "rows.csv")
    content = edit(TAFBW.encode())
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(ValueError, match=_expect(path.name, row, column, problem)):
        tafbw.read(path)


@pytest.mark.parametrize("damage", ["cut", "short", "checksum", "plain"])
def test_damaged_gzip_files(damage, tmp_path):
    path = tmp_path / "rows.csv.gz"
    content = gzip.compress(TAFBW.encode())
    path.write_bytes(
        {
            "cut": content[:-20],
            "short": content[:5],
            "checksum": content[:-6] + b"\0\0" + content[-4:],
            "plain": TAFBW.encode(),
        }[damage]
    )
    message = r"rows.csv.gz, row \d+: the gzip file is damaged or cut off here"
    with pytest.raises(ValueError, match=message):
        tafbw.read(path)


STANFORD = {
    "class": (_set(2, lambda x: x.replace("Biker", "Tram")), 2, "label", "'Tram' is"),
    "changed class": (
        _set(2, lambda x: x.replace("Biker", "Car")), 2, "label", "'Car' is another"
    ),
    "commas": (lambda c: c.replace(b" ", b","), 1, None, "1 fields where 10 belong"),
    "two spaces": (_set(3, lambda x: x.replace(" ", "  ", 1)), 3, None, "11 fields"),
    "mark": (_set(3, lambda x: x.replace(" 1 0 1", " 2 0 1")), 3, "lost", "at most 1"),
    "box": (_set(1, lambda x: x.replace("30", "9", 1)), 1, "xmax", "9.0 is less than"),
    "box on end": (_set(4, lambda x: x.replace("40", "4")), 4, "ymax", "less than"),
    "no number": (_set(2, lambda x: x.replace("60", "nan")), 2, "ymax", "'nan' where"),
    "open quote": (_set(4, lambda x: x[:-1]), 4, None, "quotes closed"),
    "no frame": (_set(2, lambda x: x.replace(" 6 ", " 5 ")), 2, "frame", "not rise"),
}  # fmt: skip


@pytest.mark.parametrize("case", STANFORD)
def test_annotations(case, tmp_path):
    edit, row, column, problem = STANFORD[case]
    path = tmp_path / "annotations.txt"
    path.write_bytes(edit(SDD.encode()))
    with pytest.raises(ValueError, match=_expect(path.name, row, column, problem)):
        annotations.read(path, "gates", 3, 0.5)


def test_there_are_enough_ways_to_be_wrong():
    assert len(IND) + len(KARLSRUHE) + len(STANFORD) + 4 >= 60
