"""Where and with how much is computed: GPU or CPU, processes, memory, caches, run times.

In: what a user asks for. Out: array modules, pools, clocks. Nothing here knows of ultrasound.
Entered by `device.choose`, `workers.run_all`, `clock.Clock`.
"""
