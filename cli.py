"""``python cli.py VERB`` in a checkout: the same as the installed ``speckle-rec VERB``."""

import sys

from speckle_rec.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
