"""Measurements on many frame pairs at once, on a GPU: twins of `block_matching`, `correlation` and `revisit`.

Frames go up once, as uint8; only twists, correlations and similarities come back. Everything takes an array module
`xp`: cupy on a GPU, numpy where the same steps are tested without one.

Memory on the device, H x W being the working image: N H W bytes of frames and at most 1200 H W bytes of work, with
batches of 64 pairs and lags up to 32 [test_gpu_scan]; at 480 x 640 that is .5 GB for 1600 frames and .4 GB. What an
array module keeps in reserve comes on top. Batches get smaller where that is too much.
"""
