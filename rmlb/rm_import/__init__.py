"""From exported options of Resource Manager Applications to a configuration of ours.

    octets --export--> sections of options --conversion--> TOML text and a report

Pure: files are read and written by the command (cli.import_rm). What the result may say is judged
by `rmlb.config`, as for any other file.
"""
