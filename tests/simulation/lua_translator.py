"""Lua scripts as Python functions: a subset, with all that our Redis scripts are written in."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tests.simulation.lua_expressions import Node, condition, local, target, value, values

_TOKEN = re.compile(
    r"\s+|--[^\n]*|(\d+(?:\.\d+)?)|([A-Za-z_]\w*)|('[^'\n]*'|\"[^\"\n]*\")"
    r"|(==|~=|<=|>=|\.\.|[-+*/%#<>=(){}\[\],.;])"
)
_BINARY = {
    "or": 1, "and": 2, "<": 3, ">": 3, "<=": 3, ">=": 3, "~=": 3, "==": 3,
    "..": 4, "+": 5, "-": 5, "*": 6, "/": 6, "%": 6,
}  # fmt: skip
_UNARY = 7
_ENDS = {"end", "else", "elseif", ""}
_CONSTANTS = {"nil": "None", "true": "True", "false": "False"}


def python(script: str) -> str:
    """The source of a function `script` of `redis.call`, which makes one of KEYS and ARGV."""
    return _Translator(script).script()


class _Function:
    """One function while it is translated: which names are its own, which it changes."""

    def __init__(self, parameters: Sequence[str]) -> None:
        self.own = set(parameters)
        self.changed: set[str] = set()


class _Translator:
    def __init__(self, source: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        at = 0
        while at < len(source):
            found = _TOKEN.match(source, at)
            if not found:
                raise SyntaxError(f"unknown Lua at {source[at : at + 20]!r}")
            at = found.end()
            if found.lastindex:
                kind = ("number", "name", "string", "operator")[found.lastindex - 1]
                self._tokens.append((kind, found[found.lastindex]))
        self._tokens.append(("end", ""))
        self._at = 0
        self._functions: list[_Function] = []

    def script(self) -> str:
        body = self._body(["KEYS", "ARGV"], 2)
        return f"def script(redis_call):\n  def run(v_KEYS, v_ARGV):\n{body}\n  return run\n"

    # Tokens

    def _next(self) -> str:
        self._at += 1
        return self._tokens[self._at - 1][1]

    def _sees(self, *texts: str) -> bool:
        kind, text = self._tokens[self._at]
        return kind != "string" and text in texts

    def _takes(self, text: str) -> bool:
        if self._sees(text):
            self._at += 1
            return True
        return False

    def _needs(self, text: str) -> None:
        if not self._takes(text):
            raise SyntaxError(f"Lua: {text!r} expected, not {self._tokens[self._at][1]!r}")

    # Statements

    def _body(self, parameters: Sequence[str], depth: int) -> str:
        """The lines of a function."""
        function = _Function(parameters)
        self._functions.append(function)
        lines = self._block(depth)
        self._functions.pop()
        outer = function.changed - function.own
        head = [f"{'  ' * depth}nonlocal {', '.join(sorted(map(local, outer)))}"] if outer else []
        return "\n".join(head + lines)

    def _block(self, depth: int) -> list[str]:
        lines: list[str] = []
        while not self._sees(*_ENDS):
            lines += self._statement(depth)
        return lines or [f"{'  ' * depth}pass"]

    def _statement(self, depth: int) -> list[str]:
        for word, translate in (
            ("local", self._local),
            ("if", self._if),
            ("for", self._for),
            ("while", self._while),
            ("return", self._return),
        ):
            if self._takes(word):
                return translate(depth)
        return ["  " * depth + self._assignment()]

    def _while(self, depth: int) -> list[str]:
        head = f"{'  ' * depth}while {condition(self._expression())}:"
        self._needs("do")
        lines = [head, *self._block(depth + 1)]
        self._needs("end")
        return lines

    def _return(self, depth: int) -> list[str]:
        returned = [] if self._sees(*_ENDS) else self._expressions()
        return [f"{'  ' * depth}return {values(returned) or None}"]

    def _local(self, depth: int) -> list[str]:
        if self._takes("function"):
            return self._function(depth)
        return ["  " * depth + self._declaration()]

    def _function(self, depth: int) -> list[str]:
        name = self._next()
        self._functions[-1].own.add(name)
        self._needs("(")
        parameters: list[str] = []
        while not self._takes(")"):
            parameters.append(self._next())
            self._takes(",")
        body = self._body(parameters, depth + 1)
        self._needs("end")
        return [f"{'  ' * depth}def {local(name)}({', '.join(map(local, parameters))}):", body]

    def _declaration(self) -> str:
        names = [self._next()]
        while self._takes(","):
            names.append(self._next())
        self._functions[-1].own.update(names)
        targets = ", ".join(map(local, names))
        if not self._takes("="):
            return f"{targets} = {', '.join(['None'] * len(names))}"
        return f"{targets} = {values(self._expressions(), wanted=len(names))}"

    def _if(self, depth: int) -> list[str]:
        pad = "  " * depth
        lines, word = [], "if"
        while True:
            lines.append(f"{pad}{word} {condition(self._expression())}:")
            self._needs("then")
            lines += self._block(depth + 1)
            if not self._takes("elseif"):
                break
            word = "elif"
        if self._takes("else"):
            lines += [f"{pad}else:", *self._block(depth + 1)]
        self._needs("end")
        return lines

    def _for(self, depth: int) -> list[str]:
        names = [self._next()]
        while self._takes(","):
            names.append(self._next())
        self._functions[-1].own.update(names)
        if self._takes("in"):
            source = values([self._expression()])
        else:
            self._needs("=")
            first, last, *step = map(value, self._expressions())
            source = f"range({first}, {last} + 1{''.join(f', {one}' for one in step)})"
        self._needs("do")
        head = f"{'  ' * depth}for {', '.join(map(local, names))} in {source}:"
        lines = [head, *self._block(depth + 1)]
        self._needs("end")
        return lines

    def _assignment(self) -> str:
        """An assignment, or a call as a statement."""
        targets = [self._suffixed()]
        while self._takes(","):
            targets.append(self._suffixed())
        if targets[0][0] == "call":
            return value(targets[0])
        self._needs("=")
        for kind, name, *_ in targets:
            if kind == "name":
                self._functions[-1].changed.add(name)
        written = ", ".join(map(target, targets))
        return f"{written} = {values(self._expressions(), wanted=len(targets))}"

    # Expressions

    def _expressions(self) -> list[Node]:
        found = [self._expression()]
        while self._takes(","):
            found.append(self._expression())
        return found

    def _expression(self, binding: int = 0) -> Node:
        if self._takes("not"):
            left: Node = ("not", self._expression(_UNARY))
        elif self._sees("-", "#"):
            left = (self._next() + "unary", self._expression(_UNARY))
        else:
            left = self._operand()
        while (operator := self._tokens[self._at][1]) in _BINARY and self._sees(operator):
            if _BINARY[operator] <= binding:
                break
            self._at += 1
            # `..` binds to the right.
            right = self._expression(_BINARY[operator] - (operator == ".."))
            left = (operator, left, right)
        return left

    def _operand(self) -> Node:
        kind, text = self._tokens[self._at]
        if kind == "number":
            self._at += 1
            return ("number", text)
        if kind == "string":
            self._at += 1
            return ("string", text[1:-1].encode())
        if self._sees(*_CONSTANTS):
            return ("constant", _CONSTANTS[self._next()])
        if self._takes("{"):
            items = [] if self._sees("}") else self._expressions()
            self._needs("}")
            return ("table", items)
        return self._suffixed()

    def _suffixed(self) -> Node:
        if self._takes("("):
            left = self._expression()
            self._needs(")")
        else:
            left = ("name", self._next())
        while True:
            if self._takes("."):
                left = ("field", left, self._next())
            elif self._takes("["):
                left = ("index", left, self._expression())
                self._needs("]")
            elif self._takes("("):
                arguments = [] if self._sees(")") else self._expressions()
                self._needs(")")
                left = ("call", left, arguments)
            else:
                return left
