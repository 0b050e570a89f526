"""The web process with a minute for what otherwise takes a second: on a busy machine, Redis waits for a processor, too.

The processes that share its port import this module as well.
"""

from api import auth
from api.track import door
from api.web import web
from workers.buffer.group_commit import GroupCommit

MINUTE = 60.0

auth.LOOK_UP_SECONDS = MINUTE
vars(door)["WRITE_SECONDS"] = MINUTE
GroupCommit.__init__.__defaults__ = (MINUTE,)

if __name__ == "__main__":
    web()
