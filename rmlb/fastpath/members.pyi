class Members:
    """A slot for each member ID that there ever was."""
