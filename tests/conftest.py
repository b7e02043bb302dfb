"""For all tests: property tests judge results, not the speed of the machine."""

from hypothesis import HealthCheck, settings

settings.register_profile("rmlb", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("rmlb")
