"""Limits of a guest."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20
_KERNEL = 64 * MIB  # page tables, pipes and the like


@dataclass(frozen=True, slots=True)
class Limits:
    """Memory and files in bytes, times in seconds.

    Attributes:
        memory: address space. Forking is denied, so this is the total.
        cpu: processor time; a second limit below the host's clock.
        disk: size of the private folder, where the layer has one; also of the largest file.
        output: of stdout and stderr together; more ends the program.
        threads, files: how many at once.
        inodes: files and folders in the private folder, where the layer has one.
    """

    memory: int = 512 * MIB
    cpu: int = 10
    disk: int = 16 * MIB
    output: int = 4 * MIB
    threads: int = 64
    files: int = 64
    inodes: int = 1000

    def everything(self) -> int:
        """Return a bound of all memory in bytes, with the private folder and what the kernel takes for a guest."""
        return self.memory + self.disk + _KERNEL

    def rlimits(self) -> dict[str, int]:
        """Return the limits by `resource`'s names, without `RLIMIT_`."""
        return {
            "AS": self.memory,
            "CPU": self.cpu,
            "FSIZE": self.disk,
            "NOFILE": self.files,
            "CORE": 0,
            "MEMLOCK": 0,
            "MSGQUEUE": 0,
            "SIGPENDING": 64,  # queued signals and timers, which are the kernel's memory
        }
