"""Whether KVM works here: a tiny guest is started, for the file /dev/kvm is no proof.

There are hosts whose /dev/kvm runs a guest, but interprets each of its instructions: a kernel would take
minutes to unpack itself.  So the guest, in the mode kernels are in, counts to fifty million before it
says that it is done.
"""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError
from lab.providers.vagrant.process import Call, Ended, carry_out

EMULATOR = "qemu-system-x86_64"
DEVICE = Path("/dev/kvm")
SEARCHED = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LOADING = "sudo modprobe kvm_intel || sudo modprobe kvm_amd"  # each is refused on the other's processor
DEADLINE = 5.0  # seconds; with a KVM that works it takes a tenth of one, in software three
ROM_SIZE, CODE, RESET = 0x10000, 0xF000, 0xFFF0  # offsets; the ROM ends where the processor begins
DONE = 33  # QEMU's exit status when a guest writes 0x10 to port 0xf4

# Loaded at 0xff000, as the processor sees it: real, protected, then 64-bit mode on 2 MiB of memory.
_REAL = "fa 2e660f0116c0f0 66b811000000 0f22c0 66ea19f00f000800"
_PROTECTED = (
    "66b81000 8ed8 8ed0"  # flat segments
    "c7050010000003200000 c7050410000000000000"  # three levels of page tables at 0x1000
    "c7050020000003300000 c7050420000000000000"
    "c7050030000083000000 c7050430000000000000"
    "b800100000 0f22d8 b820000000 0f22e0"  # cr3, cr4.PAE
    "b9800000c0 0f32 0d00010000 0f30"  # EFER.LME
    "b811000080 0f22c0 ea8af00f001800"  # cr0.PG, and a jump into 64-bit mode
)
_LONG = "b980f0fa02 ffc9 75fc b010 e6f4 f4 ebfd"  # count down from 50,000,000; then port 0xf4
_PAD = "660f1f440000"
_SEGMENTS = "0000000000000000 ffff0000009bcf00 ffff00000093cf00 ffff0000009baf00"
_TABLE = "1f00 a0f00f00"
_JUMP = "e90df0"  # from the reset vector to the code


@dataclass(frozen=True, slots=True)
class Kvm:
    """Whether KVM works, and how one knows."""

    works: bool
    why: str


def probe(*, emulator: str = EMULATOR, device: Path = DEVICE, deadline: float = DEADLINE) -> Kvm:
    """Try it.  The guest runs in a process of its own and is killed at the deadline."""
    if not device.exists():
        return Kvm(False, f"there is no {device}")
    with tempfile.TemporaryDirectory(prefix="thwlab-kvm-") as folder:
        rom = Path(folder) / "rom"
        rom.write_bytes(counting_rom())
        try:
            ended = carry_out(Call(counting_guest(rom, "kvm", emulator), deadline))
        except LabError as error:
            return Kvm(False, str(error).splitlines()[0])
    return verdict(ended, deadline)


def tried() -> Kvm:
    """Whether KVM works for somebody else who would start VMs, as far as this user can try.

    With no QEMU of this user's, or no right to the device, its presence has to do.
    """
    if not DEVICE.exists():
        return probe()
    if shutil.which(EMULATOR, path=SEARCHED) is None:
        return Kvm(True, f"{DEVICE} is there, and no {EMULATOR} to try it with")
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return Kvm(True, f"{DEVICE} is there; not tried, for this user may not open it")
    return probe()


def counting_guest(rom: Path, accelerator: str, emulator: str = EMULATOR) -> list[str]:
    """The command line of a guest that counts and ends itself with `DONE`."""
    return [
        emulator, "-accel", accelerator, "-machine", "pc", "-cpu", "qemu64", "-m", "16",
        "-nodefaults", "-no-user-config", "-display", "none", "-bios", str(rom),
        "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04",
    ]  # fmt: skip


def counting_rom() -> bytes:
    """A ROM whose code runs when the processor is switched on."""
    rom = bytearray(b"\xf4" * ROM_SIZE)
    _place(rom, CODE, _REAL, _PROTECTED, _LONG, _PAD, _SEGMENTS, _TABLE)
    _place(rom, RESET, _JUMP)
    return bytes(rom)


def verdict(ended: Ended, deadline: float) -> Kvm:
    """What the end of the guest's process says.  Pure."""
    if ended.status == DONE:
        return Kvm(True, f"a guest counted to fifty million in {ended.seconds:.1f}s")
    if ended.status is None:
        return Kvm(False, f"a guest did not count to fifty million within {deadline:.0f}s")
    said = ended.tail.splitlines()[-1] if ended.tail else "nothing said"
    return Kvm(False, f"QEMU exited {ended.status}: {said}")


def _place(rom: bytearray, offset: int, *parts: str) -> None:
    code = b"".join(map(bytes.fromhex, parts))
    rom[offset : offset + len(code)] = code
