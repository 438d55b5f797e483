"""`python -m derainlib …` is `derain …`."""

import sys

from derainlib.cli import main

sys.exit(main())
