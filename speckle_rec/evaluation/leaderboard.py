"""The published results of TUS-REC2025 (docs/CHALLENGE.md has the source and what the numbers mean)."""

from dataclasses import dataclass

SOURCE = "TUS-REC2025 leaderboard, test set of 64 rotation scans (challenge web site, after MICCAI 2025)"


@dataclass(frozen=True)
class Entry:
    """One line of the leaderboard; None where a number was not published or not kept."""

    name: str
    final: float
    global_: float | None = None
    local: float | None = None
    GPE: float | None = None
    LPE: float | None = None
    runtime_s: float | None = None


ENTRIES = (
    Entry("ImFusion", 0.622, 0.656, 0.588, 9.25, 0.153, 26.7),
    Entry("MUSIC Lab", 0.620, 0.623, 0.617, 9.85, 0.138, 107.0),
    Entry("COCHE", 0.503),
    Entry("challenge baseline", 0.163, -0.078, 0.405, 26.1, 0.214, 19.8),
)
