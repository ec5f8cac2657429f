"""The output of the README's example, run and written below it."""

import contextlib
import io
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXAMPLE = re.compile(r"<!-- example.*?```python\n(?P<code>.*?)```\n\n```text\n(?P<output>.*?)```", re.DOTALL)


def run(readme: str) -> tuple[str, str]:
    """What the example prints, and what the README says it prints."""
    example = EXAMPLE.search(readme)
    if example is None:
        raise ValueError("README.md has no example followed by its output.")
    printed = io.StringIO()
    with contextlib.chdir(ROOT), contextlib.redirect_stdout(printed):
        exec(compile(example["code"], "README.md", "exec"), {})
    return printed.getvalue(), example["output"]


def main(path: Path = ROOT / "README.md") -> None:
    readme = path.read_text(encoding="utf-8")
    printed, _ = run(readme)
    start, end = EXAMPLE.search(readme).span("output")
    temporary = path.with_suffix(".md.new")
    temporary.write_text(readme[:start] + printed + readme[end:], encoding="utf-8", newline="\n")
    temporary.replace(path)


if __name__ == "__main__":
    main()
