# Method for method the class of routing/, which is what makes the same router run on both.
from rmlb.fastpath.members import Members
from rmlb.routing import overload

class Loads(overload.Loads):
    def __init__(self, limits: overload.LoadLimits, members: Members) -> None: ...
