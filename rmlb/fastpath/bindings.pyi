# Method for method the class of routing/, which is what makes the same router run on both.
from rmlb.fastpath.members import Members
from rmlb.routing import bindings

class Bindings(bindings.Bindings):
    def __init__(self, limits: bindings.BindingLimits, members: Members) -> None: ...
    def tell_changes(self) -> None: ...
