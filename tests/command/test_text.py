"""Delimited text: separators, quotation marks, blank lines, encodings, compression."""

import bz2
import gzip
import io
import lzma
import re
import time
import zipfile

import numpy as np
import pytest

from afa_core.command.table import Layout, read_table

LINES = ("t,z", "0,1.5", "1,", "2,-3e2")
TIMES, VALUES = [0, 1, 2], [1.5, np.nan, -300.0]


def assert_read(found, times=TIMES, values=VALUES):
    np.testing.assert_array_equal(found.times, times)
    np.testing.assert_array_equal(found.values["z"], values)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
def test_ends_of_lines(table, end, last):
    assert_read(table((end.join(LINES) + end * last).encode()))


@pytest.mark.parametrize(
    ("separator", "said"),
    [
        (",", ()),
        (";", ("cells are separated by semicolons",)),
        ("\t", ("cells are separated by tabs",)),
        ("|", ("cells are separated by bars",)),
    ],
)
def test_a_separator_is_found(table, separator, said):
    found = table([line.replace(",", separator) for line in LINES])
    assert_read(found)
    assert (found.separator, found.notes) == (separator, said)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|", ":", "^", " "])
def test_a_separator_is_given(table, separator):
    found = table([line.replace(",", separator) for line in LINES], separator=separator)
    assert_read(found)
    assert (found.separator, found.notes) == (separator, ())


def test_the_separator_is_that_by_which_the_columns_are_found(table):
    assert_read(table(["a,b,c;t;z", "1,2,3;0;1.5", "1;1;", "0;2;-300"]))
    assert_read(table(["t,a;b;c;d,z", "0,1;2,1.5", "1,1,", "2,0,-300"]))


def test_names_may_have_spaces_around_them_and_rows_other_columns(table):
    found = table([" t ,more, z", "0,x,1.5", "1,y", "2,,-300"])
    assert_read(found)
    assert found.header == ("t", "more", "z")


def test_quoted_cells(table):
    found = table(['"t","z","a ""note"", or two"', '"0","1.5","x,y"', '1,"",""', '2,"-300","a\nb"'])
    assert_read(found)
    assert found.header[2] == 'a "note", or two'


def test_blank_lines_are_no_rows(table, refusal):
    content = ["", " ", "t,z", "", "0,1.5", "   ", ",", "1,", "2,-300", "", ""]
    assert_read(table(content))
    assert refusal([*content, "high,1"]).startswith('row 12, column "t"')


def test_cells_are_kept_as_they_came(table):
    found = table(["t;z", "00,10;1,50", "01,0;NA", "2;3,"])
    assert found.cells == {"t": ["00,10", "01,0", "2"], "z": ["1,50", "NA", "3,"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (["t,z", "0,1,5"], "row 2: has 3 cells, but the header has 2. .* pass --decimal ,"),
        (["t,z", "", "0,1", "1,2,"], "row 4: has 3 cells, but the header has 2"),
        (["t;z", "0;1", "1;2;3"], "row 3: has 3 cells, but the header has 2. Quote .* --sep"),
        (["t,z", '0,"1', "2,3"], "row 3: is no CSV: .* Check its quotation marks"),
        (["t,z", '0,"1"2'], "row 2: is no CSV: .* Check its quotation marks"),
        (["a,b"], 'column "t" is not in the header, which holds "a", "b"'),
        (["a;b;c"], 'column "t" is not in the header, which holds "a", "b", "c"'),
        (["t,z,z", "0,1,2"], 'column "z" stands twice in the header'),
        ([",".join("abcdefghijklmnopqrsuvw")], '"s", "u", …'),
        ([], 'column "t" is not in the header, which holds nothing'),
        (["", " "], 'column "t" is not in the header, which holds nothing'),
    ],
)
def test_refused(refusal, content, message):

    assert re.search(message, refusal(content))


ACCENTED = "t,höhe\n0,1.5\n1,\n2,-300\n"


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252", "utf-16-le with mark"]
)
def test_encodings_are_found(table, encoding):
    name, _, marked = encoding.partition(" ")
    found = table((("\ufeff" if marked else "") + ACCENTED).encode(name), "höhe")
    np.testing.assert_array_equal(found.values["höhe"], VALUES)
    said = [note for note in found.notes if "cp1252" in note]
    assert len(said) == len(found.notes) == (encoding == "cp1252")


@pytest.mark.parametrize(
    ("encoding", "mark"),
    [
        *(("cp437", ""), ("mac-roman", ""), ("utf-8", ""), ("utf-16-be", ""), ("utf-16-le", "")),
        *(("utf-8", "\ufeff"), ("utf-16-be", "\ufeff"), ("utf-16-le", "\ufeff")),
    ],
)
def test_encodings_are_given(table, encoding, mark):
    found = table((mark + ACCENTED).encode(encoding), "höhe", encoding=encoding)
    np.testing.assert_array_equal(found.values["höhe"], VALUES)
    assert found.notes == ()


def test_bytes_that_are_no_text(refusal):
    assert refusal(b"t,z\n0,\x81\xff\n").startswith("is text neither in UTF-8 nor in cp1252")
    assert refusal(b"t,z\n0,\xff\n", encoding="ascii").startswith("is not text in ascii")
    assert refusal(b"\xff\xfet,z\n0,1").startswith("is not text in utf-16")
    assert "NUL bytes. For UTF-16 pass --encoding utf-16-le" in refusal("t,z".encode("utf-16-le"))


def zipped(content, *others, name="data.csv"):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for each in (name, *others):
            archive.writestr(each, content)
    return buffer.getvalue()


COMPRESS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zip": zipped}


@pytest.mark.parametrize("suffix", COMPRESS)
def test_compressed(table, refusal, suffix):
    packed = COMPRESS[suffix](("\n".join(LINES)).encode())
    assert_read(table(packed, name=f"data.csv.{suffix}"))
    assert_read(table(packed))
    for damaged in (packed[: len(packed) // 2], packed[:20] + b"damaged" + packed[27:]):
        assert refusal(damaged).startswith("is a damaged compressed file: ")


def test_zip_files_of_several(refusal):
    assert refusal(zipped(b"", "b.csv")) == "expected a zip file of one file, got 2; unpack it."
    workbook = zipped(b"", "xl/workbook.xml", name="[Content_Types].xml")
    assert "save its sheet as CSV" in refusal(workbook)


class Standard:
    """Standard input with some content."""

    def __init__(self, content):
        self.buffer = io.BytesIO(content)


@pytest.mark.parametrize("pack", [bytes, *COMPRESS.values()])
def test_standard_input(monkeypatch, pack):
    monkeypatch.setattr("sys.stdin", Standard(pack("\n".join(LINES).encode())))
    found = read_table("-", "t", ["z"], Layout())
    assert_read(found)
    assert found.source == "standard input"


def test_files_that_cannot_be_read(run, tmp_path):
    columns = ("--time", "t", "--value", "z")
    for path, reason in ((tmp_path / "none", "No such file"), (tmp_path, "Is a directory")):
        code, out, err = run("filter", path, *columns)
        assert (code, out) == (2, "")
        assert f"{path}: cannot be read: {reason}" in err


@pytest.mark.parametrize("kind", ["integers", "numbers", "dates"])
def test_many_rows_are_read_soon(table, kind):
    rng, rows = np.random.default_rng(0), 100_000
    times = {
        "integers": np.arange(rows),
        "numbers": np.cumsum(rng.exponential(size=rows)),
        "dates": np.datetime_as_string(np.datetime64("2024-01-01T00:00:00") + np.arange(rows)),
    }[kind]
    lines = ["t,z", *(f"{t},{z}" for t, z in zip(times, rng.normal(size=rows), strict=True))]
    table(["t,z", "2024-01-01,1"])  # imports pandas
    start = time.process_time()
    found = table(lines)
    assert time.process_time() - start < 1.0
    assert found.times.shape == (rows,)
