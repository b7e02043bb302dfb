"""Simulated Resource Manager and SIP Server, for trying out, demonstrations and tests."""
