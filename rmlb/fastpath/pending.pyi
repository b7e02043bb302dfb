# Method for method the class of routing/, which is what makes the same router run on both.
from rmlb.fastpath.members import Members
from rmlb.routing import pending

class PendingRequests(pending.PendingRequests):
    def __init__(self, limits: pending.PendingLimits, members: Members) -> None: ...
