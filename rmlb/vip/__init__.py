"""Who holds the virtual IP, and how it comes to a host and leaves it (HA-RULES).

rules       the rules of ownership and why they hold
ballot      the election's words: events in, actions out
election    events in, actions out        -- all of this PURE
    |-- knowledge   what is known of peers, owner, witness
    |-- tenure      how long the owner may forward
    |-- candidacy   when a standby may own
    `-- yielding    to whom the owner gives way
holding     gives it the events, carries out the actions
    |-- heartbeat   sockets between the balancers (advert, lossnews PURE: what travels)
    |-- lease       the record in the witness
    `-- providers   who puts the address here: interface (rtnetlink, arp), a script, others
nics        interfaces with carrier, and the gateway: parts of the score
"""
