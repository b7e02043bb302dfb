"""SIP on the wire, pure: scanning messages, URIs, Via values, framing and own answers.

Knows RFC 3261 and nothing of members, sockets or clocks.
"""
