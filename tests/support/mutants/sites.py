"""The small changes that can be made to a source file, one at a time.

Knows Python's syntax; must not know what a module does or who tests it. A change keeps every line in its place, so that
what is measured by lines on the original holds for the changed file.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_COMPARISONS: Final[dict[type[ast.cmpop], tuple[str, tuple[str, ...]]]] = {
    ast.Lt: ("<", ("<=", ">=")),
    ast.LtE: ("<=", ("<", ">")),
    ast.Gt: (">", (">=", "<=")),
    ast.GtE: (">=", (">", "<")),
    ast.Eq: ("==", ("!=",)),
    ast.NotEq: ("!=", ("==",)),
    ast.Is: ("is", ("is not",)),
    ast.IsNot: ("is not", ("is",)),
    ast.In: ("in", ("not in",)),
    ast.NotIn: ("not in", ("in",)),
}
_OPERATORS: Final[dict[type[ast.operator], tuple[str, str]]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "+"),
    ast.FloorDiv: ("//", "*"),
    ast.Div: ("/", "*"),
    ast.Mod: ("%", "+"),
    ast.BitAnd: ("&", "|"),
    ast.BitOr: ("|", "&"),
    ast.LShift: ("<<", ">>"),
    ast.RShift: (">>", "<<"),
}
_NAMES: Final = {
    "min": "max",
    "max": "min",
    "any": "all",
    "all": "any",
    "append": "appendleft",
    "appendleft": "append",
    "pop": "popleft",
    "popleft": "pop",
    "extend": "extendleft",
    "bisect_left": "bisect_right",
    "bisect_right": "bisect_left",
}
_LOGS: Final = frozenset({"debug", "info", "warning", "error", "exception", "critical"})
_CONJUNCT: Final = re.compile(
    r" AND (?:\"\w+\"|\w+)(?:\.\"?\w+\"?)?\s*"
    r"(?:IS NULL|IS NOT NULL|(?:=|<=|>=|<|>)\s*(?:\$?\w+(?![\w(])|\\?'\w+\\?'|%s|'?\{[^{}'\"]*\}'?))"
)
_LOCK: Final = re.compile(r" (?:FOR UPDATE|FOR SHARE|LOCK IN SHARE MODE)(?: OF \w+)?")
_LOCKING: Final = "with_for_update"


@dataclass(frozen=True, slots=True)
class Site:
    """One possible change: octets `start` to `end` of the file become `new`."""

    line: int
    last_line: int
    function: str
    start: int
    end: int
    new: bytes
    coroutine: tuple[int, int] | None = None
    """The first and last line of the coroutine it stands in, if any. Python tells no tracer of what a coroutine does
    after an exception was thrown into it.
    """

    def apply(self, source: bytes) -> bytes:
        """Return the changed file."""
        return source[: self.start] + self.new + source[self.end :]

    def describe(self, source: bytes) -> str:
        """Return the first line that differs, before and after, with the function it stands in."""
        begin = source.rfind(b"\n", 0, self.start) + 1
        end = source.find(b"\n", self.end)
        stop = len(source) if end < 0 else end
        before = source[begin:stop].splitlines()
        after = (source[begin : self.start] + self.new + source[self.end : stop]).splitlines()
        old, new = next((old, new) for old, new in zip(before, after, strict=True) if old != new)
        return f"{self.function or 'module'}: {old.decode().strip()} => {new.decode().strip()}"


def sites(source: bytes) -> list[Site]:
    """Return every change that can be made, in the order of the file."""
    finder = _Finder(source)
    finder.visit(ast.parse(source))
    return sorted(finder.found, key=lambda site: (site.start, site.end, site.new))


class _Finder(ast.NodeVisitor):
    """Walks over one file and notes changes; passes over what does not run, or only speaks."""

    def __init__(self, source: bytes) -> None:
        self.found: list[Site] = []
        self._source = source
        self._lines = [0]
        for line in source.splitlines(keepends=True):
            self._lines.append(self._lines[-1] + len(line))
        self._names: list[str] = []
        self._coroutine: tuple[int, int] | None = None

    # Where things stand

    def _start(self, node: ast.expr | ast.stmt) -> int:
        return self._lines[node.lineno - 1] + node.col_offset

    def _end(self, node: ast.expr | ast.stmt) -> int:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._lines[node.end_lineno - 1] + node.end_col_offset

    def _text(self, node: ast.expr | ast.stmt) -> bytes:
        return self._source[self._start(node) : self._end(node)]

    def _note(self, node: ast.expr | ast.stmt, start: int, end: int, new: bytes) -> None:
        old = self._source[start:end]
        new += b" \\\n" * (old.count(b"\n") - new.count(b"\n"))
        if old != new:
            last = node.end_lineno or node.lineno
            self.found.append(Site(node.lineno, last, ".".join(self._names), start, end, new, self._coroutine))

    def _replace(self, node: ast.expr | ast.stmt, new: bytes) -> None:
        self._note(node, self._start(node), self._end(node), new)

    def _between(self, node: ast.expr, left: ast.expr, right: ast.expr, old: str, new: str) -> None:
        start, end = self._end(left), self._start(right)
        match = re.search(rb"(?<![<>=!*/|&])" + re.escape(old.encode()) + rb"(?![<>=*/])", self._source[start:end])
        if match is not None:
            self._note(node, start + match.start(), start + match.end(), new.encode())

    # What is passed over

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        if any(isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases):
            return
        self._inside(node.name, node.body)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        if node.name != "__repr__":
            for default in (*node.args.defaults, *node.args.kw_defaults):
                if default is not None:
                    self.visit(default)
            self._inside(node.name, node.body)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        around, self._coroutine = self._coroutine, (node.body[0].lineno, node.end_lineno or node.lineno)
        self.visit_FunctionDef(node)
        self._coroutine = around

    def _inside(self, name: str, body: list[ast.stmt]) -> None:
        self._names.append(name)
        for statement in body:
            self.visit(statement)
        self._names.pop()

    def visit_Import(self, node: ast.Import) -> None:
        """An import that is changed fails at once."""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """An import that is changed fails at once."""

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Texts are for people, unless they are statements."""
        self._weaken(node)

    def visit_Assert(self, node: ast.Assert) -> None:
        """Says to the type checker what holds anyway."""

    def visit_Raise(self, node: ast.Raise) -> None:
        self._replace(node, b"pass")

    # Statements

    def visit_If(self, node: ast.If) -> None:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for statement in node.orelse:
                self.visit(statement)
            return
        self._replace(node.test, b"False")
        self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant) or _is_log(node.value):
            return
        self._replace(node, b"pass")
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        if any(isinstance(target, ast.Name) and target.id.startswith("__") for target in node.targets):
            return
        if self._names and not isinstance(node.targets[0], ast.Name):
            self._replace(node, b"pass")
        self.visit(node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._replace(node, b"pass")
        old, new = _OPERATORS.get(type(node.op), ("", ""))
        if old:
            self._between(node.value, node.target, node.value, f"{old}=", f"{new}=")
        self.visit(node.value)

    def visit_Delete(self, node: ast.Delete) -> None:
        self._replace(node, b"pass")

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is None:
            self._replace(node, b"pass")
        else:
            if not (isinstance(node.value, ast.Constant) and node.value.value in (None, False)):
                self._replace(node.value, b"None")
            self.visit(node.value)

    def visit_Break(self, node: ast.Break) -> None:
        self._replace(node, b"continue")

    def visit_Continue(self, node: ast.Continue) -> None:
        self._replace(node, b"break")

    # Expressions

    def visit_Compare(self, node: ast.Compare) -> None:
        left = node.left
        for kind, right in zip(node.ops, node.comparators, strict=True):
            old, swaps = _COMPARISONS[type(kind)]
            for new in swaps:
                self._between(node, left, right, old, new)
            left = right
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        old, new = _OPERATORS.get(type(node.op), ("", ""))
        if old and not _has_text(node):
            self._between(node, node.left, node.right, old, new)
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in zip(node.values, node.values[1:], strict=False):
            start, end = self._end(left), self._start(right)
            match = re.search(rb"\b" + old.encode() + rb"\b", self._source[start:end])
            if match is not None:
                self._note(node, start + match.start(), start + match.end(), new.encode())
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not):
            self._note(node, self._start(node), self._start(node) + len("not"), b"")
        elif isinstance(node.op, ast.USub):
            self._note(node, self._start(node), self._start(node.operand), b"")
            return
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._note(node.test, self._start(node.test), self._start(node.test), b"not ")
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for condition in node.ifs:
            self._replace(condition, b"True")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, bool):
            self._replace(node, str(not node.value).encode())
        elif isinstance(node.value, int):
            self._replace(node, str(node.value + 1).encode())
        elif isinstance(node.value, str):
            self._weaken(node)

    def _weaken(self, node: ast.expr) -> None:
        """Leave out a condition of a statement of SQL, or a lock."""
        text = self._text(node)
        for pattern in (_CONJUNCT, _LOCK):
            for match in pattern.finditer(text.decode("latin-1")):
                self._note(node, self._start(node) + match.start(), self._start(node) + match.end(), b"")

    def visit_Call(self, node: ast.Call) -> None:
        if _is_log(node):
            return
        name = node.func
        if isinstance(name, ast.Attribute) and name.attr == _LOCKING:
            self._note(node, self._end(name.value), self._end(node), b"")
        word = name.id if isinstance(name, ast.Name) else name.attr if isinstance(name, ast.Attribute) else ""
        other = _NAMES.get(word)
        if other is not None:
            end = self._end(name)
            self._note(node, end - len(word), end, other.encode())
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if isinstance(node.slice, ast.Slice):
            for bound in (node.slice.lower, node.slice.upper):
                if bound is not None:
                    self._replace(bound, b"")
        self.generic_visit(node)


def _is_log(node: ast.expr) -> bool:
    """Return whether a call writes to the log."""
    if isinstance(node, ast.Await):
        node = node.value
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _LOGS


def _has_text(node: ast.BinOp) -> bool:
    """Return whether texts or octets are joined: to subtract them fails at once."""
    return any(
        isinstance(side, ast.JoinedStr) or (isinstance(side, ast.Constant) and isinstance(side.value, str | bytes))
        for side in (node.left, node.right)
    )


def names(found: list[Site], source: bytes) -> Iterator[tuple[str, Site]]:
    """Yield each change with a name that outlives edits elsewhere in the file: equal ones get a number."""
    seen: dict[str, int] = {}
    for site in found:
        text = site.describe(source)
        seen[text] = seen.get(text, 0) + 1
        yield (text if seen[text] == 1 else f"{text} #{seen[text]}"), site
