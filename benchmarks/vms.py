"""What VMs cost: bring-up beside a straight-line script, restores, memory, the harness' own processor time.

``sudo .venv/bin/python benchmarks/vms.py``; README.md beside this file says what is measured.
"""

import os
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import click
import figures
from bringup import machine_facts, obstacles
from figures import RESTORE, SCRIPT, SCRIPT_ENDS, UP, UP_ENDS, Found, Wanted

from lab.bringup import Bringup, Outcome
from lab.choice import LIBVIRT_PRIVATE
from lab.laboratory import Laboratory
from lab.opening import open_lab, remove_lab, reopened
from lab.plan import load_topology
from lab.stages import stages_for
from lab.topology import Role
from lab.wait import NotYet, wait_until

LAB = "benchvm"
STAGES = ("dns", "every-master", "admin")
SNAPSHOT = "bench"
PATIENCE = {SCRIPT: 1200, UP: 2400}  # seconds granted to one
GRACE = 60  # seconds granted to one that is stopped
ANSWER = 180.0  # seconds granted to the first DNS answer after a restore
CPU = "harness_cpu "  # how the child's last line begins
PROCESSES = Path("/proc")


def timed(kind: str, argv: Sequence[str]) -> dict[str, float]:
    """Seconds until each line of a program's; the clock is ours and starts before the program does."""
    os.sync()  # what the run before has written is not this one's work
    steps: dict[str, float] = {}
    began = time.monotonic()
    bounded = ["timeout", "--foreground", f"--kill-after={GRACE}", str(PATIENCE[kind]), *argv]
    with subprocess.Popen(bounded, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as process:
        try:
            for line in process.stdout or ():
                steps.setdefault(figures.step_of(line), round(time.monotonic() - began, 2))
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        last = list(steps)[-1:] or ["nothing"]
        raise click.ClickException(f"`{shlex.join(argv)}` exited {process.returncode}, after: {last[0]}")
    return steps


def run_script(command: str) -> Found:
    """The yardstick, by whatever command brings it up; it prints a line for each step."""
    return _told(timed(SCRIPT, ["bash", "-c", command]), SCRIPT_ENDS)


def run_up(provider: str) -> Found:
    """The product, as a process of its own, whose VMs stay."""
    began = time.monotonic()
    steps = timed(UP, [sys.executable, __file__, "--provider", provider, "--bring-up"])
    whole = time.monotonic() - began
    (spent,) = [float(step.removeprefix(CPU)) for step in steps if step.startswith(CPU)]
    stages = {step: when for step, when in steps.items() if not step.startswith(CPU)}
    return {
        **_told(stages, UP_ENDS),
        "whole": round(whole, 2),
        "harness_cpu": spent,
        "memory_gib": memory_gib(),
        "slowness": reopened(LAB).provider.slowness,
        "provider": provider,
    }


def run_restore(lab: Laboratory) -> Found:
    """All machines back at the snapshot, until a worker gets an answer of the cluster's DNS."""
    began = time.monotonic()
    lab.provider.restore(SNAPSHOT)
    back = time.monotonic() - began
    worker = next(iter(lab.of(Role.WORKER)))
    networks = lab.topology.networks
    question = (f"@{networks.dns}", f"kubernetes.default.svc.{networks.domain}")

    def answered() -> None:
        seen = worker.run("dig", "+short", "+time=2", "+tries=1", *question, timeout=10)
        if seen.stdout.strip() != str(networks.kubernetes_service):
            raise NotYet(f"dig said {seen.stdout.strip() or seen.stderr.strip() or 'nothing'}")

    wait_until("an answer of the cluster's DNS", answered, timeout=ANSWER, every=0.5, exactly=True)
    seconds = time.monotonic() - began
    return {"seconds": round(seconds, 2), "restored": round(back, 2), "memory_gib": memory_gib(), **_here()}


def memory_gib() -> float:
    """What the QEMU processes of the lab's machines have in memory, together; more than none."""
    found = [
        figures.resident_kib(read_text(each / "status"))
        for each in PROCESSES.glob("[0-9]*")
        if figures.is_vm(read_text(each / "cmdline").split("\0"), LAB)
    ]
    if not found:
        raise click.ClickException(f"no QEMU of lab {LAB} runs; its memory can be told of libvirt's VMs only")
    return round(sum(found) / 2**20, 3)


def read_text(path: Path) -> str:
    """A file of a process that may have ended."""
    with suppress(OSError):
        return path.read_text(errors="replace")
    return ""


def _told(steps: dict[str, float], ends: Sequence[str]) -> Found:
    seconds = figures.ended(steps, ends)
    if seconds is None:
        raise click.ClickException(f"{' and '.join(ends)} were not both reached, only {', '.join(steps)}")
    return {"seconds": seconds, "steps": steps, **_here()}


def _here() -> Found:
    """What a figure depends on, and of which commit it is."""
    argv = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    said = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    return {"host": machine_facts(), "commit": said.stdout.strip(), "at": time.strftime("%Y-%m-%dT%H:%M:%S")}


def bring_up(provider: str) -> None:
    """What the child does: `thwlab up`, telling of each stage as it ends, and at the end what it cost us."""

    def tell(stage: str, outcome: Outcome | None) -> None:
        if outcome:
            click.echo(stage)

    topology = load_topology(name=LAB)
    lab = open_lab(topology, provider, lambda _: None)
    with lab.state.locked(), closing(lab):
        Bringup(lab, stages_for(topology), tell).require(*STAGES)
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    used = [resource.getrusage(each) for each in whose]
    click.echo(f"{CPU}{sum(each.ru_utime + each.ru_stime for each in used):.2f}")


def measure(todo: Sequence[Wanted], folder: Path, provider: str, script: str, end_script: str) -> None:
    """All that is missing, written down one by one; lab and script's VMs are removed whatever happens."""
    note = partial(figures.write, folder)
    for turn in sorted({each.turn for each in todo}):
        mine = [each for each in todo if each.turn == turn]
        try:
            if Wanted(SCRIPT, turn) in mine:
                try:
                    note(Wanted(SCRIPT, turn), run_script(script))
                finally:
                    subprocess.run(["bash", "-c", end_script], check=True, timeout=PATIENCE[SCRIPT])
            up = run_up(provider)  # also where only restores are missing: there is no lab any more
            if Wanted(UP, turn) in mine:
                note(Wanted(UP, turn), up)
            click.echo(f"round {turn}: up {up['seconds']:.1f} s")
            restore([each for each in mine if each.kind == RESTORE], folder)
        finally:
            remove_lab(LAB, word=provider)


def restore(todo: Sequence[Wanted], folder: Path) -> None:
    """One snapshot of the lab that serves, and back to it, again and again."""
    if not todo:
        return
    lab = reopened(LAB)
    with lab.state.locked(), closing(lab):
        lab.provider.snapshot(SNAPSHOT)
        for each in todo:
            facts = run_restore(lab)
            figures.write(folder, each, facts)
            click.echo(f"round {each.turn}, restore {each.number}: {facts['seconds']:.1f} s")


@click.command()
@click.option("--rounds", default=1, show_default=True, type=click.IntRange(min=1))
@click.option("--restores", default=10, show_default=True, type=click.IntRange(min=0), help="In each round.")
@click.option("--provider", default=LIBVIRT_PRIVATE, show_default=True)
@click.option("--script", default="", help="A command that brings the yardstick up, a line for each step.")
@click.option("--end-script", default="", help="A command that removes what it made.")
@click.option("--folder", default=Path("artifacts/vms"), show_default=True, type=click.Path(path_type=Path))
@click.option("--table", "only_table", is_flag=True, help="Run nothing; show what was measured.")
@click.option("--anyway", is_flag=True, help="Measure beside other labs and under load too.")
@click.option("--bring-up", "child", is_flag=True, hidden=True)
def main(
    rounds: int,
    restores: int,
    provider: str,
    script: str,
    end_script: str,
    folder: Path,
    only_table: bool,
    anyway: bool,
    child: bool,
) -> None:
    """Measure VMs, and show the figures beside their goals; exits 1 if one is missed or a run is missing.

    Goes on where it was cut: runs that are in the folder are not made again.
    """
    if child:
        bring_up(provider)
        return
    if bool(script) != bool(end_script):
        raise click.UsageError("--script and --end-script go together: what the one makes the other removes")
    measured = folder.glob(f"*-{SCRIPT}-*.json")
    wanted = figures.all_wanted(rounds, restores, script=bool(script) or (only_table and any(measured)))
    todo = figures.to_make(wanted, figures.read(folder, wanted))
    if todo and not only_table:
        click.echo(machine_facts())
        if (found := obstacles()) and not anyway:
            raise click.ClickException(f"{'; '.join(found)}. Figures would mean little; --anyway takes them")
        click.echo(f"{len(todo)} of {len(wanted)} runs are to be made")
        measure(todo, folder, provider, script, end_script)
    runs = figures.read(folder, wanted)
    click.echo("\n".join([*figures.steps_told(runs), *figures.table(runs)]))
    sys.exit(bool(figures.missed(runs)) or len(runs) < len(wanted))


if __name__ == "__main__":
    main()
