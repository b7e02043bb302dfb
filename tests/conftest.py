"""For all tests: which engine runs; property tests judge results, not the machine's speed."""

import os

from hypothesis import HealthCheck, settings

from rmlb import fastpath

settings.register_profile("rmlb", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("rmlb")


def pytest_report_header() -> str:
    """What `rmlb run` would run, and what is tested."""
    chosen = os.environ.get(fastpath.VARIABLE)
    tested = f"only {chosen} ({fastpath.VARIABLE})" if chosen else "both where routing is tested"
    built = "built" if fastpath.is_built() else "NOT BUILT, which fails"
    return f"rmlb engine: {fastpath.choose()}; compiled: {built}; tested: {tested}"
