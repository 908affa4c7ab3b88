"""One exception for everything a user can act on: it is printed as a sentence, without a traceback."""


class RigError(Exception):
    pass
