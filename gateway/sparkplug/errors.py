"""The one way in which a topic or a payload can be refused."""


class SparkplugError(Exception):
    """A topic or payload that cannot be understood, or a value that cannot be written.

    The text names the cause in words fit for a log line. No other exception leaves this package,
    whatever the bytes.
    """
