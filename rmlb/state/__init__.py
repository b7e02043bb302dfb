"""State that outlives a process: in `[state] dir`, and in Redis where balancers share it.

document, operator, succession, secret    files of this balancer
records, agreement                        what stands in Redis, and how two versions become one
client, store, link                       Redis: connections, commands, when and why
"""
