"""What is accounted for has words on the page of the audit."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
WORDS = ROOT / "services/gateway/web/src/screens/staff/text.ts"


def actions() -> Iterator[str]:
    """Return every action that a service accounts for: `tx.audit(...)` there, `audit.record(tx, ...)` in identity."""
    for file in ROOT.glob("services/**/*.py"):
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
                continue
            place = {"audit": 0, "record": 1}.get(call.func.attr)
            of_identity = isinstance(call.func.value, ast.Name) and call.func.value.id == "audit"
            if place is None or len(call.args) <= place or (call.func.attr == "record" and not of_identity):
                continue
            for part in ast.walk(call.args[place]):
                if isinstance(part, ast.Constant) and re.fullmatch("[a-z]+(_[a-z]+)+", str(part.value)):
                    yield str(part.value)


def test_every_action_has_its_words_in_both_languages() -> None:
    """An entry of the audit that shows as `number_resolved` says little to whoever reads it."""
    texts = WORDS.read_text(encoding="utf-8")
    languages = [set(re.findall(r"(\w+):", block)) for block in re.findall(r"actions: {(.*?)}", texts, re.S)]
    assert len(languages) == 2
    known = set(actions())
    assert len(known) > 30
    for words in languages:
        assert known - words == set()
