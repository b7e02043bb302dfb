"""What a relayed message costs: rmlb, Kamailio and a blind relay in one run on one pinned core.

    native/      sipload (plays SIP Server and the members) and blindrelay, in C
    systems      what is compared, how each is started; kamailio: its configurations
    generator    a running sipload; resources: CPU, memory and overflows from /proc
    arena        one system between its generator's two ends; plan: what is measured with it
    comparison   maxima, interleaved rounds, disturbances, curves -> plain results
    verdicts     ratios within one run, judged on the interval; page, plots: the same to read

failover.py is a benchmark of its own (`make bench-members`). README.md has method and limits.
"""
