# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Slots of members; see members.pxd."""


cdef class Members:
    """Member IDs as small numbers, which stay as they are."""

    def __cinit__(self):
        self._slots = {}
        self.count = 0

    cdef int slot(self, long number) except -1:
        found = self._slots.get(number)
        if found is None:
            if self.count == MOST_MEMBERS:
                raise OverflowError("more different members than there are member IDs")
            found = self.count
            self.ids[found] = number
            self._slots[number] = found
            self.count += 1
        return found
