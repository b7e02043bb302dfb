"""The parent process: holds the virtual IP and watches the worker (HA-RULES 1).

Plain asyncio, no packets, no admin API: nothing here may stall.

    process     the only place where its parts meet: start, stop, reload, commands
        |-- making      the parts, as the configuration wants them
        |-- worker      the child process: started, started again when it dies, ended
        |-- pulse       does the worker turn? PURE
        |-- host        interfaces, gateway and address, as the kernel tells of them
        |-- relay       what peers and worker tell each other of routing
        `-- standing    what the worker is shown of all this

Who owns is decided in vip/: vip.holding carries out what vip.election says.
"""
