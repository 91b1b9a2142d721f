"""Downloads from a server that does everything wrong that servers do, and archives that should not be unpacked. Nothing
here needs the internet."""

import hashlib
import io
import os
import random
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from inner_detectors.core.errors import InputError
from inner_detectors.core.files import sha256
from inner_detectors.networks.fetch import download
from inner_detectors.networks.fetch.fetch import fetch
from inner_detectors.networks.fetch.published import GB, PUBLISHED, File, Published
from inner_detectors.networks.fetch.unpack import BoundedStream, in_tar, stays_inside, unpack

CONTENT = random.Random(0).randbytes(300_000)
PAGE = b"<!DOCTYPE html><html><title>Moved</title></html>"


@dataclass
class Request:
    path: str
    range: str | None
    condition: str | None
    sent: int = 0


class Handler(BaseHTTPRequestHandler):
    "Answers as the routes of its server say, and writes down what it was asked and what it sent."

    def do_GET(self):
        self.record = Request(self.path, self.headers["Range"], self.headers["If-Range"])
        self.server.asked.append(self.record)
        try:
            self.server.routes.get(self.path, error(404))(self)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def head(self, status, **headers):
        self.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def give(self, piece):
        self.record.sent += len(piece)  # before the client can know of it
        self.wfile.write(piece)

    def log_message(self, *words):
        pass


def error(status, page=PAGE):
    def answer(handler):
        handler.head(status, Content_Type="text/html")
        handler.wfile.write(page)

    return answer


def move(to):
    return lambda handler: handler.head(302, Location=to, Content_Length=0)


def give(content=CONTENT, mark='"one"', ranges=True, stops=(), claims=None, kind="application/octet-stream", date=None):
    """A route to a file. `stops`: bytes after which it breaks off, one an answer; `claims`: the length that it says, or
    none."""
    stops = list(stops)

    def answer(handler):
        asked = re.fullmatch(r"bytes=(\d+)-", handler.headers["Range"] or "") if ranges else None
        condition = handler.headers["If-Range"]
        start = int(asked[1]) if asked and condition in (None, mark, date) else 0
        if start >= len(content) > 0:
            return handler.head(416, Content_Range=f"bytes */{len(content)}", Content_Length=0)
        length = {None: len(content) - start, "none": None}.get(claims, claims)
        handler.head(
            206 if start else 200,
            Content_Type=kind,
            ETag=mark,
            Last_Modified=date,
            Content_Length=length,
            Content_Range=f"bytes {start}-{len(content) - 1}/{len(content)}" if start else None,
        )
        handler.give(content[start:][: stops.pop(0) if stops else None])

    return answer


@pytest.fixture
def web(monkeypatch):
    "A server on this machine: routes by path, and the requests that came."
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download, "PATIENCE", 5.0)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.routes, server.asked, server.over = True, {}, [], threading.Event()
    server.at = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()
    thread.join()


def put(monkeypatch, web, name, *routes, content=CONTENT, **more):
    "Makes `name` one published file, on as many mirrors as there are routes; its entry."
    addresses = []
    for number, route in enumerate(routes):
        web.routes[f"/{number}/{name}"] = route
        addresses.append(f"{web.at}/{number}/{name}")
    more = {"size": len(content), "most": GB} | more
    file = File(tuple(addresses), f"sha256:{hashlib.sha256(content).hexdigest()}", "nobody", **more)
    monkeypatch.setitem(
        PUBLISHED,
        "it",
        Published((file,), "~/net" if not file.holds else "data/it", "any use", "https://example.org/page", "none"),
    )
    return file


@pytest.fixture
def net(web, monkeypatch):
    return partial(put, monkeypatch, web, "net.bin")


@pytest.fixture
def get(tmp_path):
    return lambda **more: fetch("it", tmp_path, **({"progress": False} | more))


def refused(get, *said):
    "The refusal: one line, with these words in it."
    with pytest.raises(InputError) as caught:
        get()
    sentence = str(caught.value)
    for words in said:
        assert words in sentence, sentence
    assert "\n" not in sentence and sentence.endswith("."), sentence
    return sentence


def left(tmp_path):
    return sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())


# ---- one file


def test_a_file_is_brought_once(web, net, get, tmp_path, capfd):
    net(give())
    assert get(progress=True) == tmp_path / "net" / "net.bin" and get().read_bytes() == CONTENT
    assert left(tmp_path) == ["net/net.bin"] and len(web.asked) == 1
    out, err = capfd.readouterr()
    assert out == "" and "net.bin" in err and "100%" in err
    get(progress=True)
    assert "is there and good" in capfd.readouterr().err and len(web.asked) == 1


@pytest.mark.parametrize("stops", [[1], [0], [299_999], [1, 1, 1], [100_000, 199_999], [7, 262_144], [65_536] * 4])
def test_a_break_is_gone_on_from(stops, web, net, get):
    net(give(stops=stops))
    try:
        get()
    except InputError:
        assert 0 in stops  # where nothing comes, nobody is asked again at once
    assert get().read_bytes() == CONTENT
    assert sum(request.sent for request in web.asked) == len(CONTENT)  # nothing was sent twice
    assert all(request.condition == '"one"' for request in web.asked if request.range)


def test_a_date_marks_a_file_too(web, net, get):
    net(give(mark='W/"weak"', date="Fri, 01 Jan 2021 00:00:00 GMT", stops=[1_000]))
    assert get().read_bytes() == CONTENT
    assert web.asked[1] == Request("/0/net.bin", "bytes=1000-", "Fri, 01 Jan 2021 00:00:00 GMT", 299_000)


def test_without_ranges_it_begins_anew(web, net, get):
    net(give(ranges=False, stops=[1_000, 2_000]))
    assert get().read_bytes() == CONTENT
    assert [request.sent for request in web.asked] == [1_000, 2_000, 300_000]


def test_without_ranges_it_is_not_asked_for_ever(web, net, get):
    net(give(ranges=False, stops=[1_000] * 50))
    refused(get, "broke off at 1,000 of 300,000 bytes", "https://example.org/page")
    assert len(web.asked) == 2


def test_without_marks_the_digest_decides(web, net, get, tmp_path):
    old = bytes(len(CONTENT))
    net(give(old, mark=None, stops=[1_000, 0]))
    refused(get, "broke off at 1,000")
    net(give(mark=None))
    assert get().read_bytes() == CONTENT
    assert [request.sent for request in web.asked] == [1_000, 0, 299_000, 300_000] and left(tmp_path) == ["net/net.bin"]


@pytest.mark.parametrize("honest", [True, False])
def test_a_file_that_changed_is_not_glued_to_an_old_half(honest, web, net, get):
    net(give(bytes(len(CONTENT)), mark='"old"', stops=[1_000, 0]))
    refused(get, "broke off at 1,000")
    new = give(mark='"new"')

    def careless(handler):  # sends the rest of the new file, whatever the condition
        del handler.headers["If-Range"]
        new(handler)

    net(new if honest else careless)
    assert get().read_bytes() == CONTENT
    assert [request.sent for request in web.asked][2:] == ([300_000] if honest else [299_000, 300_000])


@pytest.mark.parametrize(
    "status, said, mark, same",
    [
        (206, "bytes 1000-", '"one"', True),
        (206, "bytes 1000-", None, True),
        (206, "bytes 1000-", '"two"', False),
        (206, "bytes 100-", '"one"', False),
        (206, "", '"one"', False),
        (416, "bytes */1000", '"one"', False),
    ],
)
def test_what_continues_a_file(status, said, mark, same):
    answer = SimpleNamespace(status=status, headers={"Content-Range": said} | ({"ETag": mark} if mark else {}))
    assert download.continues(answer, 1_000, '"one"') is same


def test_a_part_that_is_whole_is_only_checked(web, net, get, tmp_path):
    file = net(give())
    (tmp_path / "net").mkdir()
    (tmp_path / "net/net.bin.part").write_bytes(CONTENT)
    (tmp_path / "net/net.bin.mark.part").write_text('"one"')
    assert get().read_bytes() == CONTENT and not web.asked
    (tmp_path / "net/net.bin").rename(tmp_path / "net/net.bin.part")
    (tmp_path / "net/net.bin.mark.part").write_text('"one"')
    net(give(), size=None)  # where no size is published, the server says that nothing is missing
    assert get().read_bytes() == CONTENT and [request.sent for request in web.asked] == [0]
    (tmp_path / "net/net.bin").write_bytes(b"")
    (tmp_path / "net/net.bin.part").write_bytes(CONTENT + b"more than there is")
    (tmp_path / "net/net.bin.mark.part").write_text('"one"')
    assert get().read_bytes() == CONTENT and file.size == 300_000


WRONG = {
    "404": (error(404), ["it answers 404 Not Found"]),
    "500": (error(500), ["it answers 500"]),
    "a page with status 200": (give(PAGE, kind="text/html"), ["a web page instead of the file"]),
    "a page that says it is data": (give(PAGE), ["a web page instead of the file"]),
    "a page of the right size": (give(PAGE + bytes(len(CONTENT) - len(PAGE))), ["a web page instead of the file"]),
    "a page by its type alone": (give(kind="text/html"), ["a web page instead of the file"]),
    "claims less": (give(claims=1_000), ["it has 1,000 bytes to send, 300,000 were published"]),
    "claims more": (give(claims=400_000), ["it has 400,000 bytes to send, 300,000 were published"]),
    "sends less, unsaid": (give(claims="none", stops=[1_000, 0] * 3), ["broke off at 1,000 of 300,000 bytes"]),
    "sends more, unsaid": (give(CONTENT + b"more", claims="none"), ["it sends more than 300,000 bytes"]),
    "sends nothing": (give(b"", claims="none"), ["broke off at 0 of 300,000 bytes"]),
    "another file of the right size": (
        give(bytes(len(CONTENT))),
        [f"its sha256 is {hashlib.sha256(bytes(len(CONTENT))).hexdigest()}"],
    ),
    "no HTTP": (lambda handler: handler.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n"), ["SSH-2.0-OpenSSH_9.6"]),
    "part of the file, unasked": (lambda handler: handler.head(206, Content_Length=0), ["it answers 206"]),
    "no range, unasked": (lambda handler: handler.head(416, Content_Length=0), ["it answers 416"]),
    "nothing at all": (
        lambda handler: handler.connection.shutdown(socket.SHUT_RDWR),
        ["closed connection without response"],
    ),
    "to a file of ours": (move("file:///net.bin"), ["file:///net.bin", "not allowed"]),
    "to ftp": (move("ftp://127.0.0.1/net.bin"), ["ftp://127.0.0.1/net.bin", "not allowed"]),
    "in a circle": (move("/0/net.bin"), ["it redirects in a circle"]),
    "to a port that is none": (move("http://a:b@c:d/"), ["nonnumeric port"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_not_the_file_is_refused(case, web, net, get, tmp_path):
    route, said = WRONG[case]
    net(route)
    refused(
        get,
        f"{tmp_path}/net/net.bin",
        f"{web.at}/0/net.bin: ",
        *said,
        "get net.bin by hand from https://example.org/page",
    )
    assert [name for name in left(tmp_path) if not name.endswith(".part")] == []
    net(route, give())  # what one mirror has not got, the second has
    assert get().read_bytes() == CONTENT and left(tmp_path) == ["net/net.bin"]
    (tmp_path / "net/net.bin").write_bytes(b"damaged, but one's own")
    net(route)
    refused(get, *said)
    assert (tmp_path / "net/net.bin").read_bytes() == b"damaged, but one's own"


def test_chunks_and_a_redirect_are_followed(web, net, get):
    def chunked(handler):
        handler.protocol_version = "HTTP/1.1"
        handler.head(200, Transfer_Encoding="chunked", Connection="close")
        for start in range(0, len(CONTENT), 50_000):
            handler.give(b"C350\r\n" + CONTENT[start : start + 50_000] + b"\r\n")
        handler.give(b"0\r\n\r\n")

    web.routes["/there"] = chunked
    net(move("/there"), size=None)
    assert get().read_bytes() == CONTENT and [request.path for request in web.asked] == ["/0/net.bin", "/there"]


def test_without_a_published_size_there_is_a_limit(web, net, get, tmp_path):
    net(give(), give(claims="none"), size=None, most=200_000)
    refused(get, "300,000 bytes to send, more than 200,000", "it sends more than 200,000 bytes")
    assert "net/net.bin" not in left(tmp_path)


@pytest.mark.parametrize("first", [0, 1_000])
def test_silence_is_given_up(first, web, net, get, monkeypatch):
    def silent(handler):
        if first:
            handler.head(200, Content_Length=len(CONTENT), ETag='"one"')
            handler.give(CONTENT[:first])
        web.over.wait()

    monkeypatch.setattr(download, "PATIENCE", 0.2)
    net(silent, give(), content=CONTENT)
    assert get().read_bytes() == CONTENT
    assert web.asked[-1].range == (
        f"bytes={first}-" if first else None
    )  # the second mirror goes on where the first stopped
    net(silent)
    get().unlink()
    refused(get, "it was silent for 0.2 seconds")


def test_mirrors_are_asked_in_turn(web, net, get, capfd):
    file = net(error(503), move("/nowhere"), give())
    dead = file._replace(mirrors=(f"http://127.0.0.1:1/{file.name}", *file.mirrors))
    PUBLISHED["it"] = PUBLISHED["it"]._replace(files=(dead,))
    assert get(progress=True).read_bytes() == CONTENT
    said = capfd.readouterr().err
    assert "http://127.0.0.1:1/net.bin: Connection refused." in said
    assert "/0/net.bin: it answers 503" in said and "/1/net.bin: it answers 404" in said


def test_a_file_put_there_by_hand_is_used_or_mended(web, net, get, tmp_path):
    net(give())
    (tmp_path / "net").mkdir()
    path = tmp_path / "net/net.bin"
    path.write_bytes(CONTENT)
    assert get() == path and not web.asked
    path.write_bytes(PAGE)
    assert get().read_bytes() == CONTENT and len(web.asked) == 1
    path.write_bytes(PAGE)
    net(error(404))
    refused(get, f"{path}: it is a web page")


# ---- killed, interrupted, at once, and without room

RUN = """
import sys, signal, resource
from inner_detectors.networks.fetch import fetch as fetching
fetching.PUBLISHED["it"] = fetching.Published((eval(sys.argv[1], vars(fetching)),), "~/net", "", "https://example.org", "")
if len(sys.argv) > 3:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)       # like a full disk: writing on fails
try: fetching.fetch("it", sys.argv[2])
except fetching.InputError as refused: sys.exit(str(refused))
"""


def process(file, folder, *more):
    return subprocess.Popen(
        [sys.executable, "-c", RUN, repr(file), str(folder), *map(str, more)], stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_process_that_ends_is_gone_on_from(how, web, net, get, tmp_path):
    reached = threading.Event()

    def slow(handler):
        handler.head(200, Content_Length=len(CONTENT), ETag='"one"')
        handler.give(CONTENT[:1_000])
        reached.set()
        web.over.wait()

    running, part = process(net(slow), tmp_path), tmp_path / "net/net.bin.part"
    assert reached.wait(20)
    for _ in range(2_000):
        if part.exists() and part.stat().st_size == 1_000:
            break
        time.sleep(0.005)
    refused(get, "another process is fetching into it")
    running.send_signal(how)
    running.communicate()
    assert part.read_bytes() == CONTENT[:1_000] and not (tmp_path / "net/net.bin").exists()
    net(give())
    assert get().read_bytes() == CONTENT
    assert web.asked[-1].range == "bytes=1000-" and web.asked[-1].sent == len(CONTENT) - 1_000
    assert left(tmp_path) == ["net/net.bin"]


def test_a_full_disk(web, net, get, tmp_path):
    running = process(net(give()), tmp_path, 100_000)
    said = running.communicate()[1]
    assert running.returncode == 1 and "Make room or choose another folder" in said.splitlines()[-1]
    assert 0 < (tmp_path / "net/net.bin.part").stat().st_size <= 100_000
    assert get().read_bytes() == CONTENT and web.asked[-1].range


def test_too_little_room_is_said_before(web, net, get, monkeypatch):
    net(give())
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(0, 0, 299_999))
    refused(get, "Make room, or choose a folder on another disk")
    assert not web.asked


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(web, net, get, tmp_path):
    net(give())
    tmp_path.chmod(0o500)
    refused(get, "Permission denied", "choose another folder")
    tmp_path.chmod(0o700)


# ---- archives


def tar(*entries, mode="w:gz"):
    "A tar archive of (name, content), or (name, type, target) for what is no file."
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, content, *target in entries:
            info = tarfile.TarInfo(name)
            if target:
                info.type, info.linkname = content, target[0]
            else:
                info.size = len(content)
            archive.addfile(info, None if target else io.BytesIO(content))
    return out.getvalue()


def zipped(*entries):
    "A zip archive of (name, content), or (name, content, mode)."
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, *mode in entries:
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            if mode:
                info.external_attr = mode[0] << 16
            archive.writestr(info, content)
    return out.getvalue()


LINK, MUCH, DAMAGED = "is a link or device", "more than 10,000 bytes", "it is no archive, or damaged"
FINE = ("set/a.mat", b"1")
REFUSED = {  # archives that any tool unpacks without harm, and what is said of each, at most 10,000 bytes being allowed
    "tar colon": (tar(FINE, ("a:b", b"1")), "'a:b' would be written outside its folder"),
    "zip colon": (zipped(FINE, ("a:b/c", b"1")), "'a:b/c' would be written outside its folder"),
    "tar symlink inside": (tar(FINE, ("set/b.mat", tarfile.SYMTYPE, "a.mat")), LINK),
    "tar hardlink inside": (tar(FINE, ("set/b.mat", tarfile.LNKTYPE, "set/a.mat")), LINK),
    "tar label": (tar(FINE, ("set/label", b"V", "")), LINK),  # the name of a tape, which other tools pass over
    "zip symlink inside": (zipped(FINE, ("b.mat", b"set/a.mat", stat.S_IFLNK | 0o777)), LINK),
    "tar large": (tar(("set/a.mat", b"1" * 20_000)), MUCH),
    "tar of many": (tar(*((f"set/{number}", b"") for number in range(3))), MUCH),
    "zip large": (zipped(("set/a.mat", b"1" * 20_000)), MUCH),
    "tar cut": (tar(("set/a.mat", CONTENT[:9_000]))[:5_000], DAMAGED),
    "tar cut, plain": (tar(("set/a.mat", CONTENT[:9_000]), mode="w")[:5_000], DAMAGED),
    "zip cut": (zipped(("set/a.mat", CONTENT[:9_000]))[:5_000], DAMAGED),
    "tar twice": (tar(FINE, FINE), "File exists"),
    "one byte": (b"P", DAMAGED),
    "words": (b"This is no archive. " * 100, DAMAGED),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_archive_that_is_refused(case, web, get, monkeypatch, tmp_path):
    content, said = REFUSED[case]
    put(
        monkeypatch,
        web,
        "some.archive",
        give(content),
        content=content,
        most=10_000 if said == MUCH else 40_000,
        holds={"set/*.mat": 1},
    )
    refused(get, said)
    assert left(tmp_path) == ["some.archive"] and os.listdir(tmp_path) == ["some.archive"]


@pytest.mark.parametrize(
    "name, stays",
    [
        ("set/a.mat", True),
        ("a", True),
        ("a..b/c", True),
        ("a/b:c", True),
        ("", False),
        ("/a", False),
        ("..", False),
        ("a/../b", False),
        ("a\\..\\b", False),
        ("\\a", False),
        ("C:/a", False),
        ("a\0b", False),
    ],
)
def test_names_that_stay_in_their_folder(name, stays):
    assert stays_inside(name) is stays


def test_a_header_is_read_within_its_limit(tmp_path):
    (tmp_path / "a.tar").write_bytes(tar(FINE, mode="w"))
    assert [member.name for member in in_tar(tmp_path / "a.tar", 10_000)] == ["set/a.mat"]
    with open(tmp_path / "a.tar", "rb") as stream:
        bounded = BoundedStream(stream, most=1_000, header=512)
        assert len(bounded.read(512)) == 512
        with pytest.raises(tarfile.ReadError, match="a header of 513 bytes"):
            bounded.read(513)
        with pytest.raises(tarfile.ReadError, match="more than 1,000 bytes"):
            bounded.seek(1_001)


def test_damage_anywhere_is_one_sentence(tmp_path):
    whole = {
        "a.zip": zipped(("set/a.mat", CONTENT[:2_000]), ("set/b.mat", b"2")),
        "a.tar": tar(("set/a.mat", CONTENT[:2_000]), mode="w"),
        "a.tar.gz": tar(("set/a.mat", CONTENT[:2_000]), ("set/b.mat", b"2")),
    }
    chance = random.Random(0)
    for number in range(150):
        name, content = chance.choice(list(whole.items()))
        changed = bytearray(content)
        for _ in range(chance.choice([1, 3, 20])):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        path, folder = tmp_path / name, tmp_path / f"to{number}"
        path.write_bytes(changed[: chance.choice([len(changed), chance.randrange(len(changed))])])
        folder.mkdir()
        try:
            unpack(path, folder, 10_000_000, progress=False)
        except InputError as refused:
            assert str(refused).startswith(str(path)) and "\n" not in str(refused)
        except OSError:
            pass  # a name that no disk takes: said by `fetch`
        assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 20_000


@pytest.mark.parametrize(
    "make, name", [(zipped, "some.zip"), (tar, "some.tar.gz"), (partial(tar, mode="w"), "some.tar")]
)
def test_a_data_set_is_unpacked_counted_and_kept(make, name, web, get, monkeypatch, tmp_path):
    content = make(*((f"set/{number}.mat", str(number).encode()) for number in range(20)), ("read.me", b"words"))
    put(monkeypatch, web, name, give(content, stops=[100]), content=content, holds={"set/*.mat": 20}, into="below")
    assert get() == tmp_path
    names = ["below/read.me", *sorted(f"below/set/{number}.mat" for number in range(20))]
    assert left(tmp_path) == names and (tmp_path / "below/set/7.mat").read_bytes() == b"7"
    assert sum(request.sent for request in web.asked) == len(content)
    assert (
        stat.S_IMODE((tmp_path / "below/set").stat().st_mode) & 0o055 == 0o055
    )  # others may read it, as far as the umask lets them
    asked = len(web.asked)
    get()
    assert len(web.asked) == asked
    (tmp_path / "below/set/7.mat").write_bytes(b"")  # emptied: seen, and fetched again
    (tmp_path / "below/own.csv").write_text("mine")
    (tmp_path / ".unpack-left").mkdir()  # by a process that was killed
    get()
    assert left(tmp_path) == sorted([*names, "below/own.csv"]) and (tmp_path / "below/set/7.mat").read_bytes() == b"7"
    assert not (tmp_path / ".unpack-left").exists()


def test_too_few_files_are_said(web, get, monkeypatch, tmp_path):
    content = zipped(FINE, ("set/b.mat", b""))
    put(monkeypatch, web, "some.zip", give(content), content=content, holds={"set/*.mat": 2})
    refused(get, "some.zip: it holds 1 of 2 set/*.mat")
    assert left(tmp_path) == ["some.zip"]


def test_an_archive_put_there_by_hand_is_used_and_kept(web, get, monkeypatch, tmp_path, capfd):
    content = zipped(FINE)
    put(monkeypatch, web, "some.zip", error(404), content=content, holds={"set/*.mat": 1})
    refused(
        get,
        "get some.zip by hand from https://example.org/page, put it there under that name, and give the command again",
    )
    (tmp_path / "some.zip").write_bytes(content)
    asked = len(web.asked)
    get(progress=True)
    assert (
        left(tmp_path) == ["set/a.mat", "some.zip"]
        and "some.zip has been unpacked and may be removed" in capfd.readouterr().err
    )
    assert len(web.asked) == asked


def test_a_full_disk_while_unpacking(web, get, monkeypatch, tmp_path):
    content = zipped(("set/a.mat", CONTENT), ("set/b.mat", b"2"))
    put(monkeypatch, web, "some.zip", give(content), content=content, holds={"set/*.mat": 2})
    with monkeypatch.context() as full:

        def copy(source, target, size):
            target.write(source.read(1_000))
            raise OSError(28, "No space left on device")

        full.setattr(shutil, "copyfileobj", copy)
        refused(get, "No space left on device. Make room or choose another folder")
    assert left(tmp_path) == ["some.zip"] and len(web.asked) == 1
    get()
    assert "set/a.mat" in left(tmp_path) and len(web.asked) == 1


# ---- the table


def test_the_table_is_whole():
    for name, known in PUBLISHED.items():
        assert known.page.startswith("http") and known.licence and known.files, name
        for file in known.files:
            kind, digits = file.digest.split(":")
            assert len(bytes.fromhex(digits)) == hashlib.new(kind).digest_size and file.known
            assert file.most > (file.size or 0) and file.mirrors and not {"/", "\\"} & set(file.name)


@pytest.mark.parametrize(
    "name, layout, place",
    [
        ("coco-val2017", {"val2017/1.jpg", "annotations/instances_val2017.json"}, "coco:{}:val2017"),
        ("coco-train2017", {"train2017/1.jpg", "annotations/instances_train2017.json"}, "coco:{}:train2017"),
    ],
)
def test_the_layout_is_what_sources_reads(name, layout, place, web, monkeypatch, tmp_path):
    "The published entries, with few files in each archive: they come to lie where the room sources looks."
    from inner_detectors.data.readers.coco_files import find_coco, split_place

    files = []
    for file in PUBLISHED[name].files:
        content = zipped(
            *((inside, b"1") for inside in layout if any(Path(inside).match(pattern) for pattern in file.holds))
        )
        web.routes[f"/{file.name}"] = give(content)
        files.append(
            file._replace(
                mirrors=(f"{web.at}/{file.name}",),
                digest=f"sha256:{hashlib.sha256(content).hexdigest()}",
                size=len(content),
                holds=dict.fromkeys(file.holds, 1),
            )
        )
    monkeypatch.setitem(PUBLISHED, name, PUBLISHED[name]._replace(files=tuple(files)))
    monkeypatch.chdir(tmp_path)
    folder = fetch(name, progress=False)
    assert folder == Path("data/coco") and set(left(folder)) == layout
    annotations, images = find_coco(*split_place(place.format(folder).removeprefix("coco:")))
    assert {str(annotations.relative_to(folder)), f"{images.relative_to(folder)}/1.jpg"} == layout


def test_pascal_part_and_its_images_come_together(web, monkeypatch, tmp_path):
    "From the samples' layout: what `sources` finds once both are fetched."
    from inner_detectors.data.readers.voc import find_voc

    for name, entry in (
        ("pascal-part", ("Annotations_Part/2008_000008.mat", b"1")),
        ("voc2010", ("VOCdevkit/VOC2010/JPEGImages/2008_000008.jpg", b"1")),
    ):
        file, content = PUBLISHED[name].files[0], tar(entry)
        web.routes[f"/{file.name}"] = give(content)
        file = file._replace(
            mirrors=(f"{web.at}/{file.name}",),
            digest=f"md5:{hashlib.md5(content).hexdigest()}",
            holds=dict.fromkeys(file.holds, 1),
        )
        monkeypatch.setitem(PUBLISHED, name, PUBLISHED[name]._replace(files=(file,)))
        assert fetch(name, tmp_path, progress=False) == tmp_path
    assert left(tmp_path) == [
        "VOCdevkit/VOC2010/JPEGImages/2008_000008.jpg",
        "trainval/Annotations_Part/2008_000008.mat",
    ]
    assert find_voc(tmp_path, "VOC2010") == tmp_path / "VOCdevkit/VOC2010"


def test_weights_go_home(web, monkeypatch, tmp_path):
    monkeypatch.setenv("INNER_DETECTORS_HOME", str(tmp_path))
    for name in ("vgg16-keras", "vgg16-torch"):
        file = PUBLISHED[name].files[0]
        web.routes[f"/{file.name}"] = give()
        file = file._replace(
            mirrors=(f"{web.at}/{file.name}",),
            digest=f"sha256:{hashlib.sha256(CONTENT).hexdigest()[:8]}",
            size=len(CONTENT),
        )
        monkeypatch.setitem(PUBLISHED, name, PUBLISHED[name]._replace(files=(file,)))
        assert sha256(fetch(name, progress=False)) == hashlib.sha256(CONTENT).hexdigest()
    assert left(tmp_path) == ["vgg16/vgg16-397923af.pth", "vgg16/vgg16_weights_tf_dim_ordering_tf_kernels.h5"]
