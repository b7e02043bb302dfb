"""Sockets of the virtual IP: UDP, TCP, TLS. Carries octets; decides nothing about SIP."""
