"""Every kind of archive gives the bytes that were put in; hostile archives are refused and write nothing."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import pickle
import struct
import tarfile
import time
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmlab.core.errors import UserError
from ssmlab.core.events import Progress
from ssmlab.ingest import member_names, tar_files
from ssmlab.ingest import unpack as spool
from ssmlab.ingest.archives import Members, open_members
from tests.ingest.layouts import CONTAINERS, Files, as_folder, as_tar, as_zip

FILES: Files = {"a/one": b"1" * 5000, "a/two": bytes(range(256)), "b": b"", "c/d/e": b"deep"}


def contents(members: Members) -> Files:
    return {name: members.files[name].read() for name in members.names()}


def refused(path: Path, workdir: Path, message: str) -> None:
    """Opening fails with one line that names the archive, and no file was made next to it or outside `workdir`."""
    before = sorted(path.parent.rglob("*"))
    with pytest.raises(UserError, match=message) as caught:
        open_members(path, workdir)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert [each for each in sorted(path.parent.rglob("*")) if workdir not in each.parents] == [
        each for each in before if workdir not in each.parents
    ]
    assert {each.name for each in workdir.iterdir()} <= {"members", "archive"}


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_gives_what_was_put_in(container: str, tmp_path: Path, workdir: Path) -> None:
    assert contents(open_members(CONTAINERS[container](FILES, tmp_path / "data"), workdir)) == FILES


@pytest.mark.parametrize("container", CONTAINERS)
def test_one_wrapping_folder_is_removed_and_junk_is_ignored(container: str, tmp_path: Path, workdir: Path) -> None:
    junk = ("__MACOSX/set/._b", "set/.DS_Store", "set/a/._one", "set/Thumbs.db", "set/.hidden/x")
    files = {f"set/{name}": content for name, content in FILES.items()} | dict.fromkeys(junk, b"junk")
    assert contents(open_members(CONTAINERS[container](files, tmp_path / "data"), workdir)) == FILES


def test_a_leading_dot_in_a_name_is_not_a_folder(tmp_path: Path, workdir: Path) -> None:
    path = as_tar({f"./set/{name}": content for name, content in FILES.items()}, tmp_path / "data.tar")
    assert contents(open_members(path, workdir)) == FILES


@settings(deadline=None, max_examples=20)
@given(
    files=st.dictionaries(
        st.lists(st.text("abcxyz0", min_size=1, max_size=6), min_size=2, max_size=3).map(lambda steps: "/".join(steps)),
        st.binary(max_size=300),
        min_size=1,
        max_size=6,
    ).filter(lambda files: len({name.split("/")[0] for name in files}) > 1),
    container=st.sampled_from([name for name in CONTAINERS if name != "folder"]),
)
def test_any_set_of_files_survives_packing_and_unpacking(
    files: Files, container: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "workdir").mkdir()
    assert contents(open_members(CONTAINERS[container](files, folder / "data"), folder / "workdir")) == files


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("container", ["folder", "zip", "tar", "tar.xz"])
def test_compressed_members_are_unpacked_when_they_are_wanted(pack, container, tmp_path: Path, workdir: Path) -> None:
    suffix = {gzip.compress: "gz", bz2.compress: "bz2", lzma.compress: "xz"}[pack]
    files = {f"x.{suffix}": pack(b"inside" * 99), f"y.{suffix}": pack(b""), "z": b"plain", f"z.{suffix}": b"not read"}
    members = open_members(CONTAINERS[container](files, tmp_path / "data"), workdir)
    assert {name: place.read() for name in "xyz" if (place := members.find(name))} == {
        "x": b"inside" * 99,
        "y": b"",
        "z": b"plain",
    }
    assert members.find("w") is None


def test_a_compressed_zip_is_opened_too(tmp_path: Path, workdir: Path) -> None:
    path = tmp_path / "set.npz.gz"
    path.write_bytes(gzip.compress(as_zip(FILES, tmp_path / "data.zip").read_bytes()))
    assert contents(open_members(path, workdir)) == FILES


def test_byte_ranges_can_be_pickled_and_read_elsewhere(tmp_path: Path, workdir: Path) -> None:
    members = open_members(as_tar(FILES, tmp_path / "data", "xz"), workdir)
    assert pickle.loads(pickle.dumps(members.files["a/two"])).read() == FILES["a/two"]


def test_unpacking_reports_its_progress(tmp_path: Path, workdir: Path) -> None:
    told: list[Progress] = []
    open_members(as_tar({"x": os.urandom(3 << 20)}, tmp_path / "data", "gz"), workdir, told.append)  # type: ignore[arg-type]
    done = [event.done for event in told]
    assert done == sorted(set(done))
    assert done[-1] == told[-1].total == 3
    assert told[-1].eta == 0.0


# --- what a person gives by mistake ---


def test_a_missing_path_is_refused(tmp_path: Path, workdir: Path) -> None:
    refused(tmp_path / "nothing", workdir, "there is no such folder or file")


def test_a_pipe_is_refused_without_waiting(tmp_path: Path, workdir: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", workdir, "neither a folder nor a file")
    as_folder({"set/x": b""}, tmp_path)
    os.mkfifo(tmp_path / "set" / "pipe")
    refused(tmp_path / "set", workdir, "not a file")


def test_links_in_a_folder_are_followed(tmp_path: Path, workdir: Path) -> None:
    as_folder(FILES, tmp_path / "real")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "a").symlink_to(tmp_path / "real" / "a")
    (tmp_path / "links" / "b").symlink_to(tmp_path / "real" / "b")
    assert contents(open_members(tmp_path / "links", workdir)) == {n: FILES[n] for n in ("a/one", "a/two", "b")}


def test_circular_and_broken_links_are_named(tmp_path: Path, workdir: Path) -> None:
    as_folder({"set/a/x": b"1", "broken/b/x": b"1"}, tmp_path)
    (tmp_path / "set" / "a" / "again").symlink_to(tmp_path / "set")
    refused(tmp_path / "set", workdir, "a/again: is reached twice")
    (tmp_path / "broken" / "b" / "gone").symlink_to(tmp_path / "nowhere")
    refused(tmp_path / "broken", workdir, "b/gone: is a broken link")


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path: Path, workdir: Path) -> None:
    members = open_members(as_folder(FILES, tmp_path / "set"), workdir)
    (tmp_path / "set" / "a" / "one").write_bytes(b"1")
    with pytest.raises(UserError, match="has changed while it was read"):
        members.files["a/one"].read()
    (tmp_path / "set" / "a" / "one").unlink()
    with pytest.raises(UserError, match="cannot be read"):
        members.files["a/one"].read()


# --- what hostile archives hold ---

OUTSIDE = [
    "../evil",
    "a/../../evil",
    "a/..",
    "/evil",
    "//host/evil",
    "..\\evil",
    "a\\b",
    "C:/evil",
    "c:evil",
    "../.DS_Store",
    "/tmp/.DS_Store",
]


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("container", ["zip", "tar", "tar.gz"])
def test_member_names_that_lead_out_are_refused(name: str, container: str, tmp_path: Path, workdir: Path) -> None:
    refused(
        CONTAINERS[container]({"fine": b"1", name: b"evil"}, tmp_path / "data"),
        workdir,
        "could lead out of the archive",
    )


@pytest.mark.parametrize("name", ["../evil/", "/evil/"])
def test_folder_entries_that_lead_out_are_refused(name: str, tmp_path: Path, workdir: Path) -> None:
    refused(as_zip({"fine": b"1", name: b""}, tmp_path / "data.zip"), workdir, "could lead out of the archive")
    with tarfile.open(tmp_path / "data.tar", "w") as archive:
        member = tarfile.TarInfo(name)
        member.type = tarfile.DIRTYPE
        archive.addfile(member)
    refused(tmp_path / "data.tar", empty_workdir(workdir), "could lead out of the archive")


def empty_workdir(workdir: Path) -> Path:
    for each in workdir.iterdir():
        each.unlink()
    return workdir


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[2J", "a\x7f", os.fsdecode(b"\xff\xfe")])
def test_names_with_control_characters_are_refused(name: str, tmp_path: Path, workdir: Path) -> None:
    refused(as_tar({"fine": b"1", name: b"2"}, tmp_path / "data.tar"), workdir, "characters in its name")


def test_a_zip_name_with_a_nul_byte_is_refused(tmp_path: Path, workdir: Path) -> None:
    path = as_zip({"fine_name": b"1"}, tmp_path / "data.zip")
    path.write_bytes(path.read_bytes().replace(b"fine_name", b"fine\0name"))
    refused(path, workdir, "characters in its name|damaged")


TYPES = {
    "symbolic link": tarfile.SYMTYPE,
    "hard link": tarfile.LNKTYPE,
    "character device": tarfile.CHRTYPE,
    "block device": tarfile.BLKTYPE,
    "fifo": tarfile.FIFOTYPE,
    "unknown": b"Z",
    "sparse": tarfile.GNUTYPE_SPARSE,
}


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("compression", ["", "gz", "xz"])
def test_tar_members_that_are_not_plain_files_are_refused(
    kind: str, compression: str, tmp_path: Path, workdir: Path
) -> None:
    with tarfile.open(tmp_path / "data", f"w:{compression}", format=tarfile.GNU_FORMAT) as archive:
        member = tarfile.TarInfo("evil")
        member.type, member.linkname = TYPES[kind], "/etc/passwd"
        archive.addfile(member)
    refused(tmp_path / "data", workdir, "evil: is a link, a device or sparse")


@pytest.mark.parametrize("mode", [0o120777, 0o020666, 0o060666, 0o010666, 0o140777])
def test_zip_members_that_are_not_plain_files_are_refused(mode: int, tmp_path: Path, workdir: Path) -> None:
    member = zipfile.ZipInfo("evil")
    member.external_attr = mode << 16
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.writestr(member, "/etc/passwd")
    refused(tmp_path / "data.zip", workdir, "evil: is a link or a device")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("names", [("x", "x"), ("x", "./x"), ("a/x", "a//x")])
@pytest.mark.parametrize("container", ["zip", "tar"])
def test_duplicate_names_are_refused(names: tuple[str, str], container: str, tmp_path: Path, workdir: Path) -> None:
    if container == "zip":
        with zipfile.ZipFile(tmp_path / "data", "w") as archive:
            for name in names:
                archive.writestr(name, name)
    else:
        with tarfile.open(tmp_path / "data", "w") as tar:
            for name in names:
                tar.addfile(tarfile.TarInfo(name))
    refused(tmp_path / "data", workdir, "is in the archive twice")


@pytest.mark.parametrize("bit", [0x1, 0x40, 0x2000])
def test_encrypted_zips_are_refused(bit: int, tmp_path: Path, workdir: Path) -> None:
    path = as_zip({"secret": b"1" * 99}, tmp_path / "data.zip")
    content = bytearray(path.read_bytes())
    flags = content.index(b"PK\x01\x02") + 8
    content[flags : flags + 2] = struct.pack("<H", bit)
    path.write_bytes(content)
    refused(path, workdir, "secret: is encrypted")


@pytest.mark.parametrize("container", [name for name in CONTAINERS if name != "folder"])
def test_decompression_bombs_are_refused(
    container: str, tmp_path: Path, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = CONTAINERS[container]({"x": b"1", "bomb": bytes(3 << 20)}, tmp_path / "data")
    monkeypatch.setattr(spool, "ALWAYS_ALLOWED", 1 << 20)
    if path.stat().st_size > 3 << 20:  # not compressed, so what it unpacks to is no surprise
        assert len(open_members(path, workdir).files) == 2
    else:
        refused(path, workdir, "unpacks to more than 1 MiB")
        assert sum(each.stat().st_size for each in workdir.iterdir()) <= 1 << 20


def test_bombs_inside_compressed_members_are_refused(
    tmp_path: Path, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "ALWAYS_ALLOWED", 1 << 20)
    members = open_members(as_folder({"x.gz": gzip.compress(bytes(3 << 20))}, tmp_path / "set"), workdir)
    with pytest.raises(UserError, match=r"x.gz: unpacks to more than 1 MiB"):
        members.find("x")


def test_the_budget_is_shared_by_all_members(tmp_path: Path, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "ALWAYS_ALLOWED", 1 << 20)
    refused(as_zip({str(n): bytes(1 << 18) for n in range(5)}, tmp_path / "data.zip"), workdir, "4: unpacks to more")


def test_a_zip_whose_members_overlap_is_refused(tmp_path: Path, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many entries of the directory for one kernel of data: the bomb without recursion (Fifield 2019)."""
    monkeypatch.setattr(spool, "ALWAYS_ALLOWED", 1 << 20)
    content = as_zip({"a000": bytes(1 << 18)}, tmp_path / "one.zip").read_bytes()
    entry, end = content.index(b"PK\x01\x02"), content.index(b"PK\x05\x06")
    entries = b"".join(content[entry:end].replace(b"a000", b"a%03d" % n) for n in range(100))
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 100, 100, len(entries), entry, 0)
    (tmp_path / "data.zip").write_bytes(content[:entry] + entries + tail)
    refused(tmp_path / "data.zip", workdir, "damaged|unpacks to more")


def test_no_more_is_unpacked_than_the_disk_has_room_for(
    tmp_path: Path, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = as_zip({"x": bytes(1 << 20)}, tmp_path / "data.zip")
    monkeypatch.setattr(spool, "MIN_FREE", 1 << 60)
    with pytest.raises(UserError, match="too little free space to unpack"):
        open_members(path, workdir)


@pytest.mark.parametrize("size", [100, 1 << 20])
def test_a_disk_that_fills_up_is_one_line(size: int, tmp_path: Path, workdir: Path) -> None:
    path = as_zip({"x": bytes(size)}, tmp_path / "data.zip")
    (workdir / "members").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"members: cannot be written \(No space left on device\)"):
        open_members(path, workdir)


def test_archives_with_too_many_members_are_refused(
    tmp_path: Path, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member_names, "MAX_MEMBERS", 5)
    files = {f"a/{n}": b"" for n in range(6)}
    for container in ("zip", "tar", "folder"):
        refused(CONTAINERS[container](files, tmp_path / container), empty_workdir(workdir), "more than 5 files")


@pytest.mark.parametrize("container", [name for name in CONTAINERS if name != "folder"])
@pytest.mark.parametrize("left", [0.999, 0.9, 0.5, 0.1])
def test_truncated_archives_are_refused(container: str, left: float, tmp_path: Path, workdir: Path) -> None:
    path = CONTAINERS[container]({f"f{n}": os.urandom(30_000) for n in range(9)}, tmp_path / "data")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * left)])
    if container == "tar" and left > 0.95:  # only padding is lost
        assert len(open_members(path, workdir).files) == 9
    else:
        refused(path, workdir, "damaged or cut short")


def test_a_tar_cut_between_members_is_refused(tmp_path: Path, workdir: Path) -> None:
    path = as_tar({"one": b"1" * 512, "two": b"2" * 512}, tmp_path / "data.tar")
    path.write_bytes(path.read_bytes()[:1024])  # the first member, whole
    refused(path, workdir, "the tar archive: damaged or cut short")


@pytest.mark.parametrize("container", ["zip", "stored zip", "zip of xz", "tar.gz", "tar.bz2", "tar.xz"])
@pytest.mark.parametrize("at", [0.3, 0.6])
def test_flipped_bits_are_found_by_checksums(container: str, at: float, tmp_path: Path, workdir: Path) -> None:
    path = CONTAINERS[container]({"x": os.urandom(20_000)}, tmp_path / "data")
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 0x10
    path.write_bytes(content)
    refused(path, workdir, "damaged or cut short")


def test_a_damaged_tar_header_does_not_end_the_archive(tmp_path: Path, workdir: Path) -> None:
    path = as_tar({"one": b"1" * 512, "two": b"2" * 512, "three": b"3"}, tmp_path / "data.tar")
    content = bytearray(path.read_bytes())
    content[1024 + 150] ^= 0x11  # in the checksum of the second header
    path.write_bytes(content)
    refused(path, workdir, "the tar archive: damaged or cut short")


def raw_header(name: bytes, size: bytes, kind: bytes) -> bytes:
    """A tar header with a right checksum and any size field."""
    header = bytearray(tarfile.TarInfo(name.decode()).tobuf(tarfile.USTAR_FORMAT)[:512])
    header[124:136], header[156:157], header[148:156] = size.ljust(12, b"\0"), kind, b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(raw_header(b"x", b"77777777777", b"0"), id="larger than the archive"),
        pytest.param(raw_header(b"x", b"\xff" * 11 + b"\x00", b"0"), id="negative"),
        pytest.param(raw_header(b"x", b"77777777777", b"x"), id="a header for the whole memory"),
        pytest.param(raw_header(b"x", b"77777777777", b"L"), id="a name for the whole memory"),
        pytest.param(raw_header(b"x", b"0", b"x") * 5000, id="headers of headers"),
        pytest.param(raw_header(b"x", b"00000001000", b"x") + b"20 GNU.sparse.map=1\n".ljust(512, b"\0"), id="pax"),
    ],
)
def test_tar_headers_that_claim_too_much_are_refused(content: bytes, tmp_path: Path, workdir: Path) -> None:
    (tmp_path / "data.tar").write_bytes(content + bytes(1024))
    refused(tmp_path / "data.tar", workdir, "damaged or cut short|is in the archive twice")


def test_an_overlong_tar_header_is_refused(tmp_path: Path, workdir: Path) -> None:
    long = raw_header(b"x", b"%011o" % (2 << 20), b"x") + bytes(2 << 20)
    (tmp_path / "data.tar").write_bytes(long + raw_header(b"x", b"0", b"0") + bytes(1024))
    refused(tmp_path / "data.tar", workdir, "a header is too long")


@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_a_damaged_archive_never_gives_a_traceback(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A damaged archive is opened, or refused in one line."""
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "workdir").mkdir()
    container = data.draw(st.sampled_from([name for name in CONTAINERS if name != "folder"]))
    path = CONTAINERS[container](FILES, folder / "data")
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        open_members(path, folder / "workdir")
    except UserError as error:
        assert "\n" not in str(error)


def test_layouts_with_few_files_refuse_many_files(tmp_path: Path, workdir: Path) -> None:
    members = open_members(as_zip({str(n): b"" for n in range(65)}, tmp_path / "data.zip"), workdir)
    with pytest.raises(UserError, match="holds 65 files, too many for IDX; remove those"):
        members.require_few_files("IDX")


def test_text_is_read_as_utf8_or_refused(tmp_path: Path, workdir: Path) -> None:
    members = open_members(as_folder({"good": b"a\n\nb\r\n", "bad": b"\xff\xfe"}, tmp_path / "set"), workdir)
    assert members.text("good") == ["a", "b"]
    assert members.text("none") is None
    with pytest.raises(UserError, match="bad: is not a text"):
        members.text("bad")
    with pytest.raises(UserError, match="good: has 6 bytes, but at most 5 are expected"):
        members.text("good", most=5)


def empty_zip(path: Path, count: int) -> Path:
    """A zip of empty folders, written by hand because `zipfile` is slow."""
    local, central = bytearray(), bytearray()
    for number in range(count):
        name = b"%d/" % number
        entry = struct.pack("<5H3L2H", 20, 0, 0, 0, 0, 0, 0, 0, len(name), 0)
        central += b"PK\x01\x02\x14\0" + entry + struct.pack("<3H2L", 0, 0, 0, 0, len(local)) + name
        local += b"PK\x03\x04" + entry + name
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count & 0xFFFF, count & 0xFFFF, len(central), len(local), 0)
    path.write_bytes(bytes(local + central + end))
    return path


def test_a_zip_of_very_many_empty_folders_is_refused_at_once(tmp_path: Path, workdir: Path) -> None:
    path = empty_zip(tmp_path / "data.zip", 150_000)
    began = time.process_time()
    refused(path, workdir, "is mostly a list of empty files or folders")
    assert time.process_time() - began < 0.5
    assert contents(open_members(empty_zip(tmp_path / "few.zip", 500), empty_workdir(workdir))) == {}


def test_a_tar_of_very_many_empty_folders_is_refused(
    tmp_path: Path, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tar_files, "MAX_FOLDERS", 20)
    with tarfile.open(tmp_path / "data.tar.gz", "w:gz") as archive:
        for number in range(21):
            member = tarfile.TarInfo(str(number))
            member.type = tarfile.DIRTYPE
            archive.addfile(member)
    refused(tmp_path / "data.tar.gz", workdir, "more than 20 empty files or folders")


def test_an_xz_file_of_several_streams_is_read(tmp_path: Path, workdir: Path) -> None:
    tar = as_tar(FILES, tmp_path / "data.tar").read_bytes()
    path = tmp_path / "data.tar.xz"
    path.write_bytes(lzma.compress(tar[:700]) + bytes(8) + lzma.compress(tar[700:]) + bytes(4))
    assert contents(open_members(path, workdir)) == FILES


def test_an_xz_file_that_asks_for_a_gibibyte_is_refused(tmp_path: Path, workdir: Path) -> None:
    tar = as_tar(FILES, tmp_path / "data.tar").read_bytes()
    packed = bytearray(lzma.compress(tar, preset=0))
    packed[packed.index(b"\x21\x01", 12) + 2] = 36  # the size of the dictionary, in the format's code for 1 GiB
    length = 4 * packed[12]  # of the block header, its checksum left out
    packed[12 + length : 16 + length] = struct.pack("<I", zlib.crc32(packed[12 : 12 + length]))
    path = tmp_path / "data.tar.xz"
    path.write_bytes(packed)
    refused(path, workdir, "damaged or cut short .*[Mm]emory")
