"""Measurements on many frame pairs at once, on a GPU: twins of `inplane`, `decorrelation` and `revisit`.

Frames go up once, as uint8; only twists, correlations and similarities come back. Everything takes an array module
`xp`: cupy on a GPU, numpy where the same steps are tested without one.

Memory on the device, H x W being the working image: N H W bytes of frames, about 80 H W bytes a frame for the 64
frames in work, and about 20 H W bytes a pair of a batch. At 480 x 640 that is .5 GB for 1600 frames, .4 GB for the
batch of 64 pairs, and 1.6 GB for the frames in work. Batches get smaller where that is too much.
"""
