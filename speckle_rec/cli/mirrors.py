"""The two mirror images that a scan may be, and what tells them apart, drawn for a terminal."""

# From above and from the left of who stands behind the picture, so that "away" is into the screen.
DRAWING = r"""
  Images cannot tell a scan from its mirror image; who held the probe can. Stand
  so that what you touch at the right end of its face shows at the right of the
  screen. Then any one of these decides:

     seen from above                    seen from your left
     --swept away     --swept towards   --tilted-first away     ... towards

          ^            [ probe ]               hand                 hand
          |                |                    \                    /
      [ probe ]            v              you ---\--- skin    you --/--- skin
                                                  \                /
         you              you                  far end ->   <- far end

     --turned clockwise, anticlockwise: looking from the hand down the probe
         .--->.              .<---.
         |    v              v    |     --orientation FILE: an inertial sensor
         '----'              '----'
  Without any, the usual one is taken, and the result says "assumed".
"""


def lines() -> list[str]:
    """The drawing and what decides, a line each, within 80 columns."""
    return DRAWING.strip("\n").splitlines()
