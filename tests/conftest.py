"""What holds for all tests: generated examples are not timed, for test machines are busy."""

from hypothesis import settings

settings.register_profile("machikoba", deadline=None)
settings.load_profile("machikoba")
