"""When is worked: calendars as people write them, as files, and as windows of instants."""
