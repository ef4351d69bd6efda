"""Whether a lab that was there still is."""

from lab.errors import LabError
from lab.laboratory import Laboratory
from lab.providers.base import Gone
from lab.users import Sign


def vanished(lab: Laboratory, sign: Sign) -> LabError | None:
    """What became of the lab that `sign` was set up in, or None if it is still there.  Judges no machine."""
    name = lab.topology.name
    if not sign.is_there():
        how = "it was removed while this run used it"
        return LabError(f"lab {name} is gone: {how}", remedy="run these tests again; they bring it up anew")
    if not lab.machines:  # none was there yet, so none is missing
        return None
    up, down = (f"`thwlab --name {name} {word}`" for word in ("up", "down"))
    remedy = f"{up} starts it again; {down} removes what is left of it"
    try:
        if lab.provider.states():
            return None
    except Gone as error:
        return LabError(f"lab {name} is gone: {error}", remedy=remedy)
    except LabError:  # no answer is no proof
        return None
    return LabError(f"lab {name} is gone: {lab.provider.name} lists none of its machines", remedy=remedy)
