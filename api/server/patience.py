"""Bodies that may take longer than others: uploads by signed-in users."""

from starlette.requests import Request

EXTENSION = "windback.patience"
UPLOADS = b"/import"  # the address for which the protocol offers it


def be_patient(request: Request) -> None:
    """From now on the body of this request has no end in time, as long as some of it keeps coming."""
    extend = request.scope.get("extensions", {}).get(EXTENSION)
    if extend is not None:  # else another server than ours is at work
        extend()
