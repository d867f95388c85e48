"""Which assertions of Sparkplug 3.0 the tests check: `python -m tests.tck`.

A test names the assertions it checks with `@pytest.mark.tck("payloads-…")`, without the leading
``tck-id-``. All ids of the specification are in `tck_ids.txt`.
"""

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent


def assertions() -> list[str]:
    """Return the ids of the specification."""
    return (HERE / "tck_ids.txt").read_text().split()


def marked() -> dict[str, list[str]]:
    """Return, for each id that a test names, the tests that name it."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted(HERE.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                for identifier in _ids(node.decorator_list):
                    found[identifier].append(f"{path.relative_to(HERE.parent)}::{node.name}")
    return dict(found)


def _ids(decorators: list[ast.expr]) -> Iterator[str]:
    for call in decorators:
        if (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Attribute)
            and call.func.attr == "tck"
        ):
            yield from (str(ast.literal_eval(argument)) for argument in call.args)


def main() -> int:
    """Print each assertion with its tests."""
    tests = marked()
    known = assertions()
    lines = [
        line
        for identifier in known
        for line in (identifier, *(f"    {test}" for test in tests.get(identifier, ["-"])))
    ]
    lines.append(f"{len(tests)} of {len(known)} assertions are named by a test")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
