"""What only the holder of a key can read or change (SEC-111)."""

import io
import re

import pytest

from cds_service.errors import SettingsError, StoreUnavailable
from cds_service.events.sealed_file import PIECE, SealingWriter, fingerprint, key_named, opened_pieces

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
SIZES = (0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 3 * PIECE + 5)


def sealed(content, key=KEY, chunk=100_000):
    file = io.BytesIO()
    writer = SealingWriter(file, key)
    for first in range(0, len(content), chunk):
        writer.write(content[first : first + chunk])
    writer.finish()
    return file.getvalue()


def opened(tmp_path, content, key=KEY):
    path = tmp_path / "sealed"
    path.write_bytes(content)
    return b"".join(opened_pieces(path, key))


@pytest.mark.sec("SEC-111")
@pytest.mark.parametrize("size", SIZES)
def test_what_was_sealed_opens_to_the_same_bytes(tmp_path, size):
    content = bytes(number % 251 for number in range(size))
    assert opened(tmp_path, sealed(content)) == content


@pytest.mark.sec("SEC-111")
def test_nothing_of_it_is_readable_and_no_two_files_are_alike(tmp_path):
    content = b"Zq7kanar" * 1000
    first, second = sealed(content), sealed(content)
    assert b"Zq7kanar" not in first
    header = first.index(b"\n")
    assert first[header:] != second[header:]
    assert KEY.hex().encode() not in first


@pytest.mark.sec("SEC-111")
def test_another_key_is_told_by_its_name(tmp_path):
    content = sealed(b"x")
    says = f"it was sealed with key {fingerprint(KEY)}, this is {fingerprint(OTHER)}"
    with pytest.raises(SettingsError, match=re.escape(says)):
        opened(tmp_path, content, OTHER)
    assert key_named(tmp_path / "sealed") == fingerprint(KEY)


def piece(content, number):
    start = content.index(b"\n") + 1 + number * (PIECE + 16)
    return content[start : start + PIECE + 16]


@pytest.mark.sec("SEC-111")
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda whole: whole[:-1], id="a byte less"),
        pytest.param(lambda whole: whole + b"\0", id="a byte more"),
        pytest.param(lambda whole: whole.replace(piece(whole, 2), b""), id="the last piece gone"),
        pytest.param(lambda whole: whole.replace(piece(whole, 1), b""), id="a piece in the middle gone"),
        pytest.param(lambda whole: whole.replace(piece(whole, 1), piece(whole, 0)), id="a piece twice"),
        pytest.param(lambda whole: whole.replace(piece(whole, 0), piece(sealed(bytes(3 * PIECE)), 0)), id="a piece of another file"),
        pytest.param(lambda whole: whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:], id="a flipped bit"),
        pytest.param(lambda whole: whole.replace(b'"nonce":"', b'"nonce":"00', 1), id="another nonce"),
        pytest.param(lambda whole: whole[: whole.index(b"\n") + 1], id="the head alone"),
    ],
)  # fmt: skip
def test_what_was_changed_does_not_open(tmp_path, change):
    with pytest.raises(StoreUnavailable, match="was changed, damaged or cut off"):
        opened(tmp_path, change(sealed(bytes(3 * PIECE))))


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\0", b"{}\n", b'{"sealed_file":9}\n', b"x" * 10_000])
def test_what_is_no_sealed_file_is_said_to_be_none(tmp_path, content):
    with pytest.raises(StoreUnavailable, match="no sealed file of this version"):
        opened(tmp_path, content)
