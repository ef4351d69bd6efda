import multiprocessing
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lab.artifacts.cache import Cache, Key
from lab.artifacts.catalogue import Item, items, optional_entries
from lab.artifacts.fetch import Progress, fetch, gc, list_, time_left, verify
from lab.artifacts.source import Beat, SourceFailed
from lab.errors import LabError
from lab.topology import Versions

NEWEST = Versions("1.37.2", "3.7.3", "2.4.2", "1.9.1", "1.14.7", "1.37.0", "0.27.4", "2.66.1", "3.10.2")


@dataclass
class Stub:
    """A source that writes small files, or fails where it is told to."""

    name: str = "stub"
    fails: frozenset[str] = frozenset()
    lacks: str = ""
    refuses: frozenset[str] = frozenset()
    asked: list[str] = field(default_factory=list)

    def offers(self, item: Item) -> bool:
        return item.name not in self.refuses

    def deliver(self, item: Item, into: Path, beat: Callable[[Beat], None]) -> str:
        self.asked.append(item.name)
        beat(Beat("working", 0.5))
        for program in item.programs:
            (into / program).write_text(f"{program} {item.version}")
        if item.name in self.fails:
            raise SourceFailed(f"{self.name} broke", remedy="mend it")
        if self.lacks in item.programs:
            (into / self.lacks).unlink()
        return self.name


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def test_everything_arrives_under_its_name(cache: Cache) -> None:
    programs = fetch(NEWEST, cache, sources=[Stub()])
    assert programs["kubelet"].read_text() == "kubelet 1.37.2"
    assert programs["etcd"].name == "etcd"
    assert "flanneld" not in programs
    assert {"agnhost", "pause", "ctr", "host-local", "crictl"} <= set(programs)


def test_what_is_there_is_not_fetched_again(cache: Cache) -> None:
    source = Stub()
    fetch(NEWEST, cache, sources=[source])
    first = list(source.asked)
    fetch(NEWEST, cache, sources=[source], also=["flannel"])
    assert source.asked == [*first, "flannel"]


def test_the_next_source_is_asked_when_one_fails(cache: Cache) -> None:
    first, second = Stub("first", fails=frozenset({"etcd"})), Stub("second")
    fetch(NEWEST, cache, sources=[first, second])
    assert second.asked == ["etcd"]
    assert {entry.key.program: entry.source for entry in cache.entries()}["etcd"] == "second"


def test_when_all_fail_one_error_has_every_reason_and_nothing_stays(cache: Cache) -> None:
    sources = [Stub("first", fails=frozenset({"etcd"})), Stub("second", fails=frozenset({"etcd"}))]
    with pytest.raises(
        LabError, match=r"(?s)etcd 3\.7\.3 .*first: first broke.*mend it.*second: second broke"
    ):
        fetch(NEWEST, cache, sources=sources)
    assert "etcd" not in {key.program for key in cache.keys()}  # noqa: SIM118
    assert list((cache.root / "programs/etcd/3.7.3").iterdir()) == []


def test_a_source_that_forgets_a_program_failed(cache: Cache) -> None:
    with pytest.raises(LabError, match="stub has no etcdctl"):
        fetch(NEWEST, cache, sources=[Stub(lacks="etcdctl")])


def test_offline_names_all_that_is_missing_at_once(cache: Cache) -> None:
    fetch(NEWEST, cache, sources=[Stub()])
    cache.gc({key for key in cache.keys() if key.program not in ("etcd", "coredns")})  # noqa: SIM118
    with pytest.raises(
        LabError, match=r"(?s)offline and not in the cache .*etcd 3\.7\.3: .*coredns 1\.14\.7: "
    ) as e:
        fetch(NEWEST, cache, offline=True)
    assert "THWLAB_CACHE" in e.value.remedy


def test_offline_from_a_full_cache_needs_nothing(cache: Cache) -> None:
    fetch(NEWEST, cache, sources=[Stub()])
    assert len(fetch(NEWEST, cache, offline=True)) == 21


def test_a_corrupt_entry_is_replaced(cache: Cache) -> None:
    source = Stub()
    fetch(NEWEST, cache, sources=[source])["kubelet"].write_text("kubelet EVIL!!")
    source.asked.clear()
    assert fetch(NEWEST, cache, sources=[source])["kubelet"].read_text() == "kubelet 1.37.2"
    assert source.asked == ["kubernetes"]


def test_a_corrupt_entry_is_refused_and_named_where_nothing_can_replace_it(cache: Cache) -> None:
    path = fetch(NEWEST, cache, sources=[Stub()])["kubelet"]
    path.write_text("kubelet EVIL!!")
    for arguments in ({"offline": True}, {"sources": [Stub(fails=frozenset({"kubernetes"}))]}):
        with pytest.raises(LabError, match=f"not what was verified: {path}"):
            fetch(NEWEST, cache, **arguments)  # type: ignore[arg-type]


def test_an_entry_of_an_older_catalogue_that_lacks_a_program_is_fetched_again(cache: Cache) -> None:
    def fill(into: Path) -> str:
        (into / "etcd").write_text("alone")
        return "old"

    item = next(item for item in items(NEWEST) if item.name == "etcd")
    cache.put(Key("etcd", "3.7.3", item.arch), fill)
    assert fetch(NEWEST, cache, sources=[Stub()])["etcdutl"].is_file()


def fetch_in_a_process(root: Path, counted: Path) -> None:
    class Counting(Stub):
        def deliver(self, item: Item, into: Path, beat: Callable[[Beat], None]) -> str:
            with counted.open("a") as stream:
                stream.write(f"{item.name}\n")
            threading.Event().wait(0.02)
            return super().deliver(item, into, beat)

    fetch(NEWEST, Cache(root), sources=[Counting()])


def test_two_processes_fetch_everything_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    arguments = (tmp_path / "cache", tmp_path / "counted")
    both = [context.Process(target=fetch_in_a_process, args=arguments) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(20)
    assert [process.exitcode for process in both] == [0, 0]
    assert sorted((tmp_path / "counted").read_text().split()) == sorted(item.name for item in items(NEWEST))


def test_progress_counts_up_and_time_left_goes_down_to_nothing(cache: Cache) -> None:
    told: list[Progress] = []
    fetch(NEWEST, cache, sources=[Stub()], report=told.append)
    assert [seen.number for seen in told] == sorted(seen.number for seen in told)
    assert {seen.total for seen in told} == {8}
    assert (told[-1].phase, told[-1].seconds_left) == ("ready", 0.0)
    assert told[0].seconds_left == sum(item.build_seconds for item in items(NEWEST))
    assert "stub: working" in {seen.phase for seen in told}


def test_time_left_follows_what_is_done_and_else_what_is_typical() -> None:
    assert time_left(100, 10, None) == 90
    assert time_left(100, 200, None) == 0
    assert time_left(100, 10, 0.5) == 10
    assert time_left(100, 10, 1.0) == 0


def test_the_digest_follows_the_content_of_what_is_asked_for(cache: Cache, tmp_path: Path) -> None:
    one = fetch(NEWEST, cache, sources=[Stub()])
    other = fetch(Versions(*["9"] * 9), Cache(tmp_path / "other"), sources=[Stub()])
    assert one.digest() == fetch(NEWEST, cache, offline=True).digest()
    assert one.digest() != other.digest()
    assert one.digest(["kubelet"]) != one.digest(["kubectl"])


def test_the_list_says_what_is_wanted_what_is_there_and_what_is_wrong(cache: Cache) -> None:
    older = Versions(*["0.1"] * 9)
    fetch(older, cache, sources=[Stub(refuses=frozenset())])
    fetch(NEWEST, cache, sources=[Stub()])["etcd"].write_text("")
    listed = {(line.key.program, line.key.version): line for line in list_(NEWEST, cache, also=["flannel"])}
    assert (listed["kubernetes", "1.37.2"].source, listed["kubernetes", "1.37.2"].problem) == ("stub", "")
    assert "not what was verified" in listed["etcd", "3.7.3"].problem
    assert listed["flannel", "0.27.4"].problem == "not in the cache"
    assert not listed["etcd", "0.1"].wanted


def test_verify_names_what_changed(cache: Cache) -> None:
    fetch(NEWEST, cache, sources=[Stub()])["ctr"].write_text("ctr 2.4.3")
    wrong = {key.program: problem for key, problem in verify(cache).items() if problem}
    assert list(wrong) == ["containerd"]
    assert "/ctr" in wrong["containerd"]


def test_gc_keeps_what_any_of_the_versions_needs(cache: Cache) -> None:
    older = Versions(*["0.1"] * 9)
    for versions in (older, NEWEST):
        fetch(versions, cache, sources=[Stub()], also=optional_entries())
    gone = gc(cache, [NEWEST])
    assert {key.version for key in gone} == {"0.1"}
    assert len(gone) == len(items(older, also=optional_entries()))
    assert len(fetch(NEWEST, cache, offline=True, also=optional_entries())) == 22
