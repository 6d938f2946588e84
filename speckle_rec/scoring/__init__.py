"""One result against the tracked poses: the challenge's score, drift, likeness of volumes.

In: estimated and true poses, or volumes. Out: figures by name.
Entered by `score.evaluate`, `drift.drift_of`, `agreement.of_trajectories`.
"""
