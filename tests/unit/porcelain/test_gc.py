from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlgit.errors import ConflictError, CorruptObjectError, InvalidInputError
from mlgit.objects import CommitId, Stage, Timestamp
from mlgit.porcelain.branch import create_branch, delete_branch
from mlgit.porcelain.fsck import fsck
from mlgit.porcelain.gc import GcResult, gc
from mlgit.porcelain.pending_run import PendingRun, load_run, save_run
from mlgit.porcelain.restore import restore
from mlgit.porcelain.switch import switch
from mlgit.porcelain.tag import create_tag, delete_tag
from mlgit.repository import Repository
from mlgit.storage.collect import CollectionPlan, Collector, OldPack
from mlgit.storage.objects import ObjectDatabase
from mlgit.storage.refs import RefStore
from mlgit.worktree.checkout import write_file_of

HERE = Path(__file__).parent


def collect(workshop: Any, **options: object) -> GcResult:
    """Collect everything that can go."""
    return gc(workshop.repository, **{"grace_days": 0, "reflog_days": 0, "now": workshop.now} | options)


def disk(repository: Repository) -> int:
    return sum(path.stat().st_size for path in (repository.folder / "objects").rglob("*") if path.is_file())


def is_whole(repository: Repository, commit_id: CommitId) -> bool:
    """Whether every object of a commit is there and sound, asked of a database that knows nothing yet."""
    objects = ObjectDatabase(repository.folder / "objects")
    if commit_id not in objects:
        return False
    manifest = objects.read_record(objects.read_record(commit_id).manifest)
    return all(objects.problems(entry.id) is None for entry in manifest.tensors.values())


def lose_a_branch(workshop: Any) -> CommitId:
    """Commit on a branch and delete it; return the commit."""
    switch(workshop.repository, "lost", create=True, actor=workshop.actor)
    lost = workshop.commit(11, 12, 13)
    switch(workshop.repository, "main", actor=workshop.actor)
    delete_branch(workshop.repository, "lost", force=True, actor=workshop.actor)
    return lost


def test_a_deleted_branch_gives_its_disk_back(workshop: Any) -> None:
    kept = workshop.commit(1, 2, 3)
    before = disk(workshop.repository)
    lost = lose_a_branch(workshop)
    grown = disk(workshop.repository)
    found = collect(workshop)
    assert found.freed_bytes == grown - disk(workshop.repository)
    assert disk(workshop.repository) == before
    assert found.stored_bytes == workshop.repository.objects.stored_bytes() == before
    assert lost not in workshop.repository.objects
    assert is_whole(workshop.repository, kept)
    assert fsck(workshop.repository).sound


def test_what_others_log_while_logs_are_shortened_is_kept(workshop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    workshop.commit(1, 2, 3)
    expire, lost = RefStore.expire_reflog, []

    def expire_and_go_on(refs: RefStore, name: str, before_s: int) -> int:
        dropped = expire(refs, name, before_s)
        if not lost and name == "refs/heads/main":
            lost.append(lose_a_branch(workshop))
        return dropped

    with monkeypatch.context() as patch:
        patch.setattr(RefStore, "expire_reflog", expire_and_go_on)
        collect(workshop)
    assert is_whole(workshop.repository, lost[0])
    assert fsck(workshop.repository).sound  # the log of the lost branch names it
    collect(workshop)
    assert lost[0] not in workshop.repository.objects
    assert fsck(workshop.repository).sound


def test_the_log_of_a_branch_keeps_what_it_names_until_it_is_old(workshop: Any) -> None:
    workshop.commit(1, 2, 3)
    lost = lose_a_branch(workshop)
    day = 86_400
    assert collect(workshop, reflog_days=90, now=Timestamp(workshop.now.seconds + 89 * day)).freed_bytes == 0
    assert is_whole(workshop.repository, lost)
    assert fsck(workshop.repository).sound
    found = collect(workshop, reflog_days=90, now=Timestamp(workshop.now.seconds + 91 * day))
    assert found.freed_bytes > 0
    assert found.expired > 0
    assert lost not in workshop.repository.objects
    assert workshop.repository.refs.reflog("refs/heads/lost") == []
    assert fsck(workshop.repository).sound


def test_what_is_young_is_kept_with_all_it_needs(workshop: Any) -> None:
    workshop.commit(1, 2, 3)
    lost = lose_a_branch(workshop)
    found = collect(workshop, grace_days=1)
    assert (found.freed_bytes, found.young) == (0, len(workshop.repository.objects.pack_paths()))
    assert is_whole(workshop.repository, lost)


def test_a_dry_run_says_what_would_go_and_changes_nothing(
    workshop: Any, fingerprint: Callable[[Path], dict[str, str]]
) -> None:
    workshop.commit(1, 2, 3)
    lost = lose_a_branch(workshop)
    workshop.repository.refs.expire_reflog("HEAD", 1 << 62)
    workshop.repository.refs.expire_reflog("refs/heads/lost", 1 << 62)
    before = fingerprint(workshop.repository.root)
    promised = collect(workshop, dry_run=True)
    assert fingerprint(workshop.repository.root) == before
    assert lost in workshop.repository.objects
    done = collect(workshop)
    assert (promised.removed, promised.freed_bytes) == (done.removed, done.freed_bytes)
    assert promised.stored_bytes == done.stored_bytes


def test_a_pack_of_which_little_is_needed_is_written_anew(workshop: Any) -> None:
    lost = lose_a_branch_with_a_shared_layer(workshop)
    before = disk(workshop.repository)
    found = collect(workshop)
    assert (len(found.removed), len(found.rewritten)) == (0, 1)
    assert found.freed_bytes == before - disk(workshop.repository) > before / 4
    assert lost not in workshop.repository.objects
    assert fsck(workshop.repository).sound
    assert is_whole(workshop.repository, workshop.repository.head)
    assert collect(workshop).freed_bytes == 0


def lose_a_branch_with_a_shared_layer(workshop: Any) -> CommitId:
    """Make a history whose only branch uses one layer of a commit that nothing leads to."""
    lost = workshop.commit(1, 2, 3, 4, 5, 6)
    workshop.repository.refs.set_head("refs/heads/other", who=workshop.actor.who(workshop.repository),
                                      when=workshop.now, reason="test")  # fmt: skip
    workshop.commit(1)
    delete_branch(workshop.repository, "main", force=True, actor=workshop.actor)
    return lost


def test_bases_stay_although_no_name_leads_to_them(workshop: Any) -> None:
    first = workshop.commit(1, 2, 3, 7, 8, 9)
    second = workshop.commit(4, 5, 6)
    manifest = workshop.repository.manifest_of(second)
    assert any(workshop.repository.objects.bases(entry.id) for entry in manifest.tensors.values())
    alone = replace(workshop.repository.commit_of(second), parents=())
    with workshop.repository.objects.transaction() as transaction:
        orphan = transaction.put_record(alone)
    workshop.repository.refs.update(
        "refs/heads/main", orphan, expected=second, who=alone.author, when=workshop.now, reason="test"
    )
    collect(workshop)
    assert first not in workshop.repository.objects
    assert is_whole(workshop.repository, orphan)
    assert fsck(workshop.repository).sound


def test_the_weights_of_a_run_that_waits_for_its_commit_stay(workshop: Any) -> None:
    workshop.commit(1, 2, 3)
    lost = lose_a_branch(workshop)
    manifest = workshop.repository.manifest_of(lost)
    weights = {name: entry.id for name, entry in manifest.tensors.items()}
    save_run(
        workshop.repository,
        PendingRun(stage=Stage.SNAPSHOT, task=None, parents=(), made={}, metrics={}, weights=weights),
    )
    collect(workshop)
    run = load_run(workshop.repository)
    assert run is not None
    objects = ObjectDatabase(workshop.repository.folder / "objects")
    assert [objects.problems(found) for found in run.weights.values()] == [None] * 3
    (workshop.repository.folder / "run.json").unlink()
    assert collect(workshop).freed_bytes > 0
    assert lost not in workshop.repository.objects


def test_a_damaged_history_is_not_collected(workshop: Any) -> None:
    workshop.commit(1, 2, 3)
    lost = lose_a_branch(workshop)
    head = workshop.repository.head
    pack = next(path for path in workshop.repository.objects.pack_paths() if head[:16] in path.name)
    pack.unlink()
    with pytest.raises(CorruptObjectError, match="nothing is collected"):
        collect(opened_again(workshop))
    assert lost in workshop.repository.objects


def opened_again(workshop: Any) -> Any:
    """Open it as another process would."""
    return replace(workshop, repository=Repository(workshop.repository.root))


def test_a_damaged_pack_is_left_alone_and_named(workshop: Any) -> None:
    workshop.commit(1, 2, 3)
    lost = lose_a_branch(workshop)
    pack = next(path for path in workshop.repository.objects.pack_paths() if lost[:16] in path.name)
    pack.write_bytes(pack.read_bytes()[:-1])
    found = collect(opened_again(workshop))
    assert pack.exists()
    assert [str(pack) in problem for problem in found.damaged] == [True]


@pytest.mark.parametrize("days", [{"grace_days": -1}, {"reflog_days": -0.5}, {"grace_days": float("nan")}])
def test_negative_days_are_refused(workshop: Any, days: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError):
        collect(workshop, **days)


def test_a_writer_at_work_is_waited_for_and_named(workshop: Any) -> None:
    workshop.commit(1, 2, 3)
    lost = lose_a_branch(workshop)
    with workshop.repository.keeping(), pytest.raises(ConflictError, match="process") as refused:
        collect(opened_again(workshop), wait_s=0.05)
    assert refused.value.kind == "locked"
    assert is_whole(workshop.repository, lost)
    assert collect(workshop).freed_bytes > 0


def test_what_a_writer_names_meanwhile_stays(workshop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A branch is created on a commit after everything was judged and before anything is removed."""
    workshop.commit(1, 2, 3)
    lost = lose_a_branch(workshop)
    other = Repository(workshop.repository.root)
    judge = Collector.plan

    def plan(collector: Collector, **options: float) -> CollectionPlan:
        found = judge(collector, **options)
        assert found.dead
        create_branch(other, "saved", lost, actor=workshop.actor)
        return found

    monkeypatch.setattr(Collector, "plan", plan)
    assert collect(workshop).removed == ()
    assert is_whole(workshop.repository, lost)
    assert fsck(workshop.repository).sound


def test_what_is_named_while_packs_are_rewritten_stays_and_the_copy_goes(
    workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = lose_a_branch_with_a_shared_layer(workshop)
    before = workshop.repository.objects.pack_paths()
    other = Repository(workshop.repository.root)
    copy = Collector.rewrite

    def rewrite(collector: Collector, pack: OldPack) -> Path | None:
        found = copy(collector, pack)
        create_branch(other, "saved", lost, actor=workshop.actor)
        return found

    monkeypatch.setattr(Collector, "rewrite", rewrite)
    found = collect(workshop)
    assert (found.rewritten, found.freed_bytes) == ((), 0)
    assert is_whole(workshop.repository, lost)
    assert workshop.repository.objects.pack_paths() == before


def test_a_reader_goes_on_while_its_packs_are_replaced(workshop: Any) -> None:
    lose_a_branch_with_a_shared_layer(workshop)
    readers = [Repository(workshop.repository.root) for _ in range(2)]
    head = workshop.repository.head
    entry = next(iter(workshop.repository.manifest_of(head).tensors.values()))
    opened = readers[0].objects.stream(entry.id)
    first = next(opened)
    readers[1].objects.with_prefix("0000")  # it has listed the packs and opened none of them
    assert collect(workshop).rewritten
    assert bytes(first) + b"".join(map(bytes, opened)) == readers[1].objects.read(entry.id)


Action = tuple[str, int]
HEADS = "refs/heads/"
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["commit", "commit", "commit", "branch", "switch", "delete", "tag", "untag", "back", "gc"]),
        st.integers(0, 7),
    ),
    max_size=14,
)


@settings(max_examples=25)
@given(ACTIONS, st.sampled_from([0, 90]))
def test_nothing_that_a_name_leads_to_is_ever_lost(
    make_workshop: Callable[[Path], Any], actions: list[Action], reflog_days: int
) -> None:
    with TemporaryDirectory() as folder:
        workshop = make_workshop(Path(folder) / "model")
        workshop.commit(0, 0, 0)
        for number, (action, which) in enumerate(actions):
            act(workshop, action, which, number)
            if action == "gc":
                collect(workshop, reflog_days=reflog_days)
        collect(workshop, reflog_days=reflog_days)
        again = Repository(workshop.repository.root)
        assert fsck(again).sound
        assert list(again.objects.check_packs()) == []
        check_contents(workshop, again, Path(folder) / "out")
        if reflog_days:
            assert all(is_whole(again, commit_id) for commit_id in workshop.states)
        assert collect(workshop, reflog_days=reflog_days).freed_bytes == 0


def act(workshop: Any, action: str, which: int, number: int) -> None:
    """Do one thing to the history; what makes no sense now is left out."""
    repository = workshop.repository
    branches = sorted(repository.branches())
    branch = branches[which % len(branches)]
    if action == "commit":
        workshop.commit(which, number % 3, which % 2)
    elif action == "branch":
        known = [commit_id for commit_id in workshop.states if commit_id in repository.branches().values()]
        create_branch(repository, f"b{number}", known[which % len(known)], actor=workshop.actor)
    elif action == "switch":
        switch(repository, branch, actor=workshop.actor)
    elif action == "delete" and HEADS + branch != repository.refs.head().branch:
        delete_branch(repository, branch, force=True, actor=workshop.actor)
    elif action == "tag":
        create_tag(repository, f"t{number}", branch, message="why" if which % 2 else None, actor=workshop.actor)
    elif action == "untag" and repository.named("refs/tags/"):
        tags = sorted(repository.named("refs/tags/"))
        delete_tag(repository, tags[which % len(tags)], actor=workshop.actor)
    elif action == "back":
        head = repository.refs.head()
        parents = repository.commit_of(head.commit).parents
        if parents:
            restore(repository, ["."])
            repository.refs.update(head.branch, parents[0].id, expected=head.commit, who=workshop.actor.who(repository),
                                   when=workshop.now, reason="back")  # fmt: skip
            restore(repository, ["."])


def check_contents(workshop: Any, repository: Repository, out: Path) -> None:
    """Write the files of every commit that a branch names, and compare them with what was committed."""
    for number, commit_id in enumerate(set(repository.branches().values())):
        manifest = repository.manifest_of(commit_id)
        found = {}
        for place, file in enumerate(manifest.files):
            target = out.with_name(f"{number}-{place}")
            write_file_of(repository, manifest, file, target)
            found[file.path] = sha256(target.read_bytes()).hexdigest()
        assert found == workshop.states[commit_id]


def run_script(name: str, folder: Path) -> dict[str, int]:
    """Run a script beside this file, in processes of its own."""
    done = subprocess.run(
        [sys.executable, str(HERE / name), str(folder)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return json.loads(done.stdout)


def test_a_collection_killed_at_any_step_loses_nothing_and_the_next_one_needs_no_help(fast_path: Path) -> None:
    found = run_script("kill_collections.py", fast_path)
    assert found["steps"] > 20
    assert found["before"] > 0
    assert found["after"] > 0


def test_four_committers_beside_a_collector_lose_nothing(fast_path: Path) -> None:
    found = run_script("commit_and_collect.py", fast_path)
    assert found["commits"] == 4 * 15
    assert found["collections_that_freed"] > 0
