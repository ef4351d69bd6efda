"""Who owns what root makes in a checkout of somebody else's."""

import os
from pathlib import Path

import pytest

from lab import ownership
from lab.history import Recorder
from lab.ownership import adopt, adopt_all, make_folder, point

ADA = (1000, 100)


@pytest.fixture
def owned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[Path, tuple[int, int]]:
    """As root in a checkout of uid 1000; who was given what, without giving it."""
    given: dict[Path, tuple[int, int]] = {tmp_path: ADA}

    def chown(path: Path, uid: int, gid: int, *, follow_symlinks: bool) -> None:
        assert not follow_symlinks
        assert os.path.lexists(path)
        given[path] = (uid, gid)

    monkeypatch.setattr(ownership.os, "geteuid", lambda: 0)
    monkeypatch.setattr(ownership.os, "chown", chown)
    monkeypatch.setattr(ownership, "_owner", lambda path: given.get(path, (0, 0)))
    return given


def test_a_file_goes_to_the_owner_of_its_folder(owned: dict[Path, tuple[int, int]], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    adopt(tmp_path / "file")
    assert owned[tmp_path / "file"] == ADA


def test_each_new_folder_on_the_way_goes_to_the_owner_above(
    owned: dict[Path, tuple[int, int]], tmp_path: Path
) -> None:
    make_folder(tmp_path / "artifacts/run/machines")
    assert {path: owner for path, owner in owned.items() if path != tmp_path} == {
        tmp_path / "artifacts": ADA,
        tmp_path / "artifacts/run": ADA,
        tmp_path / "artifacts/run/machines": ADA,
    }


def test_a_folder_that_was_there_is_left_to_its_owner(
    owned: dict[Path, tuple[int, int]], tmp_path: Path
) -> None:
    (tmp_path / "artifacts").mkdir()
    make_folder(tmp_path / "artifacts")
    assert tmp_path / "artifacts" not in owned


def test_all_below_a_folder_is_adopted_and_links_are_not_followed(
    owned: dict[Path, tuple[int, int]], tmp_path: Path
) -> None:
    folder = tmp_path / "machines"
    (folder / "k8s-lb").mkdir(parents=True)
    (folder / "k8s-lb/journal.txt").touch()
    (folder / "dangling").symlink_to("nowhere")
    adopt_all(folder)
    assert set(owned) == {
        tmp_path,
        folder,
        folder / "k8s-lb",
        folder / "k8s-lb/journal.txt",
        folder / "dangling",
    }
    assert set(owned.values()) == {ADA}


def test_records_belong_to_the_checkouts_owner_from_the_start(
    owned: dict[Path, tuple[int, int]], tmp_path: Path
) -> None:
    Recorder(tmp_path / "artifacts/run/records.jsonl")
    assert owned[tmp_path / "artifacts/run/records.jsonl"] == ADA


def test_nobody_but_root_gives_anything_away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ownership.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(ownership.os, "chown", None)
    make_folder(tmp_path / "a/b")
    adopt_all(tmp_path / "a")


def test_a_link_is_made_and_moved_in_one_step(owned: dict[Path, tuple[int, int]], tmp_path: Path) -> None:
    for run in ("one", "two"):
        point(tmp_path / "latest", run)
        assert (tmp_path / "latest").readlink() == Path(run)
    assert [path.name for path in tmp_path.iterdir()] == ["latest"]
    assert ADA in owned.values()


def test_what_is_no_link_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "latest").mkdir()
    point(tmp_path / "latest", "run")
    assert (tmp_path / "latest").is_dir()
    assert not (tmp_path / "latest").is_symlink()
