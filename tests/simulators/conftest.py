"""A clock that stands still until it is moved, and patience with a limit."""

import asyncio

import pytest


class Clock:
    def __init__(self, now_ms=1_700_000_000_000):
        self.now_ms = now_ms

    def __call__(self):
        return self.now_ms


@pytest.fixture
def clock():
    return Clock()


async def until(condition, limit_s=5.0):
    """Wait for something that another task or program brings about."""
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110 - the other side has no event to offer
            await asyncio.sleep(0.005)
