"""Scans with known poses: scatterers, beam, anatomy, hands, machines and the data sets that they make."""

from .scan import ScanSettings, SimulatedScan, simulate_scan

__all__ = ["ScanSettings", "SimulatedScan", "simulate_scan"]
