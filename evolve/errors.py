"""What a user can mend: one line that names the thing, the rule and the way out; exit code 2."""


class UserError(Exception):
    """Bad input or an unusable environment; the message is shown as it stands, without traceback."""
