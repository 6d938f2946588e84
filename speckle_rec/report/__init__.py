"""What a person looks at: figures and the page of a result.

In: a result folder, a scan and its `Reconstruction`. Out: PNG figures, `report.html`.
Entered by `plots.trajectory`, `plots.slices` and `html.write`.
"""
