"""cosmic-ray's operators. Arguments: a seed, a number, files. Prints so many mutants, a JSON object a line."""

import ast
import json
import random
import sys
from collections import defaultdict
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast  # type: ignore[import-not-found] # lives in an environment of its own
from cosmic_ray.mutating import mutate_code  # type: ignore[import-not-found] # as above
from cosmic_ray.operators.operator import Operator  # type: ignore[import-not-found] # as above
from cosmic_ray.operators.provider import OperatorProvider  # type: ignore[import-not-found] # as above
from parso.python.tree import Name  # type: ignore[import-not-found] # as above

LEFT_OUT = (
    *("RemoveDecorator", "Variable"),
    *("Invert", "BitOr", "BitAnd", "BitXor", "RShift", "LShift"),  # a TypeError for floats, which any test notices
    *("Eq_Is", "Gt_Is", "GtE_Is", "Lt_Is", "LtE_Is", "Is_Eq", "IsNot_NotEq"),  # the same for enums and small numbers
)
"""Operators whose name holds one of these are not used."""


class DropCall(Operator):  # type: ignore[misc] # has no types
    """Leave out a statement that is a call, which cosmic-ray has no operator for."""

    @staticmethod
    def mutation_positions(node: object) -> Iterator[tuple[object, object]]:
        if node.type == "simple_stmt" and node.children[0].type == "atom_expr" and _is_call(node.children[0]):  # type: ignore[attr-defined]
            yield node.start_pos, node.end_pos  # type: ignore[attr-defined]

    @staticmethod
    def mutate(node: object, _index: int) -> object:
        call = node.children[0]  # type: ignore[attr-defined]
        node.children[0] = Name("pass", call.start_pos, prefix=call.get_first_leaf().prefix)  # type: ignore[attr-defined]
        return node

    @classmethod
    def examples(cls) -> tuple[()]:
        return ()


def _is_call(expression: object) -> bool:
    return expression.children[-1].get_code().startswith("(")  # type: ignore[attr-defined, no-any-return]


def operators() -> Iterator[Operator]:
    provider = OperatorProvider()
    yield from (provider[name]() for name in provider if not any(part in name for part in LEFT_OUT))
    yield DropCall()


def ignored(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return the spans in which no mutant could be noticed: types, decorators, and calls of the log."""
    nodes: list[ast.AST | None] = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.arg() | ast.AnnAssign():
                nodes.append(node.annotation)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                nodes += [node.returns, *node.decorator_list]
            case ast.ClassDef():
                nodes += node.decorator_list
            case ast.TypeAlias() | ast.Call(func=ast.Attribute(value=ast.Name(id="log"))):
                nodes.append(node)
    return [((n.lineno, n.col_offset), (n.end_lineno, n.end_col_offset)) for n in nodes if n]  # type: ignore[attr-defined]


def sites(path: Path) -> dict[tuple[object, ...], list[tuple[Operator, int]]]:
    """Return the places where the file can be mutated, and the mutants of each: an operator and its occurrence."""
    source = path.read_text()
    nodes, spans = list(ast_nodes(get_ast(source))), ignored(source)
    found: dict[tuple[object, ...], list[tuple[Operator, int]]] = defaultdict(list)
    for operator in operators():
        occurrences = count()
        for node in nodes:
            for (start, _), occurrence in zip(operator.mutation_positions(node), occurrences):  # noqa: B905 - endless
                if not any(begin <= start < end for begin, end in spans):
                    found[str(path), start, type(operator).__module__].append((operator, occurrence))
    return found


def mutants(seed: str, number: int, paths: list[Path]) -> Iterator[dict[str, object]]:
    """Yield mutants of `number` places at most, one for each."""
    every = {site: made for path in paths for site, made in sites(path).items()}
    chance = random.Random(seed)  # noqa: S311 - a sample, no secret
    for site in chance.sample(list(every), len(every))[:number]:
        operator, occurrence = chance.choice(every[site])
        source = mutate_code(Path(str(site[0])).read_text(), operator, occurrence)
        try:
            ast.parse(source)
        except SyntaxError:  # `not` before a walrus
            continue
        yield {"path": site[0], "operator": type(operator).__name__, "source": source}


if __name__ == "__main__":
    for mutant in mutants(sys.argv[1], int(sys.argv[2]), [Path(name) for name in sys.argv[3:]]):
        sys.stdout.write(json.dumps(mutant) + "\n")
