"""`python -m api`: the web process, in a checkout."""

import sys

from api.web import web

if __name__ == "__main__":
    sys.exit(web())
