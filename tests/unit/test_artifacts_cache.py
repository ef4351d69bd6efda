import errno
import json
import os
from pathlib import Path

import pytest

from lab.artifacts.cache import Cache, Corrupt, Key, default_root
from lab.errors import LabError

KEY = Key("tool", "1.0", "amd64")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def fill(into: Path) -> str:
    (into / "tool").write_bytes(b"program")
    return "a test"


def test_what_was_put_is_found_with_its_hash_and_origin(cache: Cache) -> None:
    cache.put(KEY, fill)
    entry = cache.get(KEY)
    assert entry
    assert entry.path("tool").read_bytes() == b"program"
    assert os.access(entry.path("tool"), os.X_OK)
    assert entry.source == "a test"
    assert entry.files["tool"].sha256.startswith("1310ca2c")
    assert entry.folder == cache.root / "programs/tool/1.0/linux-amd64"


def test_an_empty_cache_has_nothing(cache: Cache) -> None:
    assert cache.get(KEY) is None
    assert cache.keys() == []


def test_another_architecture_is_another_entry(cache: Cache) -> None:
    cache.put(KEY, fill)
    assert cache.get(Key("tool", "1.0", "arm64")) is None


@pytest.mark.parametrize("failure", [LabError("no"), KeyboardInterrupt(), OSError(errno.EIO, "bad disk")])
def test_a_fill_that_fails_leaves_nothing(cache: Cache, failure: BaseException) -> None:
    def fail(into: Path) -> str:
        fill(into)
        raise failure

    with pytest.raises(type(failure)):
        cache.put(KEY, fail)
    assert cache.get(KEY) is None
    assert list(cache.folder(KEY).parent.iterdir()) == []


def test_a_failed_replacement_keeps_the_old_entry(cache: Cache) -> None:
    cache.put(KEY, fill)

    def fail(_: Path) -> str:
        raise LabError("no")

    with pytest.raises(LabError):
        cache.put(KEY, fail)
    assert cache.get(KEY)


def test_an_entry_can_be_replaced(cache: Cache) -> None:
    cache.put(KEY, fill)

    def refill(into: Path) -> str:
        (into / "tool").write_bytes(b"newer")
        return "again"

    assert cache.put(KEY, refill).path("tool").read_bytes() == b"newer"
    assert sorted(path.name for path in cache.folder(KEY).iterdir()) == ["files", "manifest.json"]


def test_what_a_killed_process_left_is_swept_by_the_next_put(cache: Cache) -> None:
    leftover = cache.folder(KEY).parent / ".linux-amd64.dead"
    leftover.mkdir(parents=True)
    cache.put(KEY, fill)
    assert not leftover.exists()


@pytest.mark.parametrize("content", [b"PROGRAM", b"prog", b""])
def test_changed_content_is_refused_and_named(cache: Cache, content: bytes) -> None:
    path = cache.put(KEY, fill).path("tool")
    path.write_bytes(content)
    with pytest.raises(Corrupt, match=f"tool 1.0 .*{path}"):
        cache.get(KEY)


def test_a_missing_file_is_refused_and_named(cache: Cache) -> None:
    path = cache.put(KEY, fill).path("tool")
    path.unlink()
    with pytest.raises(Corrupt, match=str(path)):
        cache.get(KEY)


def test_a_copied_cache_with_other_times_is_good(cache: Cache) -> None:
    os.utime(cache.put(KEY, fill).path("tool"), (1, 1))
    assert cache.get(KEY)


def test_verify_sees_what_size_and_time_hide(cache: Cache) -> None:
    path = cache.put(KEY, fill).path("tool")
    before = path.stat()
    path.write_bytes(b"PROGRAM")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert cache.get(KEY)
    with pytest.raises(Corrupt, match=str(path)):
        cache.verify(KEY)


HEAD = {"source": "", "when": ""}


@pytest.mark.parametrize(
    "text",
    ["", "{", "{}", "[]", *(json.dumps({**HEAD, "files": files}) for files in ({"a": {}}, {"a": 1}, []))],
)
def test_a_broken_manifest_is_corrupt_and_no_traceback(cache: Cache, text: str) -> None:
    (cache.put(KEY, fill).folder / "manifest.json").write_text(text)
    with pytest.raises(Corrupt, match=r"manifest\.json"):
        cache.get(KEY)


def test_gc_removes_what_nobody_wants(cache: Cache) -> None:
    other = Key("tool", "0.9", "amd64")
    cache.put(KEY, fill)
    cache.put(other, fill)
    assert cache.gc({KEY}) == [other]
    assert cache.keys() == [KEY]


def test_gc_passes_over_an_entry_in_use(cache: Cache) -> None:
    cache.put(KEY, fill)
    with cache.lock(KEY, timeout=1):
        assert cache.gc(set()) == []
    assert cache.keys() == [KEY]


def test_a_lock_held_too_long_names_its_file(cache: Cache) -> None:
    with cache.lock(KEY, timeout=1), pytest.raises(LabError, match=r"tool-1\.0-amd64\.lock"):
        cache.lock(KEY, timeout=0.05).__enter__()


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "no space left.*THWLAB_CACHE"),
        (errno.EDQUOT, "no space"),
        (errno.EACCES, "cannot be used.*linux-amd64.*Permission denied"),
    ],
)
def test_trouble_with_the_disk_is_named_with_path_and_remedy(cache: Cache, number: int, words: str) -> None:
    def fail(into: Path) -> str:
        raise OSError(number, os.strerror(number), str(into / "tool"))

    with pytest.raises(LabError, match=rf"(?s){words}") as error:
        cache.put(KEY, fail)
    assert str(cache.root) in str(error.value)
    assert "THWLAB_CACHE" in error.value.remedy


def test_the_environment_chooses_the_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("THWLAB_CACHE", str(tmp_path / "a b"))
    assert default_root() == tmp_path / "a b"
    monkeypatch.delenv("THWLAB_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_root() == tmp_path / "xdg" / "thwlab"
