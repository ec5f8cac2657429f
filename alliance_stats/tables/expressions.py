"""What a Python expression in a formula may hold: columns, numbers, operators, and calls of the transforms below."""

from __future__ import annotations

import ast
import re

from alliance_stats.tables.schema import DataError

NUMBERS = ("log", "log2", "log10", "log1p", "exp", "expm1", "sqrt", "abs", "sin", "cos")
"""Functions of one number; each may be written as ``log(x)`` or ``np.log(x)``."""
BASES = ("poly", "bs", "cs", "cc", "cr")  # Polynomials and splines
TERMS = ("I", "C", "center", "scale", "standardize", *BASES)
"""``I(x^2)`` arithmetic; ``C(x)`` a factor; centring and scaling; polynomials and splines."""
CODINGS = ("Treatment", "Sum", "Helmert", "Diff", "Poly")
"""Contrasts of a factor, as in ``C(arm, Treatment("wait"))``; in lower case also as ``contr.sum``."""

_LARGEST_POWER = 100
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow, ast.Mod, ast.FloorDiv, ast.USub, ast.UAdd)
_COMPARISONS = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE)
_QUOTED = "quoted_column"


def names_in(expression: str) -> set[str]:
    """The columns a Python expression reads: its names, except those of functions (formulaic misses keywords' own)."""
    quoted = set(re.findall(r"`([^`]+)`", expression))
    tree = _parsed(expression)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    other = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)} | {id(c.func) for c in calls}
    for call in calls:  # the coding of a factor, as in C(arm, Sum)
        if isinstance(call.func, ast.Name) and call.func.id == "C":
            other |= {id(part) for part in call.args[1:] if isinstance(part, ast.Name) and part.id in CODINGS}
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in other}
    return quoted | (names - {_QUOTED})


def _parsed(expression: str) -> ast.Expression:
    return ast.parse(re.sub(r"`[^`]+`", _QUOTED, expression).strip(), mode="eval")


def check_expression(side: str, expression: str) -> None:
    """Raise ``DataError`` unless every node of a Python expression is on the list."""
    try:
        tree = _parsed(expression)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise DataError(
            f"{expression!r} in the formula cannot be read.", remedy="Check its parentheses and operators."
        ) from error
    _check_node(side, tree.body, power=False)


def _check_node(side: str, node: ast.AST, *, power: bool) -> None:
    match node:
        case ast.Name():
            return
        case ast.Constant(value=bool() | int() | float()):
            return
        case ast.UnaryOp(op=op, operand=operand) if isinstance(op, _OPERATORS):
            _check_node(side, operand, power=power)
        case ast.BinOp(left=left, op=op, right=right) if isinstance(op, _OPERATORS):
            if isinstance(op, ast.Pow):
                if power or not _small_number(right):
                    _refuse(
                        side, f"has the power {ast.unparse(node)!r}; a power must be a number up to {_LARGEST_POWER}"
                    )
                power = True  # towers such as 9**9**9 would never end
            _check_node(side, left, power=power)
            _check_node(side, right, power=power)
        case ast.Compare(left=left, ops=ops, comparators=others) if all(isinstance(op, _COMPARISONS) for op in ops):
            for part in (left, *others):
                _check_argument(side, part, power=power)
        case ast.Call(func=func, args=arguments, keywords=keywords):
            _check_function(side, func)
            if isinstance(func, ast.Name) and func.id in BASES:
                sizes = [*arguments[1:], *(keyword.value for keyword in keywords if keyword.arg in ("df", "degree"))]
                if not all(isinstance(size, ast.Constant) and _small_number(size) for size in sizes):
                    _refuse(
                        side, f"holds {ast.unparse(node)!r}; degree and df must be whole numbers up to {_LARGEST_POWER}"
                    )
            for part in (*arguments, *(keyword.value for keyword in keywords)):
                _check_argument(side, part, power=power)
        case _:
            _refuse(side, f"holds {ast.unparse(node)!r}, which is neither a column, a number nor an operator")


def _check_argument(side: str, node: ast.AST, *, power: bool) -> None:
    """What is allowed in a call or comparison as well: text, lists of numbers or text, the name of a coding."""
    match node:
        case ast.Constant(value=str()):
            return
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            for part in parts:
                _check_argument(side, part, power=power)
        case ast.Attribute(value=ast.Name(id="contr"), attr=name) if name in map(str.lower, CODINGS):
            return
        case _:
            _check_node(side, node, power=power)


def _check_function(side: str, func: ast.AST) -> None:
    match func:
        case ast.Name(id=name) if name in (*NUMBERS, *TERMS, *CODINGS):
            return
        case ast.Attribute(value=ast.Name(id="np"), attr=name) if name in NUMBERS:
            return
        case ast.Attribute(value=ast.Name(id="contr"), attr=name) if name in map(str.lower, CODINGS):
            return
        case ast.Name(id="lag"):
            _refuse(side, "calls 'lag', which would take the value of another patient; use alliance_stats.lag before")
        case _:
            known = ", ".join((*TERMS, *NUMBERS))
            _refuse(side, f"calls {ast.unparse(func)!r}, which is not one of the transforms {known}")


def _small_number(node: ast.AST) -> bool:
    """A number, a negative one, or a quotient of two, as in x^(1/3)."""
    match node:
        case ast.Constant(value=int() | float() as value):
            return abs(value) <= _LARGEST_POWER
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
            return _small_number(operand)
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return _small_number(left) and _small_number(right)
    return False


def _refuse(side: str, found: str) -> None:
    raise DataError(
        f"The formula {side!r} {found}.", remedy="Compute such a column before fitting, and name it in the formula."
    )
