"""Alarms: events that leave the balancer, and what is done about them.

    events.EventLog
        |  each event, once, in the moment it happens
    desk        gives it to whoever asked for it; nothing here ever waits or holds up a packet
        |-- members     what several events together say: a member stopped, and how; it is back
        |-- reactions   `[[reaction]]`: a command, without privileges (unprivileged)
        |-- webhooks    `[[webhook]]`: a signed HTTP post
        `-- syslog      `[log] syslog`: RFC 5424

Each receiver has a lane: a bounded queue and one delivery at a time, in the order of the events.
Knows events and configuration; knows nothing of SIP, of routing or of who causes an event.
"""
