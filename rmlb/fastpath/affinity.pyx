# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Where a dialog lives, and who gets a new call; see affinity.pxd."""

from libc.math cimport INFINITY, log
from libc.stdint cimport int32_t

from rmlb.fastpath.overload cimport load_has_room
from rmlb.fastpath.table cimport Loss, Member


cdef int64_t holder(
    const Snapshot* s, int64_t member, int64_t since, uint64_t value
) noexcept nogil:
    """affinity._holder: with hotstandby off a dialog is never anyone else's."""
    return heir(s, member, since, value) if s.hotstandby else member


cdef int64_t heir(const Snapshot* s, int64_t member, int64_t since, uint64_t value) noexcept nogil:
    """LossLog.holder"""
    cdef int i, k, of
    cdef bint moved = True
    cdef int32_t best_member
    cdef double best, score
    cdef const Loss* loss
    while moved:
        moved = False
        of = -1
        for i in range(s.losses_count):
            if s.losses[i].member == member:
                of = i
                break
        if of < 0:
            break
        for i in range(s.losses[of].first, s.losses[of].first + s.losses[of].count):
            loss = &s.loss_entries[i]
            if loss.number <= since:
                continue
            best_member = -1
            best = -1.0
            for k in range(loss.first, loss.first + loss.count):
                score = _score(value, s.survivors[k].seed, 1.0)
                if score > best:
                    best_member = s.survivors[k].member
                    best = score
            if best_member >= 0 and best_member != member:
                member = best_member
                since = loss.number
                moved = True
                break
    return member


cdef int choose_new(const Moment* moment, uint64_t value) noexcept nogil:
    """affinity.choose_new by hash: index of the member, -1: nobody."""
    cdef const Snapshot* s = moment.snapshot
    cdef int i, best_any = -1, best_sure = -1
    cdef double score, any_score = -1.0, sure_score = -1.0
    cdef const Member* member
    for i in range(s.member_count):
        member = &s.members[i]
        if not member.takes_calls or not load_has_room(moment.loads, member.slot, moment.now):
            continue
        score = _score(value, member.seed, member.weight)
        if score > any_score:
            any_score = score
            best_any = i
        if member.in_service and score > sure_score:
            sure_score = score
            best_sure = i
    return best_sure if best_sure >= 0 else best_any


cdef inline double _score(uint64_t value, uint64_t seed, double weight) noexcept nogil:
    """selection.rendezvous"""
    cdef double unit = (<double> _mix(value ^ seed) + 0.5) / 18446744073709551616.0
    return weight / -log(unit) if unit < 1.0 else INFINITY


cdef inline uint64_t _mix(uint64_t value) noexcept nogil:
    value = (value ^ (value >> 30)) * <uint64_t> 0xBF58476D1CE4E5B9
    value = (value ^ (value >> 27)) * <uint64_t> 0x94D049BB133111EB
    return value ^ (value >> 31)
