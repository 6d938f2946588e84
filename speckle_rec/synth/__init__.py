"""Scans with known poses: scatterers, beam, anatomy, hands, machines and the data sets that they make.

In: settings of a scan. Out: frames and true poses, or a data set in the challenge's layout.
"""

from .scan import ScanSettings, SimulatedScan, simulate_scan

__all__ = ["ScanSettings", "SimulatedScan", "simulate_scan"]
